"""Where points, labels, panels and boxes go, and that pictures hold the right pixels."""

from __future__ import annotations

import base64
import io
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from report.synthetic import record, scan, stair
from unbackdoor.errors import ContentError
from unbackdoor.report.curves import Scale, curve_plot, spread, ticks
from unbackdoor.report.draws import Draws, choose, neighbours, principal_axes, read_draws
from unbackdoor.report.examples import pairs
from unbackdoor.report.pixels import Box, changed, crisp, data_uri, image, window
from unbackdoor.report.triggers import PANEL_WIDTH, Law, allowance, portraits
from unbackdoor.results import LogVolume, Rung, ScanResult


def decode(uri: str) -> np.ndarray:
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@settings(max_examples=20)
@given(size=st.integers(1, 16), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_png_holds_the_pixels(size: int, channels: int, seed: int) -> None:
    theta = np.random.default_rng(seed).integers(0, 256, (channels, size, size), dtype=np.uint8)
    shown = decode(data_uri(image(theta.tobytes(), (channels, size, size))))
    assert np.array_equal(
        shown,
        np.broadcast_to(theta.transpose(1, 2, 0), (size, size, channels)).repeat(3 // channels, 2),
    )


def test_other_numbers_of_channels_are_shown_grey() -> None:
    theta = np.array([[[0]], [[100]]], dtype=np.uint8)
    assert decode(data_uri(image(theta.tobytes(), (2, 1, 1)))).tolist() == [[[50, 50, 50]]]


def test_bytes_of_another_picture_are_refused() -> None:
    with pytest.raises(ContentError, match=r"expected 12 bytes.*came 15"):
        image(bytes(15), (3, 2, 2))


def test_scale_and_ticks() -> None:
    assert [Scale(0, 10, 100, 0)(value) for value in (0, 5, 10)] == [100, 50, 0]
    assert Scale(0.9, 0.9, 0, 100)(0.9) == 50
    assert ticks(-1.1, 0) == [-1.0, -0.8, -0.6, -0.4, -0.2, 0.0]


@given(st.floats(-1e4, -1e-2), st.floats(0, 1e3))
def test_ticks_lie_inside_and_are_few(low: float, high: float) -> None:
    places = ticks(low, high)
    assert 2 <= len(places) <= 7
    slack = 1e-6 * (high - low)
    assert all(low - slack <= place <= high + slack for place in places)


@given(st.lists(st.floats(0, 100), max_size=6))
def test_spread_keeps_order_and_distance(places: list[float]) -> None:
    moved = spread(places, 15, 0, 100)
    ranked = [moved[index] for index in np.argsort(places, kind="stable")]
    assert all(later - former >= 15 - 1e-9 for former, later in pairwise(ranked))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in moved)


def test_curve_goes_down_and_bounds_are_grouped() -> None:
    plot = curve_plot(scan().classes, 860, 430)
    assert plot is not None
    assert [tick.text for tick in plot.x_ticks] == ["0", "0.5", "0.8", "0.9"]
    heights = [mark.y for mark in plot.marks]
    assert heights == sorted(heights)
    assert len(plot.marks) == 3
    assert {name.text for name in plot.labels} == {"airplane"}
    # Every line begins where all patterns count; those without triggers end at the next level.
    assert sum(bound.count for bound in plot.bounds) == 9
    assert {bound.x for bound in plot.bounds} == {plot.x_ticks[1].place}
    start = f"{plot.x_ticks[0].place:g},{plot.y_ticks[-1].place:g}"
    assert sum(line.points.startswith(start) for line in plot.lines) == 10
    everything = [*plot.marks, *plot.bounds]
    assert all(plot.left <= mark.x <= plot.right for mark in everything)
    assert all(plot.top <= mark.y <= plot.bottom - 17 for mark in everything)


def test_line_to_a_bound_is_dashed() -> None:
    one = record(0, "cat", "backdoored", 0.99)
    one = msgspec.structs.replace(
        one,
        log_volume=[
            *one.log_volume[:2],
            LogVolume(beta=0.9, value=None, upper_bound=-5.0),
        ],
    )
    plot = curve_plot([one], 360, 380)
    assert plot is not None
    assert [line.dashed for line in plot.lines] == [False, False, True]
    assert [bound.status for bound in plot.bounds] == ["backdoored"]
    assert [name.text for name in plot.labels] == ["cat"]


def test_classes_that_were_not_measured_end_at_their_best_rate() -> None:
    found = record(0, "cat", "backdoored", 0.99)
    other = msgspec.structs.replace(
        record(1, "dog", "clean", 0.2),
        log_volume=[],
        ladder=[Rung(space="patch:3", asr=0.2), Rung(space="patch:6", asr=0.7)],
    )
    plot = curve_plot([msgspec.structs.replace(found, space="patch:3@1,1"), other], 860, 430)
    assert plot is not None
    assert [end.text for end in plot.ends] == ["dog: up to 20.0% by patch:3"]
    first, second = (tick.place for tick in plot.x_ticks[:2])
    assert plot.last_end == pytest.approx(first + (second - first) * 0.2 / 0.5, abs=0.1)


def test_nothing_to_draw() -> None:
    one = record(0, "cat", "clean", 0.0)
    empty = [LogVolume(beta=0.9, value=None, upper_bound=None)]
    assert curve_plot([msgspec.structs.replace(one, log_volume=empty)], 860, 430) is None
    assert curve_plot([], 860, 430) is None


def test_one_level_and_values_that_are_not_finite() -> None:
    one = record(0, "cat", "backdoored", 0.99, betas=(0.9,))
    endless = [LogVolume(beta=0.9, value=float("-inf"), upper_bound=-4.0)]
    plot = curve_plot([one, msgspec.structs.replace(one, log_volume=endless)], 860, 430)
    assert plot is not None
    assert len(plot.x_ticks) == 2


def test_hundred_found_classes_get_few_labels() -> None:
    classes = [record(index, f"class {index}", "backdoored", 0.9) for index in range(100)]
    plot = curve_plot(classes, 860, 430)
    assert plot is not None
    assert len(plot.labels) == 12
    assert all(plot.top <= name.y <= plot.bottom for name in plot.labels)


def test_principal_axes_find_the_direction() -> None:
    generator = np.random.default_rng(0)
    line = generator.normal(size=(200, 1)) * np.array([[0.6, 0.8, 0.0]]) * 40
    theta = np.clip(128 + line + generator.normal(size=(200, 3)), 0, 255).astype(np.uint8)
    axes = principal_axes(theta)
    assert axes.directions[0] == pytest.approx([0.6, 0.8, 0.0], abs=0.03)
    assert axes.directions @ axes.directions.T == pytest.approx(np.eye(2), abs=1e-9)
    assert 0.99 < axes.share <= 1
    assert axes.project(theta).mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 27), (5, 1), (2, 768)])
