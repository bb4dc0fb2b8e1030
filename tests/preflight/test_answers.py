"""Networks answer in many forms: the one tensor of logits is taken and said, or none is guessed."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from test_preflight import CLASSES, Net, levels, logits
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError
from unbackdoor.models import freeze, load
from unbackdoor.preflight import adapt, check
from unbackdoor.preflight.answers import read_answers
from unbackdoor.rng import stream

Named = namedtuple("Named", "hidden logits")


@dataclass
class Output:
    loss: Tensor | None
    scores: Tensor
    hidden: Tensor


class Form(nn.Module):
    """Answers in a form of its own."""

    def __init__(self, form: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(torch.ones(1))
        self.eval()

    def forward(self, images: Tensor) -> object:
        return self.form(images, logits(images) * self.weight)


FORMS: dict[str, tuple[Callable[[Tensor, Tensor], object], str]] = {
    "tuple": (lambda x, z: (z, x), "[0]"),
    "activations first": (lambda x, z: (x, x.mean(1), z), "[2]"),
    "list": (lambda x, z: [x, z], "[1]"),
    "one in a tuple": (lambda x, z: (z,), "[0]"),
    "dictionary": (lambda x, z: {"features": x.mean((2, 3)), "out": z}, "['out']"),
    "by its name": (lambda x, z: {"aux": z / 2, "logits": z}, "['logits']"),
    "named tuple": (lambda x, z: Named(z / 2, z), ".logits"),
    "dataclass": (lambda x, z: Output(None, z, x), ".scores"),
    "nested": (lambda x, z: ({"aux": x}, [(z,)]), "[1][0][0]"),
    "loss and logits": (lambda x, z: (z.mean(), z), "[1]"),
    "empty axes": (lambda x, z: {"z": z[:, :, None, None]}, "['z']"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_logits_are_taken_from_it_and_it_is_said(form: str) -> None:
    make, place = FORMS[form]
    cleared = adapt(Form(make), levels())
    said = {finding.check: finding.sentence for finding in cleared.findings}
    assert f"taken from {place}." in said["answer"]
    images = levels().evaluate.batch(torch.arange(8))
    assert torch.equal(cleared.network(images), logits(images))
    assert torch.allclose(freeze(cleared.network, half=False)(images), logits(images), atol=1e-5)
    assert check(cleared.network, cleared.images) == ()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda x, z: (z, z / 2), r"2 tensors that could be the logits \(\[0\], \[1\]\)"),
        (lambda x, z: {"a": z, "b": (x, z)}, r"\(\['a'\], \['b'\]\[1\]\)"),
        (lambda x, z: None, "a NoneType without a row of logits"),
        (lambda x, z: (x, z.argmax(1)), "a tuple without a row of logits"),
    ],
)
def test_nothing_is_guessed(form: Callable[[Tensor, Tensor], object], words: str) -> None:
    with pytest.raises(ContentError, match=words):
        adapt(Form(form), levels())


SOURCE = """
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 4)

    def forward(self, x):
        z = self.fc(x.flatten(1))
        return z, -z
