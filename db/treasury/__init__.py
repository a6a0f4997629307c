"""What watcher and payer keep: the chain, our coins on it, claims, and payouts with their versions.

Nothing here is the ledger's: what follows for the books goes to the topic as a command.
"""
