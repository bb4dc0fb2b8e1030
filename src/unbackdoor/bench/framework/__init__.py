"""The building blocks of benchmarks: specs, stores, engines, sweeps, tables."""
