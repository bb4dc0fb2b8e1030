"""A corpus of hostile files: what somebody could hand in beside or instead of a model.

``make(folder, canary, port)`` writes them and returns the arguments of the command that opens each.
Whoever executes one finds a file at ``canary`` or a caller at ``port``.
"""

from __future__ import annotations

from pathlib import Path

import leftovers

import containers
import graphs
import headers
import networks
import pickled
import pictured
import places
from corpus import HOSTILE, Corpus, Subject

__all__ = [
    "HOSTILE",
    "Corpus",
    "Subject",
    "containers",
    "graphs",
    "headers",
    "leftovers",
    "networks",
    "pickled",
    "pictured",
    "places",
]


def make(folder: Path, canary: Path, port: int) -> list[Subject]:
    """Write every file into ``folder``."""
    corpus = Corpus(folder, canary, port)
    return [Subject(name, write(corpus, name)) for name, write in HOSTILE.items()]
