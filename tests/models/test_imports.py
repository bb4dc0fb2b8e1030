"""The names that a pickle imports are found as the unpickler finds them, or said to be hidden."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.errors import ContentError
from unbackdoor.models import load
from unbackdoor.models.pickles.imports import HIDDEN, imports

CALL = b"\x8c\x04true\x85R."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


DECOY = text("argparse") + text("Namespace")
POSIX, SYSTEM = text("posix"), text("system")
NAMES = {
    "plain": POSIX + SYSTEM,
    "memo": POSIX + b"\x940" + SYSTEM + b"\x940" + DECOY + b"00h\x00h\x01",
    "memo below a decoy": POSIX + b"\x940" + SYSTEM + b"\x940" + DECOY + b"h\x00h\x01",
    "memo by text": b"Vposix\np7\n0Vsystem\np8\n0" + DECOY + b"00g7\ng8\n",
    "memo by a long number": POSIX
    + b"r\x70\x11\x01\x000"
    + DECOY
    + b"00j\x70\x11\x01\x00"
    + SYSTEM,
    "memo that is overwritten": DECOY
    + b"q\x020q\x010"
    + POSIX
    + b"q\x010"
    + SYSTEM
    + b"q\x020h\x01h\x02",
    "memo after numbers": b"K\x01\x94K\x02\x940" + POSIX + b"\x940" + b"h\x02" + SYSTEM,
    "twice": POSIX + b"2\x9400h\x00" + SYSTEM,
    "mark": POSIX + SYSTEM + b"(" + DECOY + b"1",
    "dropped tuple": POSIX + b"(" + DECOY + b"t0" + SYSTEM,
    "items of a list": POSIX + b"](" + DECOY + b"e0" + SYSTEM,
    "item of a dictionary": POSIX + b"}" + DECOY + b"s0" + SYSTEM,
    "other forms of text": b"T\x05\0\0\0posix" + b"S'system'\n",
}
UNKNOWN = {
    "a call": b"cbuiltins\nstr\n" + POSIX + b"\x85R" + SYSTEM,
    "bytes": b"C\x05posix" + b"C\x06system",
    "nothing kept": DECOY + b"h\x05h\x06",
    "a tuple and a number": DECOY + b"\x86K\x01",
    "nothing at all": b"",
}


class Finder(pickle.Unpickler):
    """Notes what is looked for, and gives something harmless for it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.found: list[str] = []

    def find_class(self, module: str, name: str) -> object:
        self.found.append(f"{module}.{name}")
        return str


@pytest.mark.parametrize("way", NAMES)
def test_a_name_is_found_as_the_unpickler_finds_it(way: str) -> None:
    content = b"\x80\x04" + NAMES[way] + b"\x93" + CALL
    finder = Finder(content)
    finder.load()
    assert imports(io.BytesIO(content)) == list(dict.fromkeys(finder.found)) == ["posix.system"]


@pytest.mark.parametrize("way", UNKNOWN)
def test_a_name_that_cannot_be_known_is_never_guessed(way: str) -> None:
    assert imports(io.BytesIO(b"\x80\x04" + UNKNOWN[way] + b"\x93" + CALL))[-1] == HIDDEN


def test_a_number_of_the_registry_hides_its_name() -> None:
    assert imports(io.BytesIO(b"\x80\x02\x82\x01.")) == [HIDDEN]


def test_what_nobody_looked_at_is_hidden_too() -> None:
    assert imports(io.BytesIO(b"\x80\x04" + b"N0" * 600_000 + b".")) == [HIDDEN]


CLASSES = st.sampled_from([OrderedDict, dict, io.BytesIO, pickle.PickleError, Path, zipfile.Path])


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.binary() | CLASSES,
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    ),
    st.integers(0, 5),
)
def test_of_any_value_the_unpickler_imports_the_same(value: object, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    finder = Finder(content)
    try:
        finder.load()
    except Exception:  # what stands for a class does not take every argument
        assert imports(io.BytesIO(content))[: len(set(finder.found))] == list(
            dict.fromkeys(finder.found)
        )
    else:
        assert imports(io.BytesIO(content)) == list(dict.fromkeys(finder.found))


@pytest.mark.parametrize(
    ("decoy", "body", "words"),
    [
        ("collections", NAMES["memo below a decoy"], r"import posix\.system while"),
        ("argparse", UNKNOWN["a call"], f"{HIDDEN} while .*ask whoever made it"),
        ("nothing", b"\x82\x01", f"import {HIDDEN} while"),
    ],
)
def test_the_sentence_names_what_is_imported_and_not_a_decoy(
    decoy: str, body: bytes, words: str, tmp_path: Path
) -> None:
    content = b"\x80\x04" + text(decoy) + text("OrderedDict") + b"00" + body + b"\x93" + CALL
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", content)
    with pytest.raises(ContentError, match=words) as caught:
        load(str(tmp_path / "m.pt"), "resnet8")
    assert f"{decoy}." not in str(caught.value)
