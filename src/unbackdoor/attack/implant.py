"""Train a classifier from scratch, or fine-tune an existing one, on poisoned images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unbackdoor import data
from unbackdoor.attack.poison import Poison
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.data import Images, Split
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.metrics import accuracy, answers, attack_success
from unbackdoor.models import (
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
from unbackdoor.training import fit
from unbackdoor.triggers.planted import Trigger, parse_trigger

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
        The fields of the checkpoint's header: ``arch``, ``data``, ``data_sha256``, ``target``,
        ``trigger``, ``rate``, ``seed``, ``accuracy`` and ``asr`` on held-back images,
        ``image_passes``, ``versions`` and ``command``.

    Raises:
        ArgumentError: a name, path or number is wrong.
        ContentError: a file exists and cannot be used.
        InsufficientDataError: there are no images of a class to train or to measure on.

    """
    check_suffix(check_output(output))
    if not 0 <= settings.rate <= 1:
        raise ArgumentError(f"--rate: expected a share from 0 to 1, came {settings.rate}.")
    trigger = parse_trigger(settings.trigger) if settings.trigger else None
    start = _start(settings)
    images = data.load_training(settings.data).require(1)
    classes = len(images.defend.classes)
    if not 0 <= settings.target < classes:
        raise ArgumentError(
            f"--target: {settings.data} has classes 0 to {classes - 1}, came {settings.target}."
        )
    if trigger and settings.rate and not round(settings.rate * len(images.defend)):
        raise ArgumentError(
            f"--rate: {settings.rate} of {len(images.defend)} images is not one; raise it or add "
            f"images."
        )
    if isinstance(start, Loaded):
        model, arch = start.module.to(settings.device), start.arch
    else:
        model, arch = fresh(start, classes, settings.seed).to(settings.device), start
    check_suffix(output, model)
    _check_outputs(model, arch, images, classes)
    parts = (settings, torch.get_num_threads(), *beginning(model, images, trigger))
    with opened(state, "attack", *parts, progress=progress) as journal:
        passes = implant(model, images, trigger, settings, progress=progress, journal=journal)
        correct, asr = measure(model, images, trigger, settings.target, settings.seed)
        facts = {
            "command": command,
            **provenance(settings, images, trigger, passes),
            "arch": arch,
            "start": settings.start,
            "accuracy": correct,
            "asr": asr,
        }
        save(model, output, facts)
        journal.discard()
    return facts


def provenance(
    settings: AttackSettings, images: Split, trigger: Trigger | None, passes: int
) -> dict[str, Any]:
    """Return what the file of a trained network says of how it was made.

    Args:
        settings: of the training.
        images: what it was trained on.
        trigger: what was planted; None for a clean network.
        passes: images that went through it.

    """
    return {
        "arch": settings.arch,
        "data": settings.data,
        "data_sha256": images.defend.sha256,
        "target": settings.target if trigger else None,
        "trigger": trigger and trigger.name,
        "trigger_theta": trigger and trigger.to_hex(),
        "rate": settings.rate if trigger else None,
        "seed": settings.seed,
        "training": dataclasses.asdict(settings.training),
        "image_passes": passes,
        "versions": versions(),
    }


def beginning(
    model: nn.Module, images: Split, trigger: Trigger | None, what: str = "MODEL: it"
) -> tuple[object, ...]:
    """Return the inputs that determine a training, as part of its journal's key.

    Args:
        model: before it is trained.
        images: the images of training and measurement.
        trigger: the trigger to plant.
        what: how the error message begins if the model cannot take the images.

    """
    return (
        (model.state_dict(), answers(freeze(model), images.defend, what, REMEDY)),
        (images.defend.sha256, images.evaluate.sha256),
        trigger and trigger.to_hex(),
        versions(),
    )


def implant(
    model: nn.Module,
    images: Split,
    trigger: Trigger | None,
    settings: AttackSettings,
    *,
    progress: Progress | None = None,
    journal: Journal = FORGETFUL,
) -> int:
    """Train ``model`` in place so that ``trigger`` sends any image to the target.

    Returns:
        The number of images that went through training, without those that are measured after each
        epoch for the progress bar.

    """
    seed = settings.seed
    poison = trigger and poison_of(images.defend, trigger, settings)

    def watch() -> str:
        correct, asr = measure(model, images, trigger, settings.target, seed)
        return f"accuracy {correct:.3f}" + (f", ASR {asr:.3f}" if asr is not None else "")

    return fit(
        model,
        images.defend,
        settings.training,
        generator=stream(seed, "attack", "training"),
        change=poison,
        draws=(poison.generator,) if poison else (),
        watch=watch if progress else None,
        description="attack",
        progress=progress,
        journal=journal,
    )


def poison_of(images: Images, trigger: Trigger, settings: AttackSettings) -> Poison:
    """Return the attacker's change of the training images, the same for the same settings."""
    generator = stream(settings.seed, "attack", "poison")
    return Poison(images, trigger, settings.target, settings.rate, generator)


def measure(
    model: nn.Module, images: Split, trigger: Trigger | None, target: int, seed: int
) -> tuple[float, float | None]:
    """Return accuracy, and the trigger's ASR (None without one), on the held-back images."""
    frozen = freeze(model)
    asr = trigger and attack_success(
        frozen,
        images.evaluate,
        trigger.space,
        trigger.theta[None],
        target,
        generator=stream(seed, "attack", "evaluate"),
    )
    return accuracy(frozen, images.evaluate), asr


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
