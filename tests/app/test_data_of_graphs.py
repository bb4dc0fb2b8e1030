"""No result is written over the files beside an ONNX graph that hold its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drawn_graphs import write
from unbackdoor import results
from unbackdoor.app.cli import main
from unbackdoor.app.outputs import check_outputs
from unbackdoor.models import onnxbytes
from unbackdoor.models.onnxbytes import data_of, structure
from unbackdoor.results import FileRecord, Unscanned

DATA = "cifar10-sample"
WRITTEN = {
    "scan": ["scan", "m.onnx", "--data", DATA, "-o", "w/m.data"],
    "a page": ["scan", "m.onnx", "--data", DATA, "--report", "w/m.data"],
    "another name": ["scan", "m.onnx", "--data", DATA, "-o", "link"],
    "a folder of models": ["scan", ".", "--data", DATA, "-o", "w/m.data"],
    "repair": ["repair", "m.onnx", "--data", DATA, "-o", "w/m.data"],
    "a result": ["repair", "m.onnx", "--data", DATA, "-o", "f.onnx", "--result", "w/m.data"],
    "a reference": [
        *("repair", "shipped:clean", "--reference", "m.onnx", "--data", DATA),
        *("-o", "w/m.data"),
    ],
    "attack": ["attack", "--from", "m.onnx", "--data", DATA, "-o", "w/m.data"],
    "an architecture": ["attack", "--arch", "m.onnx", "--data", DATA, "-o", "w/m.data"],
    "a page of a result": ["report", "scan.json", "-o", "w/m.data"],
    "a page over the model": ["report", "scan.json", "-o", "m.onnx"],
}


def external(tensor: TensorProto, location: str) -> TensorProto:
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    model = write(Path("m.onnx"), nodes, {"w": np.zeros((192, 10), np.float32)}, ("n", 3, 8, 8))
    external(model.graph.initializer[0], "w/m.data")
    Path("m.onnx").write_bytes(model.SerializeToString())
    Path("w").mkdir()
    Path("w/m.data").write_bytes(bytes(192 * 10 * 4))
    Path("link").symlink_to("w/m.data")
    record = FileRecord(path="m.onnx", sha256="")
    results.write(Unscanned(model=record, error="damaged.", exit_code=2), Path("scan.json"))
    return tmp_path


@pytest.mark.parametrize("what", WRITTEN)
def test_the_data_of_a_graph_are_kept(
    what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(WRITTEN[what]) == 4
    said = capsys.readouterr().err
    assert "is also named by" in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_data_are_found_wherever_a_graph_has_numbers(folder: Path) -> None:
    value = numpy_helper.from_array(np.zeros(4, np.float32))
    inside = helper.make_graph([], "g", [], [], [external(value, "inside.bin")])
    constant = numpy_helper.from_array(np.zeros(4, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=external(constant, "sub/constant.bin")),
        helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=inside),
    ]
    write(Path("if.onnx"), nodes, {}, ("n", 3, 8, 8))
    assert data_of(Path("if.onnx")) == [Path("sub/constant.bin"), Path("inside.bin")]


def test_no_file_makes_it_fail(folder: Path) -> None:
    content = Path("m.onnx").read_bytes()
    for at in range(0, len(content), 7):
        Path("cut.onnx").write_bytes(content[:at])
        assert len(data_of(Path("cut.onnx"))) <= 1
    Path("empty.onnx").touch()
    Path("folder.onnx").mkdir()
    names = ["empty.onnx", "folder.onnx", "none.onnx", "a\0b.onnx", f"{'a' * 300}.onnx", "w/m.data"]
    assert [data_of(Path(name)) for name in names] == [[]] * len(names)
    check_outputs({"-o": Path("page.html")}, {"RESULT": list(names)})


def test_a_large_structure_is_not_counted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxbytes, "LARGEST_STRUCTURE", 1000)
    node = onnx.NodeProto(doc_string="x" * 600).SerializeToString()
    model = onnx.ModelProto(graph=onnx.GraphProto(node=[onnx.NodeProto.FromString(node)] * 9))
    assert 1000 < structure(memoryview(model.SerializeToString())) < 2000
