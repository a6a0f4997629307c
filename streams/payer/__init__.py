"""The payer: claims withdrawals, pays them on chain, and tells the ledger what became of them.

A state machine in the database, one file a step; the one process that can read the private key.
"""
