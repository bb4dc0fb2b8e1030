"""``unbackdoor models``: list the shipped models and the triggers planted in them."""

from __future__ import annotations

import json

from rich.table import Table

from unbackdoor.app import options
from unbackdoor.app.commands.common import print_wide
from unbackdoor.app.exit_codes import DONE
from unbackdoor.models import shipped

KEYS = ("arch", "data", "target", "trigger", "accuracy", "asr")


def list_models(typed: options.Models) -> int:
    """Print the shipped models."""
    rows = [
        {"name": f"shipped:{name}", **{key: facts.get(key) for key in KEYS}}
        for name, facts in shipped().items()
    ]
    if typed.json:
        print(json.dumps(rows, indent=1))
        return DONE
    table = Table("name", *KEYS)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    print_wide(table)
    return DONE


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
