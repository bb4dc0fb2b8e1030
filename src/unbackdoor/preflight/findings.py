"""Findings of the preflight: what was done, and what a user should look at."""

from __future__ import annotations

from unbackdoor.results import Finding


def note(check: str, sentence: str, remedy: str = "") -> Finding:
    """Return what was understood or adapted, and may be as it is."""
    return Finding(check=check, severity="note", sentence=sentence, remedy=remedy)


def warning(check: str, sentence: str, remedy: str) -> Finding:
    """Return what makes a verdict say less."""
    return Finding(check=check, severity="warning", sentence=sentence, remedy=remedy)
