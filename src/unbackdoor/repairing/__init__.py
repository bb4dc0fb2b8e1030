"""Unlearning with true labels on triggers from any sampler, measured beside its controls."""

from unbackdoor.repairing.repair import Controls, Parts, repair, to_unlearn
from unbackdoor.repairing.unlearn import Lesson, Recalled, unlearn

__all__ = ["Controls", "Lesson", "Parts", "Recalled", "repair", "to_unlearn", "unlearn"]
