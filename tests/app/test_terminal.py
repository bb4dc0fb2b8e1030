"""What becomes of the exit code when the reader of standard output has left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TABLE = "terminal.Terminal().print('x' * 100_000, highlight=False)"
TEXT = "terminal.write('y' * 100_000)"


def run(*arguments: str) -> tuple[int, bytes]:
    """Run Python with a standard output that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as nobody:
        done = subprocess.run(
            [sys.executable, *arguments], stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize("output", [TABLE, TEXT, f"{TABLE}; {TEXT}; print('z')"])
def test_a_verdict_keeps_its_code(output: str) -> None:
    script = f"import sys; from unbackdoor.app import terminal; {output}; sys.exit(3)"
    assert run("-c", script) == (3, b"")


def test_what_has_no_verdict_ends_as_other_programs_do() -> None:
    assert run("-m", "unbackdoor", "schema", "scan") == (141, b"")


def test_a_closed_output_is_no_error() -> None:
    script = 'exec "$0" -m unbackdoor schema scan >&-'
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
