"""The models of a benchmark, as values from which each piece of work can load them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from unbackdoor.bench.framework.bench import Request
from unbackdoor.errors import ContentError
from unbackdoor.runtime.progress import Silent
from unbackdoor.subject import Subject

IMAGES = "cifar10-sample"
"""The clean images of these benchmarks."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model, identified by its file at the time when the work was planned.

    Args:
        name: as on the command line.
        sha256: of the file.
        target: the class that triggered images are sent to; None where the file names no trigger.

    """

    name: str
    sha256: str
    target: int | None

    def opened(self, device: str) -> Subject:
        """Return the model with its images; a process caches the last one.

        Raises:
            ArgumentError: there is no such file here.
            ContentError: it cannot be used, or has changed since the work was planned.

        """
        return _opened(self, device)

    @property
    def attacked(self) -> int:
        """The class that triggered images are sent to, for a model from :func:`backdoored`."""
        assert self.target is not None
        return self.target


def named(request: Request) -> list[ModelFile]:
    """Return the models of a request, and report the findings about each once.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used.

    """
    return [_file(name, request) for name in request.models]


def backdoored(request: Request) -> list[ModelFile]:
    """Return the models of a request without the clean one.

    Raises:
        ArgumentError: there is no such file.
        ContentError: a file cannot be used, or does not name its planted trigger.

    """
    files = [_file(name, request) for name in request.models if name != request.reference]
    for file in files:
        if file.target is None:
            raise ContentError(f"--models: {file.name} does not say what was planted in it.")
    return files


def _file(name: str, request: Request) -> ModelFile:
    subject = Subject.open(name, None, IMAGES, request.device, progress=request.progress)
    target = subject.planted[0].target if subject.planted else None
    return ModelFile(name=name, sha256=subject.loaded.sha256, target=target)


@lru_cache(maxsize=1)
def _opened(file: ModelFile, device: str) -> Subject:
    subject = Subject.open(file.name, None, IMAGES, device, progress=Silent())
    if subject.loaded.sha256 != file.sha256:
        raise ContentError(
            f"--models: {file.name} has changed since the work was planned; start again."
        )
    return subject
