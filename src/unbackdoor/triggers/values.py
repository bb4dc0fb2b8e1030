"""Values in [0, 1] as bytes, the form in which results store triggers and pictures."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


def to_bytes(values: Tensor) -> bytes:
    """Return values in [0, 1] as bytes 0 … 255, in row-major order."""
    return (values * 255).round().to(torch.uint8).cpu().contiguous().numpy().tobytes()


def from_bytes(content: bytes, dimensions: int) -> Tensor:
    """Return bytes 0 … 255 as float32 ``(count, dimensions)`` in [0, 1].

    Example:
        >>> from_bytes(to_bytes(torch.tensor([0.0, 1.0])), 2).tolist()
        [[0.0, 1.0]]

    """
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, dimensions) / 255


def whole(numbers: Tensor) -> list[int]:
    """Return a row of whole numbers ``(k,)`` as a list."""
    return cast("list[int]", numbers.tolist())


def whole_rows(numbers: Tensor) -> list[tuple[int, ...]]:
    """Return rows of whole numbers ``(a, k)`` as tuples, which can be keys."""
    return [tuple(row) for row in cast("list[list[int]]", numbers.tolist())]
