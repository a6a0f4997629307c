"""The subcommands of ``wallet``, one file each; ``api.cli`` finds them by name."""
