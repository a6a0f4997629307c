"""The REST API, and the command line that starts every process."""
