"""Neural Cleanse (Wang et al., S&P 2019): one reversed trigger, found in the space of pixels.

It minimises the cross-entropy towards the target over stamped clean images with Adam. Where the
trigger space is a patch, the patch itself is the mask, so no mask is learnt. Unlearning that one
trigger is the defence which modelling the whole distribution is held against.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.settings import ReversalSettings
from unbackdoor.models import Frozen
from unbackdoor.triggers import TriggerSpace


def reverse(
    model: Frozen,
    images: Images,
    space: TriggerSpace,
    target: int,
    settings: ReversalSettings,
    *,
    generator: Generator,
) -> Tensor:
    """Return one trigger θ ``(n,)`` that sends images to ``target``.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: where to search.
        target: the class.
        settings: steps, images in a step, learning rate.
        generator: of the start, the images and the places; another one finds another trigger.

    """
    x = torch.logit(torch.rand(space.dimensions, generator=generator), eps=1e-3).requires_grad_()
    optimiser = torch.optim.Adam([x], lr=settings.learning_rate)
    wanted = torch.full((settings.batch,), target)
    for _ in range(settings.steps):
        picks = torch.randint(len(images), (settings.batch,), generator=generator)
        places = space.places(settings.batch, images.shape, generator)
        theta = torch.sigmoid(x).expand(settings.batch, -1)
        logits = model(space.stamp(images.batch(picks), theta, places))
        optimiser.zero_grad()
        functional.cross_entropy(logits, wanted).backward()
        optimiser.step()
    return torch.sigmoid(x.detach())
