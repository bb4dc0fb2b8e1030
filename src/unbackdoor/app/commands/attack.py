"""``unbackdoor attack``: implant a backdoor in your own network."""

from __future__ import annotations

import shlex
import sys

from unbackdoor import attack as attacking
from unbackdoor import models
from unbackdoor.app import options
from unbackdoor.app.commands.common import prepare, reporting
from unbackdoor.app.exit_codes import DONE
from unbackdoor.app.inputs import files_read
from unbackdoor.app.outputs import check_outputs
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.errors import ArgumentError
from unbackdoor.runtime.journal import state_folder
from unbackdoor.training import FINE_TUNING, TrainingSettings
from unbackdoor.triggers.notation import file_of


def attack(typed: options.Attack) -> int:
    """Train, write the checkpoint, print its measured rates, and return the exit code."""
    _check(typed)
    prepare(typed)
    recipe = FINE_TUNING if typed.start else TrainingSettings()
    facts = attacking.attack(
        AttackSettings(
            data=typed.data,
            arch=typed.arch,
            start=typed.start,
            triggers=typed.trigger,
            mode=typed.mode,
            target=typed.target,
            rate=typed.rate,
            cover=typed.cover,
            training=recipe.with_epochs(typed.epochs),
            seed=typed.seed,
            device=typed.device,
        ),
        typed.output,
        command=shlex.join(["unbackdoor", *sys.argv[1:]]),
        progress=reporting(typed),
        state=state_folder(),
    )
    if not typed.quiet:
        rates = "".join(f", ASR {entry['asr']:.4f}" for entry in facts["triggers"])
        print(f"{typed.output}: accuracy {facts['accuracy']:.4f}{rates} on held-back images")
    return DONE


def _check(typed: options.Attack) -> None:
    """Check everything that can be checked before anything is loaded."""
    if typed.start is not None:
        models.check_readable(typed.start, "--from")
    if typed.arch is not None:
        models.check_architecture(typed.arch)
    check_outputs(
        {"-o": typed.output},
        {
            "--from": [typed.start],
            "--trigger": [file_of(spec) for spec in typed.trigger],
            **files_read(typed.data, typed.arch, typed.config),
        },
    )
    usual = options.Attack
    given = (typed.target, typed.rate, typed.mode, typed.cover)
    if not typed.trigger and given != (usual.target, usual.rate, usual.mode, usual.cover):
        raise ArgumentError(
            "--trigger: --target, --rate, --mode and --cover need a trigger, and none was given; "
            "name one, or leave them out for a clean network."
        )
    if typed.epochs is not None and typed.epochs < 1:
        raise ArgumentError(f"--epochs: expected at least 1, came {typed.epochs}.")
