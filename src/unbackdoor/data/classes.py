"""Which folders are classes: those of a folder or a tar that hold pictures, and no parts of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from os.path import commonpath
from pathlib import PurePath, PurePosixPath

BESIDE = "beside the classes"
"""Why a file is passed over that lies in no class folder."""
PARTS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("test", "testing", "testset", "publictest", "privatetest"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation", "holdout"), "val"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabelled"),
}
"""Words for the parts of a data set, and which part each says."""
FILLERS = {"set", "data", "image", "images", "im", "img", "imgs", "picture", "pictures"}
"""Words that stand beside them."""
PIECES = {"part", "parts", "piece", "batch", "chunk", "shard", "fold", "split", "volume"}
"""Words for pieces into which a set is cut, with a number behind them."""
BESIDES = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "meta", "metadata"),
    *("depth", "seg", "segmentation"),
}
"""Words for what lies beside pictures."""


def parts_among(names: Collection[str]) -> list[str]:
    """Return which folders are parts of a data set, where those cannot be classes.

    One alone may be a class (a train), two different ones are none. Where all folders are parts,
    pictures or what lies beside pictures, no class is left.

    Example:
        >>> parts_among(["bus", "train"]), parts_among(["Train", "test1", "bus"])
        ([], ['Train', 'test1'])
        >>> parts_among(["images", "masks"]), parts_among(["training_set", "meta"])
        (['images', 'masks'], ['training_set'])
        >>> parts_among(["label_0", "label_1"]), parts_among(["set1", "set2"])
        ([], [])

    """
    said = {name: part for name in names if (part := part_of(name))}
    if len(set(said.values())) > 1:
        return list(said)
    words = [_words(name) for name in names]
    known = PARTS.keys() | FILLERS | BESIDES
    if len(words) < 2 or not all(own and own <= known for own in words):
        return []
    if said:
        return list(said)
    pictures, beside = (any(own <= group for own in words) for group in (FILLERS, BESIDES))
    return list(names) if pictures and beside else []


def is_beside(name: str) -> bool:
    """Return whether a name says what lies beside pictures, such as ``masks``."""
    words = _words(name)
    return bool(words) and words <= BESIDES


def beside_pictures(paths: Collection[PurePath]) -> dict[PurePath, str]:
    """Return which files of a class lie beside its pictures, and in which folder.

    They do in a folder such as ``masks`` beside one such as ``images``.

    Example:
        >>> found = beside_pictures([PurePosixPath("images/1.png"), PurePosixPath("masks/1.png")])
        >>> list(found.values())
        ['masks']

    """
    folders = {folder for path in paths for folder in path.parents if folder.name}
    pictured = {folder.parent for folder in folders if _words(folder.name) <= FILLERS}
    aside = {one for one in folders if is_beside(one.name) and one.parent in pictured}
    found: dict[PurePath, str] = {}
    for path in paths if aside else ():
        for folder in path.parents:
            if folder in aside:
                found[path] = folder.name.lower()
    return found


def repeated_in(inner: Mapping[str, Collection[str]]) -> list[str]:
    """Return which folders lie in each of several, where they could be the classes of all.

    Args:
        inner: name of each folder → names of the folders in it.

    Example:
        >>> repeated_in({"fold1": ["cat", "dog"], "fold2": ["cat", "dog", "eel"]})
        ['cat', 'dog']
        >>> repeated_in({"cat": ["train", "test"], "dog": ["train", "test"]})
        []

    """
    if len(inner) < 2:
        return []
    every = [{*names} for names in inner.values()]
    same = set[str].intersection(*every)
    known = PARTS.keys() | FILLERS | BESIDES
    if len(same) < 2 or 2 * len(same) < len(set[str].union(*every)):
        return []
    return [] if all(_words(name) <= known for name in same) else sorted(same)


def numbered_alike(names: Collection[str]) -> bool:
    """Return whether folders are numbered pieces of one set by their names.

    Example:
        >>> numbered_alike(["a_part_1", "a_part_2"]), numbered_alike(["images_01", "images_02"])
        (True, True)
        >>> numbered_alike(["class_1", "class_2"]), numbered_alike(["part_1", "bolts"])
        (False, False)

    """
    alike = {re.sub(r"\d+", "0", name.lower()) for name in names}
    words = _words(min(alike, default=""))
    known = PIECES | FILLERS | PARTS.keys()
    return len(alike) == 1 < len(names) and not words.isdisjoint(known)


def part_of(name: str) -> str:
    """Return which part of a data set a name says, such as ``test_images``; nothing for others."""
    own = _words(name)
    said = {PARTS[word] for word in own if word in PARTS}
    return said.pop() if len(said) == 1 and own <= PARTS.keys() | FILLERS else ""


def _words(name: str) -> set[str]:
    """Return the words of a name; the name itself where it has other letters than a to z."""
    small = name.lower()
    return set(re.findall("[a-z]+", small)) if small.isascii() else {small}


def shared_folder(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """Return the folder in which the class folders of some files lie.

    That is the innermost one that all files share, or the one above it where they lie directly in
    it, or one further inside where there is one folder in it alone.

    Args:
        paths: of the files, relative.

    Example:
        >>> shared_folder([PurePosixPath("set/cat/1.png"), PurePosixPath("set/cat/2.png")])
        PurePosixPath('set')
        >>> shared_folder([PurePosixPath("set/cat/1.png"), PurePosixPath("set/dog/1.png")])
        PurePosixPath('set')
        >>> shared_folder([PurePosixPath(text) for text in ("1.png", "set/a/2.png", "set/b/3.png")])
        PurePosixPath('set')

    """
    shared = PurePosixPath(commonpath([path.parent for path in paths]) if paths else "")
    names = {class_folder(path, shared) for path in paths} - {""}
    if not names:
        return shared.parent
    while len(names) == 1:
        inside = shared / names.pop()
        names = {class_folder(path, inside) for path in paths} - {""}
        shared = inside if names else shared
    return shared


def class_folder(path: PurePosixPath, shared: PurePosixPath) -> str:
    """Return the folder that says the class of a file: the outermost one in the shared folder.

    Example:
        >>> class_folder(PurePosixPath("set/cat/a/1.png"), PurePosixPath("set"))
        'cat'
        >>> class_folder(PurePosixPath("set/3.png"), PurePosixPath("set"))
        ''

    """
    inside = path.relative_to(shared).parts if path.is_relative_to(shared) else ()
    return inside[0] if len(inside) > 1 else ""
