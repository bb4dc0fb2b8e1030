"""Run the tests that compute under the instruction sets that a processor can pretend to have.

``make test-everywhere`` runs them under every setting and prints how each ended and how long it
took; ``--draws WORD`` draws every random stream anew, so that no test rests on the luck of a seed.
``--pick SEED`` prints one setting, chosen by the seed, as a shell reads it: CI tests under that.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _facts() -> dict[str, str]:
    """Return what the system says of the last processor, by name; nothing where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    return {key.strip(): value.strip() for key, value in pairs}


PROCESSOR = _facts()
FLAGS = frozenset(PROCESSOR.get("flags", "").split())
INSTRUCTIONS = {
    "AVX2": ("avx2", {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}),
    "AVX-512 without bfloat16": (
        "avx512f",
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI", "ATEN_CPU_CAPABILITY": "avx512"},
    ),
    "the machine's best": ("", {}),
}
"""By name: the flag that a processor needs to be able to pretend, and how it is told to."""
SETTINGS = {
    f"{name}, {threads} thread{'s' * (threads > 1)}": {
        **variables,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",  # more threads than cores wait for each other
    }
    for name, (flag, variables) in INSTRUCTIONS.items()
    for threads in (1, 2)
    if not flag or flag in FLAGS
}
COMPUTE = (
    "attack",
    "bench/test_modes.py",
    "bench/test_problems.py",
    "bench/test_reference.py",
    "bench/test_toys.py",
    "detectors",
    "mesa",
    "models/test_builtin.py",
    "models/test_freeze.py",
    "models/test_logits.py",
    "models/test_onnx.py",
    "preflight",
    "repairing",
    "scanning",
    "triggers",
    "app/test_pipelines.py",
    "test_examples.py",
    "test_kills.py",
    "test_metrics.py",
    "test_training.py",
)
"""The tests whose outcome could hang on how a processor rounds."""
KILLS = 5
"""Of each of four commands."""


def processor() -> str:
    """Return what the processor calls itself, and whether it has what the settings differ in."""
    has = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if name in FLAGS]
    called = PROCESSOR.get("model name", platform.processor() or platform.machine())
    return f"{called} ({', '.join(has) or 'no AVX2'})"


def run(name: str, draws: str, others: list[str]) -> tuple[int, float]:
    """Run the tests under one setting; return the exit code and the seconds."""
    environment = {**os.environ, **SETTINGS[name], "UNBACKDOOR_KILLS": str(KILLS)}
    paths = [str(ROOT / "tests" / part) for part in COMPUTE]
    paths.append(str(ROOT / "src" / "unbackdoor" / "mesa"))
    options = ["--numprocesses=auto", "--dist=loadfile", "-p", "no:cacheprovider", "--tb=short"]
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", *paths, *options, "--draws", draws, *others]
    code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
    return code, time.perf_counter() - began


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pick", metavar="SEED", help="print one setting and run nothing")
    parser.add_argument("--only", action="append", choices=SETTINGS, help="a setting to run")
    parser.add_argument("--draws", default="", help="draw every random stream anew by this word")
    parser.add_argument("--busy", action="store_true", help="keep another process busy meanwhile")
    options, others = parser.parse_known_args()
    if options.pick is not None:
        name = random.Random(options.pick).choice(list(SETTINGS))
        print(f"# {processor()}; tested as: {name}")
        print("\n".join(f"export {k}={shlex.quote(v)}" for k, v in SETTINGS[name].items()))
        return 0
    print(processor(), flush=True)
    beside = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    lines: list[str] = []
    worst = 0
    for name in options.only or SETTINGS:
        code, seconds = run(name, options.draws, others)
        lines.append(f"{'passed' if code == 0 else 'FAILED'} in {seconds:4.0f} s: {name}")
        print(lines[-1], flush=True)
        worst = max(worst, code)
    if beside is not None:
        beside.kill()
    print("\n".join(["", processor(), *lines]))
    return worst


if __name__ == "__main__":
    sys.exit(main())
