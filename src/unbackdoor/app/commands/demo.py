"""``unbackdoor demo``: find, show and remove a real backdoor."""

from __future__ import annotations

from unbackdoor import models
from unbackdoor.app import options
from unbackdoor.app.commands.common import REFERENCE, prepare, reporting
from unbackdoor.app.exit_codes import DONE
from unbackdoor.app.outputs import print_table, write_file, write_page
from unbackdoor.app.terminal import Terminal
from unbackdoor.repairing import How
from unbackdoor.results import Result
from unbackdoor.runtime.files import check_folder
from unbackdoor.runtime.journal import state_folder
from unbackdoor.scanning.settings import BUDGETS, Terms
from unbackdoor.subject import Subject
from unbackdoor.triggers import DEFAULT_SPACE
from unbackdoor.verdict.bag import ours

DATA = "cifar10-sample"


def demo(typed: options.Demo) -> int:
    """Scan a shipped model, repair it, write all results to a folder, and print them."""
    folder, seed = typed.folder, typed.seed
    check_folder(folder, "--folder")
    prepare(typed)
    subject = Subject.open(typed.model, None, DATA, typed.device, reporting(typed))
    reference = models.load(REFERENCE).module
    console = Terminal(quiet=typed.quiet)
    console.print(
        f"{typed.model}: is there a backdoor? {len(subject.images.defend)} clean images to "
        f"search with, {len(subject.images.evaluate)} held back to measure on; nothing else is "
        f"known.",
        markup=False,
    )
    how = How(scanning=BUDGETS["standard"], terms=Terms(bag=ours()))
    with subject.journal(state_folder(), "demo", how, seed) as journal:
        found = subject.scan(
            DEFAULT_SPACE, how.scanning, seed, terms=how.terms, journal=journal.within("scan")
        )
        folder.mkdir(exist_ok=True)
        write_file(found, folder / "scan.json")
        print_table(found, quiet=typed.quiet)
        result: Result = found
        if found.targets:
            console.print(
                "\nRetraining on draws of these triggers, and the controls for comparison …\n"
            )
            module, result = subject.repair(found, how, seed, reference, journal=journal)
            if result.rescan is not None:
                result = subject.save(module, result, folder / "repaired.safetensors")
            write_file(result, folder / "repair.json")
            print_table(result, quiet=typed.quiet)
        write_page(result, folder / "report.html")
        journal.discard()
    console.print(f"The page: {folder / 'report.html'}", soft_wrap=True)
    return DONE
