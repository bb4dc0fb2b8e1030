"""Files that make a network, as people write them: it is made, or a sentence says what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import build, load

SOURCE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.fc = nn.Linear(12, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))
"""


def test_a_network_itself_and_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(SOURCE)
    (tmp_path / "net.py").write_text("from layers import Net\nmodel = Net()\n")
    assert build(f"{tmp_path / 'net.py'}:model", 4)(torch.rand(2, 3, 2, 2)).shape == (2, 4)
    assert isinstance(build(f"{tmp_path / 'net.py'}:Net", 4), nn.Module)


def test_sentences_about_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(SOURCE + "def pair():\n    return Net(), None\n")
    with pytest.raises(ArgumentError, match=r"came a file; .* such as .*net\.py:Net\.$"):
        build(str(path), 4)
    with pytest.raises(ArgumentError, match="no function 'net'; there are Net, pair"):
        build(f"{path}:net", 4)
    with pytest.raises(ContentError, match=r"returned tuple; .* return the network alone"):
        build(f"{path}:pair", 4)
    path.write_text(SOURCE.replace("classes=4", "classes"))
    with pytest.raises(ContentError, match="name a function without arguments, such as ") as error:
        build(f"{path}:Net", 4)
    path.write_text(path.read_text() + str(error.value).split("'")[-2] + "\n")
    assert build(f"{path}:network", 4)(torch.rand(2, 3, 2, 2)).shape == (2, 10)
    path.write_text("import a_package_that_is_not_there\n")
    with pytest.raises(ContentError, match="install that package"):
        build(f"{path}:Net", 4)


def test_a_network_of_one_layer_is_not_found_in_the_layers_of_another(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 5), nn.Linear(5, 2))
    torch.save(other.state_dict(), tmp_path / "m.pth")
    with pytest.raises(ContentError, match="do not fit") as error:
        load(str(tmp_path / "m.pth"), f"{path}:Net")
    assert "times" not in str(error.value)


def test_lazy_layers_are_called_once_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    lines = ["import torch", "from torch import nn", "def make():"]
    lines += ["    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))", "    return network"]
    path.write_text("\n".join(lines))
    with pytest.raises(ContentError, match=r"has lazy layers.* such as (.*), before") as error:
        build(f"{path}:make", 4)
    typed = str(error.value).split("such as ")[1].split(", before")[0]
    path.write_text("\n".join([*lines[:-1], f"    {typed}", lines[-1]]))
    assert build(f"{path}:make", 4)(torch.rand(2, 3, 32, 32)).shape == (2, 4)
