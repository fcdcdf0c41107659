"""Permutation test of every unit, corrected over all of them by the largest t (max-T)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.arguments import require_numbers
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.selectivity.moments import Moments, as_float64, precision
from lensloc.selectivity.t_tests import TESTS, Test, groups, paired, pairs, welch
from lensloc.units import ragged
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.responses import Responses
from lensloc.units.selection import SelectionRule
from lensloc.units.unit_rows import table_of

_BINS = 480
_ELEMENTS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class MaxT(Savable, ragged.Layered):
    """A permutation test's result at one site.

    Attributes:
        site: name of the site.
        t: observed t, float64 ``[layer, unit]``.
        p: chance that shuffled labels give any unit of the site as large a t; float64.
        maxima: every permutation's largest t over all units (of ``|t|`` if two-sided).
        null_counts: units per bin of t under shuffled labels, mean over permutations.
        null_edges: edges of the bins.
        two_sided: whether ``|t|`` was compared.
        provenance: model, stimuli and procedure, as far as the responses know them.
        widths: units of every layer, where layers differ in width; t and p are NaN beyond them.
    """

    site: str
    t: Float[Tensor, "layer unit"]
    p: Float[Tensor, "layer unit"]
    maxima: Float[np.ndarray, " permutation"]
    null_counts: Float[np.ndarray, " bin"]
    null_edges: Float[np.ndarray, " edge"]
    two_sided: bool
    provenance: Provenance = field(default_factory=Provenance)
    widths: ragged.Widths = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units of the widest layer."""
        n_layers, n_units = self.p.shape
        return n_layers, n_units

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit: address, layer, unit, t and family-wise p."""
        return table_of(self.site, {"t": self.t, "p": self.p}, self.units)

    def __repr__(self) -> str:
        return (
            f"MaxT({int((self.p < 0.05).sum())} of {self.n_units} units at {self.site} with "
            f"family-wise p < 0.05; {self.n_permutations} permutations)"
        )

    @property
    def n_permutations(self) -> int:
        """How often labels were shuffled."""
        return len(self.maxima)

    def threshold(self, alpha: float = 0.05) -> float:
        """Return the t above which a unit's corrected p is at most ``alpha``.

        Raises:
            LensLocError: if so small an alpha needs more permutations.
        """
        most = int(np.floor(alpha * (self.n_permutations + 1) + 1e-9)) - 1
        if not 0 < alpha < 1 or most < 0:
            raise LensLocError(
                f"alpha = {alpha:g} cannot be told from {self.n_permutations} permutations; it "
                f"lies between {1 / (self.n_permutations + 1):.2g} and 1, or needs more of them."
            )
        return float(np.sort(self.maxima)[::-1][most])

    def significant(self, alpha: float = 0.05) -> UnitMask:
        """Return the units whose corrected p is at most ``alpha`` and whose t is above zero."""
        rule = SelectionRule("significant", q=alpha, direction="target", statistic="family-wise p")
        made = self.provenance.replace(selection=rule.describe(self.n_units, self.site))
        chosen = (self.p <= alpha) & (self.t > 0)
        return UnitMask(self.site, chosen, made, rule=rule, widths=self.widths)


@runtime_checkable
class Localized(Protocol):
    """What knows its responses, conditions and procedure; a :class:`~lensloc.Localization`."""

    def max_t(self, site: str | None = None, **options: Any) -> MaxT:
        """Test every unit of a site."""


def max_t(
    responses: Responses | Localized,
    target: tuple[str, ...] | None = None,
    control: tuple[str, ...] | None = None,
    *,
    absolute: bool | None = None,
    test: Test | None = None,
    two_sided: bool = True,
    n_permutations: int = 1000,
    seed: int = 0,
) -> MaxT:
    """Test every unit by permutation, with the family-wise error over all units controlled.

    Labels of the stimuli are shuffled (for ``"paired"``, target and control swapped within pairs),
    and each unit's t is compared with the largest t of all units in every shuffle (Westfall and
    Young 1993, single-step max-T). ``p = (1 + #{maximum >= t}) / (1 + permutations)`` (Phipson and
    Smyth 2010). With p below 0.05 for any unit, in 95 % of experiments without effect there is
    none such. No normal distribution is assumed, and the correlation of units is respected.

    The t of all units under all shuffles are two matrix products, of labels with responses and
    with their squares (one where target and control have equal numbers), in float64, on the
    responses' device.

    Args:
        responses: pooled activations of every stimulus; or a localization at one site that kept
            them (``found.max_t(site)`` where there are several).
        target: conditions whose larger response makes t positive; those of the localization that
            the responses are from if None.
        control: conditions to compare with; likewise.
        absolute: test absolute responses; if None, as the responses were localized, and absolute
            where that is not known.
        test: ``"welch"``, or ``"paired"`` where stimuli come in pairs, as :func:`paired` takes
            them; if None, as the responses were localized, and Welch's where that is not known.
        two_sided: compare ``|t|``; otherwise only units that prefer the target count.
        n_permutations: how often to shuffle.
        seed: of the shuffles (numpy's PCG64).

    Raises:
        LensLocError: too few stimuli, unequal numbers where pairs are needed, or no permutation.

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> values = torch.randn(24, 2, 50, generator=torch.Generator().manual_seed(0))
        >>> values[:12, 1, 7] += 9  # one unit in a hundred prefers the first twelve
        >>> responses = ll.Responses("mlp_post", values, ("a",) * 12 + ("b",) * 12)
        >>> ll.max_t(responses, ("a",), ("b",), n_permutations=200).significant().addresses
        ['L1.mlp_post.7']
    """
    require_numbers(seed=seed, n_permutations=n_permutations)
    options = {"two_sided": two_sided, "n_permutations": n_permutations, "seed": seed}
    if not isinstance(responses, Responses):
        return _of_localized(responses, target, control, absolute, test, options)
    target, control = roles(responses, target, control)
    absolute = responses.absolute if absolute is None else absolute
    test = cast(Test, responses.test) if test is None else test
    if test not in TESTS and test == responses.test:
        raise LensLocError(
            f"The responses were localized with the statistic {test!r}, of which there is no "
            "permutation test; say test='welch' for that of the responses as they are."
        )
    if test not in TESTS:
        raise LensLocError(f"There is no test {test!r}; there are {', '.join(TESTS)}.")
    if n_permutations < 1:
        raise LensLocError(f"At least one permutation is needed; {n_permutations} is not.")
    random = np.random.default_rng(seed)
    shuffles: _Relabellings | _SignFlips
    if test == "paired":
        observed = paired(responses, target, control, absolute=absolute)
        values = _of_units(pairs(responses, target, control), responses)
        signs = random.integers(0, 2, size=(n_permutations, len(values[0]))) * 2.0 - 1.0
        shuffles = _SignFlips(values, absolute, signs)
    else:
        observed = welch(responses, target, control, absolute=absolute)
        values = _of_units(groups(responses, target, control), responses)
        labels = np.repeat([1.0, 0.0], [len(part) for part in values])
        labels = random.permuted(np.tile(labels, (n_permutations, 1)), axis=1)
        shuffles = _Relabellings(values, absolute, labels)
    units = responses.units
    known = observed.t[units][None]
    maxima, counts, edges = _shuffled(shuffles, known, n_permutations, two_sided)
    size = observed.t.abs() if two_sided else observed.t
    # A shuffle that restores the labels gives the same t up to rounding.
    ordered = np.sort(maxima)
    below = np.searchsorted(ordered, size.numpy() * (1 - 1e-9), side="left")
    p = (1 + n_permutations - below) / (1 + n_permutations)
    return MaxT(
        responses.site,
        observed.t,
        torch.from_numpy(p).masked_fill(~units, torch.nan),
        maxima,
        counts,
        edges,
        two_sided,
        observed.provenance,
        responses.widths,
    )


def _of_units(values: tuple[Tensor, Tensor], responses: Responses) -> tuple[Tensor, Tensor]:
    """Leave out places of the array that are no units."""
    if responses.widths is None:
        return values
    first, second = (part[:, responses.units][:, None] for part in values)
    return first, second


def roles(
    responses: Responses, target: tuple[str, ...] | None, control: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the conditions to compare: those given, or those that the responses know of.

    Raises:
        LensLocError: if neither is there.
    """
    known = responses.provenance or Provenance()
    target, control = target or known.target, control or known.control
    if not target or not control:
        raise LensLocError(
            "These responses do not know which conditions are target and control; name them, e.g. "
            "contrast.target, contrast.control."
        )
    return target, control


def _of_localized(
    found: object,
    target: tuple[str, ...] | None,
    control: tuple[str, ...] | None,
    absolute: bool | None,
    test: Test | None,
    options: Mapping[str, Any],
) -> MaxT:
    if not isinstance(found, Localized):
        raise LensLocError(
            f"max_t tests responses or a localization that kept them; {type(found).__name__} is "
            "neither, so give found.responses[site], or call found.max_t(site)."
        )
    given = {"target": target, "control": control, "absolute": absolute, "test": test}
    told: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return found.max_t(**told, **options)


class _Relabellings:
    """Welch's t of some units under every relabelling; rows of ``labels`` mark the target."""

    def __init__(
        self, values: tuple[Tensor, Tensor], absolute: bool, labels: Float[np.ndarray, "p s"]
    ) -> None:
        n, m = map(len, values)
        self._k = 1 / n + 1 / m
        self._of_squares = 1 / (n * (n - 1)) - 1 / (m * (m - 1))
        self._of_total = 1 / (m * (m - 1))
        self._of_sum = 1 / (n * n * (n - 1)) + 1 / (m * m * (m - 1))
        self._values = values
        self._absolute = absolute
        self._labels = torch.from_numpy(labels).to(_device(values[0]))
        self.n_units = values[0].shape[1] * values[0].shape[2]

    def t(self, units: slice) -> Float[Tensor, "permutation unit"]:
        parts = [as_float64(v.flatten(1)[:, units], self._absolute) for v in self._values]
        every = torch.cat(parts)
        least = _least_variance(every, self._values[0])
        every = every - every.mean(dim=0)  # so that sums of squares keep their digits
        sums = self._labels @ every
        squares = every**2
        # With the overall mean at zero, both groups' variances follow from the target's sums.
        variance = self._of_total * squares.sum(dim=0) - self._of_sum * sums**2
        if self._of_squares:
            variance += self._of_squares * (self._labels @ squares)
        variance = torch.maximum(variance, least)
        return (self._k * sums) / torch.where(variance > 0, variance, 1.0).sqrt()


class _SignFlips:
    """Paired t of some units under every pattern of swapped pairs."""

    def __init__(
        self, values: tuple[Tensor, Tensor], absolute: bool, signs: Float[np.ndarray, "p s"]
    ) -> None:
        self._values = values
        self._absolute = absolute
        self._signs = torch.from_numpy(signs).to(_device(values[0]))
        self.n_units = values[0].shape[1] * values[0].shape[2]

    def t(self, units: slice) -> Float[Tensor, "permutation unit"]:
        a, b = (as_float64(v.flatten(1)[:, units], self._absolute) for v in self._values)
        differences, n = a - b, len(a)
        least = _least_variance(torch.cat([a, b]), self._values[0])
        means = self._signs @ differences / n
        variance = ((differences**2).mean(dim=0) - means**2) / (n - 1)
        variance = torch.maximum(variance, least)
        return means / torch.where(variance > 0, variance, 1.0).sqrt()


def _shuffled(
    shuffles: _Relabellings | _SignFlips,
    observed: Float[Tensor, "layer unit"],
    n_permutations: int,
    two_sided: bool,
) -> tuple[
    Float[np.ndarray, " permutation"], Float[np.ndarray, " bin"], Float[np.ndarray, " edge"]
]:
    limit = max(6.0, float(np.ceil(observed.abs().max().item())))
    edges = np.linspace(-limit, limit, _BINS + 1)
    maxima: Tensor | None = None
    counts: Tensor | None = None  # on the device, so that no piece waits for the one before
    width = max(1, _ELEMENTS_AT_ONCE // n_permutations)
    for start in range(0, shuffles.n_units, width):
        t = shuffles.t(slice(start, start + width))
        largest = (t.abs() if two_sided else t).amax(dim=1)
        maxima = largest if maxima is None else torch.maximum(maxima, largest)
        piece = torch.histc(t, _BINS, -limit, limit)
        counts = piece if counts is None else counts + piece
    found, every = (cast(Tensor, each).cpu().numpy() for each in (maxima, counts))
    return found, every / n_permutations, edges


def _device(values: Tensor) -> torch.device:
    return torch.device("cpu") if values.device.type == "mps" else values.device


def _least_variance(every: Float[Tensor, "stimulus unit"], given: Tensor) -> Float[Tensor, " unit"]:
    return Moments.of(every[:, None], absolute=False, eps=precision(given)).least_variance[0]
