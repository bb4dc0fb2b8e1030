"""What is looked at before any work: a classifier of these images, such as a scan needs."""

from unbackdoor.preflight.adapting import Cleared, adapt, only_side
from unbackdoor.preflight.checks import check
from unbackdoor.preflight.findings import note
from unbackdoor.preflight.look import reported

__all__ = ["Cleared", "adapt", "check", "note", "only_side", "reported"]
