"""Classifiers: small networks, safe loading, and freezing for the work on them."""

from unbackdoor.models.adapt import (
    Adapted,
    ChannelsLast,
    Grey,
    Log,
    Odds,
    Pair,
    Pick,
    Plane,
    Row,
    bare,
)
from unbackdoor.models.architectures import build, check_architecture, file_of
from unbackdoor.models.builtin import ARCHITECTURES
from unbackdoor.models.checkpoint import (
    Loaded,
    check_readable,
    check_suffix,
    decode,
    encode,
    load,
    save,
    shipped,
)
from unbackdoor.models.freeze import Frozen, TimeUpError, device_of, freeze
from unbackdoor.models.graph import Graph
from unbackdoor.models.layout import layout_for
from unbackdoor.models.normalise import Normalise
from unbackdoor.models.resnet import ResNet
from unbackdoor.models.stated import Stated

__all__ = [
    "ARCHITECTURES",
    "Adapted",
    "ChannelsLast",
    "Frozen",
    "Graph",
    "Grey",
    "Loaded",
    "Log",
    "Normalise",
    "Odds",
    "Pair",
    "Pick",
    "Plane",
    "ResNet",
    "Row",
    "Stated",
    "TimeUpError",
    "bare",
    "build",
    "check_architecture",
    "check_readable",
    "check_suffix",
    "decode",
    "device_of",
    "encode",
    "file_of",
    "freeze",
    "layout_for",
    "load",
    "save",
    "shipped",
]
