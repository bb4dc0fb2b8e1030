"""Every repair by other authors, with one contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Generator, nn

from unbackdoor.data import Images
from unbackdoor.repairing.rivals import (
    anp,
    clp,
    fine_pruning,
    fine_tuning,
    fst,
    ft_sam,
    ibau,
    sau,
)
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.clp import ClpSettings
from unbackdoor.repairing.rivals.fine_pruning import PruningSettings
from unbackdoor.repairing.rivals.fine_tuning import TuningSettings
from unbackdoor.repairing.rivals.fst import FstSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.repairing.rivals.sau import SauSettings

RivalSettings = (
    TuningSettings
    | PruningSettings
    | ClpSettings
    | AnpSettings
    | IbauSettings
    | SamSettings
    | SauSettings
    | FstSettings
)
"""The settings of a repair; their type says which it is."""


@dataclass(frozen=True)
class Rival:
    """A repair that uses no triggers.

    Args:
        name: in tables.
        method: (network, clean images with true labels, settings, generator of every draw) → how
            many images went through networks; the network is changed in place and ends in
            evaluation mode.

    """

    name: str
    method: Callable[..., int]

    def __call__(
        self, model: nn.Module, images: Images, settings: Any, *, generator: Generator
    ) -> int:
        """Repair in place; return how many images went through networks.

        Raises:
            ContentError: the network is of no kind that it can repair.

        """
        passes = self.method(model, images, settings, generator=generator)
        model.eval()
        return passes


RIVALS: dict[type, Rival] = {
    TuningSettings: Rival("plain fine-tuning", fine_tuning.fine_tune),
    PruningSettings: Rival("fine-pruning", fine_pruning.prune),
    ClpSettings: Rival("CLP", clp.prune),
    AnpSettings: Rival("ANP", anp.prune),
    IbauSettings: Rival("I-BAU", ibau.unlearn),
    SamSettings: Rival("FT-SAM", ft_sam.fine_tune),
    SauSettings: Rival("SAU", sau.unlearn),
    FstSettings: Rival("FST", fst.fine_tune),
}
"""By the type of their settings."""
