"""What is said of the pictures: how they were read, and which of them show nothing new."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import torch

from unbackdoor.data import Images, Intake, Split
from unbackdoor.data.arranging import saved_otherwise
from unbackdoor.errors import few, printable
from unbackdoor.preflight.findings import note, warning
from unbackdoor.results import Finding
from unbackdoor.runtime.pictures import OTHER_SUFFIXES


def look_over(images: Split) -> list[Finding]:
    """Return what the user should know about the pictures."""
    read = images.defend.intake
    told = [*_taken(read), *_left_out(read)] if read is not None else []
    shown = [*_absent(images), *_blank(images), *_contradictions(images), *_duplicates(images)]
    return [*told, *shown]


def _taken(read: Intake) -> Iterator[Finding]:
    """Say what was done to the pictures so that they are as their makers saw them."""
    if read.turned:
        yield note(
            "orientation",
            f"{read.turned:,} of {read.read:,} pictures were turned upright, as their EXIF "
            f"orientation says.",
        )
    if read.first_of_several:
        yield note(
            "several pictures",
            f"{read.first_of_several:,} files hold several pictures or frames; the first of each "
            f"was read.",
        )
    if read.transparent:
        yield note(
            "transparency",
            f"{read.transparent:,} pictures have transparent parts; their colour was kept and the "
            f"transparency dropped, as convert('RGB') of Pillow does.",
        )
    if read.scaled:
        yield note(
            "range",
            f"The values of {read.scaled:,} pictures have another range than 0 to 255; 0 to "
            f"{read.white:,.6g} was scaled to it.",
        )
    if read.clipped:
        yield note(
            "clipped values",
            f"{read.clipped:,} pictures have values that lie beyond 0 to {read.white:,.6g} by up "
            f"to a quarter, as resampling leaves them; those were clipped.",
        )


def _left_out(read: Intake) -> Iterator[Finding]:
    """Warn of pictures that nobody looked at."""
    left = {name: count for name, count in read.passed_over.items() if name in OTHER_SUFFIXES}
    if left:
        told = ", ".join(f"{count:,} {suffix}" for suffix, count in left.items())
        yield warning(
            "formats",
            f"Pictures of formats that are not read were passed over: {told}.",
            f"To have them read, {saved_otherwise(left, 'DATA')} (DATA is the folder).",
        )


def _absent(images: Split) -> Iterator[Finding]:
    """Say of which classes there are no pictures: they are searched all the same."""
    classes = images.defend.classes
    targets = torch.cat([images.defend.targets, images.evaluate.targets])
    counts = torch.bincount(targets, minlength=len(classes))
    absent = [printable(name) for at, name in enumerate(classes) if not counts[at]]
    if absent:
        yield note(
            "absent classes",
            f"The data have no pictures of {len(absent):,} of the {len(classes):,} classes "
            f"({few(absent)}); triggers towards these are searched with pictures of the others.",
            "Add pictures of them where they were meant to be there.",
        )


def _blank(images: Split) -> Iterator[Finding]:
    count = sum(int((~_patterned(part)).sum()) for part in (images.defend, images.evaluate))
    if count:
        yield warning(
            "blank",
            f"{count:,} of {len(images.defend) + len(images.evaluate):,} pictures have one colour "
            f"throughout, so they show nothing.",
            "Look at the files, and remove or replace those that should show something.",
        )


def _contradictions(images: Split) -> Iterator[Finding]:
    """Warn of pictures that lie in several classes, at most one of which can be right."""
    said: defaultdict[bytes, list[int]] = defaultdict(list)
    for part in (images.defend, images.evaluate):
        labels = [int(label) for label in part.targets[_patterned(part)]]
        for digest, label in zip(_digests(part), labels, strict=True):
            said[digest].append(label)
    several = [labels for labels in said.values() if len(set(labels)) > 1]
    if several:
        names = [images.defend.classes[label] for label in sorted(set(several[0]))]
        count, example = len(several), " and ".join(map(repr, names[:2]))
        pictures = "A picture lies" if count == 1 else f"{count:,} pictures lie"
        yield warning(
            "contradictions",
            f"{pictures} in several classes, such as in {example}, of which one at most is right.",
            "Leave each in the class that it belongs to.",
        )


def _duplicates(images: Split) -> Iterator[Finding]:
    """Warn of pictures in both parts; blank ones are equal without being the same picture."""
    seen = set(_digests(images.defend))
    twice = sum(digest in seen for digest in _digests(images.evaluate))
    if twice:
        yield warning(
            "duplicates",
            f"{twice} of {len(images.evaluate)} held-back images are also among those that "
            f"triggers are searched with, so that rates are better than they should be.",
            "Remove duplicates from the data.",
        )


def _patterned(images: Images) -> torch.Tensor:
    """Return for each image whether it has more than one colour."""
    several = [
        (one != one[:, :, :1]).flatten(1).any(1).cpu()
        for rows in torch.split(images.rows, images.chunk)
        for one in [images.pixels[rows].flatten(2)]
    ]
    return torch.cat(several)


def _digests(images: Images) -> list[bytes]:
    return [
        hashlib.blake2b(images.pixels[row].cpu().numpy().tobytes(), digest_size=16).digest()
        for row in images.rows[_patterned(images)]
    ]
