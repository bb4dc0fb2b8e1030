"""MESA, the max-entropy staircase approximator: from a function F to the law of all θ it accepts.

Images are unknown here: anything that maps θ ``(B, n)`` to F ``(B,)`` in [0, 1] will do.
"""

from unbackdoor.mesa.automatic import Automatic
from unbackdoor.mesa.flow import Flow, FlowEstimator, fit
from unbackdoor.mesa.levels import choose_betas
from unbackdoor.mesa.mine import Mine
from unbackdoor.mesa.smc import Smc
from unbackdoor.mesa.stair import Estimator, Law, Stair, draw_stair
from unbackdoor.mesa.staircase import Staircase, gammas
from unbackdoor.mesa.swift import Parts, Swift
from unbackdoor.mesa.testing import TestingFunction, logit, shortfall
from unbackdoor.mesa.thrifty import Landing, ThriftyFlow

__all__ = [
    "Automatic",
    "Estimator",
    "Flow",
    "FlowEstimator",
    "Landing",
    "Law",
    "Mine",
    "Parts",
    "Smc",
    "Stair",
    "Staircase",
    "Swift",
    "TestingFunction",
    "ThriftyFlow",
    "choose_betas",
    "draw_stair",
    "fit",
    "gammas",
    "logit",
    "shortfall",
]
