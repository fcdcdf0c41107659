"""Matching: controls of a network, as many units that lie elsewhere and are alike in what matters.

**Elsewhere.** A dimension of the residual stream is the same wire in every layer: what is set to
zero behind block 3 is missing from then on. A control that uses the network's dimensions in other
layers therefore lesions the network. At residual sites controls avoid every dimension that the
network has in any layer; ``elsewhere=False`` allows them, as published random controls do.

**Kinds.** Units are drawn at random among the candidates, matched in what the kind's name says,
words joined by ``+``:

====================  ============================================================================
``random``            in number only
``layer``             as many in every layer
``magnitude``         every unit with one of its nearest neighbours in log mean absolute response
``outliers``          as many units that are large whatever the stimulus, as far as there are any
``dimension``         as many dimensions, each in the layers in which the network has one of its
                      own; with ``magnitude``, one of like response there (residual stream only,
                      and never one of the network's)
====================  ============================================================================

Not matched but told apart by what they are: ``least-active`` (smallest mean absolute response),
``least-selective`` (smallest score), ``own-dimensions`` (drawn from the network's dimensions in
other layers: the confound made visible); units of another contrast (:func:`of_another`); any mask
(:func:`given`). Every control carries its :class:`~lensloc.units.balance.Balance`.

Where few comparable units are left a match is poor and says so; and its draws must then take the
same units again and again (:func:`draws_alike`), so that they differ less than sets of this kind
would.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from lensloc.display.sentences.words import capital
from lensloc.errors import LensLocError
from lensloc.units.balance import Balance, balance, find_outliers, log_magnitude
from lensloc.units.neighbours import CALIPER, alike, neighbours
from lensloc.vocabulary import (
    CONTROL_KINDS,
    DIMENSION,
    LAYER,
    LEAST_ACTIVE,
    LEAST_SELECTIVE,
    MAGNITUDE,
    MATCHED,
    OUTLIERS,
    OWN_DIMENSIONS,
    RANDOM,
    UNSEEDED,
)


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a site as a control sees them.

    Attributes:
        network: the units of the network.
        magnitude: mean absolute response of every unit; None where not known.
        score: what the network was ranked by, largest first; None where not known.
        excluded: units that nothing may use; None for none.
        residual: whether units are dimensions of the residual stream.
        elsewhere: whether controls avoid the network's dimensions in all layers there.
        name: of the network, for sentences.
    """

    network: Bool[np.ndarray, "layer unit"]
    magnitude: Float[np.ndarray, "_ _"] | None = None  # of one shape: checked below, in words
    score: Float[np.ndarray, "_ _"] | None = None
    excluded: Bool[np.ndarray, "_ _"] | None = None
    residual: bool = False
    elsewhere: bool = True
    name: str = "the network"

    def __post_init__(self) -> None:
        for what in ("magnitude", "score", "excluded"):
            values = getattr(self, what)
            if values is not None and values.shape != self.network.shape:
                raise LensLocError(
                    f"{what} has shape {values.shape}, but {self.name} {self.network.shape}; give "
                    "one value per unit."
                )
        if not self.network.any():
            raise LensLocError(f"{capital(self.name)} has no units, so it has no control.")

    def __len__(self) -> int:
        return int(self.network.sum())

    @cached_property
    def candidates(self) -> Bool[np.ndarray, "layer unit"]:
        """Units that a control may use."""
        free = ~self.network
        if self.excluded is not None:
            free &= ~self.excluded
        if self.residual and self.elsewhere:
            free &= ~self.network.any(axis=0)
        return free

    @cached_property
    def logs(self) -> Float[np.ndarray, "layer unit"]:
        """Log magnitudes.

        Raises:
            LensLocError: if they are not known, for one of the network's units or altogether.
        """
        logs = log_magnitude(self._known_magnitude())
        if not np.isfinite(logs[self.network]).all():
            layer, unit = np.argwhere(self.network & ~np.isfinite(logs))[0]
            raise LensLocError(
                f"The magnitude of unit {unit} in layer {layer} of {self.name} is no number, so it "
                "has no match."
            )
        return logs

    @cached_property
    def large(self) -> Bool[np.ndarray, "layer unit"]:
        """Outliers.

        Raises:
            LensLocError: if magnitudes are not known.
        """
        return find_outliers(self._known_magnitude())

    def _known_magnitude(self) -> Float[np.ndarray, "layer unit"]:
        if self.magnitude is None:
            raise LensLocError(
                f"{capital(self.name)} carries no magnitudes of units, which this control matches; "
                "use a mask from Selectivity.top(), saved as .safetensors."
            )
        return self.magnitude


