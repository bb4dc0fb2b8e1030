"""The account of a repair: what it did to images that it had not seen, in figures and words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.metrics import changed, predict
from unbackdoor.models import freeze
from unbackdoor.repairing.guard import Chosen
from unbackdoor.repairing.lookout import judged, loss
from unbackdoor.repairing.settings import GuardSettings
from unbackdoor.results import Guarded, Outcome


def told_of(
    model: nn.Module,
    chosen: Chosen,
    unseen: Sequence[Images],
    watched: int,
    settings: GuardSettings,
) -> Guarded:
    """Return the record of a guarded repair, with what it did to images that it had not seen."""
    before, after = (_right(network, unseen) for network in (model, chosen.network))
    broken, mended = changed(before, after)
    outcome: Outcome = "stuck"
    if chosen.taken is not None:
        outcome = judged(broken, mended, len(before), settings.max_accuracy_lost)
    sentence = _sentence(outcome, broken, mended, len(before), settings)
    turned_down = list[str]()
    if count := len(chosen.turned_down):
        states = "a state" if count == 1 else f"{count} states"
        turned_down.append(f"Before that, these images turned down {states} that lost too much.")
    doubts = _doubts(chosen, settings) if outcome in {"kept", "unsure"} else []
    return Guarded(
        max_accuracy_lost=settings.max_accuracy_lost,
        watched=watched,
        attempts=chosen.attempts,
        states=chosen.states,
        taken=chosen.taken,
        turned_down=chosen.turned_down,
        unseen=len(before),
        broken=broken,
        mended=mended,
        gently=chosen.gently,
        weakened=chosen.weakened,
        outcome=outcome,
        sentence=" ".join([sentence, *turned_down, *doubts]),
    )


def _doubts(chosen: Chosen, settings: GuardSettings) -> list[str]:
    """Return in words why the backdoor may be hidden rather than unlearnt."""
    doubts: list[str] = []
    if chosen.weakened and chosen.taken is not None:
        ahead = chosen.states[chosen.taken].stronger or 0.0
        doubts.append(
            f"Triggers up to {max(settings.stronger):g} times as strong as those that were "
            f"unlearnt send {ahead:.1%} more images to their class than to any other, so the "
            f"backdoor may be weaker rather than gone."
        )
    if chosen.gently:
        doubts.append(
            "What was taken is gentle retraining or not the end of an attempt, after which "
            "backdoors were seen to come back; more images may let a stronger attempt pass."
        )
    return doubts


def _right(model: nn.Module, parts: Sequence[Images]) -> Tensor:
    """Return for each image of some sets whether it is answered right."""
    frozen = freeze(model)
    return torch.cat([predict(frozen, images) == images.targets for images in parts])


def _sentence(
    outcome: Outcome, broken: int, mended: int, count: int, settings: GuardSettings
) -> str:
    (lost, error), allowed = loss(broken, mended, count), settings.max_accuracy_lost
    counted = (
        f"Of {count} images that the repair had not seen, {broken} that were right are wrong after "
        f"it, and {mended} that were wrong are right"
    )
    gains = "accuracy is what it was"
    if broken != mended:
        gains = f"accuracy fell by {lost:.1%}" if lost > 0 else f"accuracy rose by {-lost:.1%}"
    chance = "With so few images that may be chance"
    if lost <= allowed:
        chance = f"So few images tell that only to ±{error:.1%}"
    return {
        "kept": f"{counted}: {gains}; {allowed:.1%} was allowed.",
        "unsure": f"{counted}: {gains}, where {allowed:.1%} was allowed. {chance}; "
        f"give more images, or allow more with --max-accuracy-loss.",
        "lost": f"{counted}: {gains}, more than the {allowed:.1%} that was allowed and more than "
        f"chance explains. Give more images, or allow more with --max-accuracy-loss.",
        "stuck": f"No state of the repair brought the triggers down and lost at most {allowed:.1%} "
        f"of accuracy on the images that were kept back. Give more images, or allow more with "
        f"--max-accuracy-loss.",
    }[outcome]
