"""Foreign networks are made to take images in [0, 1] and to give logits, and it is said how."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.data import Split
from unbackdoor.errors import ContentError, brief
from unbackdoor.models import Adapted, ChannelsLast, Graph, Grey, Plane
from unbackdoor.preflight.answers import answers_each, read_answers
from unbackdoor.preflight.findings import note
from unbackdoor.preflight.look import moved_to, some_of
from unbackdoor.results import Finding

SIDES = (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 299, 320, 384, 448, 512)
SOME = 256
"""Pictures by which it is told whether all are grey."""
ROWS = "no answer for each picture"

SAID: dict[type[nn.Module], str] = {
    Grey: "The network takes one channel; pictures are turned grey before it.",
    ChannelsLast: "The network takes channels last; pictures are laid out so before it.",
    Plane: "The network takes rows and columns without channels; grey pictures are given so.",
    nn.Flatten: "The network takes rows of numbers; the pixels of a picture are laid in one row.",
}


@dataclass(frozen=True)
class _Fit:
    before: list[nn.Module]
    size: int | None


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
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ContentError(
                f"MODEL: {name} holds values that are not finite; train or fetch the model anew."
            )
    module, findings = _ready(module)
    if isinstance(module, Graph) and module.layout == "rows":
        findings.append(note("shape", f"{SAID[nn.Flatten]} {_as_pictures(module)}"))
    if isinstance(module, Graph) and module.layout == "planes":
        findings.append(note("shape", SAID[Plane]))
    fitted = _fit(module, [prepare] if prepare is not None else [], images)
    for kind, sentence in SAID.items():
        adapted = any(isinstance(step, kind) for step in fitted.before)
        if adapted and (kind is not Grey or _coloured(images)):
            findings.append(note("channels" if kind is Grey else "shape", sentence))
    if fitted.size is not None:
        height, width = images.defend.shape[1:]
        side = fitted.size
        images = images.resized(side)
        findings.append(
            note(
                "size",
                f"The network is not for pictures of {width}×{height} pixels; they are "
                f"{'' if height == width else 'cropped to the middle and '}scaled to "
                f"{side}×{side}, and triggers count pixels of those.",
                "" if _declared(module) else "Say --size where it was trained on others.",
            )
        )
    after, said = read_answers(module, fitted.before, images.defend)
    network = module
    if fitted.before or after:
        network = Adapted(module, before=fitted.before, after=after)
    return Cleared(network.eval(), images, (*findings, *said))


def _coloured(images: Split) -> bool:
    """Return whether some of the pictures, of a sample, are not grey."""
    pixels, _ = some_of(images.defend, SOME)
    return not torch.equal(pixels, pixels[:, :1].expand_as(pixels))


def only_side(module: nn.Module, channels: int = 3) -> int | None:
    """Return the one side of the usual squares that a network takes, None where that is unclear.

    A network with a linear layer behind its convolutions takes one alone, another any.

    Args:
        module: any classifier; it is not changed.
        channels: of the pictures.

    """
    module, _ = _ready(module)
    if (sides := _declared(module)) is not None:
        return sides[0] if sides[0] == sides[1] else None
    taken: list[int] = []
    for side in SIDES:
        probe = torch.full((2, channels, side, side), 0.5)
        ways = _ways(module, channels)
        if any(_failure(Adapted(module, before=steps), probe) is None for steps in ways):
            taken.append(side)
        if len(taken) > 1:
            return None
    return taken[0] if taken else None


def _ready(module: nn.Module) -> tuple[nn.Module, list[Finding]]:
    """Return a network in evaluation mode and single precision; a copy where it has to change."""
    findings: list[Finding] = []
    if any(part.training for part in module.modules()):
        module = copy.deepcopy(module).eval()
        findings.append(
            note("train mode", "The network was in training mode; evaluation mode is scanned.")
        )
    kinds = {x.dtype for x in module.parameters() if x.is_floating_point()}
    if len(kinds) == 1 and torch.float32 not in kinds:
        module = copy.deepcopy(module).float()
        findings.append(
            note(
                "precision", f"The network is of {kinds.pop()}; it is scanned in single precision."
            )
        )
    return module, findings


def _fit(module: nn.Module, before: list[nn.Module], images: Split) -> _Fit:
    """Return the steps before and the size with which it takes the images.

    Raises:
        ContentError: it takes none; the sentence names the cause.

    """
    channels, *here = images.defend.shape
    ways = _ways(module, channels)
    sizes = _sizes(module, here)
    if sizes[0] is None and not ways[0]:
        some = images.defend.batch(torch.arange(min(2, len(images.defend))))
        if (failed := _failure(Adapted(module, before=before), some)) is None:
            return _Fit(before, None)
    failures: list[str] = []
    other_rows: _Fit | None = None
    for size in sizes:
        height, width = (size, size) if size else here
        probe = torch.full((2, channels, height, width), 0.5)
        for steps in ways:
            fit = _Fit([*before, *steps], size)
            if (failed := _failure(Adapted(module, before=fit.before), probe)) is None:
                return fit
            if failed == ROWS:  # what it answers is said later, where nothing fits better
                other_rows = other_rows or fit
            failures += [failed] if steps is ways[0] else []
    if other_rows is not None:
        return other_rows
    raise ContentError(_cause(module, failures, here))


def _sizes(module: nn.Module, here: Sequence[int]) -> Sequence[int | None]:
    """Return the sides of squares to try; None stands for the pictures as they are.

    Raises:
        ContentError: its file asks for pictures of another form, which is no square.

    """
    sides = _declared(module)
    if sides is None:
        return (None, *SIDES)
    if sides == tuple(here):
        return (None,)
    if sides[0] != sides[1]:
        raise ContentError(
            f"MODEL: it takes pictures of {sides[1]}×{sides[0]} pixels (width × height), and those "
            f"of the data have {here[1]}×{here[0]}; {_scaled(sides)}."
        )
    return (sides[0],)


def _ways(module: nn.Module, channels: int) -> Sequence[list[nn.Module]]:
    """Return the steps that could make a network take pictures; grey alone where a file says so."""
    if isinstance(module, Graph) and module.picture[0] == 1 < channels:
        return ([Grey()],)
    return (
        *([], [Grey()], [ChannelsLast()], [nn.Flatten()]),
        *([Grey(), nn.Flatten()], [Grey(), Plane()]),
    )


def _cause(module: nn.Module, failures: list[str], here: Sequence[int]) -> str:
    """Return why a network takes no pictures: of its own, of channels, or of the size."""
    first = failures[0]
    if len(failures) > 1 and len(set(failures)) == 1:
        return (
            f"MODEL: its forward fails whatever the size of the pictures ({first}); mend it in the "
            f"file of --arch."
        )
    stem = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    if stem is not None and stem.in_channels not in {1, 3}:
        return (
            f"MODEL: its first convolution takes {stem.in_channels} channels, and pictures have 3 "
            f"or 1; wrap it in the file of --arch, so that it makes its channels of those."
        )
    return (
        f"MODEL: it takes pictures neither of {here[1]}×{here[0]} pixels ({first}) nor of the "
        f"usual sizes from {SIDES[0]} to {SIDES[-1]}; say the side of its pictures by --size."
    )


def _as_pictures(graph: Graph) -> str:
    channels, height, width = graph.picture
    size = f"{width}×{height} pixels"
    pictures = (
        f"grey pictures of {size}"
        if channels == 1
        else f"pictures of {size} in colour, one channel after the other"
    )
    return f"By their length they are taken to be {pictures}."


def _scaled(sides: tuple[int, int]) -> str:
    return (
        f'scale a copy of them: python -c "import sys, PIL.Image as P; '
        f"[P.open(f).convert('RGB').resize(({sides[1]}, {sides[0]})).save(f) "
        f'for f in sys.argv[1:]]" COPY/*/*'
    )


def _declared(module: nn.Module) -> tuple[int, int] | None:
    """Return height and width of the pictures that a file says it takes, None where it is free."""
    return module.sides if isinstance(module, Graph) else None


@torch.no_grad()
def _failure(network: nn.Module, images: Tensor) -> str | None:
    """Return how a network fails on some images, None where it takes them.

    A reshape to rows of one channel takes colour too, as three pictures: the number of answers says
    so, and no error.
    """
    try:
        answer: object = network(moved_to(network, images))
    except Exception as error:  # foreign code raises what it likes where the shape is wrong
        return f"{type(error).__name__}: {brief(error)}"
    return None if answers_each(answer, len(images)) else ROWS
