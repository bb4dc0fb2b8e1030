"""Tables as programs and people write them, or the sentence that says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from test_beside import COUNT, PICTURES, labels, pieces, table
from test_user_files import everything, run

from unbackdoor.errors import ContentError


def right(path: Path) -> bool:
    images = everything(path)
    pixels = images.pixels.permute(0, 2, 3, 1).numpy()
    same = bool((pixels == PICTURES).all()) and images.classes == ("cat", "dog")
    return same and images.labels.tolist() == [0, 1] * (COUNT // 2)


def mended(path: Path) -> Path:
    """Type the command that writes whole paths; return the table that it makes."""
    with pytest.raises(ContentError, match="write whole paths with ") as error:
        everything(path)
    run(
        str(error.value).split("write whole paths with ")[1].rsplit(", and name ", 1)[0],
        path.parent,
    )
    return path.with_name(f"{path.stem}-paths.csv")


def test_names_without_suffixes_are_found_too(tmp_path: Path) -> None:
    paths = pieces(tmp_path, "s_part_1", "s_part_2")
    rows = [(path.stem, label) for path, label in zip(paths, labels(), strict=True)]
    csv = table(tmp_path / "t.csv", "image,label", rows)
    with pytest.raises(ContentError, match="have other classes than the table"):
        everything(tmp_path)
    assert right(mended(csv))
    Image.fromarray(PICTURES[0]).save(tmp_path / "s_part_2" / "p0.png")  # the name says no picture
    with pytest.raises(ContentError, match=r"paths start at the folder of the table\.$"):
        everything(csv)


@pytest.mark.parametrize("prefix", ["/home/ann/set/", "set/", "C:\\\\set\\\\", "https://x.org/p/"])
def test_paths_from_another_folder_lead_to_the_command(prefix: str, tmp_path: Path) -> None:
    rows = [
        (f"{prefix}{path}", label)
        for path, label in zip(pieces(tmp_path, "a b", "c"), labels(), strict=True)
    ]
    if "\\" in prefix:
        rows = [(path.replace("/", "\\"), label) for path, label in rows]
    csv = table(tmp_path / "t.csv", "path,label", rows)
    assert right(mended(csv))
    (tmp_path / "c" / "p2.png").unlink()
    says = "nothing is fetched" if "://" in prefix else "paths start at the folder of the table"
    with pytest.raises(ContentError, match=rf"8 of 8 .*{says}\.$"):
        everything(csv)


@pytest.mark.parametrize("label", ["dx", "label"])
def test_the_column_that_names_pictures_is_told(label: str, tmp_path: Path) -> None:
    """As skin lesions are published: pictures in two folders, a table of names without suffixes."""
    paths = pieces(tmp_path, "skin_part_1", "skin_part_2")
    lines = [f"HAM{at},{path.stem},{labels()[at]}" for at, path in enumerate(paths)]
    path = tmp_path / "skin.csv"
    path.write_text("\n".join([f"lesion_id,image_id,{label}", *lines]))
    other = ", and that of the classes label" if label == "dx" else ""
    says = rf"call its column image_id path{other}, in its first line\."
    with pytest.raises(ContentError, match=says):
        everything(path)
    path.write_text("\n".join(["lesion_id,path,label", *lines]))
    assert right(mended(path))


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n\n"])
def test_lines_end_as_they_do_on_every_system(end: str, tmp_path: Path) -> None:
    paths = pieces(tmp_path, "a", "b")
    rows = [f"{path};{label}" for path, label in zip(paths, labels(), strict=True)]
    (tmp_path / "t.csv").write_bytes(end.join(["path;label", *rows]).encode())
    assert right(tmp_path / "t.csv")


@pytest.mark.parametrize("above", ["sep=;", "# made by hand", "pictures;\n;;"])
def test_what_stands_above_the_names_of_the_columns_is_said(above: str, tmp_path: Path) -> None:
    paths = pieces(tmp_path, "a", "b")
    rows = [f"{path};{label}" for path, label in zip(paths, labels(), strict=True)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([above, "path;label", *rows]))
    line = 2 + above.count("\n")
    with pytest.raises(ContentError, match=rf"these are in line {line}, so remove what stands abo"):
        everything(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path label\na/0.png cat", "separate its columns by commas, in every line"),
        ("path,label", r"has no rows below its first line \(path, label\)"),
        ("", "came nothing; name them so"),
        ("path\na/0.png", "came path; name them so"),
    ],
)
def test_what_a_table_lacks_is_said(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ContentError, match=says):
        everything(tmp_path / "t.csv")
