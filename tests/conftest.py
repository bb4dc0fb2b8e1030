from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WritePictures = Callable[..., Path]


@pytest.fixture
def write_pictures() -> WritePictures:
    """Write a folder of noisy pictures, each class around its own brightness."""

    def write(
        folder: Path, *, classes: dict[str, int], count: int, side: int = 8, seed: int = 0
    ) -> Path:
        draw = np.random.default_rng(seed)
        for name, level in classes.items():
            (folder / name).mkdir(parents=True)
            for index in range(count):
                noise = draw.integers(-20, 21, (side, side, 3))
                picture = np.clip(level + noise, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(folder / name / f"{index:03}.png")
        return folder

    return write
