"""The strip of reference networks fits a wide page and a narrow one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.report.strip import strips
from unbackdoor.verdict.bag import Standing

SCORES = st.lists(st.floats(-1.5, 2.5), min_size=1, max_size=60)


def test_without_reference_networks_there_is_none() -> None:
    assert strips(None) == {}
    assert strips(Standing(bag="b", score=0, clean=[], backdoored=[1.0], outside=[])) == {}


@given(score=st.floats(-1.5, 2.5), clean=SCORES, backdoored=SCORES)
def test_each_network_has_a_dot_within_the_figure(
    score: float, clean: list[float], backdoored: list[float]
) -> None:
    standing = Standing(
        bag="b", score=score, clean=sorted(clean), backdoored=sorted(backdoored), outside=[]
    )
    drawn = strips(standing)
    assert list(drawn) == ["wide", "narrow"]
    assert drawn["narrow"].width < drawn["wide"].width
    for strip in drawn.values():
        assert len(strip.clean) == len(clean)
        assert len(strip.backdoored) == len(backdoored)
        for dot in [*strip.clean, *strip.backdoored]:
            assert 0 <= dot.x <= strip.width
            assert 0 <= dot.y <= strip.height
        assert 0 <= strip.here <= strip.width
        just_clean, just_backdoored = (tick.place for tick in strip.ticks)
        assert just_clean < just_backdoored
        assert (strip.here > just_backdoored) == (score > 1)
