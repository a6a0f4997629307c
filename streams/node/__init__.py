"""The Dogecoin node, as the watcher and the payer speak with it."""
