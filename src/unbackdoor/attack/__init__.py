"""Backdoors in models of one's own, so that finding and removing them can be measured."""

from unbackdoor.attack.implant import attack, beginning, fresh, implant, poison_of, provenance
from unbackdoor.attack.poison import Poison

__all__ = ["Poison", "attack", "beginning", "fresh", "implant", "poison_of", "provenance"]
