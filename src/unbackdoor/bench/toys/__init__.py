"""A test of every estimator on problems with known answers."""
