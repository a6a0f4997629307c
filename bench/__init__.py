"""Measures the bars of the project, each against its baseline in the same run: ``make bench``."""
