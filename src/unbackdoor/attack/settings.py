"""What is implanted, in what, and how."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What is implanted, in what, and how.

    Args:
        data: name or folder of the training images.
        arch: architecture of a fresh network; with ``start``, only where its file does not say it.
        start: checkpoint to fine-tune; a fresh network is trained when left out.
        trigger: ``bw:N``, ``rgb:SEED``, ``rgb:SEEDxSIZE`` or a PNG file; None for a clean one.
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