@dataclass(frozen=True, eq=False)
class Control:
    """One control of a network.

    Attributes:
        kind: how its units were chosen.
        seed: of the draw; None if nothing was drawn.
        mask: the units.
        balance: how alike they are to the network's.
        network: the network's name.
    """

    kind: str
    seed: int | None
    mask: Bool[np.ndarray, "layer unit"]
    balance: Balance
    network: str = "the network"

    @property
    def warning(self) -> str:
        """That the control is no match in magnitude, in a sentence; empty if it is one."""
        if not self.balance.poor:
            return ""
        drawn = "" if self.seed is None else f", seed {self.seed}"
        return (
            f"The control {self.kind!r}{drawn}, of {self.network} {self.balance.why}: a difference "
            "from it may be one of magnitude."
        )


def check_kind(kind: str) -> tuple[str, ...]:
    """Return the words of a kind of control.

    Raises:
        LensLocError: if there is no such kind.

    Example:
        >>> check_kind("layer+magnitude")
        ('layer', 'magnitude')
    """
    words = tuple(dict.fromkeys(kind.split("+")))
    known = words[0] in CONTROL_KINDS if len(words) == 1 else set(words) <= set(MATCHED)
    if not known:
        raise LensLocError(
            f"There is no control {kind!r}; there are {', '.join(CONTROL_KINDS)}, and "
            f"{', '.join(MATCHED)} joined by +, such as 'layer+magnitude'."
        )
    if DIMENSION in words and not set(words) <= {DIMENSION, MAGNITUDE}:
        raise LensLocError(
            f"The control {kind!r} matches more than there is to match: 'dimension' keeps layers "
            "already; use 'dimension' or 'dimension+magnitude'."
        )
    return words


def is_matched(kind: str) -> bool:
    """Say whether a control is drawn to be like the network in something besides number.

    Example:
        >>> is_matched("layer+magnitude"), is_matched("random"), is_matched("mine")
        (True, False, False)
    """
    return set(kind.split("+")) <= set(MATCHED)


def draw(units: Units, kind: str, seed: int = 0) -> Control:
    """Draw one control, with exactly as many units as the network.

    The same seed gives the same units in every process; different networks get independent draws.

    Args:
        units: the network and what is known of its site.
        kind: see the module; not used by the seedless kinds.
        seed: of the draw, 0 or larger.

    Raises:
        LensLocError: an unknown kind, too few units left, or magnitudes or scores that the kind
            needs and ``units`` lacks.

    Example:
        >>> network = np.zeros((3, 9), dtype=bool)
        >>> network[0, 1] = network[2, 7] = True
        >>> control = draw(Units(network, residual=True), "layer", seed=0)
        >>> control.balance.per_layer, control.balance.dimensions_shared
        (((1, 0, 1), (1, 0, 1)), 0)
    """
    words = check_kind(kind)
    if kind == LEAST_ACTIVE:
        mask = _smallest(units, units.logs, "magnitude")
    elif kind == LEAST_SELECTIVE:
        mask = _smallest(units, _score(units), "score")
    elif kind == OWN_DIMENSIONS:
        mask = _drawn(units, _own_dimensions(units), kind, _rng(units, kind, seed))
    elif kind == RANDOM:
        mask = _drawn(units, units.candidates, kind, _rng(units, kind, seed))
    elif DIMENSION in words:
        mask = _by_dimension(units, kind, _rng(units, kind, seed))
    else:
        mask = _matched(units, words, _rng(units, kind, seed))
    return _control(units, kind, None if kind in UNSEEDED else seed, mask)


def of_another(
    units: Units,
    other: Bool[np.ndarray, "layer unit"],
    *,
    score: Float[np.ndarray, "layer unit"] | None = None,
    name: str = "another contrast",
    seed: int = 0,
) -> Control:
    """Return as many units of another contrast, from where the network is not.

    Args:
        units: the network and what is known of its site.
        other: the units of the other contrast.
        score: what they were ranked by; then the best that lie elsewhere, beyond ``other`` where
            that has too few. Without it, drawn at random from ``other``.
        name: of the other contrast.
        seed: of the draw.

    Raises:
        LensLocError: masks of two shapes, or too few units elsewhere.
    """
    _same_shape(units, other, name)
    kind = f"units of {name}"
    if score is not None:
        _same_shape(units, score, name)
        return _control(units, kind, None, _smallest(units, -score, f"score for {name}"))
    chosen = _drawn(units, units.candidates & other, kind, _rng(units, kind, seed))
    return _control(units, kind, seed, chosen)