def test_principal_axes_of_hardly_anything(shape: tuple[int, int]) -> None:
    theta = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    axes = principal_axes(theta)
    assert axes.share == pytest.approx(1)
    assert np.isfinite(axes.project(theta)).all()


def test_valid_draws_are_chosen_first() -> None:
    values = np.array([0.1, 0.95, 0.4, 0.92, 0.6])
    draws = Draws(np.zeros((5, 1), dtype=np.uint8), values, values >= 0.9)
    assert choose(draws, 4).tolist() == [1, 3, 4, 2]
    assert choose(draws, 1).tolist() == [1]


def test_neighbours_separate_two_families() -> None:
    theta = np.array([[0, 0], [250, 250], [3, 1], [251, 249]], dtype=np.uint8)
    assert neighbours(theta).tolist() in ([0, 2, 3, 1], [0, 2, 1, 3], [1, 3, 2, 0], [3, 1, 2, 0])
    assert neighbours(theta[:1]).tolist() == [0]


def test_draws_that_do_not_fit_are_refused() -> None:
    one = stair(0.9, 27, 10, 0.5)
    assert read_draws(one, 27).theta.shape == (10, 27)
    with pytest.raises(ContentError, match="expected 26 bytes for each of 10 draws"):
        read_draws(one, 26)


