"""Whether networks harm their own tasks more than others: every case once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lensloc.display.sentences.words import capital, counted, interval, known, listed, number

Specific = Literal["more", "less", "alike", "few draws", "no interval", "no number"]
SPECIFIC: tuple[Specific, ...] = get_args(Specific)
Verdict = Literal["double", "not crossed", "some", "none", "one network", "not known"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Specificness:
    """How much more a network harms its own tasks than others, beside one kind of control.

    Attributes:
        network: name.
        own: its own tasks.
        others: the other ones.
        control: what the control is, in words.
        draws: how many sets of units were drawn and gave numbers.
        index: share of the room to fall that its own tasks lose, minus that of the others.
        control_index: the draws' mean of that.
        low: lower end of the interval of the difference; NaN without one.
        high: upper end.
        standardised: the difference in standard deviations of the draws.
        p: of the rank test.
        min_p: the smallest that so many draws can give.
        level: of the test.
    """

    network: str
    own: tuple[str, ...]
    others: tuple[str, ...]
    control: str
    draws: int
    index: float
    control_index: float
    low: float
    high: float
    standardised: float
    p: float
    min_p: float
    level: float = 0.05

    @property
    def by_interval(self) -> bool:
        """Whether the interval has to decide, as so few draws cannot."""
        return self.min_p > self.level + 1e-9

    @property
    def relation(self) -> Specific:
        """Which case this is."""
        if not known(self.index, self.control_index):
            return "no number"
        if self.draws < 3:
            return "few draws"
        if not known(self.low, self.high):
            return "no interval"
        more = self.low > 0 if self.by_interval else self.p <= self.level + 1e-9
        return "more" if more else "less" if self.high < 0 else "alike"


@dataclass(frozen=True)
class Together:
    """Several networks beside one kind of control.

    Attributes:
        control: what the control is, in words.
        relations: network -> how it compares.
        crossed: whether every network harms its own tasks more than every other network does.
        p_double: that every network's index exceeds its controls': the largest p.
        p_overall: that the mean index does.
        by_interval: whether intervals decided.
    """

    control: str
    relations: Mapping[str, Specific]
    crossed: bool
    p_double: float
    p_overall: float = math.nan
    by_interval: bool = False

    @property
    def verdict(self) -> Verdict:
        """Which case this is."""
        found = list(self.relations.values())
        if len(found) < 2:
            return "one network"
        if any(each in ("few draws", "no interval", "no number") for each in found):
            return "not known"
        if all(each == "more" for each in found):
            return "double" if self.crossed else "not crossed"
        return "some" if "more" in found else "none"


NETWORK: Mapping[Specific, str] = {
    "more": "The lesion of {network} is specific: {own} lose{s} more of the room to fall than "
    "{others}, beyond what {control} do: {numbers}.",
    "less": "The lesion of {network} is the reverse of specific: {own} lose{s} less of the room to "
    "fall than {others}, beside what {control} do: {numbers}.",
    "alike": "The lesion of {network} is not shown to be specific: how much more {own} lose{s} "
    "than {others} is not told apart from what {control} do: {numbers}.",
    "few draws": "With so few draws of {control} nothing can be concluded about the lesion of "
    "{network}, of {own} beside {others}: {numbers}.",
    "no interval": "There is no interval for the lesion of {network} beside {control}, so nothing "
    "follows for {own} beside {others}: {numbers}.",
    "no number": "The lesion of {network}, or of all its controls ({control}), gives no number on "
    "some task, so {own} and {others} are not compared.",
}
TOGETHER: Mapping[Verdict, str] = {
    "double": "That is a double dissociation: each of {names} harms its own tasks more than others "
    "beyond what {control} do, and more than the other networks do{p}.",
    "not crossed": "That is no double dissociation: the index of every network exceeds that of "
    "{control}, but the tasks of some fall as much under another's lesion.",
    "some": "A double dissociation is not shown: of {names}, only {more} {harm} own tasks more "
    "than others beyond what {control} do.",
    "none": "No dissociation is shown: none of {names} harms its own tasks more than others beyond "
    "what {control} do.",
    "one network": "",
    "not known": "Whether {names} dissociate beside {control} cannot be told.",
}


def specific_sentence(found: Specificness) -> str:
    """Say whether a network's lesion is specific."""
    ends = interval(found.low, found.high)
    facts = [
        f"index {number(found.index)} against {number(found.control_index)} "
        f"({counted(found.draws, 'draw')})",
        f"difference {number(found.index - found.control_index)} {ends}".rstrip(),
    ]
    if known(found.standardised):
        facts.append(f"{number(found.standardised, 1)} standard deviations of draws")
    if found.relation in ("more", "less", "alike"):
        by_p = f"p {number(found.p, 3)}"
        facts.append("by the interval alone" if found.by_interval else by_p)
    one = len(found.own) == 1
    return NETWORK[found.relation].format(
        network=found.network,
        control=found.control,
        own=listed(found.own),
        others=listed(found.others),
        numbers=", ".join(facts),
        s="s" if one else "",
    )


def together_sentences(found: Together) -> list[str]:
    """Say whether networks dissociate from each other; nothing of one alone."""
    template = TOGETHER[found.verdict]
    if not template:
        return []
    more = [name for name, relation in found.relations.items() if relation == "more"]
    p = f" (largest p {number(found.p_double, 3)}, all together {number(found.p_overall, 4)})"
    return [
        template.format(
            names=listed(found.relations),
            control=found.control,
            more=listed(more) if more else "",
            harm="harms its" if len(more) == 1 else "harm their",
            p=" (by the intervals alone)" if found.by_interval else p,
        )
    ]


# -- what to mind ----------------------------------------------------------------------------------


def no_room(task: str, score: float, chance: float, n_items: int, kinds: int) -> str:
    """Say that a task cannot fall, and why.

    Args:
        task: its name.
        score: of the intact model, on the items to be measured; NaN if there are none.
        chance: score of guessing.
        n_items: how many these are.
        kinds: kinds of items that the task has.
    """
    if n_items == 0:
        return (
            f"{capital(task)} has no room to fall: of its {counted(kinds, 'kind')} of items, the "
            "intact model answers none on the half that is not measured; it is left out."
        )
    return (
        f"{capital(task)} has no room to fall: the intact model's score is {number(score)} on "
        f"{counted(n_items, 'item')}, guessing's {number(chance)}; it is left out."
    )


def few_items(task: str, n_items: int) -> str:
    """Say that a task is measured on few items."""
    return f"{capital(task)} is measured on {counted(n_items, 'item')}, which are few for an index."


def no_index(network: str, own: Sequence[str]) -> str:
    """Say that a network has no task of its own that could fall, or none of others."""
    if not own:
        return f"{network} has no task of its own, so it has no index."
    return (
        f"{network} has no index: its own tasks ({listed(own)}) or all others have no room to fall."
    )


def shared_units(one: str, other: str, shared: int, n_one: int, n_other: int) -> str:
    """Say that two networks have units in common."""
    return (
        f"{one} and {other} have {counted(shared, 'unit')} in common (of {n_one:,} and "
        f"{n_other:,}), so that each lesion is in part the other's."
    )
