"""Plant backdoors in your own models, to measure how well they are found and removed."""

from unbackdoor.attack.backdoor import Backdoor, backdoor_of
from unbackdoor.attack.goal import Goal, goal_of
from unbackdoor.attack.implant import attack, beginning, fresh, implant
from unbackdoor.attack.poison import Poison, poison_of
from unbackdoor.attack.provenance import planted_in, provenance

__all__ = [
    "Backdoor",
    "Goal",
    "Poison",
    "attack",
    "backdoor_of",
    "beginning",
    "fresh",
    "goal_of",
    "implant",
    "planted_in",
    "poison_of",
    "provenance",
]
