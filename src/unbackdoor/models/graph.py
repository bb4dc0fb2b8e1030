"""A graph of ONNX operators as a module: images in, logits out, differentiable, any batch.

Memory and time are bounded for graphs that nobody trusts: no value may be larger, and no image may
cost more multiplications, than what any network for pictures needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unbackdoor.errors import ContentError, brief
from unbackdoor.models.alike import DOUBLE, MOST_ROUNDING, ROUNDINGS, alike
from unbackdoor.models.operators import OPERATORS, Context, TooMuch

SIDE = 32
VIEWS = {
    *("Cast", "Constant", "Dropout", "Expand", "Flatten", "Identity", "Reshape", "Shape"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}
"""Operators whose values mostly lie where others do, and that keep nothing for a gradient."""
ROOM = 1 << 26
"""Numbers that are alive at once, of all images that go through a graph at a time: 256 MiB."""
Shape = tuple[int | None, ...]
Layout = Literal["channels first", "channels last", "rows", "planes"]
LAYOUTS: dict[Layout, Callable[[Tensor], Tensor]] = {
    "channels first": lambda images: images,
    "channels last": lambda images: images.permute(0, 2, 3, 1),
    "rows": lambda images: images.flatten(1),
    "planes": lambda images: images.flatten(1, 2),
}
"""How images ``(B, C, H, W)`` are laid out: so, ``(B, H, W, C)``, ``(B, C * H * W)`` (channel by
channel and row by row), or ``(B, H, W)`` where they have one channel."""
LEARNT = {
    "Conv": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
}
"""Operators whose inputs at these positions are weights that training changes; for Add, biases."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Args:
        operator: its name in ONNX.
        inputs: names of values; empty for one that is left out.
        outputs: names of values.
        attributes: by name; tensors are tensors.

    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Source:
    """The message that a graph was read from; copies of the graph share it.

    Args:
        model: the message.
        sha256: of its file and of the data beside it.

    """

    def __init__(self, model: Any, sha256: str) -> None:
        self.model, self.sha256 = model, sha256

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        return self


