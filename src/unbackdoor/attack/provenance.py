"""What the file of a trained network says of how it was made, and how that is read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from unbackdoor.attack.backdoor import Backdoor
from unbackdoor.attack.goal import ALL_TO_ONE, goal_of
from unbackdoor.attack.poison import Poison, poison_of
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.data import Images, Split
from unbackdoor.errors import UnbackdoorError, printable
from unbackdoor.results import versions
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Planted, Trigger

BETWEEN = " + "
"""Between the names of several triggers."""


def provenance(
    settings: AttackSettings, images: Split, backdoor: Backdoor | None, passes: int
) -> dict[str, Any]:
    """Return what the file of a trained network says of how it was made.

    ``triggers`` has an object for each: its notation, the name of its space, its θ, and on how many
    training images it was with the attacker's label (``poisoned``) and with the true one
    (``cover``).

    Args:
        settings: of the training.
        images: what it was trained on.
        backdoor: what was planted; None for a clean network.
        passes: images that went through it.

    """
    return {
        "arch": settings.arch,
        "data": settings.data,
        "data_sha256": images.defend.sha256,
        "target": backdoor and backdoor.goal.target,
        "trigger": backdoor and BETWEEN.join(trigger.name for trigger in backdoor.triggers),
        "triggers": _entries(poison_of(images.defend, backdoor, settings.seed)) if backdoor else [],
        "mode": backdoor and backdoor.goal.mode,
        "rate": backdoor and backdoor.rate,
        "seed": settings.seed,
        "training": dataclasses.asdict(settings.training),
        "image_passes": passes,
        "versions": versions(),
    }


def _entries(poison: Poison) -> list[dict[str, object]]:
    return [
        {
            "spec": trigger.name,
            "space": trigger.space.name,
            "theta": trigger.to_hex(),
            "poisoned": int((poison.poisoned & (poison.trigger_of == index)).sum()),
            "cover": int((poison.cover & (poison.trigger_of == index)).sum()),
        }
        for index, trigger in enumerate(poison.backdoor.triggers)
    ]


def planted_in(facts: Mapping[str, Any], images: Images) -> tuple[Planted, ...]:
    """Return what was planted according to a checkpoint's provenance; nothing if it does not say.

    Anybody can write a header, so invalid values are ignored, and no file is opened.
    """
    mode, target = facts.get("mode", ALL_TO_ONE), facts.get("target")
    if not isinstance(mode, str) or not (target is None or type(target) is int):
        return ()
    try:
        triggers = _triggers(facts, images)
        return goal_of(mode, -1 if target is None else target, len(images.classes)).planted(
            triggers
        )
    except (UnbackdoorError, ValueError):
        return ()


def _triggers(facts: Mapping[str, Any], images: Images) -> list[Trigger]:
    """Return the triggers of a header, in its newest or an older form."""
    name, theta = facts.get("trigger"), facts.get("trigger_theta")
    if isinstance(entries := facts.get("triggers"), list):
        return [_trigger(entry, images) for entry in cast("list[object]", entries)]
    if not isinstance(name, str):
        return []
    if isinstance(theta, str):  # a patch at random places
        size = round((len(theta) / 2 / images.shape[0]) ** 0.5)
        return [Trigger.from_hex(printable(name), Patch(size).name, theta, images.shape)]
    return [parse_trigger(name, images.shape)] if name.startswith(("bw:", "rgb:")) else []


def _trigger(entry: object, images: Images) -> Trigger:
    if not isinstance(entry, dict):
        raise ValueError("no object")  # noqa: TRY004
    fields = cast("dict[object, object]", entry)
    name, space, theta = (fields.get(key) for key in ("spec", "space", "theta"))
    if not (isinstance(name, str) and isinstance(space, str) and isinstance(theta, str)):
        raise ValueError("no text")  # noqa: TRY004
    return Trigger.from_hex(printable(name), space, theta, images.shape)
