from __future__ import annotations

import pytest
import torch

from unbackdoor.rng import stream


def draw(*names: str | int | float) -> list[int]:
    return torch.randint(1 << 60, (4,), generator=stream(*names)).tolist()


def test_same_seed_and_names_give_the_same_draws_whatever_was_drawn_before() -> None:
    first = draw(0, "scan", 3, 0.9)
    torch.rand(100)
    draw(0, "other")
    assert draw(0, "scan", 3, 0.9) == first


@pytest.mark.stored
def test_draws_never_change_between_versions() -> None:
    assert stream(0, "scan", 3, 0.9).initial_seed() == 1721217210207783806


def test_seeds_names_types_and_boundaries_are_told_apart() -> None:
    streams = [
        draw(0),
        draw(1),
        draw(-1),
        draw(0, "a"),
        draw(0, "a", "b"),
        draw(0, "b", "a"),
        draw(0, "ab"),
        draw(0, 1),
        draw(0, "1"),
        draw(0, 1.0),
        draw(0, "a\x1fb"),
        draw(2**80),
    ]
    assert len({tuple(values) for values in streams}) == len(streams)


def test_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    draw(5, "x")
    assert torch.equal(torch.random.get_rng_state(), before)
