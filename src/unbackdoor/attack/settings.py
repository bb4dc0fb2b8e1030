"""The settings of an attack."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """The settings of an attack: the trigger, the data, the network and the recipe.

    Args:
        data: name or folder of the training images.
        arch: architecture of a new network; with ``start``, only needed where its file does not
            name it.
        start: checkpoint to fine-tune; when left out, a new network is trained.
        trigger: ``bw:N``, ``rgb:SEED``, ``rgb:SEEDxSIZE`` or a PNG file; None for a clean network.
        target: the class that triggered images are sent to.
        rate: share of the training images that is poisoned.
        training: the recipe.
        seed: of every draw.
        device: where to train.

    """

    data: str
    arch: str | None = None
    start: str | None = None
    trigger: str | None = None
    target: int = 0
    rate: float = 0.01
    training: TrainingSettings = TrainingSettings()
    seed: int = 0
    device: str = "cpu"
