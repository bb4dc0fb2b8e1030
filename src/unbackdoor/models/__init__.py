"""Classifiers: small residual networks, safe loading, and freezing for the work on them."""

from unbackdoor.models.checkpoint import Loaded, build, decode, encode, load, save, shipped
from unbackdoor.models.freeze import Frozen, freeze
from unbackdoor.models.resnet import ARCHITECTURES, Normalise, ResNet

__all__ = [
    "ARCHITECTURES",
    "Frozen",
    "Loaded",
    "Normalise",
    "ResNet",
    "build",
    "decode",
    "encode",
    "freeze",
    "load",
    "save",
    "shipped",
]
