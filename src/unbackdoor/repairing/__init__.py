"""Repairs: unlearn triggers with true labels under guard, and compare the result with controls."""

from unbackdoor.repairing.plan import Asked, Charge, Plan, Planner, to_unlearn
from unbackdoor.repairing.repair import Controls, repair
from unbackdoor.repairing.rounds import How, Parts
from unbackdoor.repairing.unlearn import Lesson, Lessons, Pursuit, Recalled, unlearn

__all__ = [
    "Asked",
    "Charge",
    "Controls",
    "How",
    "Lesson",
    "Lessons",
    "Parts",
    "Plan",
    "Planner",
    "Pursuit",
    "Recalled",
    "repair",
    "to_unlearn",
    "unlearn",
]
