"""Encoded pictures with labels → one set of images, and the record of how they were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from statistics import median_low
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from unbackdoor.data.images import Images
from unbackdoor.data.intake import Intake
from unbackdoor.data.room import check_room, room
from unbackdoor.errors import ContentError, SizesError, brief, few
from unbackdoor.runtime.pictures import (
    LARGEST_SURPRISE,
    SUFFIXES,
    UNREADABLE,
    Allowance,
    Picture,
    TooMuchWork,
    as_rgb,
    as_square,
    decode,
)
from unbackdoor.runtime.ranges import MOST_BEYOND, Spread, beyond, white_of

NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A picture that is not decoded yet.

    Args:
        name: in sentences; its suffix says whether it has to be a picture.
        label: index of its class.
        open: opens it for reading.

    """

    name: str
    label: int
    open: Callable[[], BinaryIO]


@dataclass
class _Gathered:
    """Pictures that are decoded, one after the other, into one array."""

    what: str
    size: int | None
    most: int
    kept: NDArray[np.uint8] | None = None
    labels: list[int] = field(default_factory=list[int])
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    deep: dict[int, Picture] = field(default_factory=dict[int, Picture])
    held: int = 0  # bytes of the deep ones
    # of the deep ones as they came, since resampling leads beyond their range
    spreads: dict[int, Spread] = field(default_factory=dict[int, Spread])
    counts: Counter[str] = field(default_factory=Counter[str])

    def add(self, picture: Picture, label: int) -> None:
        """Keep a picture; of pictures of several sizes, only the sizes."""
        given = picture.pixels.shape[:2]
        height, width = (self.size or side for side in given)
        self.sizes[height, width] += 1
        if len(self.sizes) > 1:
            return
        if self.kept is None:
            self.kept = room((self.most, height, width, 3), self.what)
        pixels = picture.pixels if self.size is None else as_square(picture.pixels, self.size)
        at = len(self.labels)
        self.labels.append(label)
        self.counts.update(turned=picture.turned, several=picture.several)
        self.counts.update(transparent=picture.opacity is not None)
        self.counts.update(resized=given != pixels.shape[:2])
        self.counts.update(cropped=self.size is not None and given[0] != given[1])
        if picture.deep:
            self.deep[at] = replace(picture, pixels=pixels)
            self.held += pixels.nbytes
            check_room((self.most, height, width, 3), self.what, self.held)
            self.spreads[at] = Spread.of(picture.pixels)
        else:
            self.kept[at] = pixels

    def scale(self) -> float:
        """Scale pictures of more than 8 bits by the range that the pictures have, and return it.

        Raises:
            ValueError: no such range is known.

        """
        unknown = [at for at, one in self.deep.items() if one.white is None]
        white = 255.0
        if unknown:
            white = white_of(Spread.over([self.spreads[at] for at in unknown]))
            faint = sum(self.spreads[at].faint for at in unknown)
            if faint and white > 1:
                raise ValueError(
                    f"{faint:,} pictures with values up to 1 beside some up to {white:g}"
                )
            self.counts["clipped"] = self._beyond(unknown, white)
        for at, one in self.deep.items():
            if self.kept is not None:
                self.kept[at] = as_rgb(one.pixels, one.white or white)
        return max([white, *(one.white or white for one in self.deep.values())])

    def _beyond(self, unknown: Sequence[int], white: float) -> int:
        """Return how many pictures have values beyond their range.

        Raises:
            ValueError: more values lie there than resampling leaves.

        """
        outside = [at for at in unknown if self.spreads[at].exceeds(white)]
        found = sum(int(beyond(self.deep[at].pixels, white).sum()) for at in outside)
        share = found / sum(self.deep[at].pixels.size for at in unknown)
        if share > MOST_BEYOND:
            raise ValueError(f"{share:.0%} of its values outside 0 to {white:g}")
        return len(outside)


