"""The table: a line for each network and method, then one for each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from unbackdoor.bench.families.truth import ACCUSED, AND_OTHERS, FOUND, REFUSED
from unbackdoor.bench.framework.roc import area
from unbackdoor.bench.framework.table import Line, networks
from unbackdoor.bench.scan.looked import ScanRow
from unbackdoor.bench.scan.seen import Seen, by_method, scores
from unbackdoor.mesa.uniform import share_upper_bound

NONE = "–"
WORK = ("forward", "backward", "seconds", "CPU seconds", "× our passes", "× our CPU seconds")


def table(rows: Sequence[ScanRow]) -> list[Line]:
    """Return one line for each network and method, and one for each method.

    A line of a method counts networks with one target whose trigger works, and clean ones; the
    figures of its work are means over the networks that it took.
    """
    methods = by_method(rows)
    lines = [_line(one) for some in methods.values() for one in some]
    return lines + [_total(name, some) for name, some in methods.items()]


def _line(one: Seen) -> Line:
    row = one.row
    return {
        "network": row.network,
        "planted": row.truth.words,
        "method": one.name,
        "outcome": one.outcome,
        "accused": ", ".join(map(str, one.targets)) or NONE,
        "score": f"{one.score:.3g}",
        **_work([one]),
    }


def _total(name: str, some: Sequence[Seen]) -> Line:
    planted, clean = scores(some)
    outcomes = Counter(one.outcome for one in some if one.counts)
    told: list[str] = []
    if planted:
        more = f", others too {outcomes[AND_OTHERS]}" if outcomes[AND_OTHERS] else ""
        told.append(f"found {outcomes[FOUND]}/{len(planted)}{more}")
    if clean:
        bound = share_upper_bound(outcomes[ACCUSED], len(clean))
        told.append(f"accused {outcomes[ACCUSED]}/{len(clean)} clean (at most {bound:.0%})")
    found = area(planted, clean)
    return {
        "network": networks(len(some)),
        "planted": NONE,
        "method": name,
        "outcome": "; ".join(told) or NONE,
        "accused": NONE,
        "score": f"AUC {found.value:.3f} ({found.low:.2f} to {found.high:.2f})" if found else NONE,
        **_work(some),
    }


def _work(some: Sequence[Seen]) -> Line:
    """Return the mean work of a method, and how it compares with our scans of the same networks."""
    rows = [one.row for one in some if one.verdict != REFUSED]
    if not rows:
        return dict.fromkeys(WORK, NONE)
    passes, ours = sum(one.passes for one in some), sum(row.our_passes for row in rows)
    seconds = sum(row.cpu_seconds for row in rows)
    our_seconds = sum(row.our_cpu_seconds for row in rows)
    return {
        "forward": f"{fmean(row.image_passes for row in rows):,.0f}",
        "backward": f"{fmean(row.image_passes_backward for row in rows):,.0f}",
        "seconds": f"{fmean(row.seconds for row in rows):.1f}",
        "CPU seconds": f"{seconds / len(rows):.1f}",
        "× our passes": f"{passes / ours:.2g}" if ours else NONE,
        "× our CPU seconds": f"{seconds / our_seconds:.2g}" if our_seconds else NONE,
    }
