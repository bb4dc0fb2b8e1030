from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unbackdoor import data
from unbackdoor.data import catalogue
from unbackdoor.errors import ArgumentError, ContentError


def test_the_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path / "x"))
    assert catalogue.store() == tmp_path / "x"
    monkeypatch.setenv("UNBACKDOOR_DATA", "")
    assert catalogue.store() == Path.home() / ".cache" / "unbackdoor"


def test_the_sample_needs_no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path / "missing"))
    assert len(data.load("cifar10-sample").defend) == 2500
    assert len(data.load_training("cifar10-sample").evaluate) == 1500


@pytest.mark.parametrize("spec", ["", " "])
def test_an_empty_text_is_not_the_working_folder(
    spec: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_pictures: Callable[..., Path],
) -> None:
    folder = write_pictures(tmp_path / "set", classes={"dark": 40, "light": 200}, count=16)
    monkeypatch.chdir(folder)
    with pytest.raises(ArgumentError, match="came an empty text"):
        data.load(spec)
    assert len(data.load(".").defend) == 20


def test_cifar10_that_was_not_fetched_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path))
    with pytest.raises(ArgumentError, match="unbackdoor data get cifar10"):
        data.load("cifar10")
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(ContentError, match="does not hold CIFAR-10"):
        data.load_training("cifar10")


def test_a_folder_is_split_in_each_class(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    folder = write_pictures(tmp_path / "set", classes={"dark": 40, "light": 200}, count=16)
    split = data.load(str(folder))
    assert torch.bincount(split.defend.targets).tolist() == [10, 10]
    assert torch.bincount(split.evaluate.targets).tolist() == [6, 6]
    assert data.load_training(str(folder)).defend.sha256 == split.defend.sha256


@pytest.mark.parametrize("spec", ["cifar11", "no/such/folder"])
def test_an_unknown_name_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(ArgumentError, match="cifar10-sample, cifar10"):
        data.load(spec)
