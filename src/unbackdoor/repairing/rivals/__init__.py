"""Repairs that others published, and what they are built on."""
