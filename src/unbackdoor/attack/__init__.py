"""Plant backdoors in your own models, to measure how well they are found and removed."""

from unbackdoor.attack.implant import attack, beginning, fresh, implant, poison_of, provenance
from unbackdoor.attack.poison import Poison

__all__ = ["Poison", "attack", "beginning", "fresh", "implant", "poison_of", "provenance"]
