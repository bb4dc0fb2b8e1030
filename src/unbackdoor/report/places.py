"""The map of places: how far patches rose in the search, wherever they were tried."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from unbackdoor.errors import printable
from unbackdoor.report.spaces import amount, family, place_of
from unbackdoor.report.words import by_success, class_name, listed, percent
from unbackdoor.results import Place, ScanResult

SIDE = 440.0
"""Units of the view box along the longer side of the picture."""
MOST = 16
"""Cells along a side; more would leave no room for numbers."""
TOLD = 3
"""Places that are told in words."""


@dataclass(frozen=True)
class Cell:
    """One place: the rectangle that stands for it, and what it says.

    Args:
        x, y, width, height: of the rectangle.
        text: the rate in per cent, without its sign.
        share: the rate.
        own: whether it rose most towards the class that the map is about.
        hint: the place in words.

    """

    x: float
    y: float
    width: float
    height: float
    text: str
    share: float
    own: bool
    hint: str


@dataclass(frozen=True, kw_only=True)
class PlaceMap:
    """The whole figure, in units of its view box.

    Args:
        width, height: of the picture.
        cells: those of the class that the map is about last.
        spot: x, y and side of the patch that was found, where it has one place.
        about: the class that the map is about.
        sizes: of the patches that were tried, in words.
        tried: how many places there were.
        text: the map in words.

    """

    width: float
    height: float
    cells: list[Cell]
    spot: tuple[float, float, float] | None
    about: str
    sizes: str
    tried: int
    text: str


def place_map(scan: ScanResult) -> PlaceMap | None:
    """Return the map of a scan for its best class, None where no places were tried."""
    if not scan.places or not scan.classes:
        return None
    record = by_success(scan.classes)[0]
    about = class_name(scan, record.index)
    _, height, width = scan.image_shape
    unit = SIDE / max(height, width)
    rows = edges([(place.row, place.size) for place in scan.places], height)
    columns = edges([(place.column, place.size) for place in scan.places], width)
    best: dict[tuple[int, int], Place] = {}
    for place in scan.places:
        at = (
            bisect_right(rows, place.row + place.size / 2) - 1,
            bisect_right(columns, place.column + place.size / 2) - 1,
        )
        # With equal rates the class that the map is about comes first.
        if at not in best or _rank(place, record.index) > _rank(best[at], record.index):
            best[at] = place
    cells = [
        Cell(
            x=round(unit * columns[column], 2),
            y=round(unit * rows[row], 2),
            width=round(unit * (columns[column + 1] - columns[column]), 2),
            height=round(unit * (rows[row + 1] - rows[row]), 2),
            text=f"{100 * place.rate:.0f}",
            share=place.rate,
            own=place.target == record.index,
            hint=_in_words(scan, place),
        )
        for (row, column), place in sorted(best.items())
    ]
    highest = sorted(scan.places, key=lambda place: -place.rate)[:TOLD]
    sizes = sorted({place.size for place in scan.places})
    return PlaceMap(
        width=round(unit * width, 2),
        height=round(unit * height, 2),
        cells=sorted(cells, key=lambda cell: cell.own),
        spot=_spot(record.space, unit, (height, width)),
        about=about,
        sizes=listed([f"{size}×{size}" for size in sizes]),
        tried=len(scan.places),
        text=(
            f"Map of {len(scan.places)} places where patches were tried. The highest: "
            f"{listed([_in_words(scan, place) for place in highest])}."
        ),
    )


def edges(places: Sequence[tuple[int, int]], room: int) -> list[float]:
    """Return where the cells begin and end along one side of the picture.

    Each start has a cell of its own, up to half-way to the next. Those nearer to each other than
    half the widest gap share one, and where there are too many all cells are equally wide.

    Args:
        places: start and size of each patch.
        room: pixels along the side.

    Example:
        >>> edges([(0, 4), (4, 4), (8, 4), (9, 4)], 12)
        [0.0, 4.0, 8.25, 12.0]

    """
    middles = sorted({start + size / 2 for start, size in places})
    near = max((later - former for former, later in pairwise(middles)), default=0.0) / 2
    groups: list[list[float]] = []
    for middle in middles:
        if groups and middle - groups[-1][0] < near:
            groups[-1].append(middle)
        else:
            groups.append([middle])
    if len(groups) > MOST:
        return [room * number / MOST for number in range(MOST)] + [float(room)]
    centres = [fmean(group) for group in groups]
    return [0.0, *((one + other) / 2 for one, other in pairwise(centres)), float(room)]


def _rank(place: Place, index: int) -> tuple[float, bool]:
    return place.rate, place.target == index


def _in_words(scan: ScanResult, place: Place) -> str:
    name = printable(class_name(scan, place.target))
    return f"row {place.row}, column {place.column}: {percent(place.rate)} towards {name}"


def _spot(space: str, unit: float, picture: tuple[int, int]) -> tuple[float, float, float] | None:
    """Return the square of a patch at a fixed place, None where it does not lie in the picture."""
    place, size = place_of(space), amount(space)
    if family(space) != "patch" or place is None or size is None:
        return None
    if max(place[0] + size - picture[0], place[1] + size - picture[1]) > 0:
        return None
    return round(unit * place[1], 2), round(unit * place[0], 2), round(unit * size, 2)
