"""What triggers of each family look like, the ladder of spaces, and the map of places."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from report.families import SPACES, of_family
from report.synthetic import scan
from unbackdoor.report.ladder import ladder, rates, strongest
from unbackdoor.report.looks import drawer
from unbackdoor.report.page import page
from unbackdoor.report.pixels import difference, shrunk
from unbackdoor.report.places import place_map, starts
from unbackdoor.report.spaces import described, place_of, searched
from unbackdoor.report.triggers import picture
from unbackdoor.results import Place, Rung, SearchedSpace
from unbackdoor.triggers.filters import WIDEST


def test_no_shift_is_white_and_each_direction_has_its_colour() -> None:
    half, full, none = 128, 255, 0
    down, right = [half, full, none, half], [half, half, half, full]
    pixels = drawer("warp:2x2", (2, 2, 2)).pixels(bytes([*down, *right]))
    assert pixels[0, 0].min() > 250
    directions = {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()}
    assert len(directions) == 4
    assert pixels[1, 1].tolist()[0] == 255  # to the right is red


def test_a_wave_is_drawn_as_what_it_adds() -> None:
    cosine, none = 255, 128
    drawn = drawer("wave:16@0,2", (3, 1, 2)).pixels(bytes([cosine, none] * 3))
    assert drawn.shape == (32, 32, 3)
    assert (drawn == drawn[:1]).all()
    assert drawn[0, :, 0].astype(int)[[0, 8, 16, 24]].tolist() == pytest.approx(
        [255, 0, 255, 0], abs=2
    )
    assert drawer("wave:16", (3, 1, 2)).pixels(bytes([cosine, none] * 3)).shape == (1, 2, 3)
    result = of_family("patch:3@28,28")
    assert described(result, "wave:16@0,6").endswith(", here 6 across")
    assert described(result, "wave:16@6,-5").endswith(
        ", here 6 down and 5 across, rising the other way"
    )


def test_arrows_lead_where_a_pixel_is_taken_from() -> None:
    details = drawer("warp:2x2", (2, 2, 2)).details(bytes([255] * 4 + [0] * 4))
    first = details.arrows[0]
    assert (first.x, first.y, first.to_x, first.to_y) == (0.5, 0.5, -0.5, 1.5)
    assert details.grid == (2, 2)


def test_a_mask_keeps_to_its_budget() -> None:
    mask, white = [255, 0, 0, 0], [255] * 12
    drawn = drawer("mask:50", (4, 2, 2)).pixels(bytes(mask + white))
    assert drawn[0, 0].tolist() == [255] * 3
    assert drawn[1, 1].tolist() == [205] * 3
    layers = drawer("mask:5", (4, 2, 2)).details(bytes(mask + white)).layers
    assert layers[0][1][0, 0].tolist() == [51] * 3  # a quarter weakened to a twentieth


def test_coefficients_of_a_filter() -> None:
    grey = 127.5
    theta = np.full((3, 1, 5), grey)
    theta[0, 0, 0], theta[2, 0, 3], theta[1, 0, 4] = 255, 0, 255
    details = drawer("filter:20", (3, 1, 5)).details(theta.round().astype(np.uint8).tobytes())
    assert details.coefficients is not None
    assert details.coefficients.columns == ["× red", "× green", "× blue", "+", "γ"]
    red, green, blue = (numbers for _, numbers in details.coefficients.rows)
    assert red == ["1.20", "0.00", "0.00", "0.00", "1.00"]
    assert green[4] == "1.22"
    assert blue[3] == "−0.20"


def test_a_filter_of_limited_change_is_drawn_with_its_coefficients() -> None:
    theta = bytes([255] + [128] * 14)
    drawn = drawer("filter:34rms", (3, 1, 5))
    details = drawn.details(theta)
    assert details.coefficients is not None
    assert details.coefficients.rows[0][1][0] == f"{1 + WIDEST / 100:.2f}"
    assert "differ by at most 34 of 255" in drawn.look.caption


@pytest.mark.parametrize(
    "space", ["warp:2x4", "filter:25", "filter:9rms", "cake", "", "warp", "@", ":"]
)
def test_values_that_do_not_fit_their_family_are_drawn_as_they_are(space: str) -> None:
    drawn = drawer(space, (3, 2, 2)).pixels(bytes(range(12)))
    assert drawn.tolist() == np.arange(12).reshape(3, 2, 2).transpose(1, 2, 0).tolist()


def test_places_and_descriptions() -> None:
    result = of_family("patch:3@28,28")
    assert described(result, "patch:6") == "square patch of 6×6 pixels"
    assert described(result, "patch:6@1,2") == "square patch of 6×6 pixels at row 1, column 2"
    assert described(result, "warp:8x8") == "elastic warp (warp:8x8)"
    assert described(result, "cake:3\n") == "cake:3"
    assert [place_of(one) for one in ("patch:3@1,2,3", "patch:3@x", "@1,2", "")] == [
        None, None, (1, 2), None
    ]  # fmt: skip
    exact = [SearchedSpace(name="patch:3@1,2", description="square patch of 3×3 at 1, 2")]
    assert described(msgspec.structs.replace(result, spaces=exact), "patch:3@1,2").endswith("1, 2")


def test_what_was_searched_ends_with_one_full_stop() -> None:
    result = msgspec.structs.replace(scan(), searched="patches.", not_searched="warps")
    assert searched(result) == "Searched: patches. Not searched: warps."


def test_a_class_that_is_found_by_its_lead_is_marked_as_found() -> None:
    """Its rate alone would not do, so the table says by how much it leads."""
    result = of_family("filter:7")
    (first, *others) = result.classes
    rungs = [
        msgspec.structs.replace(rung, asr=0.89, firm=0.88 if rung.space == "filter:7" else 0.1)
        for rung in first.ladder
    ]
    if not any(rung.space == "filter:7" for rung in rungs):
        rungs.append(Rung(space="filter:7", asr=0.89, firm=0.88))
    space = SearchedSpace(
        name="filter:7", description="colour filter", clean=0.7, backdoored=1.0, firm=0.85
    )
    spaces = [one for one in result.spaces if one.name != "filter:7"] + [space]
    classes = [msgspec.structs.replace(first, ladder=rungs), *others]
    shown = ladder(msgspec.structs.replace(result, classes=classes, spaces=spaces))
    assert shown
    (row,) = [row for row in shown.rows if row.name == "filter:7"]
    assert row.rates[0] == "89.0 %, 88.0 % by a clear lead"
    (step,) = [step for step in shown.plots[0].steps if step.name == "filter:7"]
    assert step.tone == "backdoored"
    older = msgspec.structs.replace(space, firm=None)
    before = msgspec.structs.replace(result, classes=classes, spaces=[*spaces[:-1], older])
    again = ladder(before)
    assert again
    (step,) = [step for step in again.plots[0].steps if step.name == "filter:7"]
    assert step.tone == "clean"


def test_the_ladder_has_every_space_once_whatever_the_place() -> None:
    result = of_family("patch:3@28,28")
    shown = ladder(result)
    assert shown is not None
    assert [row.name for row in shown.rows] == [*(one.name for one in result.spaces), "patch:3"]
    assert shown.heads == ["airplane"]
    assert (shown.rows[-1].rates, shown.rows[-1].other) == (["97.0 %"], "–")
    last = shown.plots[0].steps[-1]
    assert (last.written, last.tone, last.high) == ("97.0 %", "backdoored", None)
    for plot in shown.plots:
        (mark,) = plot.steps[-1].marks
        assert plot.limit.x < mark < plot.right
    rungs = [Rung(space="patch:3@0,0", asr=0.2), Rung(space="patch:3@9,9", asr=0.4)]
    assert rates(msgspec.structs.replace(result.classes[0], ladder=rungs)) == {"patch:3": 0.4}


def test_the_strongest_of_each_space_when_clean() -> None:
    result = of_family("warp:2x4", "clean")
    shown = ladder(result)
    assert shown is not None
    assert shown.heads == []
    assert strongest(result)["warp:2x4"] == (0, 0.24)
    (row,) = [row for row in shown.rows if row.name == "warp:2x4"]
    assert (row.other, row.other_rate) == ("airplane", "24.0 %")
    assert ladder(scan()) is None


def test_what_counts_is_shown_for_each_space() -> None:
    result = of_family("warp:2x4")
    rules = {
        "mask": {"counts": False},
        "filter": {"clean": 0.7, "backdoored": 0.9},
        "warp": {"clean": 0.5},
    }
    spaces = [
        msgspec.structs.replace(one, **rules.get(one.name.partition(":")[0], {}))
        for one in result.spaces
    ]
    result = msgspec.structs.replace(result, spaces=spaces)
    shown = ladder(result)
    assert shown is not None
    assert shown.muted
    for row in shown.rows:
        if row.name.startswith("mask"):
            assert (row.note, row.clean) == ("too strong to count", "–")
        else:
            clean = {"filter": "70 %", "warp": "50 %"}.get(row.name.partition(":")[0], "30 %")
            assert (row.note, row.clean) == ("", clean)
    for plot in shown.plots:
        assert plot.limit.steps
        assert len({point.split(",")[0] for point in plot.limit.points.split()}) == 2
        for step in plot.steps:
            muted = step.name.startswith("mask")
            assert (step.clean is None, step.tone == "muted") == (muted, muted)
    assert "mask:2" in shown.text
    assert shown.text.count("(too strong to count)") == 1
    text = page(result)
    assert "clean up to 30" not in text
    assert text.count("too strong to count</text>") == 2
    plain = ladder(of_family("warp:2x4"))
    assert plain is not None
    assert not plain.muted
    assert not plain.plots[0].limit.steps


def test_too_many_spaces_are_cut_and_counted() -> None:
    result = of_family("warp:2x4", "clean")
    rungs = [Rung(space=f"blend:{number}", asr=0.1) for number in range(40)]
    classes = [msgspec.structs.replace(record, ladder=rungs) for record in result.classes]
    shown = ladder(msgspec.structs.replace(result, classes=classes))
    assert shown is not None
    assert (len(shown.rows), shown.unshown) == (30, 10)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 32)])
def test_each_place_of_one_size_has_a_cell_and_cells_fill_the_picture(
    shape: tuple[int, int, int],
) -> None:
    result = of_family("warp:2x4", "clean", shape=shape)
    shown = place_map(result)
    assert shown is not None
    counts = Counter(f"{place.size}×{place.size}" for place in result.places)
    assert len(counts) > 1
    assert len(shown.cells) == shown.tried == counts[shown.size]
    assert len({(cell.width, cell.height) for cell in shown.cells}) == 1
    assert len({(cell.x, cell.y) for cell in shown.cells}) == len(shown.cells)
    area = sum(cell.width * cell.height for cell in shown.cells)
    assert area == pytest.approx(shown.width * shown.height, rel=1e-3)
    assert max(shown.width, shown.height) == 440
    assert shown.spot is None


def test_a_place_between_two_cells_counts_for_the_nearer_one() -> None:
    result = of_family("patch:3@28,28")
    coarse = [one for one in result.places if one.size == 6]
    finer = [Place(row=row, column=26, size=6, target=0, rate=1.0) for row in (20, 24)]
    shown = place_map(msgspec.structs.replace(result, places=[*coarse, *finer]))
    assert shown is not None
    assert len(shown.cells) == len(coarse) == shown.tried - len(finer)
    highest = [cell for cell in shown.cells if cell.text == "100"]
    assert all(cell.own for cell in highest)
    assert {cell.x for cell in highest} == {max(cell.x for cell in shown.cells)}
    assert shown.spot == (385.0, 385.0, 41.25)
    assert "row 20, column 26: 100.0 % towards airplane" in shown.text


def test_the_map_is_of_the_size_that_rose_most_and_was_tried_everywhere() -> None:
    result = of_family("patch:3@28,28")

    def size(tried: list[Place]) -> str:
        shown = place_map(msgspec.structs.replace(result, places=tried))
        assert shown is not None
        return shown.size

    grids = {
        side: [
            Place(row=row, column=column, size=side, target=0, rate=0.1)
            for row in (0, 10, 20)
            for column in (0, 10, 20)
        ]
        for side in (6, 8)
    }
    assert size([*grids[6], *grids[8]]) == "8×8"
    high = [Place(row=5, column=5, size=6, target=0, rate=0.9)]
    assert size([*grids[6], *grids[8], *high]) == "6×6"
    few = [Place(row=5, column=5, size=3, target=0, rate=1.0)]
    assert size([*grids[6], *grids[8], *high, *few]) == "6×6"


def test_no_map_without_places_and_few_cells_for_many_places() -> None:
    assert place_map(scan()) is None
    assert len(starts([(start, 0) for start in range(200)])) == 16
    assert starts([(0, 0)]) == [0]


@pytest.mark.parametrize("space", SPACES)
def test_the_same_scan_makes_the_same_pictures(space: str) -> None:
    first = of_family(space, "clean").classes[0]
    draw = drawer(first.space, first.trigger_shape)
    one, other = (picture(draw.pixels(first.best), 96, "x") for _ in range(2))
    assert one == other
    assert max(one.width, one.height) <= 144


def test_pictures_that_are_too_large_are_shrunk() -> None:
    assert shrunk(np.zeros((64, 32, 3), dtype=np.uint8), 45).shape == (45, 22, 3)
    assert shrunk(np.zeros((1, 4000, 3), dtype=np.uint8), 45).shape == (1, 45, 3)


def test_differences_lie_around_grey() -> None:
    before, after = np.full((1, 3, 1), 100, np.uint8), np.array([[[100], [104], [0]]], np.uint8)
    assert difference(before, after, 16).ravel().tolist() == [128, 192, 0]
