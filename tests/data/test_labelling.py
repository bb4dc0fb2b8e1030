"""Labels that say no class, or not which one, are told from classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_user_files import LABELS, PIXELS, everything, png, rewritten, tar_of

from unbackdoor.errors import ContentError


@pytest.mark.parametrize("names", [["ape", "bat"], ["ape"]])
def test_fewer_names_than_labels_are_refused(names: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS, classes=np.array(names))
    says = rf"labels from 0 to 2 and names {len(names)} classes \({', '.join(names)}\)"
    with pytest.raises(ContentError, match=says):
        everything(tmp_path / "set.npz")


def test_a_name_of_several_classes_says_none(tmp_path: Path) -> None:
    names = np.array(["crane", "maillot", "crane"])
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS, classes=names)
    assert everything(tmp_path / "set.npz").classes == tuple(names)
    np.savez(tmp_path / "set.npz", x=PIXELS, y=names[LABELS], classes=names)
    with pytest.raises(ContentError, match="crane are labels and the names of several classes"):
        everything(tmp_path / "set.npz")


def test_a_column_of_rows_without_a_class_is_none(tmp_path: Path) -> None:
    ones = ("1,0,0", "0,1,0", "0,0,1")
    told = lambda at: f"all/{at}.png,{ones[LABELS[at]]}"  # noqa: E731
    path = rewritten(tmp_path / "a.csv", "image,cat,dog,nan", told)
    with pytest.raises(ContentError, match=r"8 of 24 labels .* say no class \('nan'\)"):
        everything(path)
    rows = [told(at) for at in range(len(LABELS)) if LABELS[at] < 2]
    path.write_text("\n".join(["image,cat,dog,nan", *rows]))
    assert everything(path).classes == ("cat", "dog", "nan")  # without a picture


def test_numbers_that_are_none_are_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=PIXELS, y=np.where(LABELS == 2, np.nan, LABELS))
    with pytest.raises(ContentError, match=r"8 of 24 labels .* say no class \('nan'\); fill them"):
        everything(tmp_path / "set.npz")


@pytest.mark.parametrize("name", ["nan", "None", "<NA>", "-", "NaN"])
def test_a_class_may_have_such_a_name_where_it_is_one(name: str, tmp_path: Path) -> None:
    members = {f"{('a', name)[at % 2]}/{at}.png": png(PIXELS[at]) for at in range(8)}
    for path, content in members.items():
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(content)
    names = sorted(["a", name])
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS % 2, classes=np.array(names))
    texts = np.array(names)[LABELS % 2]
    np.savez(tmp_path / "named.npz", x=PIXELS, y=texts, classes=np.array(names))
    tar_of(tmp_path / "s.tar", members)
    for spec in ("set", "set.npz", "named.npz", "s.tar"):
        assert everything(tmp_path / spec).classes == tuple(names)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    told = lambda at: f"all/{at}.png,{LABELS[at]},0"  # noqa: E731
    path = rewritten(tmp_path / "a.csv", "path,label,Label", told)
    with pytest.raises(ContentError, match="has 2 columns label; name all of them otherwise but"):
        everything(path)
