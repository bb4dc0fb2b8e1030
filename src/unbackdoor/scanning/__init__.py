"""Scanning: F from a model and images, a screening of every class, stairs, a verdict."""

from unbackdoor.scanning.scan import FEWEST_PER_CLASS, Subject, data_hash, scan, staircase
from unbackdoor.scanning.truth import with_planted

__all__ = ["FEWEST_PER_CLASS", "Subject", "data_hash", "scan", "staircase", "with_planted"]
