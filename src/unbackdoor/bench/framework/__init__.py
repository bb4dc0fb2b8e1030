"""What every benchmark is made of: specs, stores, engines, sweeps, tables."""