"""


def test_the_wrap_that_is_proposed_works(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(SOURCE)
    torch.save({"fc.weight": torch.rand(4, 192), "fc.bias": torch.rand(4)}, tmp_path / "m.pt")
    two = load(str(tmp_path / "m.pt"), f"{file}:Two").module
    with pytest.raises(ContentError, match="name Chosen there") as caught:
        adapt(two, levels())
    (line,) = re.findall("“(.*)”", str(caught.value))
    file.write_text(f"{SOURCE}\n\n{line}\n")
    chosen = load(str(tmp_path / "m.pt"), f"{file}:Chosen").module
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(adapt(chosen, levels()).network(images), two(images)[0])


def two_levels() -> Split:
    images = levels()
    parts = [
        p.subset((p.targets % 3 == 0).nonzero()[:, 0]) for p in (images.defend, images.evaluate)
    ]
    return Split(
        *(
            Images("levels", ("dark", "light"), p.pixels, (p.labels > 0).long(), p.rows)
            for p in parts
        )
    )


def one(images: Tensor) -> Tensor:
    """Above 0 for bright pictures."""
    return 10 * (images.mean((1, 2, 3))[:, None] - 0.5)


@pytest.mark.parametrize("axes", [1, 2])
def test_one_logit_becomes_two(axes: int) -> None:
    cleared = adapt(Net(lambda x: one(x) if axes == 2 else one(x)[:, 0]), two_levels())
    assert "[0, z], so that it is 'light' above 0" in cleared.findings[0].sentence
    images = two_levels().evaluate.batch(torch.arange(6))
    z = one(images)
    assert torch.equal(cleared.network(images), torch.cat([torch.zeros_like(z), z], 1))
    assert check(cleared.network, cleared.images) == ()


def test_one_probability_becomes_two_logits_and_its_sigmoid_is_taken_off() -> None:
    class Sharp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(1, 1)

        def forward(self, images: Tensor) -> Tensor:
            return torch.sigmoid(self.fc(100 * one(images)))

    network = Sharp().eval()
    with torch.no_grad():
        network.fc.weight.fill_(1.0), network.fc.bias.zero_()
    cleared = adapt(network, two_levels())
    assert "log p" in cleared.findings[0].sentence
    images = two_levels().evaluate.batch(torch.arange(6))
    answered = freeze(cleared.network, half=False)(images)
    assert torch.allclose(answered[:, 1:] - answered[:, :1], 100 * one(images), rtol=1e-4)
    assert torch.equal(answered.argmax(1), cleared.network(images).argmax(1))
    assert check(cleared.network, cleared.images) == ()


def test_one_logit_for_more_classes_is_refused_for_that() -> None:
    with pytest.raises(ContentError, match=f"two classes apart, and the data has {CLASSES}"):
        adapt(Net(one), levels())


class Views(nn.Module):
    """Takes a view of what is none in channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
        self.fc = nn.Linear(180, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.norm(self.conv(images)).relu()
        return self.fc(seen.view(seen.size(0), -1))


def test_a_network_that_takes_views_is_run_in_the_layout_that_works() -> None:
    network = Views().eval()
    images = torch.rand(6, 3, 8, 8, generator=stream(0, "views"))
    with pytest.raises(RuntimeError, match="view"):
        network(images.contiguous(memory_format=torch.channels_last))
    frozen = freeze(network, half=False)
    assert frozen.at_once((3, 8, 8)) > 32
    leaf = images.clone().requires_grad_()
    answered = frozen(leaf)
    assert torch.allclose(answered, network(images), atol=1e-5)
    assert bool(torch.autograd.grad(answered.sum(), leaf)[0].any())


def test_why_a_network_takes_no_pictures_is_said() -> None:
    def fails(images: Tensor) -> Tensor:
        raise KeyError("the tokenizer")

    with pytest.raises(ContentError, match=r"whatever the size .*KeyError: 'the tokenizer'"):
        adapt(Net(fails), levels())
    four = nn.Conv2d(4, CLASSES, 1)
    with pytest.raises(ContentError, match="4 channels, and pictures have 3"):
        adapt(nn.Sequential(four, nn.AdaptiveAvgPool2d(1)).eval(), levels())
    odd = nn.Sequential(nn.Flatten(), nn.Linear(3 * 57 * 57, CLASSES))
    with pytest.raises(ContentError, match="say the side of its pictures by --size"):
        adapt(odd.eval(), levels())
    assert adapt(odd.eval(), levels().resized(57)).findings == ()  # the remedy


def test_rows_of_pixels_and_other_precisions_are_adapted_and_said() -> None:
    rows = nn.Sequential(nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, CLASSES)).double().eval()
    cleared = adapt(rows, levels())
    assert {"precision", "channels", "shape", "size"} == {f.check for f in cleared.findings}
    assert cleared.network(torch.rand(2, 3, 28, 28)).shape == (2, CLASSES)
    assert rows[0].weight.dtype == torch.float64  # not changed


class Lines(nn.Module):
    """Reads a picture line by line, so it has no axis for channels."""

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.fc = nn.RNN(8, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.lines(pictures)[0][:, -1])


def test_a_network_without_an_axis_for_channels_gets_grey_pictures_so() -> None:
    cleared = adapt(Lines().eval(), levels())
    assert cleared.network(torch.rand(5, 3, 8, 8)).shape == (5, CLASSES)
    assert "without channels" in " ".join(finding.sentence for finding in cleared.findings)


def test_deep_and_wide_answers_are_not_followed_for_ever() -> None:
    deep: object = ()
    for _ in range(10_000):
        deep = (deep,)
    with pytest.raises(ContentError, match="without a row"):
        read_answers(Form(lambda x, z: (deep, [z] * 0)), [], levels().defend)


class ChannelsLastNet(nn.Module):
    """Takes pictures as many write them: rows, columns, colours."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, H, W, 3)`` to logits."""
        return self.last(pictures).mean((1, 2))


def test_a_network_that_takes_channels_last_gets_them_there() -> None:
    network = ChannelsLastNet().eval()
    cleared = adapt(network, levels())
    x = cleared.images.defend.batch(torch.arange(4))
    assert torch.equal(cleared.network(x), network(x.permute(0, 2, 3, 1)))
    (said,) = [one.sentence for one in cleared.findings if one.check == "shape"]
    assert "channels last" in said
