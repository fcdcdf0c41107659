"""In how many specifications does a claim hold, and which choice matters most: every case once.

A case is made of counts and numbers only. The claim is that a lesion of the chosen units does more
harm than lesions of control units; in one specification it holds, or not, by
:class:`~lensloc.display.sentences.lesions.Beside`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from lensloc.display.sentences.control_draws import fewest_draws
from lensloc.display.sentences.lesions import Beside
from lensloc.display.sentences.words import counted, interval, known, listed, number, percentage

Verdict = Literal["holds", "not told apart", "reversed", "no harm", "open"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Extent = Literal["nothing concluded", "the one", "all", "some", "none"]
EXTENTS: tuple[Extent, ...] = get_args(Extent)


def verdict_of(beside: Beside, drop: float, *, took_effect: bool = True) -> Verdict:
    """Return what one specification says of the claim.

    Args:
        beside: the control units.
        drop: the network's own; positive for harm.
        took_effect: whether the network's lesion did anything.
    """
    relation = beside.relation
    if not took_effect or not known(drop) or relation not in ("less", "alike", "more"):
        return "open"
    if relation == "less":
        return "holds" if drop > 0 else "no harm"
    return "not told apart" if relation == "alike" else "reversed"


@dataclass(frozen=True)
class Matters:
    """What one choice changes, all else equal.

    Attributes:
        choice: its name.
        pairs: pairs of specifications that differ in nothing else.
        change: mean absolute change of the difference from control units.
        verdicts: share of pairs whose verdicts differ.
        holds: value -> in how many specifications with it the claim holds, and how many there are.
    """

    choice: str
    pairs: int
    change: float
    verdicts: float
    holds: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Claims:
    """What all specifications say on one task.

    Attributes:
        task: its name.
        unit: what drops are measured in.
        counts: verdict -> in how many specifications.
        draws: of every control, as many as were planned; 0 if there are controls that are not
            drawn.
        level: of the test.
        difference: median, smallest and largest difference of a network from its control units.
        positive: in how many specifications it is above 0.
        reference: verdict of the reference specification.
        reference_difference: its difference, with the ends of its interval.
        matters: every choice that varies, the one that matters most first.
    """

    task: str
    unit: str
    counts: Mapping[Verdict, int]
    draws: int
    level: float
    difference: tuple[float, float, float]
    positive: int
    reference: Verdict
    reference_difference: tuple[float, float, float]
    matters: Sequence[Matters] = ()

    @property
    def n(self) -> int:
        """How many specifications there are."""
        return sum(self.counts.values())

    @property
    def holds(self) -> int:
        """In how many the claim holds."""
        return self.counts.get("holds", 0)

    @property
    def concluded(self) -> int:
        """In how many something can be concluded."""
        return self.n - self.counts.get("open", 0)

    @property
    def extent(self) -> Extent:
        """Which case this is."""
        if not self.concluded:
            return "nothing concluded"
        if self.holds == self.n:
            return "all" if self.n > 1 else "the one"
        return "some" if self.holds else "none"


_CLAIM = "that the lesion costs {task} more than lesions of control units do"
CLAIM: Mapping[Extent, str] = {
    "nothing concluded": "In none of {n} can anything be concluded of the claim {claim}.",
    "the one": "The claim {claim} holds in the one specification{by}.",
    "all": "The claim {claim} holds in all {n}{by}.",
    "some": "The claim {claim} holds in {holds} of {n} ({share}){by}.",
    "none": "The claim {claim} holds in none of {n}{by}.",
}
OTHERS: Mapping[Verdict, str] = {
    "holds": "",
    "not told apart": "in {n} the two are not told apart",
    "reversed": "in {n} control units cost more",
    "no harm": "in {n} the lesion does no harm",
    "open": "in {n} nothing can be concluded",
}
SPREAD = (
    "The difference from control units is {median} in the median ({unit}), from {low} to {high}; "
    "it is above 0 in {positive} of {n}."
)
REFERENCE: Mapping[Verdict, str] = {
    "holds": "In the reference specification it holds: {difference}.",
    "not told apart": "In the reference specification the two are not told apart: {difference}.",
    "reversed": "In the reference specification control units cost more: {difference}.",
    "no harm": "In the reference specification the lesion does no harm: {difference}.",
    "open": "In the reference specification nothing can be concluded{difference}.",
}
MOST = (
    "What matters most is {choice}: changing nothing else changes the difference by {change} in "
    "the mean of {pairs}{verdicts}{holds}."
)
LESS = "After it {verb} {choices}."
NOTHING_MATTERS = "No choice changes the difference."
DEPENDENT = (
    "Specifications share units, items and draws, so the share in which a claim holds is no "
    "probability, and chance alone makes it hold in some."
)
FEW = (
    "Of every control, {draws} {verb} beside the units: nothing can be concluded from so few. With "
    "fewer than {needed} the test over draws cannot reach {level}."
)
NO_RANK = (
    "Of every control, {draws} {verb} beside the units: with fewer than {needed} the test over "
    "draws cannot reach {level}, so what is said rests on the interval alone, which takes draws to "
    "be normally distributed."
)
NOISE = "In {n} none of the chosen units differs between target and control (q < 0.05)."
IDLE = "In {n} the lesion of the chosen units took no effect."
POOR = (
    "In {n} control units are no match in magnitude (standardised difference above 0.25, or fewer "
    "than half as many outliers); a difference from them may be one of magnitude."
)
UNCHANGED = (
    "The choice {choice} never changes which units are chosen ({values}), so that it counts the "
    "same result several times."
)
LEFT_OUT = "{n} of {total} combinations cannot be made and are left out: {reasons}."
SAME = "{n} of {total} combinations are the same as another and count once: {reasons}."


def claim_sentences(found: Claims) -> list[str]:
    """Say in how many specifications the claim holds, and what that depends on."""
    specifications = counted(found.n, "specification")
    task = found.task
    by = ""
    if found.concluded and found.draws >= fewest_draws(1 - found.level):
        by = f" by the test over draws at {100 * found.level:.3g} %"
    first = CLAIM[found.extent].format(
        claim=_CLAIM.format(task=task),
        n=specifications,
        holds=found.holds,
        share=percentage(found.holds / found.n if found.n else math.nan),
        by=by,
    )
    others = [
        OTHERS[verdict].format(n=found.counts[verdict])
        for verdict in VERDICTS
        if OTHERS[verdict] and found.counts.get(verdict)
    ]
    if others and found.extent != "nothing concluded":
        first = f"{first[:-1]}; {listed(others)}."
    sentences = [first]
    median, low, high = found.difference
    if known(median, low, high):
        sentences.append(
            SPREAD.format(
                median=number(median, sign=True), low=number(low, sign=True),
                high=number(high, sign=True), positive=found.positive, n=found.n, unit=found.unit,
            )
        )  # fmt: skip
    sentences.append(_reference(found))
    sentences += _matters(found)
    return sentences


def _reference(found: Claims) -> str:
    difference, low, high = found.reference_difference
    words = ""
    if known(difference):
        words = f"a difference of {number(difference, sign=True)} {interval(low, high)}".strip()
        if found.reference == "open":
            words = f" ({words})"
    elif found.reference != "open":
        words = "a difference of no number"
    return REFERENCE[found.reference].format(difference=words)


def _matters(found: Claims) -> list[str]:
    ranked = [each for each in found.matters if known(each.change)]
    if not ranked:
        return []
    first, *rest = ranked
    if first.change == 0:
        return [NOTHING_MATTERS]
    verdicts = ""
    if found.concluded:
        verdicts = f", and the verdict in {percentage(first.verdicts)} of them"
    holds = ""
    if found.concluded and first.holds:
        shares = listed(f"{n} of {total} with {value}" for value, (n, total) in first.holds.items())
        holds = f" (it holds in {shares})"
    sentences = [
        MOST.format(
            choice=first.choice, change=number(first.change), verdicts=verdicts, holds=holds,
            pairs=counted(first.pairs, "pair"),
        )
    ]  # fmt: skip
    if rest:
        choices = listed(f"{each.choice} ({number(each.change)})" for each in rest)
        sentences.append(LESS.format(verb="comes" if len(rest) == 1 else "come", choices=choices))
    return sentences


def few_draws(draws: int, level: float) -> list[str]:
    """Say that draws are too few for the test; nothing if there are enough, or none."""
    needed = fewest_draws(1 - level)
    if not 0 < draws < needed:
        return []
    return [
        (FEW if draws < 3 else NO_RANK).format(
            draws=counted(draws, "draw"),
            needed=needed,
            level=f"{100 * level:.3g} %",
            verb="stands" if draws == 1 else "stand",
        )
    ]


def specification_notes(n: int, *, noise: int, idle: int, poor: int) -> list[str]:
    """Say in how many of ``n`` specifications something stands against the result."""
    return [
        sentence.format(n=f"{several} of {counted(n, 'specification')}")
        for several, sentence in ((noise, NOISE), (idle, IDLE), (poor, POOR))
        if several
    ]


def unchanged_choice(choice: str, values: Sequence[str]) -> str:
    """Say that a choice makes no difference to the units."""
    return UNCHANGED.format(choice=choice, values=listed(values))


def left_out(template: str, total: int, reasons: Sequence[tuple[int, str]]) -> list[str]:
    """Say how many combinations are left out, and why.

    Args:
        template: :data:`LEFT_OUT` or :data:`SAME`.
        total: combinations.
        reasons: how many of them, and a sentence.
    """
    n = sum(several for several, _ in reasons)
    if not n:
        return []
    words = "; ".join(f"{several:,}: {reason.rstrip('.')}" for several, reason in reasons)
    return [template.format(n=f"{n:,}", total=f"{total:,}", reasons=words)]
