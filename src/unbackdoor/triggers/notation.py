"""Known triggers in the notation of ``attack --trigger``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.forms import FORMS, PICTURE, Form, Made, picture
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger

PLACE = re.compile(r"(.*)@(\d{1,4}),(\d{1,4})", re.DOTALL)


@dataclass(frozen=True)
class Notation:
    """A trigger as it was typed, for pictures of any shape.

    Args:
        name: its notation, with the name of a file for its path.
        made: its space, and θ for pictures of a shape.

    """

    name: str
    made: Made

    def trigger(self, shape: Shape) -> Trigger:
        """Return the trigger for pictures of this shape, with θ in whole 255ths.

        Raises:
            ArgumentError: it does not fit them.

        """
        try:
            self.made.space.arms(shape)
        except ArgumentError as error:
            raise ArgumentError(f"--trigger: {error}") from error
        theta: Tensor = self.made.theta(shape)
        return Trigger(self.name, self.made.space, (theta * 255).round() / 255)


def read_trigger(spec: str) -> Notation:
    """Read a trigger before the shape of the pictures is known.

    Raises:
        ArgumentError: it has none of the forms, a number is out of range, or there is no such file.
        ContentError: the file is no picture, or none of the right shape.

    """
    parts = _Parts.of(spec)
    if parts.form is not None:
        made = parts.form.make(parts.rest)
        if made is None:
            raise ArgumentError(f"--trigger: expected {parts.form.usage}, came {spec!r}.")
    elif parts.body.lower().endswith(PICTURE):
        made = picture(parts.body)
    else:
        written = ", ".join(one.written for one in FORMS.values())
        raise ArgumentError(
            f"--trigger: expected {written} or FILE{PICTURE}, patches also with @ROW,COLUMN, came "
            f"{spec!r}; try bw:170."
        )
    file = file_of(spec)
    name = spec.replace(file, Path(file).name, 1) if file else spec
    if parts.place is None:
        return Notation(name, made)
    if not isinstance(made.space, Patch):
        raise ArgumentError(f"--trigger: only a patch has a place, came {spec!r}; leave it out.")
    return Notation(name, replace(made, space=At(made.space, parts.place)))


def parse_trigger(spec: str, shape: Shape) -> Trigger:
    """Return a known trigger for pictures of a shape.

    ``bw:N`` is a 3×3 patch in black and white: the nine bits of N row by row, the first the most
    significant, 1 = white. All forms stand in :mod:`unbackdoor.triggers.forms`.

    Args:
        spec: its notation.
        shape: channels, height and width of the pictures.

    Raises:
        ArgumentError: it has none of the forms, a number is out of range, there is no such file, or
            it does not fit the pictures.
        ContentError: the file is no picture, or none of the right shape.

    Example:
        >>> parse_trigger("bw:170@0,0", (3, 32, 32)).theta[:9].reshape(3, 3).int().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]

    """
    return read_trigger(spec).trigger(shape)


def file_of(spec: str) -> str | None:
    """Return the path of the file that a notation names, if it names one; it need not exist.

    Example:
        >>> [file_of(spec) for spec in ("bw:170", "blend:cat.png@0.1", "cross.png@0,0")]
        [None, 'cat.png', 'cross.png']

    """
    parts = _Parts.of(spec)
    if parts.form is not None:
        return parts.form.file(parts.rest)
    return parts.body if parts.body.lower().endswith(PICTURE) else None


@dataclass(frozen=True)
class _Parts:
    """A notation in parts: FORM:REST@ROW,COLUMN, where form and place may be missing."""

    body: str
    form: Form | None
    rest: str
    place: tuple[int, int] | None

    @classmethod
    def of(cls, spec: str) -> _Parts:
        placed = PLACE.fullmatch(spec)
        body = placed[1] if placed else spec
        kind, colon, rest = body.partition(":")
        place = (int(placed[2]), int(placed[3])) if placed else None
        return cls(body, FORMS.get(kind) if colon else None, rest, place)
