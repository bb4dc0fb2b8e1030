"""ONNX graphs get the pictures that their files state, and what is said of it is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from test_preflight import levels

from drawn_graphs import Shape, write
from unbackdoor.data import Images, Split
from unbackdoor.models import load
from unbackdoor.preflight import Cleared, adapt


def adapted(folder: Path, shape: Shape, side: int = 28) -> Cleared:
    """Write a linear network for grey pictures of 28×28 with such an input, and adapt it."""
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    draw = np.random.default_rng(0)
    weights = {"s": np.array([-1, 784]), "w": draw.normal(size=(784, 4)).astype(np.float32)}
    write(folder / "m.onnx", nodes, weights, shape)
    return adapt(load(str(folder / "m.onnx")).module, levels(side=side))


@pytest.mark.parametrize(
    "shape",
    [("n", 28, 28, 1), (1, 1, 28, 28), ("n", 1, 28, 28), ("n", 28, 28), ("n", 784)],
    ids=str,
)
def test_a_reshape_gets_the_one_channel_that_the_file_states(shape: Shape, tmp_path: Path) -> None:
    """So does tf2onnx write networks of Keras, and torch those with a ``view(-1, 784)``."""
    cleared = adapted(tmp_path, shape)
    assert "channels" in {finding.check for finding in cleared.findings}
    assert cleared.network(torch.rand(5, 3, 28, 28)).shape == (5, 4)


@pytest.mark.parametrize("shape", [("n", 28, 28, 1), ("n", 784)], ids=str)
def test_of_a_size_that_is_right_nothing_is_said(shape: Shape, tmp_path: Path) -> None:
    assert "size" not in {finding.check for finding in adapted(tmp_path, shape).findings}
    (said,) = (f for f in adapted(tmp_path, shape, side=32).findings if f.check == "size")
    assert "not for pictures of 32×32 pixels; they are scaled to 28×28" in said.sentence


def test_what_rows_are_taken_for_is_said(tmp_path: Path) -> None:
    (said, *_) = adapted(tmp_path, ("n", 784)).findings
    assert said.sentence.endswith("taken to be grey pictures of 28×28 pixels.")


def test_grey_pictures_need_not_be_square(tmp_path: Path) -> None:
    """Nor need a file of one channel say their size."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    weights = {"w": np.ones((1, 4), dtype=np.float32)}
    coloured = torch.randint(256, (64, 3, 12, 20)).to(torch.uint8)
    grey = coloured[:, :1].expand(-1, 3, -1, -1)
    for pixels, said in ((coloured, ["channels"]), (grey, [])):  # grey ones are not turned grey
        whole = Images.of("wide", tuple("0123"), pixels, torch.arange(64) % 4)
        images = Split(*whole.divide(0.5))
        for name, shape in {"stated": ("n", 1, 12, 20), "free": ("n", 1, "h", "w")}.items():
            write(tmp_path / f"{name}.onnx", nodes, weights, shape)
            cleared = adapt(load(str(tmp_path / f"{name}.onnx")).module, images)
            assert [finding.check for finding in cleared.findings] == said
