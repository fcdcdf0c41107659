"""How well controls match their network, and how much their draws can tell: every case once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lensloc.display.sentences.lesions import control_name
from lensloc.display.sentences.words import (
    counted,
    known,
    listed,
    number,
    percentage,
)

POOR_SMD = 0.25
"""Standardised mean difference above which groups count as unbalanced (Stuart 2010)."""
ALIKE = 0.5
"""Share of common units above which draws say less than their number suggests."""
DIFFERENT_BY_DESIGN = ("least-active", "without-outliers")
"""Controls that are no match in magnitude because that is what they are."""


@dataclass(frozen=True)
class Match:
    """How one kind of control compares with its network, at one size; means over draws.

    Attributes:
        network: its name.
        control: the kind.
        percent: the size of the network.
        draws: how many were drawn.
        drawn: whether the units were drawn at all.
        smd: standardised difference of log magnitude, control minus network; NaN if not known.
        n_units: of network and control.
        outliers: units of both that are large whatever the stimulus; NaN if not known.
        alike: share of its units that a draw has in common with another; NaN of fewer than two.
        shared: dimensions of the residual stream that both have; NaN at other sites.
        min_p: the smallest p that the test over draws could give; NaN without one.
        layers_apart: 0 if both are spread alike over layers, 1 if in others.
        log_magnitude: mean natural log of mean absolute response, of both.
    """

    network: str
    control: str
    percent: float
    draws: int
    drawn: bool = True
    smd: float = math.nan
    n_units: tuple[int, int] = (0, 0)
    outliers: tuple[float, float] = (math.nan, math.nan)
    alike: float = math.nan
    shared: float = math.nan
    min_p: float = math.nan
    layers_apart: float = math.nan
    log_magnitude: tuple[float, float] = (math.nan, math.nan)

    @property
    def planned(self) -> int:
        """How many draws the test over draws can count on; some need not have been made."""
        return round(1 / self.min_p) - 1 if known(self.min_p) else self.draws

    @property
    def few_outliers(self) -> bool:
        """Whether the control has fewer than half the network's outliers, for as many units."""
        network, control = self.outliers
        if not known(network, control) or network <= 0 or min(self.n_units) == 0:
            return False
        return control / self.n_units[1] < 0.5 * network / self.n_units[0]

    @property
    def poor(self) -> bool:
        """Whether the two are not comparable in magnitude."""
        return abs(self.smd) > POOR_SMD or self.few_outliers


SMALLER = "smaller"
LARGER = "larger"
POOR = (
    "Beside {network}, {control} are no match in magnitude: {reasons}. A difference from them may "
    "be one of magnitude."
)
ALIKE_DRAWS = (
    "Beside {network}, draws of {control} have much in common ({places}), so they say less about "
    "how such sets differ than their number suggests."
)
FEW = (
    "Of {control}, {draws} {verb} beside {networks}: nothing can be concluded from so few. With "
    "fewer than {needed} the test over draws cannot reach {level}."
)
NO_RANK = (
    "Of {control}, {draws} {verb} beside {networks}: with fewer than {needed} the test over draws "
    "cannot reach {level}, so what is said rests on the interval alone, which takes draws to be "
    "normally distributed."
)


def draw_notes(matches: Sequence[Match], confidence: float = 0.95) -> list[str]:
    """Say what to mind of controls: poor matches, draws that are alike, and too few draws."""
    return [*_poor(matches), *_alike(matches), *_few(matches, confidence)]


def fewest_draws(confidence: float) -> int:
    """Return how many draws the rank test needs to be able to reach ``1 - confidence``.

    Example:
        >>> fewest_draws(0.95), fewest_draws(0.99)
        (19, 99)
    """
    return math.ceil(1 / (1 - confidence) - 1e-9) - 1


def _poor(matches: Sequence[Match]) -> Iterator[str]:
    for (network, control), found in _by_control(matches).items():
        bad = [one for one in found if one.poor]
        if not bad or control in DIFFERENT_BY_DESIGN:
            continue
        reasons = listed(_reason(one) for one in bad)
        yield POOR.format(control=control_name(control), network=network, reasons=reasons)


def _reason(one: Match) -> str:
    parts = []
    if abs(one.smd) > POOR_SMD:
        size = SMALLER if one.smd < 0 else LARGER
        parts.append(f"{size} units (standardised difference {number(one.smd, sign=True)})")
    if one.few_outliers:
        network, control = one.outliers
        parts.append(f"{control:.3g} outliers where the network has {network:.3g}")
    return f"at {one.percent:.3g} % {' and '.join(parts)}"


def _alike(matches: Sequence[Match]) -> Iterator[str]:
    for (network, control), found in _by_control(matches).items():
        much = [one for one in found if one.alike > ALIKE]
        if much:
            places = listed(f"{percentage(one.alike)} at {one.percent:.3g} %" for one in much)
            yield ALIKE_DRAWS.format(control=control_name(control), network=network, places=places)


def _few(matches: Sequence[Match], confidence: float) -> Iterator[str]:
    """Tell once per kind of control that its draws are too few, for all networks together."""
    needed = fewest_draws(confidence)
    held: dict[tuple[str, int], list[str]] = {}
    for one in matches:
        if one.drawn and one.planned < needed:
            held.setdefault((one.control, one.planned), []).append(one.network)
    for (control, draws), found in held.items():
        networks = list(dict.fromkeys(found))
        yield (FEW if draws < 3 else NO_RANK).format(
            networks=listed(networks),
            verb="stands" if draws == 1 else "stand",
            draws=counted(draws, "draw"),
            control=control_name(control),
            needed=needed,
            level=f"{100 * (1 - confidence):.3g} %",
        )


def _by_control(matches: Sequence[Match]) -> dict[tuple[str, str], list[Match]]:
    found: dict[tuple[str, str], list[Match]] = {}
    for one in matches:
        found.setdefault((one.network, one.control), []).append(one)
    return found
