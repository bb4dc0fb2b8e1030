"""A labelled set of images that lives in memory once, as bytes, and is viewed through indices."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unbackdoor.data.intake import Intake
from unbackdoor.data.labelling import composed
from unbackdoor.data.room import room
from unbackdoor.errors import ContentError, InsufficientDataError
from unbackdoor.runtime.pictures import as_square

MOST_AT_ONCE, PIXELS_AT_ONCE = 256, 1 << 21
"""Pictures, and their pixels, that go forward through a network at a time."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images and labels, as rows of one shared store.

    Args:
        name: what the set is called in results.
        classes: the name of each class, by index.
        pixels: ``(N, channels, height, width)``, uint8, on any device; shared by every subset.
        labels: ``(N,)``, int64, each in ``[0, len(classes))``; shared by every subset.
        rows: ``(n,)``, int64, the rows of the store that this set consists of.
        intake: how they were read, where they come from files of the user.

    Raises:
        ContentError: the tensors do not have these shapes, types and ranges.

    """

    name: str
    classes: tuple[str, ...]
    pixels: Tensor
    labels: Tensor
    rows: Tensor
    intake: Intake | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise ContentError(
                f"pixels: expected uint8 of shape (N, channels, height, width), came "
                f"{self.pixels.dtype} of shape {tuple(self.pixels.shape)}."
            )
        if self.labels.shape != self.pixels.shape[:1]:
            raise ContentError(
                f"labels: expected one for each of the {len(self.pixels)} images, came shape "
                f"{tuple(self.labels.shape)}."
            )
        if self.labels.dtype != torch.int64:
            raise ContentError(f"labels: expected int64, came {self.labels.dtype}.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.classes
        ):
            raise ContentError(
                f"labels: expected class indices from 0 to {len(self.classes) - 1}, came "
                f"{int(self.labels.min())} to {int(self.labels.max())}."
            )

    @classmethod
    def of(
        cls,
        name: str,
        classes: tuple[str, ...],
        pixels: Tensor,
        labels: Tensor,
        intake: Intake | None = None,
    ) -> Images:
        """Return the set of all rows of ``pixels`` and ``labels``."""
        return cls(name, classes, pixels, labels, torch.arange(len(pixels)), intake)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def chunk(self) -> int:
        """How many of them go forward through a network at a time."""
        return chunk_of(self.shape)

    @cached_property
    def targets(self) -> Tensor:
        """The labels of this set, ``(n,)`` int64."""
        return self.labels[self.rows]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the pixels, then the labels as bytes, in this set's order."""
        digest = hashlib.sha256()
        for at in range(0, len(self), 4096):
            digest.update(self.pixels[self.rows[at : at + 4096]].cpu().numpy().tobytes())
        digest.update(self.targets.to(torch.int32).numpy().astype("<i4").tobytes())
        return digest.hexdigest()

    def batch(self, picks: Tensor) -> Tensor:
        """Return the picked images as float32 in [0, 1], on the device of the pixels.

        Args:
            picks: ``(b,)`` int64, positions in this set.

        """
        return self.pixels[self.rows[picks]].float().div_(255)

    def to(self, device: torch.device | str) -> Images:
        """Return the same images with their pixels on a device; labels and rows stay here."""
        return dataclasses.replace(self, pixels=self.pixels.to(device))

    def subset(self, picks: Tensor) -> Images:
        """Return the picked images as a set over the same store."""
        return dataclasses.replace(self, rows=self.rows[picks])

    def thinned(self, most: int) -> Images:
        """Return up to ``most`` images, spread evenly over the set."""
        last, count = len(self) - 1, min(most, len(self))
        return self.subset(torch.linspace(0, last, count).round().long())

    def fewer(self, count: int) -> Images:
        """Return the first ``count`` images, equally many of every class."""
        each, labels = count // len(self.classes), range(len(self.classes))
        return self.subset(
            torch.cat([(self.targets == label).nonzero()[:each, 0] for label in labels])
        )

    def resized(self, size: int | None) -> Images:
        """Return the images of this set as squares, shorter side scaled, middle cropped.

        Args:
            size: side of the squares; None leaves the images as they are.

        Raises:
            ContentError: they take more memory than all pictures may.

        """
        if size is None or self.shape[1:] == (size, size):
            return self
        squares = room((len(self), size, size, self.shape[0]), self.name)
        for at, row in enumerate(self.rows):
            squares[at] = as_square(self.pixels[row].permute(1, 2, 0).cpu().numpy(), size)
        pixels = torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous()
        read = self.intake.to_squares(*self.shape[1:]) if self.intake is not None else None
        return Images.of(self.name, self.classes, pixels, self.targets, read)

    def relabelled(self, indices: Mapping[str, int], count: int) -> Images:
        """Return the same images under other class indices.

        Args:
            indices: name of each class of this set, in any form of Unicode → its new index.
            count: how many classes there are, also those of which there are no images.

        Raises:
            ContentError: a class has no index, or indices are not different and below ``count``.

        """
        known = {composed(name): index for name, index in indices.items()}
        if missing := [name for name in self.classes if composed(name) not in known]:
            raise ContentError(
                f"--labels: expected an index for every class of the data, came none for "
                f"{missing[0]!r}; add it."
            )
        chosen = [known[composed(name)] for name in self.classes]
        if len(set(chosen)) < len(chosen) or not 0 <= min(chosen) <= max(chosen) < count:
            raise ContentError(
                f"--labels: expected different indices from 0 to {count - 1} (the network has "
                f"{count} classes), came {', '.join(map(str, sorted(chosen)))}."
            )
        names = dict(zip(chosen, self.classes, strict=True))
        classes = tuple(names.get(index, f"class {index}") for index in range(count))
        labels = torch.tensor(chosen)[self.labels]
        return dataclasses.replace(self, classes=classes, labels=labels)

    def divide(self, share: float) -> tuple[Images, Images]:
        """Divide every class in the same proportion, first rows first; nothing is drawn.

        Args:
            share: of each class, the share that goes to the first part, in (0, 1).

        Example:
            >>> pixels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
            >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
            >>> first, second = Images.of("toy", ("a", "b"), pixels, labels).divide(2 / 3)
            >>> first.rows.tolist(), second.rows.tolist()
            ([0, 1, 2, 3], [4, 5])

        """
        in_first = torch.zeros(len(self), dtype=torch.bool)
        for label in range(len(self.classes)):
            of_class = (self.targets == label).nonzero()[:, 0]
            in_first[of_class[: round(share * len(of_class))]] = True
        return self.subset(in_first.nonzero()[:, 0]), self.subset((~in_first).nonzero()[:, 0])


