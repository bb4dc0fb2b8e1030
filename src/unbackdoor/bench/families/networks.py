"""The networks of the development set: trained here, or taken from files that say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, cast

from unbackdoor import data, models
from unbackdoor.attack import backdoor_of, beginning, fresh, implant, provenance
from unbackdoor.attack.implant import measure
from unbackdoor.bench.families.recipes import Recipe
from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.framework.bench import Request
from unbackdoor.bench.framework.models import IMAGES
from unbackdoor.bench.framework.spec import Spec, fingerprint
from unbackdoor.bench.paper.networks import sha256, training_journal
from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.models import Loaded, check_readable
from unbackdoor.runtime.progress import Silent
from unbackdoor.subject import Subject
from unbackdoor.training import TrainingSettings
from unbackdoor.triggers.notation import parse_trigger

TRAINING = 4
"""What a picture costs in training, in forward passes."""
OF_A_TRIGGER = ("spec", "space", "theta", "cover")

training_images = cache(data.load_training)


@dataclass(frozen=True, kw_only=True)
class Trained(Spec):
    """A network of the development set; its file is the result.

    Args:
        recipe: how it is trained.
        images: the clean images of its scan.
        found: a file of the same recipe to take instead; no part of its identity.

    """

    recipe: Recipe
    images: str = IMAGES
    found: Path | None = field(default=None, compare=False)

    table: ClassVar[str] = "networks"
    result: ClassVar[type] = bytes
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The recipe, and the images of its scan."""
        return fingerprint(replace(self, found=None))

    @property
    def name(self) -> str:
        """In the table."""
        return self.recipe.name

    @property
    def truth(self) -> Truth:
        """What is planted in it."""
        return self.recipe.truth

    @property
    def needs(self) -> tuple[Spec, ...]:
        """None."""
        return ()

    @property
    def specs(self) -> tuple[Spec, ...]:
        """What its scan needs: itself."""
        return (self,)

    @property
    def work(self) -> float:
        """The training passes of all epochs."""
        return 1.0 if self.found else 50_000.0 * TRAINING * self.recipe.epochs

    def run(self, inputs: Mapping[Spec, Any], device: str) -> bytes:
        """Train it; after a kill, training continues after the last finished epoch."""
        del inputs
        if self.found is not None:
            loaded = models.load(str(self.found), self.recipe.arch)
            return models.encode(loaded.module, {**loaded.facts, "arch": self.recipe.arch})
        settings = self.recipe.settings
        images = training_images(self.recipe.data).require(1)
        backdoor = backdoor_of(settings, images.defend)
        module = fresh(self.recipe.arch, len(images.defend.classes), settings.seed).to(device)
        begun = beginning(module, images, backdoor, f"--arch: {self.recipe.arch}")
        with training_journal(self, device, *begun) as journal:
            passes = implant(module, images, backdoor, settings, journal=journal)
        correct, rates = measure(module, images, backdoor, settings.seed)
        facts = provenance(settings, images, backdoor, passes)
        asr = fmean(rates) if rates else None
        return models.encode(module, {**facts, "accuracy": correct, "asr": asr})

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images of its scan."""
        loaded = self._loaded(inputs)
        return Subject.of(loaded, data.load(self.images), device=device, progress=Silent())

    def beside_unused(self, inputs: Mapping[Spec, Any], device: str) -> tuple[Loaded, Images]:
        """Return the network beside the images of its data that it was not trained on."""
        loaded = self._loaded(inputs)
        loaded.module.to(device)
        return loaded, training_images(self.recipe.data).evaluate.to(device)

    def _loaded(self, inputs: Mapping[Spec, Any]) -> Loaded:
        content = inputs[self]
        return Loaded(
            module=models.decode(content, self.recipe.arch),
            name=self.recipe.name,
            sha256=sha256(content),
            arch=self.recipe.arch,
        )


def with_file(trained: Trained, request: Request) -> Trained:
    """Return a network with its file in the folder of ``--networks``, if it has one there."""
    if request.networks is None:
        return trained
    path = Path(request.networks) / f"{trained.name}.safetensors"
    if not path.is_file():
        return trained
    check_readable(str(path), "--networks")
    try:
        differ = differences(trained.recipe, path)
    except ContentError as error:
        request.progress.say(f"warning: {path} is passed over: {error}")
        return trained
    if differ:
        request.progress.say(
            f"warning: {path} is passed over: it is not of this recipe "
            f"({', '.join(differ)} differ)."
        )
        return trained
    return replace(trained, found=path)


def differences(recipe: Recipe, path: Path) -> list[str]:
    """Return in which facts the file of a network is not that of a recipe; none if it is.

    Raises:
        ArgumentError: the training images are not there.
        ContentError: the file is no network of this architecture.

    """
    facts = models.load(str(path), recipe.arch).facts
    images, settings = training_images(recipe.data).defend, recipe.settings
    planted = recipe.trigger is not None
    wanted: dict[str, object] = {
        "data_sha256": images.sha256,
        "seed": recipe.seed,
        "training": asdict(settings.training),
        "mode": recipe.mode if planted else None,
        "rate": recipe.rate if planted else None,
        "target": recipe.target if planted and recipe.mode != "all-to-all" else None,
        "triggers": [],
    }
    if recipe.trigger is not None:
        trigger = parse_trigger(recipe.trigger, images.shape)
        backdoor = backdoor_of(settings, images)
        cover = round(backdoor.cover_of(trigger) * len(images)) if backdoor else 0
        theirs = (trigger.name, trigger.space.name, trigger.to_hex(), cover)
        wanted["triggers"] = [dict(zip(OF_A_TRIGGER, theirs, strict=True))]
    said = {
        **facts,
        "training": _training(facts.get("training")),
        "triggers": _triggers(facts.get("triggers"), len(images)),
    }
    return [name for name, value in wanted.items() if said.get(name) != value]


def _training(said: object) -> object:
    """Return the settings in a header with those that older files do not have."""
    if not isinstance(said, dict):
        return None
    later = [one for one in fields(TrainingSettings) if one.metadata.get("later")]
    return {**{one.name: one.default for one in later}, **cast("dict[str, object]", said)}


def _triggers(entries: object, count: int) -> object:
    """Return the entries of a header with the parts that a recipe determines.

    The cover is a number of images; in older files it is a share of ``count``.
    """
    if not isinstance(entries, list):
        return None
    every = [
        {name: entry.get(name) for name in OF_A_TRIGGER}
        for entry in cast("list[dict[str, object]]", entries)
    ]
    for entry in every:
        if isinstance(share := entry["cover"], float):
            entry["cover"] = round(share * count)
    return every
