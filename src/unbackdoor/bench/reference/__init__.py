"""The recovered law of a real network beside a long population."""
