"""Networks of others, from a list that says where they lie and what was planted in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from unbackdoor import data, models
from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.framework.models import IMAGES
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.data import Images, joined
from unbackdoor.errors import ContentError
from unbackdoor.models import Loaded
from unbackdoor.runtime.files import read_bytes, sha256_of
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Silent
from unbackdoor.subject import InputSettings, Subject
from unbackdoor.triggers.notation import read_trigger

LARGEST = 1 << 20


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network of a list; paths are those of the working folder, as on the command line.

    Args:
        name: in the table.
        path: of its file.
        arch: as after ``--arch``.
        data: clean images, as after ``--data``.
        size: side of its square input.
        mean: per channel, subtracted.
        std: per channel, divides the difference.
        labels: class of the data → index.
        trigger: as after ``attack --trigger``; left out for a clean network.
        mode: as after ``attack --mode``.
        target: as after ``attack --target``.

    """

    name: str
    path: str
    arch: str | None = None
    data: str = IMAGES
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: dict[str, int] | None = None
    trigger: str | None = None
    mode: str = "all-to-one"
    target: int = 0


class Entries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list of networks.

    Args:
        network: each of them.

    """

    network: list[Entry]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A network of others, identified by its file at the time when the work was planned.

    Args:
        content: the entry, as JSON.
        sha256: of its file.

    """

    content: str
    sha256: str

    @property
    def entry(self) -> Entry:
        """What the list says of it."""
        return msgspec.json.decode(self.content, type=Entry)

    @property
    def key(self) -> str:
        """The file, and what is said of it except where it lies."""
        return key_of(self.sha256, msgspec.structs.replace(self.entry, path=""))

    @property
    def name(self) -> str:
        """In the table."""
        return self.entry.name

    @property
    def truth(self) -> Truth:
        """What was planted, as the list says."""
        entry = self.entry
        return Truth(trigger=entry.trigger, mode=entry.mode, target=entry.target)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Nothing has to be computed before its scan."""
        return ()

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images of its scan.

        Raises:
            ArgumentError: something is not there.
            ContentError: it cannot be used, or has changed since the work was planned.

        """
        del inputs
        entry = self.entry
        loaded = _loaded(entry.path, entry.arch)
        if sha256_of(Path(entry.path)) != self.sha256:  # that of ``loaded`` has data beside it too
            raise ContentError(
                f"--list: {entry.path} has changed since the work was planned; start again."
            )
        fitting = InputSettings(
            size=entry.size, mean=entry.mean, std=entry.std, labels=entry.labels
        )
        images = data.load(entry.data, entry.size)
        return Subject.of(loaded, images, fitting=fitting, device=device, progress=Silent())

    def beside_unused(self, inputs: Mapping[Spec, Any], device: str) -> tuple[Loaded, Images]:
        """Return the network, with input in [0, 1], beside all clean images of the list."""
        subject = self.opened(inputs, device)
        parts = (subject.images, subject.reserve)
        images = joined([each for part in parts for each in (part.defend, part.evaluate)])
        # Of files that were read before, the same network comes again; a repair may change it.
        return replace(subject.loaded, module=copy.deepcopy(subject.network)), images


def listed(path: Path) -> list[Listed]:
    """Read a list of networks, ``.toml`` or JSON.

    Raises:
        ArgumentError: the list or a network is not there, or a trigger is wrong.
        ContentError: it is no such list.

    """
    content = read_bytes(path, "--list", LARGEST)
    try:
        read = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
        entries = read(content, type=Entries).network
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(
            f"--list: expected a table of name, path and more for each network in {path}, came "
            f"{error}; see docs/families.md."
        ) from error
    for entry in entries:
        models.check_readable(entry.path, "--list")
        if entry.trigger is not None:
            read_trigger(entry.trigger)
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names) or not names:
        raise ContentError(f"--list: expected networks of different names in {path}.")
    return [
        Listed(content=msgspec.json.encode(entry).decode(), sha256=sha256_of(Path(entry.path)))
        for entry in entries
    ]


@lru_cache(maxsize=1)
def _loaded(path: str, arch: str | None) -> Loaded:
    return models.load(path, arch)
