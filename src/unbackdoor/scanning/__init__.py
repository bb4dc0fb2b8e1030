"""Scanning: F from a model and images, a screening of every class, stairs, a verdict."""

from unbackdoor.scanning.scan import Subject, scan, staircase
from unbackdoor.scanning.truth import with_planted

__all__ = ["Subject", "scan", "staircase", "with_planted"]
