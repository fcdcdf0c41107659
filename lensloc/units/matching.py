"""Controls: sets of units to hold beside a network, as many and alike in all but selectivity."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lensloc.errors import LensLocError, refuse_idle
from lensloc.units.mask import UnitMask, describe
from lensloc.units.outliers import outliers
from lensloc.units.selection import SelectionRule, ranked
from lensloc.vocabulary import LEAST_SELECTIVE, MATCHES, WITHOUT_OUTLIERS
from lensloc.vocabulary import Match as Match

_SMALLEST_BIN = 25
_BINS = 100


@dataclass(frozen=True)
class Control:
    """One control of a network.

    Attributes:
        kind: how its units were chosen.
        seed: of the draw; None if nothing was drawn.
        mask: the units.
    """

    kind: str
    seed: int | None
    mask: UnitMask


@dataclass(frozen=True)
class Controls:
    """Which controls to hold beside every network; made by :func:`controls`."""

    matches: tuple[str, ...]
    seeds: tuple[int, ...]
    least_selective: bool = False
    without_outliers: bool = False
    n_bins: int = 100

    def __call__(self, network: UnitMask) -> Iterator[Control]:
        """Draw the controls of a network, each with exactly as many units.

        Raises:
            LensLocError: if too few units are left, or the network carries no magnitudes or
                ranking that a control needs.
        """
        for match in self.matches:
            for seed in self.seeds:
                yield Control(match, seed, draw_control(network, match, seed, n_bins=self.n_bins))
        if self.least_selective:
            yield Control(LEAST_SELECTIVE, None, least_selective(network))
        if self.without_outliers:
            yield Control(WITHOUT_OUTLIERS, None, without_outliers(network))


def controls(
    match: Match | Sequence[Match | None] | None = None,
    *,
    seeds: Iterable[int] = range(5),
    least_selective: bool = False,
    without_outliers: bool = False,
    n_bins: int = _BINS,
) -> Controls:
    """Say which controls a lesion study holds beside a network.

    Args:
        match: random units from outside the network, in what they are like it: None (or
            ``"random"``) in number only; ``"layer"``, as many in every layer; ``"magnitude"``, as
            many in every bin of mean absolute response, so that outlier dimensions are compared
            with outlier dimensions; ``"layer+magnitude"``, both. Several for several controls.
        seeds: one draw each.
        least_selective: also as many units of smallest score.
        without_outliers: also the network with its outlier units (see
            :func:`lensloc.units.outliers.outliers`) replaced by the next most selective units that
            are none.
        n_bins: bins of magnitude, each with as many units; fewer where a bin would hold less
            than 25 units. Where a bin has too few units outside the network, the nearest bins
            give the rest. Refused where no magnitude is matched.

    Raises:
        LensLocError: an unknown match, or no seed.

    Example:
        >>> import lensloc as ll
        >>> network = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
        >>> for control in ll.controls("layer", seeds=range(2))(network):
        ...     print(control.kind, control.seed, control.mask.per_layer().tolist())
        layer 0 [1, 0, 1]
        layer 1 [1, 0, 1]
    """
    several = (match,) if match is None or isinstance(match, str) else tuple(match)
    matches = tuple(dict.fromkeys(found or "random" for found in several))
    for found in matches:
        if found not in MATCHES:
            raise LensLocError(f"There is no control {found!r}; there are {', '.join(MATCHES)}.")
    numbers = tuple(int(seed) for seed in seeds)
    if matches and not numbers:
        raise LensLocError("Random controls need at least one seed, e.g. seeds=range(5).")
    if n_bins < 1:
        raise LensLocError(f"n_bins is at least 1; {n_bins} is not.")
    if not any("magnitude" in found for found in matches):
        refuse_idle("no control is matched in magnitude; leave it out", n_bins=n_bins != _BINS)
    return Controls(matches, numbers, least_selective, without_outliers, n_bins)


def draw_control(network: UnitMask, match: str, seed: int, *, n_bins: int = 100) -> UnitMask:
    """Draw as many units from outside the network, matched to it; see :func:`controls`.

    The same seed gives the same units in every process (numpy's PCG64).

    Raises:
        LensLocError: if too few units are left, or the network carries no magnitudes.
    """
    if match == "random":
        return network.random_like(seed)
    draw = np.random.default_rng(seed)
    chosen = torch.zeros_like(network.mask)
    if match == "layer":
        for layer, units in enumerate(network.mask):
            chosen[layer] = _drawn(units, torch.zeros_like(units, dtype=torch.long), draw, network)
    elif match == "magnitude":
        bins = _bins(_magnitude(network).flatten(), n_bins)
        chosen = _drawn(network.mask.flatten(), bins, draw, network).reshape(network.shape)
    elif match == "layer+magnitude":
        magnitude = _magnitude(network)
        for layer, units in enumerate(network.mask):
            chosen[layer] = _drawn(units, _bins(magnitude[layer], n_bins), draw, network)
    else:
        raise LensLocError(f"There is no control {match!r}; there are {', '.join(MATCHES)}.")
    rule = SelectionRule("random", seed=seed)
    control = _control(network, chosen, f"random, seed {seed}, matched in {match}", rule)
    return dataclasses.replace(control, provenance=control.provenance.seeded("selection", seed))


def least_selective(network: UnitMask) -> UnitMask:
    """Return as many units of smallest score; ties by layer, then unit.

    Raises:
        LensLocError: if the network carries no ranking, or holds more than half of the units.
    """
    score = _score(network)
    known = torch.isfinite(score)  # units that were excluded from selection have none
    lowest = ranked(torch.where(known, -score, -torch.inf))[: len(network)]
    chosen = torch.zeros(network.mask.numel(), dtype=torch.bool)
    chosen[lowest] = True
    mask = chosen.reshape(network.shape)
    if int(known.sum()) < len(network) or (mask & network.mask).any():
        raise LensLocError(
            f"The mask {describe(network)} holds more than half of all ranked units, so its least "
            "selective control would overlap it; use a smaller percentage."
        )
    return _control(network, mask, LEAST_SELECTIVE)


def without_outliers(network: UnitMask) -> UnitMask:
    """Return the network with its outliers replaced by the next best units that are none.

    Raises:
        LensLocError: if the network carries no ranking or magnitudes, or too few units remain.
    """
    score, out = _score(network), outliers(_magnitude(network))
    order = ranked(score)
    may_be_taken = ~out & torch.isfinite(score)  # units that were excluded have no score
    best = order[may_be_taken.flatten()[order]][: len(network)]
    if len(best) < len(network):
        raise LensLocError(
            f"Only {len(best)} ranked units at {network.site} are no outliers, fewer than the "
            f"network's {len(network)}; use a smaller percentage."
        )
    chosen = torch.zeros(network.mask.numel(), dtype=torch.bool)
    chosen[best] = True
    replaced = int((network.mask & out).sum())
    words = f"{WITHOUT_OUTLIERS} ({replaced} replaced)"
    return _control(network, chosen.reshape(network.shape), words)


def _bins(magnitude: Float[Tensor, " unit"], n_bins: int) -> Int[Tensor, " unit"]:
    """Return the bin of every unit; bins hold equal numbers of units, in order of magnitude."""
    n = len(magnitude)
    count = max(1, min(n_bins, n // _SMALLEST_BIN))
    order = magnitude.argsort(stable=True)
    bins = torch.empty(n, dtype=torch.long)
    bins[order] = torch.arange(n) * count // n
    return bins


def _drawn(
    units: Bool[Tensor, " unit"],
    bins: Int[Tensor, " unit"],
    draw: np.random.Generator,
    network: UnitMask,
) -> Bool[Tensor, " unit"]:
    """Draw as many units from outside as there are in every bin, from the nearest bins if short."""
    chosen = torch.zeros_like(units)
    if 2 * int(units.sum()) > len(units):
        raise LensLocError(
            f"The mask {describe(network)} holds more than half of the units that a control can "
            "be drawn from; use a smaller percentage, or match less."
        )
    free = {
        int(name): (~units & (bins == name)).nonzero().squeeze(1).numpy() for name in bins.unique()
    }
    free = {name: draw.permutation(found) for name, found in free.items()}
    needed = {name: int((units & (bins == name)).sum()) for name in free}
    taken = {name: min(needed[name], len(found)) for name, found in free.items()}
    # Largest magnitudes first: they have the fewest neighbours.
    for name in sorted(free, reverse=True):
        short = needed[name] - min(needed[name], len(free[name]))
        for other in sorted(free, key=lambda other: (abs(other - name), -other)):
            given = min(short, len(free[other]) - taken[other])
            taken[other] += given
            short -= given
    for name, found in free.items():
        chosen[torch.from_numpy(found[: taken[name]].copy())] = True
    return chosen


def _control(
    network: UnitMask,
    mask: Bool[Tensor, "layer unit"],
    words: str,
    rule: SelectionRule | None = None,
) -> UnitMask:
    made = network.provenance
    made = made.replace(warnings=(), selection=f"{words}, as many as: {made.selection}")
    return UnitMask(network.site, mask, made, magnitude=network.magnitude, rule=rule)


def _magnitude(network: UnitMask) -> Float[Tensor, "layer unit"]:
    if network.magnitude is None:
        raise LensLocError(
            f"The mask {describe(network)} ({network.provenance.selection or 'imported'}) carries "
            "no magnitudes of units, which this control matches; use one from Selectivity.top(), "
            "saved as .safetensors, or combine masks of the same stimuli."
        )
    return network.magnitude


def _score(network: UnitMask) -> Float[Tensor, "layer unit"]:
    if network.score is None:
        raise LensLocError(
            f"The mask {describe(network)} ({network.provenance.selection or 'imported'}) carries "
            "no ranking of units, which this control needs; use one from Selectivity.top(), saved "
            "as .safetensors."
        )
    return network.score
