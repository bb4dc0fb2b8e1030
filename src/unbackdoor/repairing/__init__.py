"""Unlearning with true labels on triggers from any sampler, measured beside its controls."""

from unbackdoor.repairing.repair import repair, unlearnt
from unbackdoor.repairing.unlearn import Sampler, unlearn

__all__ = ["Sampler", "repair", "unlearn", "unlearnt"]