def given(units: Units, mask: Bool[np.ndarray, "layer unit"], name: str) -> Control:
    """Return a mask as a control, as it is; its balance says what it shares with the network.

    Raises:
        LensLocError: if it is empty or of another shape.
    """
    _same_shape(units, mask, name)
    if not mask.any():
        raise LensLocError(f"The control {name!r} has no units; give a mask with some.")
    return _control(units, name, None, mask)


def draws_alike(masks: Sequence[Bool[np.ndarray, "layer unit"]]) -> float:
    """Return what share of its units a draw has in common with another, on average over pairs.

    Near 0 where there is much to draw from; near 1 where nearly all comparable units are in every
    draw, which then say little about how sets of this kind differ. NaN of fewer than two.
    """
    shared = [float((a & b).sum()) / min(a.sum(), b.sum()) for a, b in combinations(masks, 2)]
    return float(np.mean(shared)) if shared else float("nan")


# -- how units are chosen --------------------------------------------------------------------------


def _matched(
    units: Units, words: Sequence[str], rng: np.random.Generator
) -> Bool[np.ndarray, "layer unit"]:
    free = units.candidates
    near = MAGNITUDE in words
    if near or OUTLIERS in words:
        free = free & np.isfinite(units.logs)
    chosen = np.zeros(units.network.size, dtype=bool)
    for layer, wanted, left in _strata(units, free, LAYER in words):
        if len(left) < len(wanted):
            raise LensLocError(_too_few(units, "+".join(words), len(left), len(wanted), layer))
        pick: Callable[..., Int[np.ndarray, " drawn"]] = _at_random
        if near:
            values = units.logs.ravel()
            spread = values[np.concatenate([wanted, left])].std()
            pick = _nearest(values, CALIPER * float(spread))
        for some, of in (
            _by_outliers(units, wanted, left, rng) if OUTLIERS in words else [(wanted, left)]
        ):
            chosen[pick(some, of, rng)] = True
    return chosen.reshape(units.network.shape)


def _strata(
    units: Units, free: Bool[np.ndarray, "layer unit"], by_layer: bool
) -> Iterator[tuple[int | None, Int[np.ndarray, " wanted"], Int[np.ndarray, " free"]]]:
    """Yield layer, flat indices of the network's units and of the candidates, or all at once."""
    width = units.network.shape[1]
    if not by_layer:
        yield None, np.flatnonzero(units.network), np.flatnonzero(free)
        return
    for layer, (own, other) in enumerate(zip(units.network, free, strict=True)):
        if own.any():
            start = layer * width
            yield layer, start + np.flatnonzero(own), start + np.flatnonzero(other)


def _by_outliers(
    units: Units,
    wanted: Int[np.ndarray, " wanted"],
    free: Int[np.ndarray, " free"],
    rng: np.random.Generator,
) -> list[tuple[Int[np.ndarray, " some"], Int[np.ndarray, " of"]]]:
    """Split into outliers and others; wanted ones for which one part is short go to the other."""
    large = units.large.ravel()
    parts = {
        is_large: (
            rng.permutation(wanted[large[wanted] == is_large]),
            free[large[free] == is_large],
        )
        for is_large in (True, False)
    }
    served = {key: min(len(some), len(of)) for key, (some, of) in parts.items()}
    found = []
    for key, (some, of) in parts.items():
        spared = parts[not key][0][served[not key] :]
        found.append((np.concatenate([some[: served[key]], spared]), of))
    return found


def _at_random(
    wanted: Int[np.ndarray, " wanted"], free: Int[np.ndarray, " free"], rng: np.random.Generator
) -> Int[np.ndarray, " wanted"]:
    drawn: Int[np.ndarray, " wanted"] = rng.choice(free, size=len(wanted), replace=False)
    return drawn


def _nearest(
    values: Float[np.ndarray, " all"], caliper: float
) -> Callable[..., Int[np.ndarray, " wanted"]]:
    def pick(
        wanted: Int[np.ndarray, " wanted"], free: Int[np.ndarray, " free"], rng: np.random.Generator
    ) -> Int[np.ndarray, " wanted"]:
        found: Int[np.ndarray, " wanted"] = free[
            neighbours(values[wanted], values[free], rng, caliper=caliper)
        ]
        return found

    return pick


