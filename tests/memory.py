"""How much memory the search takes: ``python tests/memory.py --classes 100 --side 224``.

It plays a round of the bandit on a network of so many classes with random weights, with as many
images at each step as a scan, and prints the largest resident size of this process in MiB.
"""

from __future__ import annotations

import argparse
import resource

import torch

from unbackdoor.data import Images
from unbackdoor.detectors.arms import Bandit, choices
from unbackdoor.detectors.settings import BANDIT
from unbackdoor.models import build, freeze
from unbackdoor.rng import stream
from unbackdoor.runtime import cpu
from unbackdoor.triggers.registry import parse_spaces


def peak(arch: str, classes: int, side: int, places: int, each: int) -> float:
    """Search, and return the largest resident size in MiB."""
    draw = stream(0, "memory")
    count = max(each, 2) * classes
    pixels = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=draw)
    names = tuple(f"class {index}" for index in range(classes))
    images = Images.of("noise", names, pixels, torch.arange(count) % classes)
    space = parse_spaces("patch", images.shape)[0]
    bandit = Bandit(
        model=freeze(build(arch, classes), half=False),
        images=images,
        space=space,
        temperature=1.0,
        generator=draw,
    )
    choice = choices(space, images.shape, 1)[0][:places]
    targets = torch.arange(classes).repeat_interleave(len(choice))
    arms = bandit.start(targets, choice.repeat(classes, 1))
    played = bandit.play(arms, BANDIT.rounds[0])
    bandit.success(played, BANDIT.judge)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="timm:resnet18")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--places", type=int, default=1, help="of patches, for each class")
    parser.add_argument("--images", type=int, default=4, help="of each class")
    options = parser.parse_args()
    cpu.prepare()
    size = peak(options.arch, options.classes, options.side, options.places, options.images)
    what = f"{options.arch}, {options.classes} classes, {options.side}×{options.side} pixels"
    print(f"{what}: {size:.0f} MiB")
