"""Unlearning with true labels on triggers from any sampler, measured beside its controls."""

from unbackdoor.repairing.repair import repair, to_unlearn
from unbackdoor.repairing.unlearn import Sampler, unlearn

__all__ = ["Sampler", "repair", "to_unlearn", "unlearn"]
