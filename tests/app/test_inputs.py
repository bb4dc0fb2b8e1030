"""Files of class indices in the forms in which people have them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from unbackdoor.app.inputs import read_labels
from unbackdoor.errors import ContentError

ORDER = {"cat": 0, "dog": 1, "ältere": 2}
READ = {
    "as it is asked for": '{"cat": 0, "dog": 1, "ältere": 2}',
    "id2label": '{"0": "cat", "2": "ältere", "1": "dog"}',
    "a list": '["cat", "dog", "ältere"]',
}
REFUSED = {
    "numbers as texts": '{"cat": "3"}',
    "numbers that could be either": '{"0": "1", "1": "2", "2": "0"}',
    "both forms": '{"cat": 3, "4": "dog"}',
    "a name of two indices": '{"0": "cat", "1": "cat"}',
    "a name twice in a list": '["cat", "cat"]',
    "a list of numbers": "[0, 1]",
    "a number": "3",
    "no JSON": "cat: 3",
}


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_form_gives_the_same_order(form: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(READ[form], encoding=code)
    assert read_labels(tmp_path / "labels.json") == ORDER


def test_classes_that_are_called_by_numbers_keep_them(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"0": 1, "1": 0}')
    assert read_labels(tmp_path / "labels.json") == {"0": 1, "1": 0}


@pytest.mark.parametrize("form", REFUSED)
def test_another_form_is_refused_with_those_that_are_read(form: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(REFUSED[form])
    with pytest.raises(ContentError, match=r'such as {"cat": 3, "dog": 5}, or') as error:
        read_labels(tmp_path / "labels.json")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for content in (b"\xff\x00", codecs.BOM_UTF16_LE + b"\x00", b"["):
        (tmp_path / "labels.json").write_bytes(content)
        with pytest.raises(ContentError, match="--labels: expected"):
            read_labels(tmp_path / "labels.json")
