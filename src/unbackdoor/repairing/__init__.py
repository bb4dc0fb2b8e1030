"""Unlearning with true labels on triggers from any sampler, measured beside its controls."""

from unbackdoor.repairing.repair import repair, to_unlearn
from unbackdoor.repairing.unlearn import Recalled, Sampler, unlearn

__all__ = ["Recalled", "Sampler", "repair", "to_unlearn", "unlearn"]
