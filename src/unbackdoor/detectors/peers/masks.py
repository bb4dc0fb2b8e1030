"""A mask and a pattern towards one class, and the price of the mask, as Neural Cleanse has them.

The mask costs its L1 norm times a price. The price rises while the trigger works and falls while it
does not (Wang et al., *Neural Cleanse*, S&P 2019). Published code writes a value as
tanh(x) / (2 + 1e-7) + 1/2; here it is σ(2 x), which is the same function without the 1e-7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.models import Frozen
from unbackdoor.runtime.snapshot import Snapshot, take
from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.mask import Mask

SPACE = Mask(100)
"""Masks of any size. In pictures of more than 32 pixels they are coarser than a pixel."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the images came to; both are means over its steps.

    Args:
        success: share of the images that went to the class.
        size: mean of the mask over the picture, in [0, 1].

    """

    success: float
    size: float


class Masked:
    """One mask and pattern, and their optimiser.

    Args:
        start: x ``(n,)`` with which they begin.
        learning_rate: of Adam.
        momenta: β₁ and β₂ of Adam.

    """

    def __init__(self, start: Tensor, learning_rate: float, momenta: tuple[float, float]) -> None:
        self.x = start.clone().requires_grad_()
        self.optimiser = torch.optim.Adam([self.x], lr=learning_rate, betas=momenta)

    @property
    def theta(self) -> Tensor:
        """The trigger as it is, ``(n,)`` in [0, 1]."""
        return torch.sigmoid(2 * self.x.detach())

    def size(self, shape: Shape) -> Tensor:
        """Return the mean of the mask over the picture, differentiable."""
        return SPACE.picture(torch.sigmoid(2 * self.x)[None], shape)[:, 0].mean()

    def pass_over(
        self, model: Frozen, images: Images, picks: Tensor, target: int, *, batch: int, price: float
    ) -> Epoch:
        """Take a step for each batch of the images.

        Args:
            model: the frozen classifier.
            images: of every class.
            picks: which of them, in their order.
            target: the class.
            batch: images in a step.
            price: of a mask over the whole picture.

        """
        successes: list[float] = []
        sizes: list[float] = []
        for rows in torch.split(picks, batch):
            self.optimiser.zero_grad()
            hits = 0
            for part in torch.split(rows, model.at_once(images.shape)):
                theta = torch.sigmoid(2 * self.x).expand(len(part), -1)
                arms = torch.empty(len(part), 0, dtype=torch.int64)
                logits = model(SPACE.apply(images.batch(part), theta, arms))
                wanted = torch.full((len(part),), target, device=logits.device)
                loss = functional.cross_entropy(logits, wanted, reduction="sum") / len(rows)
                loss.backward()
                hits += int((logits.argmax(1) == target).sum())
            size = self.size(images.shape)
            (price * size).backward()
            self.optimiser.step()
            successes.append(hits / len(rows))
            sizes.append(float(size.detach()))
        return Epoch(sum(successes) / len(successes), sum(sizes) / len(sizes))

    def kept(self) -> Snapshot:
        """Return everything that its next step depends on."""
        return take(0, {"x": self.x.detach()}, self.optimiser, ())

    def restore(self, kept: Snapshot) -> None:
        """Put back what :meth:`kept` returned."""
        self.x.data.copy_(kept.tensors["x"])
        kept.restore(self.optimiser, ())


@dataclass
class Price:
    """The price of a mask, which follows whether the trigger works.

    Args:
        first: the price that it has or, where it begins at 0, gets once the trigger works.
        up: factor by which it rises.
        down: factor by which it falls.
        patience: epochs in a row after which it does.
        begin: epochs in a row in which the trigger works, after which a price of 0 becomes the
            first one.
        value: the price now.

    """

    first: float
    up: float
    down: float
    patience: int
    begin: int
    value: float
    set_for: int = 0
    works_for: int = 0
    fails_for: int = 0
    rose: bool = False
    fell: bool = False

    def follow(self, works: bool) -> None:
        """Take notice of whether the trigger worked in an epoch.

        Example:
            >>> price = Price(first=1.0, up=2.0, down=4.0, patience=2, begin=2, value=1.0)
            >>> for works in (True, True, False, False):
            ...     price.follow(works)
            >>> price.value, price.rose, price.fell
            (0.5, True, True)

        """
        self.set_for = self.set_for + 1 if self.value == 0 and works else 0
        if self.set_for >= self.begin:
            self.value = self.first
            self.works_for = self.fails_for = self.set_for = 0
            self.rose = self.fell = False
        self.works_for = self.works_for + 1 if works else 0
        self.fails_for = 0 if works else self.fails_for + 1
        if self.works_for >= self.patience:
            self.works_for, self.rose = 0, True
            self.value *= self.up
        elif self.fails_for >= self.patience:
            self.fails_for, self.fell = 0, True
            self.value /= self.down
