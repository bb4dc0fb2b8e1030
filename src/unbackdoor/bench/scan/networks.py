"""The networks that are compared on: shipped ones and files, the development set, others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unbackdoor.bench.families.bench import development_set
from unbackdoor.bench.families.networks import training_images, with_file
from unbackdoor.bench.families.others import listed
from unbackdoor.bench.families.scanned import Network
from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Request
from unbackdoor.bench.framework.models import ModelFile, named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.errors import ArgumentError
from unbackdoor.subject import Subject


@dataclass(frozen=True, kw_only=True)
class FromFile:
    """A network whose file says what was planted in it.

    Args:
        file: the file.
        truth: what it says.

    """

    file: ModelFile
    truth: Truth

    @property
    def key(self) -> str:
        """The file's hash."""
        return self.file.sha256

    @property
    def name(self) -> str:
        """As on the command line."""
        return self.file.name

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Nothing has to be computed before its scan."""
        return ()

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images of its scan."""
        del inputs
        return self.file.opened(device)


def networks(request: Request, archive: Archive) -> list[Network]:
    """Return the networks of a request that are there, or can be made.

    Raises:
        ArgumentError: there is none of a name.
        ContentError: a file cannot be used.

    """
    wanted = None if request.only is None else {name for name in request.only.split(",") if name}

    def chosen(names: Sequence[str]) -> list[str]:
        return [name for name in names if wanted is None or name in wanted]

    recipes = [trained.name for trained in development_set()]
    every = [*request.models, *recipes]
    found: list[Network] = []
    if models := chosen(request.models):
        found += map(_from_file, named(replace(request, models=models)), [request] * len(models))
    own = chosen(recipes)
    for trained in [one for one in development_set() if one.name in own]:
        network = trained if trained in archive else with_file(trained, request)
        found += [network] if request.make or network.found or network in archive else []
    training_images.cache_clear()  # as large as a scan
    if request.listed:
        others = listed(request.listed)
        every += [one.name for one in others]
        names = chosen([one.name for one in others])
        found += [one for one in others if one.name in names]
    if unknown := sorted((wanted or set()) - set(every)):
        raise ArgumentError(
            f"--only: there is no network {unknown[0]!r} of this benchmark; there are "
            f"{', '.join(every)}."
        )
    return found


def _from_file(file: ModelFile, request: Request) -> FromFile:
    planted = file.opened(request.device).planted
    if not planted:
        return FromFile(file=file, truth=Truth())
    first = planted[0]
    return FromFile(file=file, truth=Truth(trigger=first.trigger.name, target=first.target))
