"""Which folders are classes: those of a folder or a tar that hold pictures, and no parts of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from os.path import commonpath
from pathlib import PurePosixPath

BESIDE = "beside the classes"
"""Why a file is passed over that lies in no class folder."""
PARTS = frozenset(
    {
        *("train", "training", "trainset", "test", "testing", "testset", "val", "valid", "valset"),
        *("validation", "eval", "evaluation", "dev", "development", "holdout", "unlabeled"),
        "unlabelled",
    }
)
"""Words for the parts of a data set."""
FILLERS = frozenset({"set", "data", "image", "images", "img", "imgs", "picture", "pictures"})
"""Words that stand beside them."""
BESIDES = frozenset(
    {"mask", "masks", "label", "labels", "annotation", "annotations", "meta", "metadata", "depth"}
)
"""Words for what lies beside pictures."""


def parts_among(names: Collection[str]) -> list[str]:
    """Return which folders are parts of a data set, where those cannot be classes.

    One alone may be a class (a train), two of them are none, and where all folders are parts or
    something else than a class, no class is left.

    Example:
        >>> parts_among(["bus", "train"]), parts_among(["Train", "test1", "bus"])
        ([], ['Train', 'test1'])
        >>> parts_among(["images", "masks"]), parts_among(["training_set", "meta"])
        (['images', 'masks'], ['training_set'])

    """
    parts = [name for name in names if is_part(name)]
    known = PARTS | FILLERS | BESIDES
    none = len(names) > 1 and all(own and own <= known for own in map(_words, names))
    return (parts or list(names)) if none or len(parts) > 1 else []


def is_part(name: str) -> bool:
    """Return whether a name says a part of a data set, such as ``test_images``."""
    own = _words(name)
    return bool(own & PARTS) and own <= PARTS | FILLERS


def _words(name: str) -> set[str]:
    return set(re.findall("[a-z]+", name.lower()))


def shared_folder(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """Return the innermost folder that all files lie in; the class folders lie in it.

    Args:
        paths: of the files, relative.

    """
    return PurePosixPath(commonpath([path.parent for path in paths]) if paths else "")


def class_folder(path: PurePosixPath, shared: PurePosixPath) -> str:
    """Return the folder that says the class of a file: the outermost one in the shared folder.

    Example:
        >>> paths = [PurePosixPath(text) for text in ("set/cat/a/1.png", "set/dog/2.png")]
        >>> [class_folder(path, shared_folder(paths)) for path in paths]
        ['cat', 'dog']
        >>> class_folder(PurePosixPath("set/3.png"), shared_folder(paths))
        ''

    """
    inside = path.relative_to(shared).parts if path.is_relative_to(shared) else ()
    return inside[0] if len(inside) > 1 else ""
