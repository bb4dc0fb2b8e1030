"""The memory of all pictures is limited, with those that are kept as deep as they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_user_files import everything

from unbackdoor.data import Images, parquet, room
from unbackdoor.errors import ContentError

SIDE = 8
SMALL = 6 * SIDE * SIDE * 3
"""Bytes of six pictures with 8 bits."""


def pictures(root: Path, kind: str) -> Path:
    values = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 257
    for at in range(6):
        (root / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
        path = root / "ab"[at % 2] / f"{at}.tif"
        if kind == "mixed" and at < 5:
            Image.fromarray((values >> 8).astype(np.uint8)).save(path)
        elif kind == "float":
            Image.fromarray((values / 65535).astype(np.float32)).save(path)
        else:
            Image.fromarray(values.astype(np.uint16)).save(path)
    return root


BYTES = {"float": 6 * 4, "sixteen": 6 * 2, "mixed": 2}


@pytest.mark.parametrize("kind", BYTES)
def test_deep_pictures_count_with_their_size(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "set", kind)
    deep = BYTES[kind] * SIDE * SIDE
    monkeypatch.setattr(room, "MOST_KEPT", SMALL + deep)
    assert len(everything(folder)) == 6
    monkeypatch.setattr(room, "MOST_KEPT", SMALL + deep - 1)
    with pytest.raises(ContentError, match=r"GiB of memory; .* or write them with 8 bits"):
        everything(folder)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_so_do_deep_arrays(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {1: np.uint8, 2: np.uint16, 8: np.float64}[size]
    np.savez(tmp_path / "a.npz", x=np.full((6, SIDE, SIDE), 1, kind), y=[0, 1] * 3)
    deep = 6 * SIDE * SIDE * size if size > 1 else 0
    monkeypatch.setattr(room, "MOST_KEPT", SMALL + deep)
    assert len(everything(tmp_path / "a.npz")) == 6
    monkeypatch.setattr(room, "MOST_KEPT", SMALL + deep - 1)
    says = r"enough\), or write them with 8 bits\." if deep else r"are enough\)\."
    with pytest.raises(ContentError, match=says):
        everything(tmp_path / "a.npz")


def test_encoded_pictures_of_a_table_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    content = [path.read_bytes() for path in sorted(pictures(tmp_path, "mixed").rglob("*.tif"))]
    table = arrow.table({"image": content, "label": [0, 1] * 3})
    arrow.parquet.write_table(table, tmp_path / "s.parquet")
    monkeypatch.setattr(parquet, "MOST_KEPT", sum(map(len, content)))
    assert len(everything(tmp_path / "s.parquet")) == 6
    monkeypatch.setattr(parquet, "MOST_KEPT", sum(map(len, content)) - 1)
    with pytest.raises(ContentError, match="of pictures; take fewer"):
        everything(tmp_path / "s.parquet")


def test_pictures_are_not_scaled_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.zeros(6, 3, SIDE, SIDE, dtype=torch.uint8)
    images = Images.of("toy", ("a",), pixels, torch.zeros(6).long())
    monkeypatch.setattr(room, "MOST_KEPT", 4 * SMALL)
    assert images.resized(2 * SIDE).shape == (3, 2 * SIDE, 2 * SIDE)
    with pytest.raises(ContentError, match="6 pictures of 17×17 pixels from toy take"):
        images.resized(2 * SIDE + 1)
