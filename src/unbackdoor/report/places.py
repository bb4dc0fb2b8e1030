"""The map of places: how far patches rose in the search, wherever they were tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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
    """One place of the grid: the rectangle that stands for it, and what it says.

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
        size: of the patches, in words.
        tried: at how many places they were tried.
        text: the map in words.

    """

    width: float
    height: float
    cells: list[Cell]
    spot: tuple[float, float, float] | None
    about: str
    size: str
    tried: int
    text: str


def place_map(scan: ScanResult) -> PlaceMap | None:
    """Return the map of a scan for its best class, None where no places were tried.

    Patches of one size are shown: of those tried all over the picture the one that rose most
    towards that class, of equal ones the largest. All cells are equal, so that none hides another.
    """
    if not scan.places or not scan.classes:
        return None
    record = by_success(scan.classes)[0]
    about = class_name(scan, record.index)
    size = _size(scan.places, record.index)
    places = [place for place in scan.places if place.size == size]
    _, height, width = scan.image_shape
    unit = SIDE / max(height, width)
    rows = starts([(place.row, place.column) for place in places])
    columns = starts([(place.column, place.row) for place in places])
    across, down = unit * width / len(columns), unit * height / len(rows)
    best: dict[tuple[int, int], Place] = {}
    for place in places:
        at = nearest(place.row, rows), nearest(place.column, columns)
        # With equal rates the class that the map is about comes first.
        if at not in best or _rank(place, record.index) > _rank(best[at], record.index):
            best[at] = place
    cells = [
        Cell(
            x=round(across * column, 2),
            y=round(down * row, 2),
            width=round(across, 2),
            height=round(down, 2),
            text=f"{100 * place.rate:.0f}",
            share=place.rate,
            own=place.target == record.index,
            hint=_in_words(scan, place),
        )
        for (row, column), place in sorted(best.items())
    ]
    highest = sorted(places, key=lambda place: -place.rate)[:TOLD]
    return PlaceMap(
        width=round(unit * width, 2),
        height=round(unit * height, 2),
        cells=sorted(cells, key=lambda cell: cell.own),
        spot=_spot(record.space, unit, (height, width)),
        about=about,
        size=f"{size}×{size}",
        tried=len(places),
        text=(
            f"Map of {len(places)} places where patches were tried. The highest: "
            f"{listed([_in_words(scan, place) for place in highest])}."
        ),
    )


def starts(places: Sequence[tuple[int, int]]) -> list[int]:
    """Return the rows, or the columns, of the grid of places that a search begins with.

    Where a patch rose, the search also tries places between them; on those lines few were tried.

    Args:
        places: where each patch starts along the one side and along the other.

    Example:
        >>> starts([(0, 0), (0, 7), (7, 0), (7, 7), (6, 7)])
        [0, 7]

    """
    tried: dict[int, set[int]] = {}
    for start, other in places:
        tried.setdefault(start, set()).add(other)
    most = max(map(len, tried.values()))
    grid = sorted(start for start, others in tried.items() if len(others) > most / 2)
    if len(grid) <= MOST:
        return grid
    return [grid[round(step * (len(grid) - 1) / (MOST - 1))] for step in range(MOST)]


def nearest(start: int, grid: Sequence[int]) -> int:
    """Return which line of a grid is nearest; the former of two.

    Example:
        >>> nearest(6, [0, 7, 14])
        1

    """
    return min(range(len(grid)), key=lambda index: abs(grid[index] - start))


def _size(places: Sequence[Place], index: int) -> int:
    counts = Counter(place.size for place in places)
    everywhere = [size for size in counts if 4 * counts[size] >= max(counts.values())]
    rates = {
        size: max(one.rate * (one.target == index) for one in places if one.size == size)
        for size in everywhere
    }
    return max(everywhere, key=lambda size: (rates[size], size))


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
