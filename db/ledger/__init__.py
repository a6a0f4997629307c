"""The ledger's rows: what a batch reads and writes, and what is kept of batches and partitions."""
