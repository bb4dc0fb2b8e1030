"""A frozen classifier for inference and input gradients: BatchNorm folded, half precision."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf

import torch
from torch import Tensor, nn

from unbackdoor.models.alike import alike, same_gradients
from unbackdoor.models.layout import layout_for
from unbackdoor.models.logits import without_softmax
from unbackdoor.runtime.cpu import half_precision_pays

MOST_BACKWARD, FEW_BACKWARD, ROOM = 256, 32, 1 << 30
"""Pictures that go forward and backward at a time, how many where a network does not let itself be
measured, and the bytes that they may take meanwhile."""


class TimeUpError(Exception):
    """The moment has come until which a network was to be used."""


class Frozen:
    """A classifier for evaluation only: images ``(B, C, H, W)`` in [0, 1] → float32 logits.

    Gradients flow to the images and to nothing else. It counts the images that pass. Work is stated
    in passes because seconds depend on what else runs on the machine.

    Args:
        module: in evaluation mode, parameters without gradients.
        half: whether it runs under bfloat16 autocast.
        ways: the module before BatchNorm was folded, and before its softmax was left out. The first
            images that come decide, for good, which is used: each step has to keep the answers and
            the gradients.

    """

    def __init__(
        self, module: nn.Module, *, half: bool, ways: tuple[nn.Module, nn.Module] | None = None
    ) -> None:
        self.module = module
        self.half = half
        self._ways = ways
        self.device = device_of(module)
        self._at_once: dict[tuple[int, int, int], int] = {}
        self.passes = 0
        self.backward_passes = 0
        self._until = inf
        self._layout: torch.memory_format | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` on the device of ``images``.

        Raises:
            TimeUpError: the moment of :meth:`until` has come.

        """
        if time.monotonic() >= self._until:
            raise TimeUpError
        self.count(len(images), backward=images.requires_grad)
        self.settle(images[:2].detach())
        moved = self._laid_out(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.module(moved).float().to(images.device)

    @contextmanager
    def until(self, moment: float) -> Generator[None]:
        """Let no images pass from a moment of the monotonic clock on, for as long as it is open."""
        before, self._until = self._until, moment
        try:
            yield
        finally:
            self._until = before

    def at_once(self, shape: tuple[int, int, int]) -> int:
        """Return how many pictures of a shape go forward and backward at a time.

        What the network keeps of one for its backward pass is measured, once for each shape, and
        the gradients of it take as much again; so many are taken as fit into :data:`ROOM`.
        """
        if shape not in self._at_once:
            try:
                each = self._kept(shape, 3) - self._kept(shape, 2)  # without copies of weights
            except Exception:  # foreign code, which may not like pictures of noise
                self._at_once[shape] = FEW_BACKWARD
            else:
                self._at_once[shape] = max(1, min(MOST_BACKWARD, ROOM // max(1, 2 * each)))
        return self._at_once[shape]

    def _kept(self, shape: tuple[int, int, int], count: int) -> int:
        """Return the bytes that are kept of some pictures until their backward pass."""
        own = [*self.module.parameters(), *self.module.buffers()]
        seen = {tensor.untyped_storage().data_ptr() for tensor in own}
        kept = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                kept += storage.nbytes()
            return tensor

        noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
        pictures = self._laid_out(noise).requires_grad_()
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
        with torch.enable_grad(), hooks, half:
            answered = self.module(pictures)
        del answered
        return kept

    def count(self, images: int, *, backward: bool) -> None:
        """Count images that pass, or that did in an earlier process."""
        self.passes += images
        self.backward_passes += images if backward else 0

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return images as the network can be run on them; the first decide, for good."""
        if self._layout is None:
            two = images[:2].detach().to(self.device)
            modules = list(dict.fromkeys([self.module, *(self._ways or ())]))
            layouts = {layout_for(module, two) for module in modules}
            self._layout = layouts.pop() if len(layouts) == 1 else torch.contiguous_format
            for module in modules:
                module.to(memory_format=self._layout)  # pyright: ignore[reportCallIssue]
        return images.to(self.device, memory_format=self._layout)

    def settle(self, images: Tensor) -> None:
        """Keep of the ways to compute the network the fastest that is sound; the choice stays.

        Args:
            images: a few, with which the ways are compared.

        """
        if self._ways is None:
            return
        images = self._laid_out(images)
        bare, came = self._ways
        if bare is not came and not _same(bare, came, images, _chances):
            self.module = came
        elif self.module is not bare and not _same(self.module, bare, images):
            self.module = bare
        self._ways = None


def _chances(logits: Tensor) -> Tensor:
    return logits.softmax(1)


def _same(
    have: nn.Module,
    want: nn.Module,
    images: Tensor,
    seen: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> bool:
    """Return whether two networks have the same gradients, and answers as they are to be seen."""
    with torch.no_grad():
        known, found = seen(want(images).float()), seen(have(images).float())
    if bool(known.isfinite().all()) and not alike(found, known):
        return False
    try:
        return same_gradients(have, want, images)
    except Exception:  # foreign code may have no gradient at all
        return False


def freeze(model: nn.Module, *, half: bool | None = None) -> Frozen:
    """Return a frozen copy of ``model``, faster than the original and equal to it within rounding.

    Args:
        model: any classifier with logits ``(B, classes)``; it is not changed.
        half: bfloat16 or float32; what is faster on its device when left out.

    """
    came = copy.deepcopy(model).eval().requires_grad_(False)
    bare = without_softmax(came)
    module = _folded(bare)
    half = half_precision_pays(device_of(module), module) if half is None else half
    return Frozen(module, half=half, ways=(bare, came))


def _folded(module: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution before it, or return the network itself."""
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
    except Exception:  # foreign forward code may raise anything; it is used unfolded
        return module


def device_of(module: nn.Module) -> torch.device:
    """Return where the first tensor of a network lies; the CPU where it has none."""
    for tensor in [*module.parameters(), *module.buffers()]:
        return tensor.device
    return torch.device("cpu")
