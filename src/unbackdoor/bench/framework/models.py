"""The models that a benchmark looks at, as values from which each piece of work opens them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from unbackdoor.bench.framework.bench import Request
from unbackdoor.errors import ContentError
from unbackdoor.runtime.progress import Silent
from unbackdoor.subject import Subject

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


def named(request: Request) -> list[ModelFile]:
    """Return the models of a request; what is noticed about one is said now, and only once.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used.

    """
    return [_file(name, request) for name in request.models]


def backdoored(request: Request) -> list[ModelFile]:
    """Return the models of a request without the clean one.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used, or does not say what was planted in it.

    """
    files = [_file(name, request) for name in request.models if name != request.reference]
    for file in files:
        if file.target is None:
            raise ContentError(f"--models: {file.name} does not say what was planted in it.")
    return files


def _file(name: str, request: Request) -> ModelFile:
    subject = Subject.open(name, None, IMAGES, request.device, progress=request.progress)
    target = subject.planted.target if subject.planted else None
    return ModelFile(name=name, sha256=subject.loaded.sha256, target=target)


@lru_cache(maxsize=1)
def _opened(file: ModelFile, device: str) -> Subject:
    subject = Subject.open(file.name, None, IMAGES, device, progress=Silent())
    if subject.loaded.sha256 != file.sha256:
        raise ContentError(f"--models: {file.name} is another file than before; begin again.")
    return subject
