"""Pickles of tensors, followed without being run."""
