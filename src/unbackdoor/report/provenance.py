"""Where the figures of a result come from: seeds, settings, work done, versions and hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from unbackdoor.errors import printable
from unbackdoor.report.words import compact, fixed
from unbackdoor.results import Result, ScanResult


@dataclass(frozen=True)
class Record:
    """A table of names and values."""

    caption: str
    rows: list[tuple[str, str]]


def records(result: Result) -> list[Record]:
    """Return the tables of a result's origin: the run, the versions, the settings."""
    run = [("Seed", str(result.seed)), ("Wall-clock seconds", fixed(result.seconds))]
    if isinstance(result, ScanResult):
        run += [
            ("Images through the model, forward", f"{result.image_passes:,}"),
            ("Images through the model, backward", f"{result.image_passes_backward:,}"),
            ("SHA-256 of the model", printable(result.model.sha256) or "not a file"),
            ("SHA-256 of the data", printable(result.data.sha256)),
        ]
        settings = [Record("Settings of the scan", _flat(result.settings))]
    else:
        first, second = result.scan, result.rescan
        run += [
            ("Images through the model", f"{result.image_passes:,}"),
            ("Seed of the scan before", str(first.seed)),
            ("SHA-256 of the model", printable(first.model.sha256) or "not a file"),
            ("SHA-256 of the repaired model", printable(result.sha256) or "not a file"),
            ("SHA-256 of the data of the scan before", printable(first.data.sha256)),
        ]
        settings = [
            Record("Settings of the repair", _flat(result.settings)),
            Record("Settings of the scan", _flat(first.settings)),
        ]
        if second is not None:
            run += [
                ("Seed of the scan after", str(second.seed)),
                ("SHA-256 of the data of the scan after", printable(second.data.sha256)),
            ]
            if second.settings != first.settings:
                settings.append(Record("Settings of the scan after", _flat(second.settings)))
    run.append(("Schema version", str(result.schema_version)))
    versions = [(printable(name), printable(number)) for name, number in result.versions.items()]
    return [Record("Run", run), Record("Versions", versions), *settings]


def _flat(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return settings as lines; one that holds others becomes a line for each of them."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flat(cast("Mapping[str, object]", value), f"{prefix}{name}.")
        else:
            lines.append((printable(prefix + name), _written(value)))
    return lines


def _written(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_written(item) for item in cast("Sequence[object]", value))
    if isinstance(value, float):
        return compact(value)
    return printable(str(value))