@dataclass(frozen=True)
class Split:
    """Clean images in two disjoint parts.

    Args:
        defend: what a defender (or a trainer) works with.
        evaluate: held back; every figure is measured here.

    """

    defend: Images
    evaluate: Images

    def to(self, device: torch.device | str) -> Split:
        """Return both parts with their pixels on a device, once where they share them."""
        defend = self.defend.to(device)
        if self.defend.pixels is self.evaluate.pixels:
            return Split(defend, dataclasses.replace(self.evaluate, pixels=defend.pixels))
        return Split(defend, self.evaluate.to(device))

    def resized(self, size: int | None) -> Split:
        """Return both parts as squares; see :meth:`Images.resized`."""
        return Split(self.defend.resized(size), self.evaluate.resized(size))

    def relabelled(self, indices: Mapping[str, int], count: int) -> Split:
        """Return both parts under other class indices; see :meth:`Images.relabelled`."""
        return Split(
            self.defend.relabelled(indices, count), self.evaluate.relabelled(indices, count)
        )

    def divide(self, share: float) -> tuple[Split, Split]:
        """Divide both parts, so that a second look can use images that the first never saw."""
        defend, later_defend = self.defend.divide(share)
        evaluate, later_evaluate = self.evaluate.divide(share)
        return Split(defend, evaluate), Split(later_defend, later_evaluate)

    def require(self, per_class: int) -> Split:
        """Return itself if every class that occurs has enough images in both parts.

        Raises:
            InsufficientDataError: a part has fewer, or only one class occurs.

        """
        parts = (self.defend, self.evaluate)
        tallies = [torch.bincount(part.targets, minlength=len(part.classes)) for part in parts]
        occurring = (tallies[0] + tallies[1] > 0).nonzero()[:, 0]
        few = occurring if len(occurring) >= 2 else torch.arange(len(tallies[0]))
        for part, counts in zip(parts, tallies, strict=True):
            scarce = few[counts[few] < per_class]
            if len(occurring) < 2 or len(scarce):
                first = int(few[counts[few].argmin()])
                left = len(occurring) - len(scarce) if len(occurring) >= 2 else 0
                raise InsufficientDataError(
                    f"--data: expected at least {per_class} images of each of at least two classes "
                    f"in each part of the split, came {int(counts[first])} of class "
                    f"{part.classes[first]!r}, of {int(tallies[0][first] + tallies[1][first])} in "
                    f"all{_too_few(len(scarce), left)}."
                )
        return self


def _too_few(scarce: int, left: int) -> str:
    """Return what to do about so many classes with too few images, beside others with enough."""
    more = f", and too few of {scarce - 1:,} other classes" if scarce > 1 else ""
    if left < 2:
        return f"{more}; add images"
    these = "these classes" if more else "this class"
    return (
        f"{more}; add images of {these}, or take all of {these} out of the data (where classes are "
        f"folders, with --labels for those that are left)"
    )


def joined(parts: Sequence[Images]) -> Images:
    """Return the images of several sets of the same classes and shape as one, in this order.

    Example:
        >>> pixels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
        >>> first, second = Images.of("toy", ("a",), pixels, torch.zeros(4).long()).divide(0.5)
        >>> joined([second, first]).rows.tolist()
        [2, 3, 0, 1]

    """
    first = parts[0]
    if all(part.pixels is first.pixels for part in parts):
        return dataclasses.replace(first, rows=torch.cat([part.rows for part in parts]))
    pixels = torch.cat([part.pixels[part.rows] for part in parts])
    labels = torch.cat([part.targets for part in parts])
    return Images.of(first.name, first.classes, pixels, labels, first.intake)


def chunk_of(shape: tuple[int, int, int]) -> int:
    """Return how many pictures of a shape go forward through a network at a time.

    Example:
        >>> chunk_of((3, 32, 32)), chunk_of((3, 224, 224))
        (256, 41)

    """
    _, height, width = shape
    return max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // (height * width)))
