"""The models that a benchmark looks at, as values from which each piece of work opens them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from unbackdoor import data, models
from unbackdoor.errors import ContentError
from unbackdoor.runtime.progress import Silent
from unbackdoor.subject import Subject, planted_in

IMAGES = "cifar10-sample"
"""The images that models are looked at with."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model as its file was when the work was planned.

    Args:
        name: as the command line writes it.
        sha256: of the file.
        target: the class that triggered images are sent to; None where the file names no trigger.

    """

    name: str
    sha256: str
    target: int | None

    def opened(self, device: str) -> Subject:
        """Return the model with its images; the pieces of one process share the last one.

        Raises:
            ArgumentError: there is no such file here.
            ContentError: it cannot be used, or is another than was planned with.

        """
        return _opened(self, device)

    @property
    def attacked(self) -> int:
        """The class that triggered images are sent to, where :func:`backdoored` returned it."""
        assert self.target is not None
        return self.target


def named(names: Sequence[str]) -> list[ModelFile]:
    """Return the models of these names.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used.

    """
    classes = len(data.load(IMAGES).defend.classes)
    files: list[ModelFile] = []
    for name in names:
        loaded = models.load(name)
        planted = planted_in(loaded.facts, classes)
        target = planted.target if planted else None
        files.append(ModelFile(name=name, sha256=loaded.sha256, target=target))
    return files


def backdoored(names: Sequence[str], clean: str) -> list[ModelFile]:
    """Return the models of these names without the clean one.

    Args:
        names: as the command line writes them.
        clean: the one that is left out.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used, or does not say what was planted in it.

    """
    files = named([name for name in names if name != clean])
    for file in files:
        if file.target is None:
            raise ContentError(f"--models: {file.name} does not say what was planted in it.")
    return files


@lru_cache(maxsize=1)
def _opened(file: ModelFile, device: str) -> Subject:
    subject = Subject.open(file.name, None, IMAGES, device, progress=Silent())
    if subject.loaded.sha256 != file.sha256:
        raise ContentError(f"--models: {file.name} is another file than before; begin again.")
    return subject
