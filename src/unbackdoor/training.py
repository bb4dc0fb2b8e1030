"""One training loop for everything that trains a classifier: attacks, repairs and their controls.

The recipe is short and modern: stochastic gradient descent with Nesterov momentum, a one-cycle
learning rate (Smith and Topin, 2018), label smoothing, flips and shifts, bfloat16 where it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from unbackdoor.data.images import Images
from unbackdoor.errors import ArgumentError, expect, expect_above
from unbackdoor.models.layout import layout_for
from unbackdoor.rng import seeded
from unbackdoor.runtime.cpu import half_precision_pays
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent
from unbackdoor.runtime.snapshot import Snapshot, take


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe of :func:`unbackdoor.training.fit`.

    Args:
        epochs: passes over the images.
        batch_size: images per step.
        learning_rate: the peak of the one-cycle schedule.
        momentum: of stochastic gradient descent, with Nesterov's correction.
        weight_decay: on every parameter.
        label_smoothing: share of the target mass spread over all classes.
        warm_up: share of the steps in which the learning rate rises.
        shift: pixels by which an image is moved at most.
        scaled: whether the learning rate of each weight follows its size. Then training has the
            same effect on two networks that compute the same function with differently scaled
            weights.
        clip: the largest norm of a weight tensor's step before rate and momentum, as a share of
            the tensor's own norm; where ``scaled``, after the step is multiplied by the size. None
            for no limit.

    """

    epochs: int = 18
    batch_size: int = 256
    learning_rate: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.2
    shift: int = 4
    scaled: bool = False
    clip: float | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        expect(self, 1, inf, "epochs", "batch_size")
        expect(self, 0, inf, "shift", "weight_decay")
        expect(self, 0, 1, "momentum", "label_smoothing", "warm_up")
        expect_above(self, 0, "learning_rate", *(("clip",) if self.clip is not None else ()))

    def with_epochs(self, epochs: int | None) -> TrainingSettings:
        """Return the recipe with another number of epochs; itself for None."""
        return self if epochs is None else replace(self, epochs=epochs)

    def at_rate(self, learning_rate: float) -> TrainingSettings:
        """Return the recipe with another learning rate."""
        return replace(self, learning_rate=learning_rate)


class DivergedError(ArgumentError):
    """The weights are no longer numbers; the learning rate is too high."""


SHORT = 1e-3
"""A weight tensor counts as no shorter than this where gradients are clipped."""
FINE_TUNING = TrainingSettings(epochs=4, learning_rate=0.1)
"""The recipe for implanting into a network that is already trained."""

Change = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(images in [0, 1], labels, positions in the set) → the images and labels to learn instead.

