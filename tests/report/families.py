"""Results of scans of many spaces, each with a trigger of another family; made by the spaces."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import torch

from report.synthetic import NAMES, example, scan, stair
from unbackdoor.results import (
    ClassRecord,
    Example,
    Place,
    Rung,
    ScanResult,
    SearchedSpace,
    StairRecord,
    Verdict,
)
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.registry import FAMILIES, parse_space, parse_spaces
from unbackdoor.triggers.values import from_bytes, to_bytes

SPACES = (
    "patch:3@28,28",
    "mask:3",
    "additive:4",
    "additive:16x16",
    "blend:15x16",
    "warp:2x4",
    "filter:25",
    "dynamic:8",
)
Law = Literal["stairs", "no density", "none"]
NOT_SEARCHED = "triggers of several parts that work only together"


def best(space: Space, shape: Shape) -> bytes:
    """A smooth wave in all of θ, with noise; its first channel, a mask, is one small blob."""
    n = space.dimensions(shape)
    pictured = space.picture(torch.zeros(1, n), shape)[0]
    channels, height, width = pictured.shape
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [
        torch.sin(0.7 * across + channel) + torch.cos(0.5 * down) for channel in range(channels)
    ]
    theta = 0.5 + 0.2 * torch.stack(waves)
    theta += 0.15 * torch.randn(theta.shape, generator=stream(0, space.name))
    if space.name.startswith("mask"):
        theta[0] = torch.exp(-((down - 0.8 * height) ** 2 + (across - 0.7 * width) ** 2) / 16)
    return to_bytes(theta.clamp(0, 1).reshape(-1))


def examples(space: Space, theta: bytes, shape: Shape, count: int) -> list[Example]:
    values = from_bytes(theta, space.dimensions(shape))
    made: list[Example] = []
    for seed in range(count):
        plain = example(shape, 1, 1 + seed % 9, seed)
        image = from_bytes(plain.image, int(np.prod(shape))).reshape(1, *shape)
        arms = space.draw_arms(1, shape, stream(seed, "arms"))
        stamped = to_bytes(space.apply(image, values, arms))
        made.append(msgspec.structs.replace(plain, stamped=stamped))
    return made


def places(shape: Shape, target: int, peak: float) -> list[Place]:
    """Rates that fall with the distance from one place, at those where a search begins."""
    rates = np.random.default_rng(0)
    made: list[Place] = []
    for patch in FAMILIES["patch"].ladder(shape):
        size = int(patch.name.partition(":")[2].partition("x")[0])
        arms = patch.coarse_arms(shape).tolist()
        last = max(row for row, _ in arms)
        for row, column in arms:
            gain = np.exp(-((row - last) ** 2 + (column - last) ** 2) / (0.2 * shape[1]) ** 2)
            made.append(
                Place(
                    row=row,
                    column=column,
                    size=size,
                    target=target if gain > 0.3 else (row + column) % 10,
                    rate=float(np.clip(peak * gain + 0.12 * rates.random(), 0, 1)),
                )
            )
    return made


def of_family(
    name: str,
    verdict: Verdict = "backdoored",
    *,
    law: Law = "stairs",
    shape: Shape = (3, 32, 32),
    count: int = 60,
) -> ScanResult:
    """A scan of all spaces; the best trigger of the first class is one of ``name``."""
    space, every = parse_space(name), parse_spaces("auto", shape)
    plain = scan(verdict, shape=shape, count=2, original=False)
    status = {"backdoored": "backdoored", "clean": "clean", "inconclusive": "suspicious"}[verdict]
    top = {"backdoored": 0.97, "clean": 0.24, "inconclusive": 0.55}[verdict]
    classes: list[ClassRecord] = []
    for index, word in enumerate(NAMES):
        own = space if index == 0 else every[index % len(every)]
        theta = best(own, shape)
        ladder = [
            Rung(space=rung.name, asr=round(0.02 + 0.17 * ((3 * index + 5 * step) % 7) / 7, 3))
            for step, rung in enumerate(every)
        ]
        if index == 0:
            ladder = [
                Rung(space=name, asr=top) if rung.space == name.partition("@")[0] else rung
                for rung in ladder
            ]
            if name not in {rung.space for rung in ladder}:
                ladder.append(Rung(space=name, asr=top))
        classes.append(
            ClassRecord(
                index=index,
                name=word,
                status=status if index == 0 else "clean",
                asr=top if index == 0 else max(rung.asr for rung in ladder),
                best=theta,
                log_volume=[],
                stairs=_stairs(theta, law, count) if index == 0 and verdict != "clean" else [],
                space=own.name,
                trigger_shape=[*own.picture(torch.zeros(1, len(theta)), shape).shape[1:]],
                ladder=ladder,
                sources=[0.9 + 0.01 * source for source in range(10)] if index == 0 else [],
            )
        )
    return msgspec.structs.replace(
        plain,
        space="auto",
        spaces=[SearchedSpace(name=one.name, description=one.description) for one in every],
        searched="patches at every place, masked patterns, added and blended pictures, elastic "
        "warps, colour filters and changes that depend on the picture",
        not_searched=NOT_SEARCHED,
        places=places(shape, 0, top),
        classes=classes,
        reason=plain.reason.replace("patch:3", "all spaces"),
        examples=examples(space, classes[0].best, shape, 8) if verdict == "backdoored" else [],
    )


def _stairs(theta: bytes, law: Law, count: int) -> list[StairRecord]:
    if law == "none" or len(theta) > 768:
        return []
    if law == "stairs" and len(theta) <= 192:
        return [stair(beta, len(theta), count, 0.7) for beta in (0.5, 0.9)]
    draws = np.frombuffer(theta, dtype=np.uint8).astype(int)
    noise = np.random.default_rng(0).integers(-30, 30, (count, len(theta)))
    return [
        StairRecord(
            beta=0.9,
            gamma=1.0,
            draws=np.clip(draws + noise, 0, 255).astype(np.uint8).tobytes(),
            log_q=[],
            values=np.linspace(0.8, 1, count).tolist(),
            valid_fraction=0.5,
            entropy_bound=None,
            log_volume=None,
            effective_sample_size=0.0,
        )
    ]
