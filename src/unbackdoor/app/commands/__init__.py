"""The commands; each takes its parsed options."""
