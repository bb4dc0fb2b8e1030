"""What became of the files that a user gave: read, turned, scaled, or passed over."""

from __future__ import annotations

import msgspec


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """How the pictures of a user were read.

    Args:
        read: number of pictures that were read.
        passed_over: number of files that were not, by the reason: the suffix of their names, or
            ``hidden``, ``beside the classes``, ``no file``.
        turned: number of pictures that were turned upright, as their EXIF orientation says.
        first_of_several: number of animated or stacked pictures, of which the first was read.
        transparent: number of pictures with transparent parts, of which the colour was kept.
        scaled: number of pictures whose values have another range than 0 to 255.
        white: the end of that range: the value that became 255.
        clipped: number of pictures with values below 0 or above ``white``, which were clipped.
        resized: number of pictures that had another size than the squares that were made of them.
        cropped: number of those of which only the middle was taken, since they are no squares.

    """

    read: int
    passed_over: dict[str, int] = {}
    turned: int = 0
    first_of_several: int = 0
    transparent: int = 0
    scaled: int = 0
    white: float = 255.0
    clipped: int = 0
    resized: int = 0
    cropped: int = 0

    def to_squares(self, height: int, width: int) -> Intake:
        """Return the record where all pictures, of this height and width, become other squares."""
        cropped = self.read if height != width else self.cropped
        return msgspec.structs.replace(self, resized=self.read, cropped=cropped)
