"""``unbackdoor schema``: print the JSON Schema of results."""

from __future__ import annotations

import json

from unbackdoor import results
from unbackdoor.app import options
from unbackdoor.app.exit_codes import DONE


def print_schema(typed: options.Schema) -> int:
    """Print the schema of what a command writes."""
    print(json.dumps(results.schema(typed.command), indent=1))
    return DONE
