"""Repairs of networks with known backdoors: ours, those of others, and what comes back."""