def gather(
    pictures: Sequence[Encoded],
    classes: tuple[str, ...],
    *,
    name: str,
    what: str,
    size: int | None,
    allowance: Allowance,
    passed_over: Mapping[str, int] = NOTHING,
) -> Images:
    """Decode pictures to images of one size, with a record of how they were read.

    Files that are no pictures, by content and by name, are passed over and counted.

    Args:
        pictures: those to decode.
        classes: the name of each class, by index.
        name: of the set, in results.
        what: the folder or file that they come from, in sentences.
        size: side of the squares that they become; when left out, all have to have one size.
        allowance: what may be read and decoded.
        passed_over: reason → number of files that were passed over before.

    Raises:
        ContentError: some are damaged, have several sizes, or take too much work or memory.

    """
    gathered = _Gathered(what, size, len(pictures))
    passed, damaged = Counter(passed_over), list[str]()
    for one in pictures:
        try:
            with one.open() as file:
                picture = decode(file, allowance)
        except TooMuchWork as error:
            raise ContentError(
                f"--data: the files of {what} ({allowance.stored:,} bytes) unpack to more than "
                f"{LARGEST_SURPRISE >> 20} MiB, as no photographs do; remove those that do, such "
                f"as {one.name}."
            ) from error
        except UNREADABLE as error:
            suffix = PurePath(one.name).suffix.lower()
            if isinstance(error, UnidentifiedImageError) and suffix not in SUFFIXES:
                passed[suffix or "no suffix"] += 1
            else:
                damaged.append(f"{one.name} ({brief(error)})")
        else:
            gathered.add(picture, one.label)
    if damaged:
        raise ContentError(_damaged(damaged, len(pictures), what))
    if len(gathered.sizes) > 1:
        small, large = min(gathered.sizes), max(gathered.sizes)
        side = median_low(min(shape) for shape in gathered.sizes.elements())
        raise SizesError(
            f"--data: expected pictures of one size in {what}, came sizes from "
            f"{small[1]}×{small[0]} to {large[1]}×{large[0]}",
            side,
        )
    try:
        white = gathered.scale()
    except ValueError as error:
        raise ContentError(
            f"--data: {what} has {error}; write them with 8 bits, before they are normalised."
        ) from error
    count, counts = len(gathered.labels), gathered.counts
    kept = gathered.kept if gathered.kept is not None else np.empty((0, 1, 1, 3), np.uint8)
    return Images.of(
        name,
        classes,
        torch.from_numpy(kept[:count]).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(gathered.labels, dtype=torch.int64),
        Intake(
            read=count,
            passed_over=dict(sorted(passed.items())),
            turned=counts["turned"],
            first_of_several=counts["several"],
            transparent=counts["transparent"],
            scaled=len(gathered.deep),
            white=white,
            clipped=counts["clipped"],
            resized=counts["resized"],
            cropped=counts["cropped"],
        ),
    )


@contextmanager
def readable(
    path: Path, allowance: Allowance, remedy: str, *, errors: tuple[type[Exception], ...]
) -> Generator[None]:
    """Turn what goes wrong while a file is read into a sentence about it.

    Args:
        path: of the file.
        allowance: what may be read and decoded.
        remedy: what to do with a damaged one.
        errors: what a damaged one raises.

    Raises:
        ContentError: the file is damaged, or unpacks to far more than it is.

    """
    try:
        yield
    except ContentError:
        raise
    except TooMuchWork as error:
        raise ContentError(
            f"--data: {path} ({allowance.stored:,} bytes) unpacks to more than "
            f"{LARGEST_SURPRISE >> 20} MiB, as no photographs do; take another file."
        ) from error
    except errors as error:
        raise ContentError(f"--data: {path} cannot be read ({brief(error)}); {remedy}.") from error


def _damaged(damaged: Sequence[str], count: int, what: str) -> str:
    return (
        f"--data: {len(damaged):,} of {count:,} files in {what} cannot be read as pictures: "
        f"{few(damaged, separator='; ')}; remove or replace them."
    )
