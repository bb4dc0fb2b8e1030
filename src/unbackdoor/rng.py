"""Named random streams: what is drawn depends on the seed and the names alone, never on order."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def stream(seed: int, *names: str | int | float) -> torch.Generator:
    """Return a fresh generator for ``(seed, *names)``.

    The state is the first eight bytes of SHA-256 over the seed and the names, so two streams with
    different names are independent, and neither the order of work nor parallelism can change a
    result. Generators live on the CPU whatever the device, so that devices agree on the draws.

    Args:
        seed: the user's seed, any integer.
        names: what the stream is for, such as ``("scan", "stair", 3, 0.9)``.

    Example:
        >>> a = torch.rand(2, generator=stream(0, "stair", 0.9))
        >>> b = torch.rand(2, generator=stream(0, "stair", 0.9))
        >>> bool((a == b).all())
        True

    """
    text = "\x1f".join([str(seed), *map(repr, names)])
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def initialised_by(generator: torch.Generator) -> Generator[None]:
    """Let networks that are made inside take their weights from ``generator``."""
    with seeded(int(torch.randint(2**31, (), generator=generator))):
        yield


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed PyTorch's global state, from which layers draw, and leave it as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
