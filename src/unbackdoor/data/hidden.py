"""Which files and folders are hidden: nobody put them there to be looked at."""

from __future__ import annotations

HIDDEN = "hidden"
"""Why they are passed over, in the record of what was read."""
LEFT_BEHIND = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders that systems leave behind; names that begin with a dot are hidden too."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is hidden."""
    return name.startswith(".") or name in LEFT_BEHIND