def law_of(result: ScanResult) -> Law:
    (portrait,) = portraits(result, [result.classes[0]])
    assert portrait.law is not None
    return portrait.law


def test_panels_share_their_axes_and_hold_every_point() -> None:
    result = scan()
    law = law_of(result)
    assert [panel.beta for panel in law.panels] == ["0.5", "0.8", "0.9"]
    assert len({panel.height for panel in law.panels}) == 1
    assert len({panel.ring for panel in law.panels}) == 1
    assert law.panels[0].ring is not None
    for panel in law.panels:
        assert len(panel.dots) == 150
        assert all(0 <= dot.x <= PANEL_WIDTH - panel.point for dot in panel.dots)
        assert all(0 <= dot.y <= panel.height - panel.point for dot in panel.dots)
        assert [dot.valid for dot in panel.dots] == sorted(dot.valid for dot in panel.dots)
    assert len(law.gallery) == 60
    assert law.reaching == 60


def test_a_draw_that_is_the_planted_trigger_lies_in_the_ring() -> None:
    result = scan()
    planted = result.original
    assert planted is not None
    first = result.classes[0].stairs[0].draws[:27]
    planted = msgspec.structs.replace(planted, theta=first)
    panel = law_of(msgspec.structs.replace(result, original=planted)).panels[0]
    uri = data_uri(image(first, (3, 3, 3)))
    (dot,) = [dot for dot in panel.dots if dot.uri == uri]
    centre = dot.x + panel.point / 2, dot.y + panel.point / 2
    assert panel.ring == pytest.approx(centre, abs=0.11)


def test_planted_trigger_of_another_size_has_no_ring() -> None:
    result = scan()
    planted = result.original
    assert planted is not None
    other = msgspec.structs.replace(planted, theta=bytes(48))
    (portrait,) = portraits(msgspec.structs.replace(result, original=other), [result.classes[0]])
    assert portrait.planted is not None
    assert portrait.law is not None
    assert all(panel.ring is None for panel in portrait.law.panels)


def test_many_large_triggers_are_thinned() -> None:
    points, gallery = allowance(stairs=30, classes=10, dimensions=768)
    assert (points * 30 + gallery * 10) * ((768 + 90) * 4 / 3 + 110) <= 800_000


def test_changed_box_and_window() -> None:
    before = np.zeros((224, 300, 3), dtype=np.uint8)
    after = before.copy()
    after[10:13, 290:293] = 255
    box = changed(before, after)
    assert box == Box(290, 10, 3, 3)
    assert window(224, 300, box, 128) == Box(172, 0, 128, 128)
    assert window(32, 32, None, 128) == Box(0, 0, 32, 32)
    assert changed(before, before) is None


def test_pictures_are_enlarged_by_whole_numbers() -> None:
    assert all(crisp(side, 40) % side == 0 for side in range(1, 17))


def test_large_examples_are_cut_out_and_counted() -> None:
    shown = pairs(scan(shape=(3, 300, 224), examples=6))
    assert shown.cut
    assert 1 <= len(shown.shown) < shown.total == 6
    one = shown.shown[0]
    assert (one.columns, one.rows) == (128, 128)
    assert one.box is not None
    assert decode(one.clean).shape == (128, 128, 3)


def test_example_pixels_and_the_place_of_the_trigger() -> None:
    result = scan()
    one = pairs(result).shown[1]
    expected = np.frombuffer(result.examples[1].stamped, dtype=np.uint8).reshape(3, 32, 32)
    assert np.array_equal(decode(one.stamped), expected.transpose(1, 2, 0))
    assert one.box is not None
    assert one.box.width <= 3
    assert one.box.height <= 3
    assert (one.width, one.height, one.fooled) == (96, 96, True)
