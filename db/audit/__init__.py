"""What must hold of the whole database, in queries that ``wallet doctor`` puts in one snapshot."""
