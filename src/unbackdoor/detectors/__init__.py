"""Detectors: from a model and images to evidence."""
