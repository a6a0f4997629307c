"""The watcher: the one process that follows the chain, and tells the ledger what it sees."""
