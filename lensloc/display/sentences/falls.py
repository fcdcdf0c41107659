"""Which groups of items a lesion takes first: every case once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lensloc.display.sentences.words import counted, known, listed, number, percentage

_NAMED = 3  # groups; of more it is said how many

Case = Literal["no group", "no change", "too few items", "none", "some", "all"]


@dataclass(frozen=True)
class Group:
    """What one group of items lost.

    Attributes:
        name: of the group.
        drop: at the size that is spoken of, positive for harm.
        falls_at: smallest size, in per cent of units, from which on more of its items lose than
            gain; NaN if there is none.
        controls: control, in words -> its drop on the same items.
    """

    name: str
    drop: float
    falls_at: float = math.nan
    controls: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Falls:
    """The groups of a task's items under the lesion of one network.

    Attributes:
        network: its name.
        task: name of the task.
        what: groups in words, ``"phenomena"`` or ``"groups"``.
        percent: the size at which drops are given.
        sizes: how many sizes were measured.
        groups: the first to fall first.
        most_items: of the largest group.
        level: false discovery rate over the groups.
    """

    network: str
    task: str
    what: str
    percent: float
    sizes: int
    groups: Sequence[Group]
    most_items: int
    level: float = 0.05

    @property
    def fallen(self) -> list[Group]:
        """The groups that fall at some size."""
        return [group for group in self.groups if known(group.falls_at)]

    @property
    def first(self) -> list[Group]:
        """Those of them that fall at the smallest size, the one that loses most first."""
        least = min((group.falls_at for group in self.fallen), default=math.nan)
        found = [group for group in self.fallen if group.falls_at == least]
        return sorted(found, key=lambda group: -group.drop)

    @property
    def case(self) -> Case:
        """Which case this is."""
        if len(self.groups) < 2:
            return "no group"
        if not any(known(group.drop) and group.drop for group in self.groups):
            return "no change"
        if len(self.first) == len(self.groups):
            return "all"
        if self.fallen:
            return "some"
        return "too few items" if 0.5**self.most_items > self.level else "none"


def falls_sentences(found: Falls) -> list[str]:
    """Say which groups fall first, or why that cannot be said; nothing of one group, or no change.

    Args:
        found: the groups.
    """
    n = len(found.groups)
    lesion = f"the lesion of {found.network}"
    whole = f"the {n} {found.what} of {found.task}"
    match found.case:
        case "no group" | "no change":
            return []
        case "too few items":
            return [
                f"Which of {whole} {lesion} takes first cannot be said: none has more than "
                f"{counted(found.most_items, 'item')}, too few for a test at "
                f"{percentage(found.level)}."
            ]
        case "none":
            return [
                f"None of {whole} can be said to fall under {lesion}: in none do more items lose "
                f"than gain beyond chance (exact sign tests, false discovery rate "
                f"{percentage(found.level)})."
            ]
        case "all":
            most = _named(found.first[0], found.percent)
            return [f"All of {whole} fall under {lesion}, {_from(found)}, most of all {most}."]
        case "some":
            first = found.first
            more = len(first) - _NAMED
            names = [_named(group, found.percent) for group in first[:_NAMED]]
            shown = listed([*names, f"{more} more"] if more > 0 else names)
            verb = "fall" if len(first) > 1 else "falls"
            head = f"Of {whole}, {shown} {verb}{' first' if found.sizes > 1 else ''} under {lesion}"
            rest = n - len(found.fallen)
            return [
                f"{head}, {_from(found)}; {counted(rest, 'other')} cannot be said to fall at "
                f"{'any size' if found.sizes > 1 else 'all'}."
            ]


def _from(found: Falls) -> str:
    least = f"{found.first[0].falls_at:g} % of the units"
    return f"from {least} on" if found.sizes > 1 else f"at {least}"


def _named(group: Group, percent: float) -> str:
    beside = "".join(f"; {name} {number(drop)}" for name, drop in group.controls.items())
    return f"{group.name} (drop {number(group.drop)} at {percent:g} %{beside})"
