"""Trigger spaces: how a parameter vector θ in [0, 1]^n changes a picture."""

from unbackdoor.triggers.patch import PatchSpace, Planted, Trigger, parse_space, parse_trigger
from unbackdoor.triggers.space import TriggerSpace

__all__ = ["PatchSpace", "Planted", "Trigger", "TriggerSpace", "parse_space", "parse_trigger"]
