"""Pictures that a network was trained to see turned: blue first, axes swapped, a negative.

OpenCV reads the blue channel first, EMNIST is stored with rows and columns swapped, and scanned
digits are black on white. Such a network is right less often than it can be, or guesses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.metrics import Classifier
from unbackdoor.models import Adapted
from unbackdoor.preflight.look import ask
from unbackdoor.preflight.remedies import GAIN, MOST, beyond_chance


@dataclass(frozen=True)
class Turn:
    """A way to turn pictures.

    Args:
        words: what becomes of them.
        code: the same in Python, for ``images`` ``(B, C, H, W)`` in [0, 1].
        change: the same.

    """

    words: str
    code: str
    change: Callable[[Tensor], Tensor]


BLUE_FIRST = Turn("their channels as blue, green, red", "images.flip(1)", lambda x: x.flip(1))
SWAPPED = Turn("their rows and columns swapped", "images.mT", lambda x: x.mT)
NEGATIVE = Turn("their light and dark swapped", "1 - images", lambda x: 1 - x)


def turned_for(network: nn.Module | Classifier, images: Images, before: Tensor) -> str | None:
    """Return how pictures have to be turned for a network to be right more often, None if not.

    Args:
        network: images in [0, 1] → logits.
        images: with the labels of its classes.
        before: which of :data:`MOST` of them are right as they are.

    Returns:
        What to do, in a sentence.

    """
    channels, height, width = images.shape
    best: tuple[float, Turn] | None = None
    for turn, fits in ((BLUE_FIRST, channels == 3), (SWAPPED, height == width), (NEGATIVE, True)):
        if not fits:
            continue
        given, labels = ask(network, images, MOST, turn.change)
        right = given.argmax(1) == labels
        share = float(right.double().mean())
        gains = share - float(before.double().mean()) >= GAIN and beyond_chance(right, before)
        if gains and (best is None or share > best[0]):
            best = share, turn
    if best is None:
        return None
    share, turn = best
    # what is prepared for the network is no picture in [0, 1] any more when it gets there
    bare = not (isinstance(network, Adapted) and len(network.before))
    there = f", or turn them in the file of --arch before the network ({turn.code})" if bare else ""
    return (
        f"Given pictures with {turn.words} it is right on {share:.0%} of {len(before)}, and on "
        f"{float(before.double().mean()):.0%} as they are: write yours so{there}."
    )
