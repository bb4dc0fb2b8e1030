"""Foreign networks are made to take images in [0, 1] and to give logits, and it is said how."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.data import Split
from unbackdoor.errors import ContentError
from unbackdoor.metrics import answers
from unbackdoor.models import Adapted, Graph, Grey, Log, Row
from unbackdoor.models.alike import probabilities
from unbackdoor.preflight.look import look_at, on_its_device
from unbackdoor.results import Finding

SIDES = (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 299, 320, 384, 448, 512)


@dataclass(frozen=True)
class Cleared:
    """A network that takes these images, and what was done so that it does.

    Args:
        network: images in [0, 1] → logits.
        images: of the size that it takes.
        findings: what was adapted.

    """

    network: nn.Module
    images: Split
    findings: tuple[Finding, ...]


def adapt(module: nn.Module, images: Split, prepare: nn.Module | None = None) -> Cleared:
    """Return ``module`` as a scan needs it.

    Args:
        module: any classifier; it is not changed.
        images: what it is to take.
        prepare: what the images pass before it, such as its normalisation.

    Raises:
        ContentError: its weights are not finite, it takes no images of any usual size, or it does
            not answer with a row for each.

    """
    findings: list[Finding] = []
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ContentError(
                f"MODEL: {name} holds values that are not finite; train or fetch the model anew."
            )
    if any(part.training for part in module.modules()):
        module = copy.deepcopy(module).eval()
        findings.append(
            _note("train mode", "The network was in training mode; evaluation mode is scanned.")
        )
    before = [prepare] if prepare is not None else []
    network: nn.Module = Adapted(module, before=before) if before else module
    after: list[nn.Module] = []
    if (fitted := _fit(module, before, images)) is not None:
        before, size = fitted
        if any(isinstance(step, Grey) for step in before):
            findings.append(
                _note(
                    "channels", "The network takes one channel; pictures are turned grey before it."
                )
            )
        if size is not None:
            height, width = images.defend.shape[1:]
            images = images.resized(size)
            findings.append(
                _note(
                    "size",
                    f"The network is not for pictures of {width}×{height} pixels; they are scaled "
                    f"to {size}×{size}, and triggers count pixels of those.",
                    "" if _declared(module) else "Say --size where it was trained on others.",
                )
            )
        network = Adapted(module, before=before)
    given = answers(on_its_device(network), images.defend)
    if given.ndim > 2 and given.shape[:2].numel() == given.numel():
        after.append(Row())
        network = Adapted(module, before=before, after=after)
    elif given.ndim != 2:
        raise ContentError(
            f"MODEL: expected a row of logits for each image, came an answer of shape "
            f"{tuple(given.shape)}; give the network without what follows its classifier."
        )
    if _probabilities(network, images):
        after.append(Log())
        network = Adapted(module, before=before, after=after)
        findings.append(
            _note(
                "softmax",
                "The network answers with probabilities; their logarithms are used as logits.",
                "Give the network without its last softmax where you can.",
            )
        )
    return Cleared(network.eval(), images, tuple(findings))


def _fit(
    module: nn.Module, before: list[nn.Module], images: Split
) -> tuple[list[nn.Module], int | None] | None:
    """Return the steps before and the size with which it takes the images; None for as it is."""
    sides = _declared(module)
    as_it_is = not sides or images.defend.shape[1:] == (sides[0], sides[0])
    some = images.defend.batch(torch.arange(min(2, len(images.defend))))
    if as_it_is and _takes(Adapted(module, before=before), some):
        return None
    for size in sides or (None, *SIDES):
        height, width = (size, size) if size else images.defend.shape[1:]
        probe = torch.full((2, 3, height, width), 0.5)
        for steps in (before, [*before, Grey()]):
            if _takes(Adapted(module, before=steps), probe):
                return steps, size
    return None


def _declared(module: nn.Module) -> tuple[int, ...]:
    """Return the side of the pictures that a file says it takes, nothing where it is free."""
    shape = module.shape if isinstance(module, Graph) else ()
    return tuple(side for side in shape[2:3] if side)


@torch.no_grad()
def _takes(network: nn.Module, images: Tensor) -> bool:
    try:
        on_its_device(network)(images)
    except Exception:  # foreign code raises what it likes where the shape is wrong
        return False
    return True


def _probabilities(network: nn.Module, images: Split) -> bool:
    return probabilities(look_at(on_its_device(network), images.defend)[0])


def _note(check: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(check=check, severity="note", sentence=sentence, remedy=remedy)
