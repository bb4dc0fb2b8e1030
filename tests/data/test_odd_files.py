"""Files that are something else than their names say, and pictures of several ranges."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbackdoor import data
from unbackdoor.errors import ContentError


def test_an_archive_without_arrays_says_how_they_are_saved(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("a/0.png", b"")
    with pytest.raises(ContentError, match=r"came none; save them with np\.savez\(FILE, x=pi"):
        data.load(str(tmp_path / "set.npz"))


@pytest.mark.parametrize("text", ["About these pictures.", "", "1 001.Albatross/0.jpg", "\x00\xff"])
def test_a_text_that_names_no_pictures_is_of_no_kind_that_is_read(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "README.txt").write_text(text)
    with pytest.raises(ContentError, match=r"a kind that is not read \(\.txt\)"):
        data.load(str(tmp_path / "README.txt"))


@pytest.mark.parametrize(("most", "others"), [(1.0, 255.0), (0.5, 200.0), (1.1, 255.0)])
def test_floats_up_to_one_beside_others_are_not_read_as_black(
    most: float, others: float, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    for at in range(6):
        (tmp_path / "ab"[at % 2]).mkdir(exist_ok=True)
        scale = np.float32(most if at < 2 else others) / values.max()
        Image.fromarray(values * scale).save(tmp_path / "ab"[at % 2] / f"{at}.tif")
    with pytest.raises(ContentError, match="2 pictures with values up to 1 beside some up to 255;"):
        data.load(str(tmp_path))
    for at in range(2):
        Image.fromarray(0 * values).save(tmp_path / "ab"[at % 2] / f"{at}.tif")  # black
    assert len(data.load(str(tmp_path)).defend) == 4
