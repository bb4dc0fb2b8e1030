"""Scanning: a detector collects evidence, a judge decides, and a result holds both."""

from unbackdoor.scanning.law import staircase
from unbackdoor.scanning.scan import FEWEST_PER_CLASS, Described, data_hash, scan
from unbackdoor.scanning.truth import with_planted

__all__ = ["FEWEST_PER_CLASS", "Described", "data_hash", "scan", "staircase", "with_planted"]