def _by_dimension(
    units: Units, kind: str, rng: np.random.Generator
) -> Bool[np.ndarray, "layer unit"]:
    """Give every dimension of the network another one, in the same layers."""
    near = MAGNITUDE in kind
    if not units.residual:
        raise LensLocError(
            f"{capital(units.name)} does not lie on the residual stream, so its units recur in no "
            "other layer; match 'layer' instead of 'dimension'."
        )
    used = units.network.any(axis=0)
    own, other = np.flatnonzero(used), np.flatnonzero(~used)
    usable = ~units.network if units.excluded is None else ~units.network & ~units.excluded
    if near:
        usable = usable & np.isfinite(units.logs)
    cost = np.zeros((len(own), len(other)))
    allowed = np.zeros(cost.shape, dtype=bool)
    for at, dimension in enumerate(own):
        layers = np.flatnonzero(units.network[:, dimension])
        allowed[at] = usable[np.ix_(layers, other)].all(axis=0)
        if near:
            logs = units.logs[layers]
            cost[at] = np.abs(logs[:, other] - logs[:, [dimension]]).mean(axis=0)
    caliper = CALIPER * float(np.nanstd(units.logs)) if near else 0.0
    found = alike(cost, allowed, rng, caliper=caliper)
    if (found < 0).any():
        raise LensLocError(
            f"The control {kind!r} of {units.name} needs {len(own)} other dimensions of the "
            f"residual stream, and of {len(other)} that are free only {(found >= 0).sum()} serve; "
            "use a smaller percentage."
        )
    chosen = np.zeros_like(units.network)
    chosen[:, other[found]] = units.network[:, own]
    return chosen


def _smallest(
    units: Units, values: Float[np.ndarray, "layer unit"], what: str
) -> Bool[np.ndarray, "layer unit"]:
    """Return the candidates with the smallest values; ties by layer, then unit."""
    usable = units.candidates & np.isfinite(values)
    flat = np.flatnonzero(usable)
    if len(flat) < len(units):
        raise LensLocError(_too_few(units, f"smallest {what}", len(flat), len(units)))
    best = flat[np.argsort(values.ravel()[flat], kind="stable")][: len(units)]
    chosen = np.zeros(units.network.size, dtype=bool)
    chosen[best] = True
    return chosen.reshape(units.network.shape)


def _drawn(
    units: Units, free: Bool[np.ndarray, "layer unit"], kind: str, rng: np.random.Generator
) -> Bool[np.ndarray, "layer unit"]:
    flat = np.flatnonzero(free)
    if len(flat) < len(units):
        raise LensLocError(_too_few(units, kind, len(flat), len(units)))
    chosen = np.zeros(units.network.size, dtype=bool)
    chosen[rng.choice(flat, size=len(units), replace=False)] = True
    return chosen.reshape(units.network.shape)


def _own_dimensions(units: Units) -> Bool[np.ndarray, "layer unit"]:
    if not units.residual:
        raise LensLocError(
            f"{capital(units.name)} does not lie on the residual stream, so it has no dimensions "
            "in other layers; use another control."
        )
    own = units.network.any(axis=0) & ~units.network
    return own if units.excluded is None else own & ~units.excluded


# -- small things ----------------------------------------------------------------------------------


def _control(
    units: Units, kind: str, seed: int | None, mask: Bool[np.ndarray, "layer unit"]
) -> Control:
    found = balance(units.network, mask, units.magnitude, residual=units.residual)
    return Control(kind, seed, mask, found, units.name)


def _score(units: Units) -> Float[np.ndarray, "layer unit"]:
    if units.score is None:
        raise LensLocError(
            f"{capital(units.name)} carries no ranking of units, which this control needs; use a "
            "mask from Selectivity.top(), saved as .safetensors."
        )
    return units.score


def _same_shape(units: Units, array: Shaped[np.ndarray, "layer unit"], name: str) -> None:
    if array.shape != units.network.shape:
        raise LensLocError(
            f"The control {name!r} has shape {array.shape}, but {units.name} "
            f"{units.network.shape}; take masks of one model and one site."
        )


def _too_few(units: Units, kind: str, left: int, needed: int, layer: int | None = None) -> str:
    where = "" if layer is None else f" of layer {layer}"
    hints = ["use a smaller percentage"]
    if layer is not None:
        hints.append("do not match 'layer'")
    if units.residual and units.elsewhere and kind != OWN_DIMENSIONS:
        hints.append("let it use the network's dimensions (elsewhere=False)")
    return (
        f"The control {kind!r} of {units.name} needs {needed} units{where} and only {left} are "
        f"left to it; {', or '.join(hints)}."
    )


def _rng(units: Units, kind: str, seed: int) -> np.random.Generator:
    """Return a generator of its own for every network, kind and seed, the same everywhere."""
    if seed < 0:
        raise LensLocError(f"A seed is 0 or larger; {seed} is not.")
    of = (zlib.crc32(kind.encode()), zlib.crc32(np.packbits(units.network).tobytes()))
    return np.random.default_rng([seed, *of])
