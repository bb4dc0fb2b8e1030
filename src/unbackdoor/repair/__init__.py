"""Repair: unlearning with true labels on triggers from any sampler, measured beside its controls."""

from unbackdoor.repair.repair import repair
from unbackdoor.repair.unlearn import Sampler, unlearn

__all__ = ["Sampler", "repair", "unlearn"]
