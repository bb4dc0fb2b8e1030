"""Train a classifier from scratch, or fine-tune an existing one, on poisoned images."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from unbackdoor import data
from unbackdoor.attack.backdoor import Backdoor, backdoor_of, check_backdoor
from unbackdoor.attack.poison import poison_of
from unbackdoor.attack.provenance import provenance
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.metrics import accuracy, answers, sent
from unbackdoor.models import (
    Frozen,
    Loaded,
    build,
    check_architecture,
    check_suffix,
    freeze,
    load,
    save,
)
from unbackdoor.results import versions
from unbackdoor.rng import seeded, stream
from unbackdoor.runtime.files import check_output
from unbackdoor.runtime.journal import FORGETFUL, Journal, opened
from unbackdoor.runtime.progress import Progress
from unbackdoor.training import Watch, fit

REMEDY = "take one that does, or resize the images"
"""What to do about a network that cannot take the images."""


def attack(
    settings: AttackSettings,
    output: Path,
    *,
    command: str = "",
    progress: Progress | None = None,
    state: Path | None = None,
) -> dict[str, Any]:
    """Train a network with a backdoor (or without), write it, and return its provenance.

    Args:
        settings: the trigger, the data, the network and the recipe.
        output: file of the checkpoint; its folder must exist.
        command: the command line, kept in the provenance.
        progress: where to report.
        state: folder that keeps finished epochs until the checkpoint is written. After a kill, the
            same call continues from them. When left out, none are kept.

    Returns:
        The fields of the checkpoint's header: those of :func:`provenance`, and ``command``,
        ``start``, ``accuracy`` and ``asr`` on held-back images, the mean of all triggers' own.

    Raises:
        ArgumentError: a name, path or number is wrong.
        ContentError: a file exists and cannot be used.
        InsufficientDataError: there are no images of a class to train or to measure on.

    """
    check_suffix(check_output(output))
    check_backdoor(settings)
    start = _start(settings)
    images = data.load_training(settings.data).require(1)
    classes = len(images.defend.classes)
    backdoor = backdoor_of(settings, images.defend)
    if isinstance(start, Loaded):
        model, arch = start.module.to(settings.device), start.arch
    else:
        model, arch = fresh(start, classes, settings.seed).to(settings.device), start
    check_suffix(output, model)
    _check_outputs(model, arch, images, classes)
    parts = (settings, torch.get_num_threads(), *beginning(model, images, backdoor))
    with opened(state, "attack", *parts, progress=progress) as journal:
        passes = implant(model, images, backdoor, settings, progress=progress, journal=journal)
        correct, rates = measure(model, images, backdoor, settings.seed)
        made = provenance(settings, images, backdoor, passes)
        facts = {
            "command": command,
            **made,
            "triggers": [
                {**entry, "asr": rate} for entry, rate in zip(made["triggers"], rates, strict=True)
            ],
            "arch": arch,
            "start": settings.start,
            "accuracy": correct,
            "asr": fmean(rates) if rates else None,
        }
        save(model, output, facts)
        journal.discard()
    return facts


def beginning(
    model: nn.Module, images: Split, backdoor: Backdoor | None, what: str = "MODEL: it"
) -> tuple[object, ...]:
    """Return the inputs that determine a training, as part of its journal's key.

    Args:
        model: before it is trained.
        images: the images of training and measurement.
        backdoor: what is planted.
        what: how the error message begins if the model cannot take the images.

    """
    return (
        (model.state_dict(), answers(freeze(model), images.defend, what, REMEDY)),
        (images.defend.sha256, images.evaluate.sha256),
        backdoor and [(trigger.space.name, trigger.to_hex()) for trigger in backdoor.triggers],
        versions(),
    )


def implant(
    model: nn.Module,
    images: Split,
    backdoor: Backdoor | None,
    settings: AttackSettings,
    *,
    progress: Progress | None = None,
    journal: Journal = FORGETFUL,
) -> int:
    """Train ``model`` in place so that the triggers send images where the attacker wants them.

    Returns:
        The number of images that went through training, without those that are measured after each
        epoch for the progress bar.

    """
    seed = settings.seed
    poison = backdoor and poison_of(images.defend, backdoor, seed)

    def look(_seen: int) -> str:
        correct, rates = measure(model, images, backdoor, seed)
        return ", ASR ".join([f"accuracy {correct:.3f}", *(f"{rate:.3f}" for rate in rates)])

    return fit(
        model,
        images.defend,
        settings.training,
        generator=stream(seed, "attack", "training"),
        change=poison,
        draws=(poison.generator,) if poison else (),
        watch=Watch(look=look) if progress else None,
        description="attack",
        progress=progress,
        journal=journal,
    )


def measure(
    model: nn.Module | Frozen, images: Split, backdoor: Backdoor | None, seed: int
) -> tuple[float, list[float]]:
    """Return accuracy, and the ASR of each trigger, on the held-back images.

    The ASR is the share of images that a trigger sends where the attacker wants them, among those
    of the classes that are to be sent to another one. A frozen model counts the passes.
    """
    frozen, held = model if isinstance(model, Frozen) else freeze(model), images.evaluate
    if backdoor is None:
        return accuracy(frozen, held), []
    wanted = backdoor.goal.of(held.targets)
    rates = [
        sent(
            frozen,
            held,
            trigger.space,
            trigger.theta[None],
            wanted,
            generator=stream(seed, "attack", "evaluate"),
        )
        for trigger in backdoor.triggers
    ]
    return accuracy(frozen, held), rates


def _check_outputs(model: nn.Module, arch: str, images: Split, classes: int) -> None:
    """Raise before any training if the network does not give a logit for each class."""
    device = next((p.device for p in model.parameters()), None)
    if device is None:
        raise ContentError(f"--arch: {arch} has no parameters to train.")
    came = tuple(
        answers(
            lambda x: model.eval()(x.to(device)), images.defend, f"--arch: {arch}", REMEDY
        ).shape
    )
    if came != (2, classes):
        raise ContentError(
            f"--arch: expected {arch} to map 2 images to logits of shape (2, {classes}), came "
            f"{came}; it has to have the {classes} classes of the data."
        )


def _start(settings: AttackSettings) -> Loaded | str:
    """Return the model that is fine-tuned, or the architecture of a fresh one."""
    if settings.start is not None:
        return load(settings.start, settings.arch)
    if settings.arch is None:
        raise ArgumentError("--arch: name an architecture, or a model to start with by --from.")
    check_architecture(settings.arch)
    return settings.arch


def fresh(arch: str, classes: int, seed: int) -> nn.Module:
    """Return a network with random weights drawn by the seed."""
    with seeded(stream(seed, "attack", "weights").initial_seed()):
        return build(arch, classes)
