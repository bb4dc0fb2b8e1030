"""Benchmarks: what the README states, measured by one command each, kept with its provenance."""

from unbackdoor.experiments.shipped import measure_shipped

__all__ = ["measure_shipped"]
