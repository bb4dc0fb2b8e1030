"""``python bounded.py FOLDER`` opens every hostile file, each in a bounded process of its own.

One process imports everything once and forks for each file, so that a file costs milliseconds. It
prints a row of JSON for each: name, exit code, sentence, seconds, MiB at the peak.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch

from make import Subject, make
from unbackdoor.app.cli import main
from unbackdoor.app.commands import scan
from unbackdoor.models import onnx

MEMORY, SECONDS, PATIENCE = 1 << 30, 10, 120
assert scan
assert onnx


def bounded(case: Subject) -> tuple[int, str]:
    """What the command says, in this process, which has no more memory and time than allowed."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(case.arguments)
        except BaseException:
            return 99, traceback.format_exc()
    return code, said.getvalue()


def opened(case: Subject) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.alarm(PATIENCE)
        with os.fdopen(writing, "w") as out:
            json.dump(bounded(case), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status, usage = os.wait4(child, 0)
    code, sentence = json.loads(text) if text else (-status, f"died of {status}")
    return {
        "name": case.name,
        "code": code,
        "sentence": sentence,
        "seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "mib": usage.ru_maxrss >> 10,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as server:
        cases = make(folder, folder / "executed", server.getsockname()[1])
        for case in cases:
            print(json.dumps(opened(case)), flush=True)
        called = bool(select.select([server], [], [], 0)[0])
        print(json.dumps({"executed": (folder / "executed").exists(), "called": called}))
