"""A database and a broker on this machine, so that two commands are enough to run the wallet."""
