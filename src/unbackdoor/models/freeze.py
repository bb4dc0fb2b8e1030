"""A frozen classifier for inference and input gradients: BatchNorm folded, half precision."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn

from unbackdoor.models.alike import alike
from unbackdoor.runtime.cpu import half_precision_pays


class Frozen:
    """A classifier that is only asked: images ``(B, C, H, W)`` in [0, 1] → float32 logits.

    Gradients flow to the images and to nothing else. It counts the images that pass, so that work
    can be stated in passes, which no noisy machine disturbs.

    Args:
        module: in evaluation mode, parameters without gradients.
        half: whether it runs under bfloat16 autocast.
        original: the module before BatchNorm was folded, which takes over for good if it does not
            give the same answers to the first images that come.

    """

    def __init__(self, module: nn.Module, *, half: bool, original: nn.Module | None = None) -> None:
        self.module = module
        self.half = half
        self.original = original
        self.device = _device_of(module)
        self.passes = 0
        self.backward_passes = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` on the device of ``images``."""
        self.count(len(images), backward=images.requires_grad)
        moved = images.to(self.device, memory_format=torch.channels_last)
        self.settle(moved[:2].detach())
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.module(moved).float().to(images.device)

    def count(self, images: int, *, backward: bool) -> None:
        """Count images that pass, or that did in an earlier process."""
        self.passes += images
        self.backward_passes += images if backward else 0

    @torch.no_grad()
    def settle(self, images: Tensor) -> None:
        """Keep the folded module if it answers as the original does, else the original.

        The first images that come decide, unless others did before.
        """
        if self.original is None:
            return
        images = images.to(self.device, memory_format=torch.channels_last)
        want, have = self.original(images), self.module(images)
        if bool(want.isfinite().all()) and not alike(have, want):
            self.module = self.original
        self.original = None


def freeze(model: nn.Module, *, half: bool | None = None) -> Frozen:
    """Return a frozen copy of ``model``, faster than the original and equal to it within rounding.

    Args:
        model: any classifier; it is not changed.
        half: bfloat16 or float32; what is faster on its device when left out.

    """
    original = copy.deepcopy(model).eval().requires_grad_(False)
    original.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    module = _folded(original)
    module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    half = half_precision_pays(_device_of(module)) if half is None else half
    return Frozen(module, half=half, original=None if module is original else original)


def _folded(module: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution before it; leave a network be that resists."""
    from torch import fx
    from torch.fx.experimental.optimization import fuse

    try:
        traced = fx.symbolic_trace(module)
        calls = Counter(str(n.target) for n in traced.graph.nodes if n.op == "call_module")
        # A layer that is called twice has two BatchNorms after it, and cannot hold both.
        if any(
            times > 1 and [*traced.get_submodule(name).parameters()]
            for name, times in calls.items()
        ):
            return module
        return fuse(traced)
    except Exception:  # tracing runs foreign forward code: whatever it raises, it can go unfolded
        return module


def _device_of(module: nn.Module) -> torch.device:
    for tensor in [*module.parameters(), *module.buffers()]:
        return tensor.device
    return torch.device("cpu")
