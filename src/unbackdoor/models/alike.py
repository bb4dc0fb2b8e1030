"""When two ways to compute one answer count as the same: every tolerance, with its reason.

A sum of n products in floating point is exact for factors that are each off by √n · u as a rule and
by n · u at most, where u is 2⁻²⁴ in single and 2⁻⁵³ in double precision (Higham, *Accuracy and
Stability of Numerical Algorithms*, 2002, §3.1). In which order a processor sums depends on its
instruction set, on the batch and on the layout in memory. So two sound ways to compute L layers
differ by L · √n · u of the size of what is summed: for a ResNet-50 (L = 50, n up to 4,608) by
2 · 10⁻⁴ in single precision, and by more where large terms cancel. A comparison in single
precision must therefore be lenient, and nothing may hang on it that could be wrong; where safety
does, both ways are computed in double precision, where the same network differs by 4 · 10⁻¹³.
"""

from __future__ import annotations

import torch
from torch import Tensor

SINGLE = 1e-3
"""Share of the largest logit by which two ways in single precision may differ: five times what a
ResNet-50 differs by. It decides no verdict: where a folded network differs by more, the original is
asked instead; where a network answers otherwise the second time, but names the same classes, that
is said and it is scanned."""

DOUBLE = 1e-6
"""The same in double precision. A sound network stays below it until its rounding is amplified a
million times more than that of a ResNet-50, and then its answers in single precision are noise. A
network that mixes the images of a batch by less changes no answer that single precision holds."""

PROBABILITIES = 1e-2
"""How far a row of probabilities may be from 1 in sum: each is off by u of itself, and in bfloat16,
which a network may answer in, u is 2⁻⁹. Logits do not come that near to it on dozens of images
without being negative anywhere."""


def alike(have: Tensor, want: Tensor, tolerance: float = SINGLE) -> bool:
    """Return whether two ways to compute logits agree, but for the order in which sums are taken.

    Args:
        have: ``(B, classes)``, or whatever a network answers.
        want: of the same shape, or the answer is no.
        tolerance: as a share of the largest of ``want``; what is not finite has to be the same.

    Example:
        >>> want = torch.tensor([[1.0, -2.0]])
        >>> alike(want + 1e-4, want), alike(want + 1e-4, want, DOUBLE), alike(want[:, :1], want)
        (True, False, False)

    """
    if have.shape != want.shape:
        return False
    largest = float(torch.where(want.isfinite(), want.abs(), 0.0).amax()) if want.numel() else 0.0
    return torch.allclose(have, want, rtol=0.0, atol=tolerance * largest, equal_nan=True)


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
