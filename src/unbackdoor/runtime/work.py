"""How long work is done, whatever it is: by which seed, where it reports, where it is kept."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from math import inf

from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent


@dataclass(frozen=True, kw_only=True)
class Work:
    """How long work is done.

    Args:
        seed: of every draw.
        progress: where to report.
        journal: keeps each finished step, from which work that was killed goes on.
        until: moment of the monotonic clock from which nothing goes on that could be left out.

    """

    seed: int
    progress: Progress = field(default_factory=Silent)
    journal: Journal = FORGETFUL
    until: float = inf

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.until

    def within(self, name: str, seed: int | None = None) -> Work:
        """Return the same for a part of the work.

        Args:
            name: of the part, under which its steps are kept.
            seed: of its draws; the same when left out.

        """
        journal = self.journal.within(name)
        return dataclasses.replace(self, journal=journal, seed=self.seed if seed is None else seed)
