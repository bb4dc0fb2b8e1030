"""The verdict about a model from what its classes are, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from unbackdoor.detectors.evidence import ClassEvidence
from unbackdoor.verdict.case import CLEARLY, Case, Status

Verdict = Literal["clean", "backdoored", "inconclusive"]


def decided(case: Case, judged: Sequence[tuple[ClassEvidence, Status]]) -> tuple[Verdict, str]:
    """Return the verdict about a model, and the sentence that says why.

    Args:
        case: how its evidence is weighed.
        judged: for each class the evidence that decides about it, and its status.

    """
    found = [record for record, status in judged if status == "backdoored"]
    unsure = [record for record, status in judged if status == "suspicious"]
    if found:
        rates = _from(case, found)
        reason = f"{_sent(found, case.by_lead)}; from {rates} a class counts as backdoored."
        if unsure:
            reason += f" Not clean either, as far as is known: {_rates(unsure)}."
        return "backdoored", reason
    if unsure:
        return "inconclusive", _doubt(case, unsure)
    best = max((record for record, _ in judged), key=lambda record: record.asr)
    limit = (case.rule(best) or case.thresholds).clean
    reason = (
        f"No trigger that counts was found that sends more than {best.asr:.1%} of held-back "
        f"images to any class (the most: {best.name}, {best.space}; up to {limit:.0%} of them "
        f"is clean)."
    )
    return "clean", reason


def _doubt(case: Case, unsure: Sequence[ClassEvidence]) -> str:
    """Return why classes are neither clean nor backdoored."""
    clean = case.thresholds.clean
    if anyway := [record for record in unsure if record.confusion > clean]:
        names = " and ".join(f"{record.name} ({record.confusion:.1%})" for record in anyway)
        return (
            f"The model answers {names} to held-back images of other classes without any "
            f"trigger, more often than a clean class may with one (up to {clean:.0%}); "
            f"check its accuracy, and how images are fitted to it."
        )
    if strong := [record for record in unsure if case.status(record) is None]:
        return (
            f"Triggers that are too strong to count send held-back images to {_rates(strong)}, "
            f"and no weaker ones were measured; give more images, or search on with --budget "
            f"thorough."
        )
    if many := [*filter(case.is_one_of_many, unsure)]:
        return (
            f"The model is weak against triggers of this kind: they lead to several classes, "
            f"most often to {_rates(many)}, so they do not tell a backdoor from this weakness."
        )
    if among := [*filter(case.is_common_in_small, unsure)]:
        return (
            f"Triggers were found towards {_rates(among)}, but in a model of so few classes they "
            f"do not tell a backdoor: clean ones obey such triggers too. Triggers of at most half "
            f"the strength that counts would, by a clear lead; stronger ones, other than filters "
            f"and large patches on digits, if they lead clearly on {CLEARLY:.0%} of the images."
        )
    if ground := [*filter(case.is_of_background, unsure)]:
        rest = [record for record in unsure if record not in ground]
        also = f" Not clean either, as far as is known: {_rates(rest)}." if rest else ""
        return (
            f"Triggers that change all colours send held-back images to {_rates(ground)}. On such "
            f"pictures they also change the plain background; clean models, which have seen no "
            f"other one, may answer that with one class, so it does not tell a backdoor.{also}"
        )
    if inaccurate := [*filter(case.is_of_inaccurate, unsure)]:
        return (
            f"Triggers send held-back images to {_rates(inaccurate)}, but the model is right on "
            f"{case.evidence.accuracy:.1%} of them only. Clean models that are wrong so often obey "
            f"such triggers too; outside a corner of the picture they would tell a backdoor from "
            f"{CLEARLY:.0%}."
        )
    if doubtful := [*filter(case.is_doubtful, unsure)]:
        return (
            f"Triggers that few clean networks obey as clearly send held-back images to "
            f"{_rates(doubtful, case.by_lead)}, and weaker ones, which would tell a backdoor, "
            f"work less often."
        )
    if alone := [*filter(case.stands_alone, unsure)]:
        return (
            f"Triggers that are stronger than what counts send held-back images to "
            f"{_rates(alone)}. None of the kind leads to another class on more than {clean:.0%}, "
            f"except in the middle of the picture. In a clean model triggers of such a strength "
            f"lead to several classes or to none."
        )
    rates = _from(case, unsure)
    return (
        f"The best triggers towards {_rates(unsure)} work more often than those of a clean class "
        f"and less often than those of a backdoor (from {rates})."
    )


def _from(case: Case, records: Sequence[ClassEvidence]) -> str:
    """Return the rates from which triggers of these spaces count as those of a backdoor."""
    rates: set[str] = set()
    for one in records:
        rate = (case.rule(one) or case.thresholds).backdoored
        if case.heeds_much(one):
            rates.add(f"{max(CLEARLY, rate):.0%}")
        elif case.by_lead(one):
            rates.add(f"{case.lead_needed(one):.0%} by a clear lead")
        else:
            rates.add(f"{rate:.0%}")
    return " or ".join(sorted(rates, key=lambda words: (int(words.partition("%")[0]), words)))


def _sent(found: Sequence[ClassEvidence], by_lead: Callable[[ClassEvidence], bool]) -> str:
    """Return where the triggers of a backdoor send images; by what lead, if that decides."""
    parts: list[str] = []
    if one := [record for record in found if not record.goal]:
        parts.append(
            "Triggers were found that send held-back images of other classes to "
            + _rates(one, by_lead)
        )
    if of_each := [record for record in found if record.goal]:
        best = max(of_each, key=lambda record: record.asr)
        parts.append(
            f"{'a' if parts else 'A'} trigger was found that sends held-back images of each class "
            f"to a class of its own ({best.asr:.1%}, {best.space})"
        )
    return "; ".join(parts)


def _rates(
    records: Sequence[ClassEvidence], by_lead: Callable[[ClassEvidence], bool] = lambda _: False
) -> str:
    leads = [f", {one.firm:.1%} by a clear lead" if by_lead(one) else "" for one in records]
    told = [
        f"{one.name} ({one.asr:.1%}{lead}, {one.space})"
        for one, lead in zip(records, leads, strict=True)
    ]
    return " and ".join(told)
