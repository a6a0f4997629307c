"""The crash matrix: real worker processes, killed or frozen at each step, and what comes of it."""
