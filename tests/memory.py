"""How much memory the screening takes: ``python tests/memory.py --classes 100 --side 224``.

It screens a network of so many classes with random weights for a few steps, with as many triggers
and images at each step as a scan, and prints the largest resident size of this process in MiB.
"""

from __future__ import annotations

import argparse
import resource

import torch

from unbackdoor.data import Images
from unbackdoor.detectors.screening import Screener
from unbackdoor.detectors.settings import ScreeningSettings
from unbackdoor.models import build, freeze
from unbackdoor.rng import stream
from unbackdoor.runtime import cpu
from unbackdoor.triggers.registry import parse_space


def peak(arch: str, classes: int, side: int, steps: int, each: int) -> float:
    """Screen, and return the largest resident size in MiB."""
    draw = stream(0, "memory")
    count = max(each, 2) * classes
    pixels = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=draw)
    names = tuple(f"class {index}" for index in range(classes))
    images = Images.of("noise", names, pixels, torch.arange(count) % classes)
    screen = Screener(
        model=freeze(build(arch, classes), half=False),
        images=images,
        space=parse_space("patch:3"),
        temperature=1.0,
        settings=ScreeningSettings(steps=steps, images_to_judge=8),
        generator=draw,
    )
    found = screen()
    assert found.theta.shape[0] == classes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="timm:resnet18")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--images", type=int, default=4, help="of each class")
    options = parser.parse_args()
    cpu.prepare()
    size = peak(options.arch, options.classes, options.side, options.steps, options.images)
    what = f"{options.arch}, {options.classes} classes, {options.side}×{options.side} pixels"
    print(f"{what}: {size:.0f} MiB")
