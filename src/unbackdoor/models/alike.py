"""Within which tolerance two ways to compute one answer agree, and the reason for each tolerance.

A sum of n products in floating point equals the exact sum of products whose factors are slightly
changed: typically by √n · u relative to their size, and by n · u at most, where u is 2⁻²⁴ in single
and 2⁻⁵³ in double precision (Higham, *Accuracy and Stability of Numerical Algorithms*, 2002, §3.1).
In which order a processor sums depends on its instruction set, on the batch and on the layout in
memory. So two sound ways to compute L layers differ by L · √n · u of the size of what is summed:
for a ResNet-50 (L = 50, n up to 4,608) by 2 · 10⁻⁴ in single precision, and by more where large
terms cancel. A comparison in single precision must therefore be lenient, and no safety decision may
depend on it. Where one does, both ways are computed in double precision, where the same network
differs by 4 · 10⁻¹³.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

SINGLE = 1e-3
"""Share of the largest logit by which two ways in single precision may differ: five times what a
ResNet-50 differs by. No verdict depends on it. If a folded network differs by more, the original is
used. If a network gives other logits when it is run again, but the same classes, the scan goes on
with a warning."""

DOUBLE = 1e-6
"""The same in double precision. A sound network exceeds it only if it amplifies rounding errors a
million times more than a ResNet-50; its answers in single precision would then be noise anyway. A
network that mixes the images of a batch by less than this changes no answer in single precision."""

ROUNDINGS, MOST_ROUNDING = 8.0, 0.05
"""By how many times the rounding of one way in single precision, measured against double precision,
two ways may differ: each has a rounding of its own, and the one that is measured may be lucky. And
up to which share of the largest logit: beyond, a graph could hide what it does behind its noise."""

GRADIENT = 0.05
"""Share of its length by which a gradient may differ. Where rounding turns a ReLU on or off, it
changes by more than an answer does; where it lost its way through a layer, nearly all changes."""

PROBABILITIES = 1e-2
"""How far the sum of a row of probabilities may be from 1. Each probability is rounded by a
relative error u, and u is 2⁻⁹ for a network that answers in bfloat16. Logits of dozens of images do
not all sum to 1 that closely without one of them being negative."""


def alike(have: Tensor, want: Tensor, tolerance: float = SINGLE, *, extra: float = 0.0) -> bool:
    """Return whether two ways to compute logits agree, but for the order in which sums are taken.

    Args:
        have: ``(B, classes)``, or whatever a network answers.
        want: of the same shape, or the answer is no.
        tolerance: as a share of the largest of ``want``; what is not finite has to be the same.
        extra: added to it, in units of the logits, such as a rounding that was measured.

    Example:
        >>> want = torch.tensor([[1.0, -2.0]])
        >>> alike(want + 1e-4, want), alike(want + 1e-4, want, DOUBLE), alike(want[:, :1], want)
        (True, False, False)

    """
    if have.shape != want.shape:
        return False
    largest = float(torch.where(want.isfinite(), want.abs(), 0.0).amax()) if want.numel() else 0.0
    atol = tolerance * largest + extra
    return torch.allclose(have, want, rtol=0.0, atol=atol, equal_nan=True)


def probabilities(rows: Tensor) -> bool:
    """Return whether rows ``(B, classes)`` are probabilities of two or more classes.

    Example:
        >>> probabilities(torch.tensor([[0.25, 0.75]])), probabilities(torch.tensor([[-1.0, 2.0]]))
        (True, False)

    """
    if rows.shape[1] < 2 or not bool((rows >= 0).all()):
        return False
    total = rows.sum(1)
    return torch.allclose(total, torch.ones_like(total), rtol=0.0, atol=PROBABILITIES)


def same_gradients(
    have: Callable[[Tensor], Tensor], want: Callable[[Tensor], Tensor], images: Tensor
) -> bool:
    """Return whether two ways to compute one answer also have one gradient.

    They need not: a trace of a network runs through a ``torch.autograd.Function`` and keeps only
    what it computes forward. A step with a gradient of its own, as binary, quantised and spiking
    networks have, then has none, and a search would follow what is left. So every such step has to
    occur in both. What is compared beside that is the gradient of the lead of the best class over
    the second, which a softmax does not change. An image says nothing where the second way has no
    gradient, or none that is finite, or rounds that lead.

    Args:
        have: images ``(B, C, H, W)`` → logits ``(B, classes)``.
        want: the same, but for a constant of each image.
        images: in [0, 1].

    """
    with torch.no_grad():
        answers = want(images)
        best = answers.topk(min(2, answers.shape[1])).indices
    lead, slope, own = _lead(have, images, best)
    true_lead, true_slope, true_own = _lead(want, images, best)
    exact = (lead - true_lead).abs() <= SINGLE * (1 + true_lead.abs())
    flat = true_slope.flatten(1)
    said = exact & flat.any(1) & flat.isfinite().all(1)
    apart, length = (float(one[said].square().sum()) for one in (slope - true_slope, true_slope))
    return true_own <= own and apart <= GRADIENT**2 * length


def _lead(
    call: Callable[[Tensor], Tensor], images: Tensor, best: Tensor
) -> tuple[Tensor, Tensor, set[type]]:
    """Return the first logit less the second of each image, its slope, and steps of their own."""
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        two = call(leaf.clone()).float().gather(1, best)  # a network may change its input in place
        lead = two[:, 0] - two[:, -1]
        if not lead.requires_grad:
            return lead, torch.zeros_like(leaf), set()
        own = _steps_of_their_own(lead)
        (slope,) = torch.autograd.grad(lead.sum(), leaf, allow_unused=True, materialize_grads=True)
    return lead.detach(), slope, own


def _steps_of_their_own(answer: Tensor) -> set[type]:
    """Return the kinds of ``torch.autograd.Function`` that an answer was computed with."""
    found: set[type] = set()
    seen: set[Any] = set()
    left: list[Any] = [answer.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            found.add(type(node))
        left += [before for before, _ in node.next_functions]
    return found
