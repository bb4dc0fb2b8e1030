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
        triggers: in the notation of :mod:`unbackdoor.triggers.notation`; none for a clean network.
        mode: ``all-to-one``, ``all-to-all`` or ``source:K``; see :mod:`unbackdoor.attack.goal`.
        target: the class that triggered images are sent to.
        rate: share of the training images that is poisoned with each trigger.
        cover: share of the training images that has a trigger and keeps its label; the habit of the
            literature when left out, see :class:`unbackdoor.attack.backdoor.Backdoor`.
        training: the recipe.
        seed: of every draw.
        device: where to train.

    """

    data: str
    arch: str | None = None
    start: str | None = None
    triggers: tuple[str, ...] = ()
    mode: str = "all-to-one"
    target: int = 0
    rate: float = 0.01
    cover: float | None = None
    training: TrainingSettings = TrainingSettings()
    seed: int = 0
    device: str = "cpu"
