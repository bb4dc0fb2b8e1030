"""The networks of this benchmark: some of the development set, and others of further kinds."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.bench.families.recipes import RECIPES, Recipe


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network with a backdoor, beside one of the same architecture that was never attacked.

    Args:
        attacked: the recipe of the network.
        clean: that of the other one.

    """

    attacked: Recipe
    clean: Recipe


def _plain(
    name: str,
    seed: int,
    trigger: str | None = None,
    rate: float = 0.1,
    target: int = 0,
    kind: str = "plain",
) -> Recipe:
    return Recipe(
        name=f"{kind}-{name}",
        arch=kind,
        seed=seed,
        epochs=6,
        trigger=trigger,
        rate=rate,
        target=target,
        learning_rate=0.2 if kind == "plain-elu-norm" else 0.05,
    )


KNOWN = {recipe.name: recipe for recipe in RECIPES}
SLIM, CONVNET = KNOWN["slim-clean2"], KNOWN["convnet-clean2"]
PLAIN = _plain("clean", 31)
ELU = _plain("clean", 32, kind="plain-elu")
ELU_NORM = _plain("clean", 33, kind="plain-elu-norm")
ANYWHERE = Recipe(
    name="slim-anywhere", arch="resnet8", seed=30, epochs=6, trigger="white:4", rate=0.1, target=2
)

CASES = (
    Case(attacked=KNOWN["convnet-corner"], clean=CONVNET),
    Case(attacked=KNOWN["convnet-blend"], clean=CONVNET),
    Case(attacked=KNOWN["slim-warp"], clean=SLIM),
    Case(attacked=KNOWN["convnet-filter"], clean=CONVNET),
    Case(attacked=KNOWN["convnet-sin"], clean=CONVNET),
    Case(attacked=KNOWN["slim-dynamic"], clean=SLIM),
    Case(attacked=ANYWHERE, clean=SLIM),
    Case(attacked=_plain("corner", 34, "white:3@28,28", 0.01, 4), clean=PLAIN),
    Case(
        attacked=_plain("corner", 35, "bw:170@28,28", 0.02, 6, kind="plain-elu-norm"),
        clean=ELU_NORM,
    ),
    Case(attacked=_plain("blend", 36, "blend:3@0.1", 0.1, 8), clean=PLAIN),
    Case(attacked=_plain("sin", 37, "additive:sin:6@20", 0.1, 1, "plain-elu"), clean=ELU),
    Case(attacked=_plain("filter", 38, "filter:4", 0.1, 5, kind="plain-elu-norm"), clean=ELU_NORM),
)
"""Cheap ones first. Two architectures have dropout, and two no normalisation of their layers."""
