"""The automatic choice of an estimator: the flow where it fits, the population elsewhere.

Two figures show how well a flow fits: the share of its draws that are valid, and their effective
sample size. Where one of them is too small (thin shells, most level sets in a hundred dimensions
and more), or where F has no gradient, the population is used instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unbackdoor.mesa.flow import FlowEstimator
from unbackdoor.mesa.smc import Smc
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import TestingFunction

FLOW = FlowEstimator()
SMC = Smc()


@dataclass(frozen=True)
class Automatic:
    """The estimator.

    Args:
        flow: used first.
        smc: used where the flow does not fit.
        valid: smallest share of valid draws of a flow that fits.
        worth: smallest effective sample size of a flow that fits.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> step = lambda theta: (theta.sum(1) > 2).float()
        >>> [len(Automatic()(F, (0.5,), 4, seed=0)[0].draws) for F in (upper, step)]
        [20000, 6000]

    """

    flow: FlowEstimator = FLOW
    smc: Smc = SMC
    valid: float = 0.5
    worth: float = 100.0

    def __call__(
        self, F: TestingFunction, betas: Sequence[float], dimensions: int, *, seed: int
    ) -> tuple[Stair, ...]:
        """Estimate the level set of each β, all of them with the same estimator.

        Args:
            F: differentiable or not.
            betas: rising levels in (0, 1).
            dimensions: n.
            seed: of every draw.

        """
        probe = torch.full((2, dimensions), 0.5, requires_grad=True)
        if F(probe).requires_grad:
            stairs = self.flow(F, betas, dimensions, seed=seed)
            if all(
                stair.valid_fraction >= self.valid and stair.effective_sample_size >= self.worth
                for stair in stairs
            ):
                return stairs
        with torch.no_grad():
            return self.smc(F, betas, dimensions, seed=seed)
