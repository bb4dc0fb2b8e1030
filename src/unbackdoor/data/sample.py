"""``cifar10-sample``: 4,000 images of CIFAR-10's test set that travel with the package.

They are the first 400 of each class in the order of the test set, one lossless WebP sheet per
class, 20 images in a row. The first 250 of each class are the defender's, the other 150 are held
back. No network trained on CIFAR-10's training set has seen any of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unbackdoor.data.cifar import CLASSES
from unbackdoor.data.images import Images, Split
from unbackdoor.errors import ContentError

FOLDER = Path(__file__).parent / "cifar10-sample"
PER_CLASS, DEFENDER_SHARE, ACROSS, SIDE = 400, 250 / 400, 20, 32
SHA256 = "e485c06c46059640777fd6ba8cdaa4fde5bc9eea4d15f038820de3e0be30babf"


def read(folder: Path = FOLDER) -> Split:
    """Return the defender's 2,500 and the held-back 1,500 images.

    Raises:
        ContentError: the files are not the ones that were shipped.

    """
    sheets: list[torch.Tensor] = []
    for name in CLASSES:
        try:
            with Image.open(folder / f"{name}.webp") as sheet:
                tiles = np.array(sheet.convert("RGB")).reshape(-1, SIDE, ACROSS, SIDE, 3)
        except (OSError, ValueError) as error:
            raise ContentError(
                f"{folder}: the embedded sample is damaged ({error}); reinstall the package."
            ) from error
        sheets.append(torch.as_tensor(tiles).permute(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE))
    labels = torch.arange(len(CLASSES)).repeat_interleave(PER_CLASS)
    images = Images.of("cifar10-sample", CLASSES, torch.cat(sheets).contiguous(), labels)
    if images.sha256 != SHA256:
        raise ContentError(f"{folder}: the embedded sample is damaged; reinstall the package.")
    return Split(*images.divide(DEFENDER_SHARE))


def write(test: Images, folder: Path) -> None:
    """Write the sample's sheets from CIFAR-10's 10,000 test images."""
    for label, name in enumerate(CLASSES):
        picks = (test.targets == label).nonzero()[:PER_CLASS, 0]
        tiles = test.pixels[test.rows[picks]].reshape(-1, ACROSS, 3, SIDE, SIDE)
        sheet = tiles.permute(0, 3, 1, 4, 2).reshape(-1, ACROSS * SIDE, 3)
        Image.fromarray(sheet.contiguous().numpy()).save(
            folder / f"{name}.webp", lossless=True, quality=100, method=6
        )
