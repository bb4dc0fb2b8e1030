"""The table of the paper with its controls."""
