"""What a lesion did to a score, and how that compares with control units: every case once.

A case is made of numbers only. What may be said in it stands in :data:`LESION`, :data:`CONTROL` and
:data:`NOTE`, one template a case. Only the cases ``harm`` and ``improvement``, which have an
interval that excludes zero, pass a verdict.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lensloc.display.sentences.words import counted, interval, known, listed, number

# Fewer items than these hardly carry a bootstrap interval.
FEW_ITEMS = 10

Outcome = Literal[
    "harm", "improvement", "unclear", "no interval", "no number", "no item", "no effect"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Relation = Literal[
    "less", "alike", "more", "few draws", "no interval", "some without number", "no number",
    "no effect",
]  # fmt: skip
RELATIONS: tuple[Relation, ...] = get_args(Relation)
Test = Literal["draws", "interval", "items", "none"]


@dataclass(frozen=True)
class Change:
    """What the lesion of one network did to the score on one task.

    Attributes:
        network: its name.
        percent: of the site's units.
        n_units: how many units these are; 0 if that is not known.
        mode: what they became, as :func:`lensloc.lesion_study` writes it.
        task: name of the task.
        measure: what its score is.
        intact: score of the intact model.
        score: score under the lesion.
        drop: how much worse that is, positive for harm (of a perplexity: of its logarithm).
        low: lower end of the drop's interval over items; NaN without one.
        high: upper end.
        n_items: items that were scored.
        chance: score of guessing; NaN without one.
        site: where the units are; empty if that is not known.
        took_effect: whether the lesion changed anything.
    """

    network: str
    percent: float
    n_units: int
    mode: str
    task: str
    measure: str
    intact: float
    score: float
    drop: float
    low: float
    high: float
    n_items: int
    chance: float = math.nan
    site: str = ""
    took_effect: bool = True

    @property
    def outcome(self) -> Outcome:
        """Which case this is."""
        if not self.took_effect:
            return "no effect"
        if self.n_items < 1:
            return "no item"
        if not known(self.drop):
            return "no number"
        if self.n_items < 2 or not known(self.low, self.high):
            return "no interval"
        if self.drop > 0 and self.low > 0:
            return "harm"
        if self.drop < 0 and self.high < 0:
            return "improvement"
        return "unclear"


@dataclass(frozen=True)
class Beside:
    """How the lesions of one kind of control units compare with that of a network.

    Attributes:
        control: what the control is, in words.
        draws: how many sets of units were drawn.
        drop: mean drop over the draws, positive for harm.
        difference: the network's drop minus that.
        low: lower end of the difference's interval over items and draws; NaN without one.
        high: upper end.
        missing: draws under which the task gave no number.
        idle: draws whose lesion took no effect.
        drawn: whether the units were drawn, so that other draws could have been.
        p_more: of the rank test over draws that the network does more harm; NaN without one.
        p_less: that it does less.
        min_p: the smallest p that so many draws can give.
        level: of the test.
        n_items: items that all were measured on; 0 if that is not known.
        shared: dimensions of the residual stream that both have; NaN at other sites.
    """

    control: str
    draws: int
    drop: float
    difference: float
    low: float
    high: float
    missing: int = 0
    idle: int = 0
    drawn: bool = True
    p_more: float = math.nan
    p_less: float = math.nan
    min_p: float = math.nan
    level: float = 0.05
    n_items: int = 0
    shared: float = math.nan

    @property
    def test(self) -> Test:
        """What decides: the order of the network among draws, or an interval, or nothing."""
        if not self.drawn:
            return "items"
        planned = round(1 / self.min_p) - 1 if known(self.min_p) else self.draws
        if planned < 3:
            return "none"
        able = known(self.p_more, self.p_less) and self.min_p <= self.level + 1e-9
        return "draws" if able else "interval"

    @property
    def relation(self) -> Relation:
        """What the control costs beside the network: less, about as much, more, or not known."""
        if self.missing >= self.draws:
            return "no number"
        if self.missing:
            return "some without number"
        if self.idle:
            return "no effect"
        if self.test == "none":
            return "few draws"
        if not known(self.drop, self.difference, self.low, self.high):
            return "no interval"
        if self.test == "draws":
            less, more = self.p_more <= self.level, self.p_less <= self.level
        else:
            less, more = self.low > 0, self.high < 0
        return "less" if less else "more" if more else "alike"


LESION: Mapping[Outcome, str] = {
    "harm": "The lesion of {network} does harm: {change}, {cost}.",
    "improvement": "The lesion of {network} improves the score: {change}, {cost}.",
    "unclear": "By its interval, the lesion of {network} makes no clear difference: {change}, "
    "{cost}.",
    "no interval": "Under the lesion of {network}, {change}, {cost}; there is no interval, so "
    "nothing follows from it.",
    "no number": "Under the lesion of {network}, {what} is no number (intact {intact}), so it is "
    "open what the lesion does there.",
    "no item": "Under the lesion of {network}, no item of {task} could be scored, so it is open "
    "what the lesion does there.",
    "no effect": "The lesion of {network} took no effect, so its scores on {task} say nothing.",
}

# Control units that are alike, or without an interval, or without a number, are told in the same
# way whatever the network's own lesion did.
_ALIKE = "As many control units are not told apart from it: {controls}."
_FEW = "With so few draws nothing can be concluded about these control units: {controls}."
_NO_INTERVAL = "There is no interval that compares it with these control units: {controls}."
_SOME = "Control units gave no number in some draws, so it is not compared with them: {controls}."
_NO_NUMBER = "Control units gave no number, so it is not compared with them: {controls}."
_IDLE = "Lesions of control units took no effect, so it is not compared with them: {controls}."
_OPEN: Mapping[Relation, str] = {
    "few draws": _FEW,
    "no interval": _NO_INTERVAL,
    "some without number": _SOME,
    "no number": _NO_NUMBER,
    "no effect": _IDLE,
}
_NEUTRAL: Mapping[Relation, str] = {
    "less": "On {task}, the model does better under lesions of as many control units than under "
    "this one: {controls}.",
    "more": "On {task}, the model does worse under lesions of as many control units than under "
    "this one: {controls}.",
    "alike": _ALIKE,
    **_OPEN,
}
CONTROL: Mapping[Outcome, Mapping[Relation, str]] = {
    "harm": {
        "less": "That is more than as many control units cost: {controls}.",
        "more": "As many control units cost more: {controls}.",
        "alike": _ALIKE,
        **_OPEN,
    },
    "improvement": _NEUTRAL,
    "unclear": _NEUTRAL,
    # Without an interval of its own, a network is not compared; without a score it cannot be.
    "no interval": dict.fromkeys(RELATIONS, _NO_INTERVAL),
    "no number": {},
    "no item": {},
    "no effect": {},
}
_COMPARED = {
    CONTROL[outcome][relation]
    for outcome in ("harm", "unclear")
    for relation in ("less", "alike", "more")
}

# What to mind, of the cases that say something against a verdict of harm. That draws are too few
# is told by what knows of all tasks.
NOTE: Mapping[Relation, str] = {
    "alike": "Lesions of {control} are not told apart from those of {network} ({places}), so the "
    "harm may not be due to selectivity.",
    "more": "Lesions of {control} do the greater harm beside {network} ({places}), so the harm may "
    "not be due to selectivity.",
    "no interval": "There is no interval that compares {network} with {control} ({places}).",
    "some without number": "Some draws of {control} gave no number ({places}), so {network} is not "
    "compared with them.",
    "no number": "Lesions of {control} gave no number ({places}), so {network} is not compared "
    "with them.",
    "no effect": "Lesions of {control} took no effect ({places}), so {network} is not compared "
    "with them.",
}
# A dimension of the residual stream is the same one in every layer.
NOT_ELSEWHERE = (
    " (These units use {shared} of the network's own dimensions of the residual stream, so their "
    "lesion is partly the network's.)"
)
NO_CONTROLS = (
    "The lesions have no controls beside them, so it is open whether other units would have done "
    "the same."
)
NO_CONTROLS_OF = (
    "The lesions of {networks} have no controls beside them, so it is open whether other units "
    "would have done the same."
)

_MODES = {
    "zero": "set to zero",
    "mean": "set to their mean",
    "resample": "set to another stimulus' response",
    "write": "without what each block wrote",
}
# Measures whose changes are not told in their own unit, and units of the others.
_LOGARITHM = "perplexity"
_UNITS = {
    "accuracy": "share of items",
    "bits per byte": "bits per byte",
    "fluency": "nats per token",
}


def lesion_sentences(change: Change, beside: Sequence[Beside] = ()) -> list[str]:
    """Say what the lesion of a network did to one task, and how control units compare."""
    outcome = change.outcome
    sentences = [_lesion(change)]
    found: dict[str, list[Beside]] = {}
    for control in beside:
        template = CONTROL[outcome].get(control.relation)
        if template is not None:
            found.setdefault(template, []).append(control)
    for template, controls in found.items():
        compared = template in _COMPARED
        words = listed(
            _control(control, compared=compared, n_items=change.n_items) for control in controls
        )
        sentences.append(template.format(controls=words, task=change.task))
    return sentences


def lesion_notes(cases: Sequence[tuple[Change, Sequence[Beside]]]) -> list[str]:
    """Say what to mind in lesions: controls that do as much harm, are missing or say nothing.

    Args:
        cases: every lesion of a network, with what stands beside it.
    """
    if not cases:
        return []
    changes = [change for change, _ in cases]
    sentences = [_lesion(change) for change in changes if change.outcome == "no number"]
    sentences += [*_without_controls(cases), *_few_items(changes)]
    places: dict[tuple[str, str, Relation], list[str]] = {}
    residual: dict[tuple[str, str, Relation], float] = {}
    modes = {change.mode for change, _ in cases}
    for change, beside in cases:
        for control in beside:
            relation = control.relation
            against = change.outcome == "harm" or relation not in ("alike", "more")
            if relation in NOTE and against and CONTROL[change.outcome]:
                mode = f", {change.mode}" if len(modes) > 1 else ""
                place = f"{change.task} at {change.percent:.3g} %{mode}"
                key = change.network, control.control, relation
                places.setdefault(key, []).append(place)
                if control.shared > 0 and relation in ("alike", "more"):
                    residual[key] = max(control.shared, residual.get(key, 0.0))
    for key, found in places.items():
        network, kind, relation = key
        sentence = NOTE[relation].format(network=network, control=kind, places=listed(found))
        if key in residual:
            sentence += NOT_ELSEWHERE.format(shared=f"{residual[key]:,.0f}")
        sentences.append(sentence)
    return sentences


def _lesion(change: Change) -> str:
    return LESION[change.outcome].format(
        network=named(change),
        change=_change(change),
        cost=_cost(change),
        what=_what(change),
        intact=_score(change, change.intact),
        task=change.task,
    )


def named(change: Change) -> str:
    """Say which units were lesioned, and what they became."""
    name = change.network
    known_as = name if " " in name or name.endswith("network") else f"the {name} network"
    mode = _MODES.get(change.mode, change.mode)
    count = [counted(change.n_units, "unit")] if change.n_units else []
    return f"{known_as} ({', '.join([*count, f'{change.percent:.3g} %', mode])})"


def _without_controls(cases: Sequence[tuple[Change, Sequence[Beside]]]) -> list[str]:
    networks = list(dict.fromkeys(change.network for change, _ in cases))
    held = {change.network for change, beside in cases if beside}
    alone = [name for name in networks if name not in held]
    if not alone:
        return []
    if len(alone) == len(networks):
        return [NO_CONTROLS]
    return [NO_CONTROLS_OF.format(networks=listed(alone))]


def _few_items(changes: Sequence[Change]) -> list[str]:
    few = {change.task: change.n_items for change in changes if change.n_items < FEW_ITEMS}
    return [
        f"The task {task} has {counted(n, 'item')}, "
        + ("which gives no interval." if n < 2 else "which is few for an interval.")
        for task, n in few.items()
    ]


def _what(change: Change) -> str:
    if change.measure == change.task:
        return change.measure
    return f"{change.measure} on {change.task}"


def _change(change: Change) -> str:
    words = (
        f"{_what(change)} goes from {_score(change, change.intact)} to "
        f"{_score(change, change.score)}"
    )
    return f"{words} (chance {number(change.chance)})" if known(change.chance) else words


def _score(change: Change, value: float) -> str:
    if not known(value):
        # A perplexity whose logarithm is known may be larger than any float.
        return number(value) if not known(change.drop) else "a number too large to write"
    if change.measure in ("accuracy", "fluency"):
        return number(value)
    return f"{value:.3g}"


def _cost(change: Change) -> str:
    """Write the change as a rise or a drop, with its interval the same way round, and its unit."""
    harm = change.drop >= 0
    size = abs(change.drop)
    low, high = (change.low, change.high) if harm else (-change.high, -change.low)
    noun = "drop" if change.score < change.intact else "rise"
    if change.drop == 0:
        noun = "change"
    of = " of the log perplexity" if change.measure == _LOGARITHM else ""
    unit = "nats per token" if of else _UNITS.get(change.measure, change.measure)
    few = ", few for an interval" if 1 < change.n_items < FEW_ITEMS else ""
    ends = interval(low, high) if change.n_items > 1 else ""
    words = f"a {noun}{of} of {number(size)} {ends}".rstrip()
    return f"{words} ({unit}; n = {change.n_items:,}{few})"


def _control(control: Beside, *, compared: bool, n_items: int = 0) -> str:
    facts = [] if control.missing >= control.draws else [number(control.drop)]
    if control.drawn and not (control.missing or control.idle):
        part = f" on {control.n_items:,} items" if 0 < control.n_items < n_items else ""
        facts.append(f"{counted(control.draws, 'draw')}{part}")
    if control.missing:
        facts.append(f"{control.missing} of {counted(control.draws, 'draw')} without a number")
    if control.idle:
        facts.append(f"{control.idle} of {counted(control.draws, 'draw')} without effect")
    if compared:
        ends = interval(control.low, control.high)
        if control.test == "draws":
            p = control.p_less if control.relation == "more" else control.p_more
            facts.append(f"p {number(p, 3)}")
            if control.relation in ("less", "more") and control.low <= 0 <= control.high:
                ends += ", an interval that holds zero"
        over = {"items": " over items", "interval": " by the interval alone"}.get(control.test, "")
        facts.append(f"difference {number(control.difference)} {ends}{over}".replace("  ", " "))
    return f"{control.control} ({', '.join(facts)})"


def control_name(kind: str) -> str:
    """Say what a kind of control is; own masks go by their name.

    Example:
        >>> control_name("magnitude+outliers")
        'random units of the same magnitude and share of outliers'
    """
    names = {
        "random": "random units",
        "least-selective": "the least selective units",
        "least-active": "the least active units",
        "own-dimensions": "the network's own dimensions in other layers",
        "without-outliers": "the network without its outliers",
        "dimension": "other dimensions in the same layers",
        "dimension+magnitude": "other dimensions of the same magnitude in the same layers",
        "magnitude+dimension": "other dimensions of the same magnitude in the same layers",
    }
    matched = {"layer": "layers", "magnitude": "magnitude", "outliers": "share of outliers"}
    words = kind.split("+")
    if kind not in names and set(words) <= set(matched):
        return f"random units of the same {listed(matched[word] for word in words)}"
    return names.get(kind, kind)
