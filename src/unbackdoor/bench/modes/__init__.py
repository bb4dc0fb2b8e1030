"""MESA, which has no sample, beside generators that learn from samples."""
