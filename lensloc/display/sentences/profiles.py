"""Whether units respond more to the target than to the control: every case once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lensloc.display.sentences.words import capital, interval, known, listed, number

Direction = Literal["more", "less", "unclear", "no interval", "no number"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Sides:
    """Mean responses to the two sides of a contrast, and their difference.

    Attributes:
        target: names of the target's conditions.
        control: names of the control's.
        mean_target: mean response to all stimuli of the target, each unit in standard deviations.
        mean_control: the same of the control.
        difference: the one minus the other.
        low: lower end of its bootstrap interval, over stimuli of either side; NaN without one.
        high: upper end.
    """

    target: tuple[str, ...]
    control: tuple[str, ...]
    mean_target: float
    mean_control: float
    difference: float
    low: float
    high: float

    @property
    def direction(self) -> Direction:
        """Which case this is."""
        if not known(self.mean_target, self.mean_control, self.difference):
            return "no number"
        if not known(self.low, self.high):
            return "no interval"
        if self.difference > 0 and self.low > 0:
            return "more"
        return "less" if self.difference < 0 and self.high < 0 else "unclear"


PROFILE: Mapping[Direction, str] = {
    "more": "{where}the units respond more to the target ({target}) than to the control "
    "({control}): {means}.",
    "less": "{where}the units respond less to the target ({target}) than to the control "
    "({control}): {means}.",
    "unclear": "{where}responses to the target ({target}) and to the control ({control}) are not "
    "told apart by their interval: {means}.",
    "no interval": "{where}there is no interval for the difference between the target ({target}) "
    "and the control ({control}), so nothing follows from it: {means}.",
    "no number": "{where}the responses to the target ({target}) and to the control ({control}) "
    "give no number, so they are not compared.",
}


# What to mind, of units that were picked for the target and measured on other stimuli.
NOTE: Mapping[Direction, str] = {
    "less": "On stimuli that did not select them, the units respond less to the target than to the "
    "control.",
    "unclear": "On stimuli that did not select them, the units' responses to target and control "
    "are not told apart.",
    "no interval": "On stimuli that did not select them, there is no interval for what the units "
    "respond to target and control.",
    "no number": "On stimuli that did not select them, the units' responses give no number.",
}


def profile_notes(sides: Sides, *, held_out: bool) -> list[str]:
    """Say so if units that were picked for the target do not prefer it on other stimuli."""
    note = NOTE.get(sides.direction)
    return [note] if held_out and note is not None else []


def profile_sentences(
    sides: Sides,
    means: Mapping[str, float],
    *,
    held_out: bool,
    signed: bool = False,
) -> list[str]:
    """Say whether units prefer the target, which conditions cross, and in which order all stand.

    Args:
        sides: means of the two sides.
        means: condition -> mean response, also of those without a role.
        held_out: whether the units were picked on other stimuli than these.
        signed: whether responses are signed, as the selection was, or absolute.
    """
    kind = "signed" if signed else "absolute"
    ends = interval(sides.low, sides.high)
    difference = f"a difference of {number(sides.difference)} {ends}".rstrip()
    sentence = PROFILE[sides.direction].format(
        where="on stimuli that did not select them, " if held_out else "",
        target=listed(sides.target),
        control=listed(sides.control),
        means=f"{number(sides.mean_target, sign=True)} against "
        f"{number(sides.mean_control, sign=True)}, {difference} (mean {kind} response, each unit "
        "in standard deviations)",
    )
    return [capital(sentence), *_crossing(sides, means), *_order(means)]


def _crossing(sides: Sides, means: Mapping[str, float]) -> list[str]:
    """Name the conditions that stand on the other side of the other one's."""
    if len(sides.target) + len(sides.control) == 2:
        return []  # the sides themselves
    found = []
    for target in sides.target:
        above = [
            f"{name} ({number(means[name], sign=True)})"
            for name in sides.control
            if means[name] >= means[target]
        ]
        if above:
            found.append(f"{target} ({number(means[target], sign=True)}) is below {listed(above)}")
    if not found:
        return []
    return [f"Single conditions cross: {'; '.join(found)}."]


def _order(means: Mapping[str, float]) -> list[str]:
    if len(means) < 3:
        return []
    ordered: Sequence[tuple[str, float]] = sorted(
        ((name, mean) for name, mean in means.items() if known(mean)), key=lambda each: -each[1]
    )
    if len(ordered) < 2:
        return []
    words = listed(f"{name} ({number(mean, sign=True)})" for name, mean in ordered)
    return [f"From most to least response: {words}."]
