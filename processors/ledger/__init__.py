"""Pure decisions about money, one file a noun."""
