"""Scanning: F from a model and images, a screening of every class, stairs, a verdict."""

from unbackdoor.scan.scan import Subject, scan, staircase

__all__ = ["Subject", "scan", "staircase"]