The labels that come back are classes ``(B,)`` or the probability of each ``(B, classes)``.
"""
Move = Callable[[nn.Module], AbstractContextManager[object]]
"""A context that moves the weights, whose gradients are set, and moves them back at its end."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A look at the network during training.

    Args:
        look: the number of images that training has seen → a text, shown next to the bar. The
            network is in evaluation mode meanwhile. What is watched between two kept epochs is
            watched again where a training that was killed goes on.
        looks: how many, evenly spread and the last at the end; after each epoch when left out.

    """

    look: Callable[[int], str]
    looks: int | None = None

    def steps(self, total: int, epochs: int) -> set[int]:
        """Return after which of ``total`` steps it looks.

        Example:
            >>> sorted(Watch(look=str, looks=4).steps(10, epochs=2))
            [2, 5, 8, 10]

        """
        looks = min(self.looks or epochs, total)
        return {round(total * (look + 1) / looks) for look in range(looks)}


def fit(
    model: nn.Module,
    images: Images,
    settings: TrainingSettings,
    *,
    generator: Generator,
    change: Change | None = None,
    draws: Sequence[Generator] = (),
    uphill: Move | None = None,
    watch: Watch | None = None,
    description: str = "training",
    progress: Progress | None = None,
    journal: Journal = FORGETFUL,
) -> int:
    """Train ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits; trained on the device where it is.
        images: the training images.
        settings: the recipe.
        generator: order, augmentation; ``change`` has its own.
        change: applied to each batch after augmentation, such as stamping triggers.
        draws: the generators of ``change``.
        uphill: moves the weights to the point at which a second pass computes the gradient of the
            step; when left out, the gradient is taken at the weights themselves.
        watch: looks at the network meanwhile.
        description: label of the bar.
        progress: where to report.
        journal: saves each finished epoch, from which a training that was killed continues.

    Raises:
        ArgumentError: a setting is out of range.
        DivergedError: the learning rate is too high.

    """
    _check(settings, images)
    device = next(model.parameters()).device
    batches = -(-len(images) // settings.batch_size)
    layout = layout_for(model, images.batch(torch.arange(min(2, len(images)))).to(device))
    precision = autocast(model, images)
    groups = _groups(model, settings)
    optimiser = torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=True
    )
    total = settings.epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],
        total_steps=total,
        # The scheduler divides by zero if exactly one step is of warm-up.
        pct_start=settings.warm_up if settings.warm_up * total != 1 else 1.5 / total,
        cycle_momentum=False,
    )
    generators = (generator, *draws, torch.default_generator)
    first, step, loss = 0, 0, torch.zeros(())
    looks = watch.steps(total, settings.epochs) if watch else set[int]()
    bar = (progress or Silent()).task(description, total)
    # Layers such as dropout draw from PyTorch's global generator.
    with seeded(generator.initial_seed()), bar as task:
        if (kept := journal.read("training", Snapshot)) is not None:
            model.load_state_dict(kept.tensors)
            kept.restore(optimiser, generators, schedule)
            first = kept.done
        seen, step = first * len(images), first * batches
        task.advance(step)
        for epoch in range(first, settings.epochs):
            model.train()
            for picks in torch.randperm(len(images), generator=generator).chunk(batches):
                pixels, labels = images.batch(picks), images.targets[picks]
                pixels = augment(pixels, settings.shift, generator)
                if change is not None:
                    pixels, labels = change(pixels, labels, picks)
                pixels = pixels.to(device, memory_format=layout)
                labels = labels.to(device)
                loss = _gradients(model, pixels, labels, settings, precision)
                if uphill is not None:
                    with uphill(model):
                        _gradients(model, pixels, labels, settings, precision)
                if settings.clip is not None:
                    _clip(groups, settings.clip)
                optimiser.step()
                schedule.step()
                seen, step = seen + len(picks), step + 1
                task.advance()
                if watch is not None and step in looks:
                    _check_finite(model, loss, seen, settings)
                    model.eval()
                    task.advance(0, watch.look(seen))
                    model.train()
            _check_finite(model, loss, seen, settings)
            journal.write(
                "training", take(epoch + 1, model.state_dict(), optimiser, generators, schedule)
            )
    model.eval()
    return seen


def _gradients(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    precision: AbstractContextManager[object],
) -> Tensor:
    """Leave the gradient of the loss in the parameters, and return the loss."""
    model.zero_grad()
    with precision:
        logits = model(pixels)
    smoothing = settings.label_smoothing
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    loss.backward()
    return loss.detach()


def _check_finite(model: nn.Module, loss: Tensor, seen: int, settings: TrainingSettings) -> None:
    if not all(bool(one.isfinite().all()) for one in (loss, *model.parameters())):
        raise DivergedError(
            f"learning_rate: training diverged after {seen} images with "
            f"{settings.learning_rate}; lower it."
        )


def augment(images: Tensor, shift: int, generator: Generator) -> Tensor:
    """Mirror half of the images and move each by up to ``shift`` pixels, reflecting at the edge."""
    count, channels, height, width = images.shape
    padded = functional.pad(images, (shift,) * 4, mode="reflect") if shift else images
    top = torch.randint(2 * shift + 1, (count, 1), generator=generator)
    left = torch.randint(2 * shift + 1, (count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    across = torch.arange(width).expand(count, width)
    columns = left + torch.where(mirrored, width - 1 - across, across)
    rows = top + torch.arange(height)
    batch = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _groups(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Return the parameters with their learning rates and weight decay.

    A weight before a normalisation layer can be scaled by any factor c without changing the
    network. Its gradient is then divided by c, but to have the same effect a step would have to be
    c times as large. So a fixed learning rate is too small by the factor c². The same holds for two
    layers with a ReLU between them if one is scaled up and the other down. With ``scaled`` the
    learning rate of a weight is multiplied, and its weight decay divided, by the mean squared norm
    of its rows, which is usually about 1. Parameters with one row, such as a position embedding
    ``(1, N, D)``, keep the common rate.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    plain: list[nn.Parameter] = []
    groups: list[dict[str, Any]] = []
    for parameter in (one for one in model.parameters() if one.requires_grad):
        size = 0.0
        if settings.scaled and parameter.dim() > 1 and len(parameter) > 1:
            size = float(parameter.detach().double().square().sum()) / len(parameter)
        if size:
            own = {"lr": rate * size, "weight_decay": decay / size, "size": size}
            groups.append({"params": [parameter], **own})
        else:
            plain.append(parameter)
    return [*groups, {"params": plain, "lr": rate, "weight_decay": decay, "size": 1.0}]


@torch.no_grad()
def _clip(groups: Sequence[Mapping[str, Any]], most: float) -> None:
    """Shorten each weight tensor's gradient G to ‖G‖ ≤ ``most``·‖W‖ / size.

    A step then changes no weight tensor by more than a share of its norm. How large a share a rate
    means depends on the network: without normalisation, or with input that is not of about unit
    size, one that suits most networks changes some by a multiple of themselves, and wrecks them.
    The division by ``size``, by which the rate was multiplied, keeps the limit the same for
    networks that compute the same function. Biases and the weights of normalisations are left
    alone. Adaptive gradient clipping (Brock et al., ICML 2021), for tensors instead of their rows.
    """
    for group in groups:
        for parameter in group["params"]:
            if parameter.dim() > 1 and parameter.grad is not None:
                longest = most / group["size"] * parameter.norm().clamp(min=SHORT)
                norm = parameter.grad.norm()
                parameter.grad.mul_((longest / norm.clamp(min=1e-30)).clamp(max=1.0))


def _check(settings: TrainingSettings, images: Images) -> None:
    side = min(images.shape[1:])
    if not 0 <= settings.shift < side:
        raise ArgumentError(
            f"shift: expected 0 to {side - 1} for pictures whose shorter side has {side} pixels, "
            f"came {settings.shift}."
        )


def autocast(model: nn.Module, images: Images) -> AbstractContextManager[object]:
    """Return a reusable context: bfloat16 where that is faster and its gradients are right."""
    device = next(model.parameters()).device
    half = half_precision_pays(device, model)
    if half and device.type == "cpu":
        half = not _outgrown(model, images.batch(torch.arange(1)))
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


@torch.no_grad()
def _outgrown(model: nn.Module, pixels: Tensor) -> bool:
    """Return whether the input of some convolution is smaller than its kernel.

    In that case oneDNN does not write the bfloat16 gradients of the weights that meet no pixel, and
    they contain whatever was in memory before (seen with torch 2.13 for a 1×1 picture, a 3×3 kernel
    and a stride of 2).
    """
    training = model.training
    with _Convolutions() as seen:
        model.eval()(pixels)
    model.train(training)
    return any(side < kernel for side, kernel in seen.sizes)


class _Convolutions(TorchDispatchMode):
    """Records the side lengths of the inputs of all convolutions, each with the kernel's side."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.sizes += zip(args[0].shape[2:], args[1].shape[2:], strict=True)
        return func(*args, **(kwargs or {}))
