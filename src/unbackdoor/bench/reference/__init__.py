"""A comparison of the recovered law of a real network with a long population."""
