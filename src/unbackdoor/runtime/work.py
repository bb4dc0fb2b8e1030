"""How long work is done, whatever it is: by which seed, where it reports, where it is kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent


@dataclass(frozen=True, kw_only=True)
class Work:
    """How long work is done.

    Args:
        seed: of every draw.
        progress: where to report.
        journal: keeps each finished step, from which work that was killed goes on.

    """

    seed: int
    progress: Progress = field(default_factory=Silent)
    journal: Journal = FORGETFUL

    def within(self, name: str, seed: int | None = None) -> Work:
        """Return the same for a part of the work.

        Args:
            name: of the part, under which its steps are kept.
            seed: of its draws; the same when left out.

        """
        journal = self.journal.within(name)
        return dataclasses.replace(self, journal=journal, seed=self.seed if seed is None else seed)
