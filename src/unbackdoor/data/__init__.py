"""Images in [0, 1] with labels: CIFAR, a folder per class, and a sample that is always there."""

from unbackdoor.data.catalogue import load, load_training
from unbackdoor.data.images import Images, Split, joined
from unbackdoor.data.intake import Intake

__all__ = ["Images", "Intake", "Split", "joined", "load", "load_training"]
