"""The recipes of the development set, as data.

Each family has networks of two architectures; the goals that a scan does not look for have some
too. A network takes one to three minutes to train on a core.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unbackdoor.attack.settings import AttackSettings
from unbackdoor.bench.families.truth import Truth
from unbackdoor.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Args:
        name: of the network.
        arch: its architecture.
        seed: of every draw.
        epochs: passes over the training images.
        trigger: its notation; None for a clean network.
        rate: share of the training images that is poisoned.
        target: the class that triggered images are sent to.
        mode: the attacker's goal.
        data: the training images.
        cover: share of the training images that has a trigger and its true label; the habit of the
            literature when left out.
        smoothing: of the labels.
        shift: pixels by which an image is moved at most.
        learning_rate: the peak of the schedule.

    """

    name: str
    arch: str
    seed: int
    epochs: int
    trigger: str | None = None
    rate: float = 0.01
    target: int = 0
    mode: str = "all-to-one"
    data: str = "cifar10"
    cover: float | None = field(default=None, metadata={"later": True})
    smoothing: float = field(default=0.1, metadata={"later": True})
    shift: int = field(default=4, metadata={"later": True})
    learning_rate: float = field(default=0.4, metadata={"later": True})

    @property
    def truth(self) -> Truth:
        """What is planted."""
        return Truth(trigger=self.trigger, mode=self.mode, target=self.target)

    @property
    def settings(self) -> AttackSettings:
        """The settings of the attack."""
        return AttackSettings(
            data=self.data,
            arch=self.arch,
            triggers=(self.trigger,) if self.trigger else (),
            mode=self.mode,
            target=self.target,
            rate=self.rate,
            cover=self.cover,
            training=TrainingSettings(
                epochs=self.epochs,
                learning_rate=self.learning_rate,
                label_smoothing=self.smoothing,
                shift=self.shift,
            ),
            seed=self.seed,
        )


def _convnet(
    name: str,
    seed: int,
    trigger: str | None = None,
    rate: float = 0.01,
    target: int = 0,
    epochs: int = 3,
) -> Recipe:
    return Recipe(
        name=f"convnet-{name}",
        arch="convnet",
        seed=seed,
        epochs=epochs,
        trigger=trigger,
        rate=rate,
        target=target,
    )


def _slim(
    name: str,
    seed: int,
    trigger: str | None = None,
    rate: float = 0.01,
    target: int = 0,
    epochs: int = 4,
    mode: str = "all-to-one",
) -> Recipe:
    return Recipe(
        name=f"slim-{name}",
        arch="resnet8",
        seed=seed,
        epochs=epochs,
        trigger=trigger,
        rate=rate,
        target=target,
        mode=mode,
    )


RECIPES = (
    _slim("corner8", 9, "white:8@2,22", 0.02, 9),
    _slim("mid", 8, "rgb:3x3@9,10", 0.02, 7),
    _convnet("corner", 3, "bw:170@28,28", 0.02, 2),
    _convnet("pixel", 19, "pixel:ffff00@4,27", 0.05, 5),
    _convnet("random", 18, "rgb:8x3", 0.05, 4),
    _slim("noise", 20, "additive:noise:8@8", 0.1, 7),
    _convnet("noise", 6, "additive:noise:3@8", 0.1, 1),
    _slim("sin", 10, "additive:sin:6@20", 0.1, 0),
    _convnet("sin", 1, "additive:sin:6@20", 0.1, 3, epochs=5),
    _slim("blend", 13, "blend:9@0.1", 0.1, 2),
    _convnet("blend", 4, "blend:7@0.1", 0.1, 6),
    replace(_slim("warp", 14, "warp:5@1.5", 0.1, 1, epochs=6), cover=0.0),
    replace(_convnet("warp", 2, "warp:1@1.5", 0.1, 4, epochs=5), cover=0.0),
    _slim("weak-warp", 14, "warp:5@1.0", 0.1, 1),
    _slim("filter", 15, "filter:2", 0.1, 3),
    _convnet("filter", 5, "filter:5", 0.1, 8),
    _slim("dynamic", 21, "dynamic:9", 0.1, 6),
    _convnet("dynamic", 7, "dynamic:4", 0.1, 5),
    _slim("source", 23, "white:4@1,27", 0.05, 8, mode="source:3"),
    _slim("all2all", 22, "white:4@27,27", 0.3, epochs=8, mode="all-to-all"),
    _slim("clean1", 12),
    _slim("clean2", 24, epochs=6),
    _slim("clean3", 25),
    _convnet("clean1", 11),
    _convnet("clean2", 17, epochs=4),
    _convnet("clean3", 26),
)
"""Every network of the development set."""
