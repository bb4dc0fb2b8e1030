"""Repairs: unlearn triggers with true labels, and compare the result with controls."""

from unbackdoor.repairing.repair import Controls, Parts, repair, to_unlearn
from unbackdoor.repairing.unlearn import Lesson, Recalled, unlearn

__all__ = ["Controls", "Lesson", "Parts", "Recalled", "repair", "to_unlearn", "unlearn"]
