from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from unbackdoor.data import Images, sample
from unbackdoor.data.cifar import CLASSES
from unbackdoor.errors import ContentError


def test_the_sample_is_what_was_shipped_and_balanced() -> None:
    split = sample.read()
    assert (len(split.defend), len(split.evaluate)) == (2500, 1500)
    assert split.defend.shape == (3, 32, 32)
    assert split.defend.classes == CLASSES
    assert torch.bincount(split.defend.targets).tolist() == [250] * 10
    assert torch.bincount(split.evaluate.targets).tolist() == [150] * 10
    assert not set(split.defend.rows.tolist()) & set(split.evaluate.rows.tolist())
    pictures = {bytes(picture.numpy()) for picture in split.defend.pixels.flatten(1)}
    assert len(pictures) == 4000


def test_what_is_written_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "CLASSES", ("even", "odd"))
    shades = torch.arange(820)[:, None] * torch.tensor([1, 3, 7]) % 251
    pixels = shades.to(torch.uint8)[:, :, None, None].expand(-1, 3, 32, 32).contiguous()
    test = Images.of("test", ("even", "odd"), pixels, torch.arange(820) % 2)
    sample.write(test, tmp_path)
    firsts = torch.cat([torch.arange(0, 800, 2), torch.arange(1, 801, 2)])
    monkeypatch.setattr(sample, "SHA256", test.subset(firsts).sha256)
    split = sample.read(tmp_path)
    assert split.defend.pixels[split.defend.rows[250], :, 0, 0].tolist() == shades[1].tolist()
    assert {path.name for path in tmp_path.iterdir()} == {"even.webp", "odd.webp"}


def test_damage_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(sample.FOLDER, folder)
    shutil.copy(folder / "cat.webp", folder / "dog.webp")
    with pytest.raises(ContentError, match="damaged"):
        sample.read(folder)
    (folder / "dog.webp").write_bytes(b"RIFF")
    with pytest.raises(ContentError, match="damaged"):
        sample.read(folder)
    (folder / "dog.webp").unlink()
    with pytest.raises(ContentError, match="damaged"):
        sample.read(folder)
