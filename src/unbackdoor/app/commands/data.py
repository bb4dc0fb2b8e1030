"""``unbackdoor data``: fetch a data set."""

from __future__ import annotations

from unbackdoor.app import options
from unbackdoor.app.exit_codes import DONE
from unbackdoor.data.fetch import get
from unbackdoor.runtime.progress import Bars


def get_data(typed: options.Data) -> int:
    """Fetch a data set, check it, and print its path."""
    print(get(typed.name, archive=typed.archive, progress=Bars()))
    return DONE
