"""Benchmarks: what the README states, measured by one command each, kept with its provenance."""

from unbackdoor.experiments.shipped import Row, measure_shipped

__all__ = ["Row", "measure_shipped"]