class Graph(nn.Module):
    """Run a graph.

    Args:
        source: what it was read from.
        nodes: in an order in which they can run.
        weights: the constant tensors, by name.
        opset: version of the operators.
        image: name of the input.
        logits: name of the output.
        shape: of the input with channels first, None where it is free.
        layout: in which the graph itself takes pictures.

    Raises:
        ContentError: a node needs a value that nothing before it gives, or a value is given twice.

    """

    def __init__(
        self,
        source: Source,
        nodes: Sequence[Node],
        weights: Mapping[str, Tensor],
        *,
        opset: int,
        image: str,
        logits: str,
        shape: Shape,
        layout: Layout = "channels first",
    ) -> None:
        super().__init__()
        self.layout: Layout = layout
        self.most = 1
        self.source, self.opset, self.image, self.logits = source, opset, image, logits
        self.shape = shape
        _check_given_once([image, *weights, *(name for node in nodes for name in node.outputs)])
        constants = {
            node.outputs[0]: node.attributes["value"]
            for node in nodes
            if node.operator == "Constant" and isinstance(node.attributes.get("value"), Tensor)
        }
        self.nodes = [node for node in nodes if not {*node.outputs} & {*constants}]
        held = {**constants, **weights}
        learnt = _learnt(self.nodes, held)
        self.keys = {name: _key(name) for name in held}
        for name, key in self.keys.items():
            if name in learnt:
                self.register_parameter(key, nn.Parameter(held[name]))
            else:
                self.register_buffer(key, held[name])
        self.last_use = self._last_use()

    def named_weights(self) -> dict[str, Tensor]:
        """Return the constant tensors by their names in the file."""
        return {name: getattr(self, key) for name, key in self.keys.items()}

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, classes)`` of the same precision.

        So many go through at a time as fit into :data:`ROOM` by what one image took in a dry run.
        """
        parts = [self._run(part, dry=False) for part in torch.split(images, self.most)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, images: Tensor, *, dry: bool) -> Tensor:
        context = Context(
            opset=self.opset,
            batch=len(images),
            exported=self.shape[0] if self.shape else None,
            precision=images.dtype,
            dry=dry,
            picture=images[0].numel(),
        )
        taken = LAYOUTS[self.layout](images)
        values: dict[str, Tensor] = {**self.named_weights(), self.image: taken}

        def held(name: str) -> Tensor:
            return context.precise(values[name]) if name in self.keys else values[name]

        for index, node in enumerate(self.nodes):
            inputs = [held(name) if name else None for name in node.inputs]
            outputs = OPERATORS[node.operator](context, node.attributes, *inputs)
            for name, value in zip(
                node.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=False
            ):
                context.room(value.shape)
                context.take(value.numel(), kept=node.operator not in VIEWS)
                values[name] = value
            for name in self.last_use[index]:
                if name in values:  # an output that the operator gives is optional
                    context.live -= values.pop(name).numel()
        if dry:
            self.most = max(1, ROOM // max(context.peak // len(images), 1))
        return held(self.logits)

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, usual ones where the file leaves them free."""
        given = (*self.shape, *(None,) * 4)[1:4]
        channels, height, width = (a or b for a, b in zip(given, (3, SIDE, SIDE), strict=True))
        return channels, height, width

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of the pictures that the file asks for, None where one is free."""
        height, width = (*self.shape, *(None,) * 4)[2:4]
        return (height, width) if height and width else None

    def try_out(self, what: str) -> None:
        """Run two images together and one by one, and raise unless the answers agree.

        A graph that mixes the images of a batch answers differently in a scan than in use, so the
        comparison has to be strict. Double precision makes that possible. A graph can tell in which
        precision it runs, so single precision is compared too, up to its rounding, which is
        measured by the answers in double precision.

        Raises:
            ContentError: the graph cannot be run, or mixes the images of a batch.

        """
        spread = torch.linspace(0, 1, 2 * math.prod(self.picture), dtype=torch.float64)
        images = spread.reshape(2, *self.picture)
        try:
            with torch.no_grad():
                self._run(images[:1], dry=True)
                single = self._both_ways(images.float())
                # Two large ones in double precision would take more memory than any other run.
                alone, together = self._both_ways(images) if self.most > 1 else single
        except TooMuch as error:
            raise ContentError(
                f"{what} takes more than any classifier of pictures of shape "
                f"{tuple(images.shape[1:])} does ({brief(error)}), so it is not run; export the "
                f"network that it was made from."
            ) from error
        except Exception as error:  # a foreign graph fails in as many ways as there are operators
            raise ContentError(
                f"{what} cannot be run on images of shape {tuple(images.shape[1:])} "
                f"({brief(error)}); export it anew, with a free batch axis."
            ) from error
        rounding = float((single[0] - alone).abs().nan_to_num(0.0).amax())
        extra = min(ROUNDINGS * rounding, MOST_ROUNDING * float(alone.abs().nan_to_num(0.0).amax()))
        if not alike(together, alone, DOUBLE) or not alike(*single, extra=extra):
            raise ContentError(
                f"{what} answers otherwise to two images together than to each alone; export it "
                f"with a free batch axis (dynamic_axes or dynamic_shapes)."
            )

    def _both_ways(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is answered to two images one by one, and to both together."""
        alone = [self._run(images[:1], dry=False), self._run(images[1:], dry=False)]
        return torch.cat(alone), self._run(images, dry=False)

    def _last_use(self) -> list[list[str]]:
        """Return the values that nothing needs any more, after each node."""
        known = {*self.keys, self.image}
        last: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            for name in filter(None, node.inputs):
                if name not in known and name not in last:
                    raise ContentError(
                        f"MODEL: its node {node.operator} needs {name!r}, which nothing before it "
                        f"gives; export it anew."
                    )
                last[name] = index
            last |= dict.fromkeys(filter(None, node.outputs), index)
        if self.logits not in last and self.logits not in known:
            raise ContentError(
                f"MODEL: nothing in it gives its output {self.logits!r}; export it anew."
            )
        free: list[list[str]] = [[] for _ in self.nodes]
        for name, index in last.items():
            if name and name not in known and name != self.logits:
                free[index].append(name)
        return free


def _check_given_once(names: Iterable[str]) -> None:
    """Raise where two values have one name: readers differ in which of them counts."""
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            raise ContentError(f"MODEL: its value {name[:80]!r} is given twice; export it anew.")
        seen.add(name)


def _key(name: str) -> str:
    """Return the name of a weight as a member of the module, which may contain no dot.

    Different names get different keys: a dot becomes a slash, and a slash becomes ``~1``.
    """
    return f"weight {name.replace('~', '~0').replace('/', '~1').replace('.', '/')}"


def _learnt(nodes: Sequence[Node], held: Mapping[str, Tensor]) -> set[str]:
    return {
        name
        for node in nodes
        for position in LEARNT.get(node.operator, ())
        for name in node.inputs[position : position + 1]
        if name in held and held[name].is_floating_point()
        if node.operator != "Add" or held[name].ndim == 1
    }
