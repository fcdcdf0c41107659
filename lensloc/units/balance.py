"""Balance: how alike a control is to its network, in what may matter besides selectivity."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from lensloc.units.outliers import outliers

POOR_SMD = 0.25
"""Standardised mean difference above which groups count as unbalanced (Stuart 2010)."""

_NAN = float("nan")


@dataclass(frozen=True)
class Balance:
    """A network and one control of it, side by side. Pairs are network, control.

    Attributes:
        n_units: how many.
        log_magnitude: mean natural log of mean absolute response; NaN where it is not known.
        smd: standardised difference of that, control minus network: divided by
            ``sqrt((s1^2 + s2^2) / 2)``, the two sets' standard deviations (n - 1) pooled; a set of
            one unit has the standard deviation of all units of the site. NaN if not known.
        outliers: units that are large whatever the stimulus (see
            :func:`lensloc.units.outliers.outliers`); -1 where magnitudes are not known.
        per_layer: units in every layer.
        n_dimensions: different dimensions of the residual stream; None at other sites, where a
            unit's number means nothing in another layer.
        dimensions_shared: dimensions that both have, in whatever layer; None at other sites.
        units_shared: units that are in both.
    """

    n_units: tuple[int, int]
    log_magnitude: tuple[float, float]
    smd: float
    outliers: tuple[int, int]
    per_layer: tuple[tuple[int, ...], tuple[int, ...]]
    n_dimensions: tuple[int, int] | None
    dimensions_shared: int | None
    units_shared: int

    @property
    def layers_apart(self) -> float:
        """Total variation distance of the units' layers: 0 if spread alike, 1 if in others."""
        network, control = (np.array(one, dtype=np.float64) for one in self.per_layer)
        if network.sum() == 0 or control.sum() == 0:
            return _NAN
        return float(np.abs(network / network.sum() - control / control.sum()).sum() / 2)

    @property
    def few_outliers(self) -> bool:
        """Whether the control has fewer than half the network's outliers, for as many units."""
        network, control = self.outliers
        if network <= 0 or min(self.n_units) == 0:
            return False
        return control / self.n_units[1] < 0.5 * network / self.n_units[0]

    @property
    def poor(self) -> bool:
        """Whether the two are not comparable in magnitude: ``|smd| > 0.25``, or few outliers."""
        return abs(self.smd) > POOR_SMD or self.few_outliers

    @property
    def why(self) -> str:
        """In what the two are not comparable, to be put after "the control"; empty if they are."""
        found = []
        if abs(self.smd) > POOR_SMD:
            size = "smaller" if self.smd < 0 else "larger"
            found.append(f"has {size} units (standardised difference {self.smd:+.2f})")
        if self.few_outliers:
            found.append(
                f"has {self.outliers[1]} outliers where the network has {self.outliers[0]}"
            )
        return " and ".join(found)


def balance(
    network: Bool[np.ndarray, "layer unit"],
    control: Bool[np.ndarray, "layer unit"],
    magnitude: Float[np.ndarray, "layer unit"] | None,
    *,
    residual: bool,
) -> Balance:
    """Hold a control beside its network.

    Args:
        network: its units.
        control: the control's.
        magnitude: mean absolute response of every unit of the site, if known.
        residual: whether units are dimensions of the residual stream, the same in every layer.

    Example:
        >>> magnitude = np.array([[1.0, 2.0, 1.0, 90.0], [8.0, 9.0, 8.0, 9.0]])
        >>> network = np.array([[0, 0, 0, 1], [1, 0, 0, 0]], dtype=bool)
        >>> control = np.array([[0, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
        >>> found = balance(network, control, magnitude, residual=True)
        >>> found.outliers, found.dimensions_shared, found.units_shared
        ((1, 0), 1, 1)
        >>> for reason in found.why.split(" and "):
        ...     print(reason)
        has smaller units (standardised difference -1.36)
        has 0 outliers where the network has 1
    """
    dimensions = (network.any(axis=0), control.any(axis=0))
    means, smd, large = (_NAN, _NAN), _NAN, (-1, -1)
    if magnitude is not None:
        logs = log_magnitude(magnitude)
        means, smd = _means(logs, network, control)
        out = find_outliers(magnitude)
        large = (int((out & network).sum()), int((out & control).sum()))
    return Balance(
        n_units=(int(network.sum()), int(control.sum())),
        log_magnitude=means,
        smd=smd,
        outliers=large,
        per_layer=(tuple(network.sum(axis=1).tolist()), tuple(control.sum(axis=1).tolist())),
        n_dimensions=(int(dimensions[0].sum()), int(dimensions[1].sum())) if residual else None,
        dimensions_shared=int((dimensions[0] & dimensions[1]).sum()) if residual else None,
        units_shared=int((network & control).sum()),
    )


def find_outliers(magnitude: Float[np.ndarray, "layer unit"]) -> Bool[np.ndarray, "layer unit"]:
    """Return :func:`lensloc.units.outliers.outliers` of an array."""
    found: Bool[np.ndarray, "layer unit"] = outliers(torch.from_numpy(magnitude)).numpy()
    return found


def log_magnitude(
    magnitude: Float[np.ndarray, "layer unit"],
) -> Float[np.ndarray, "layer unit"]:
    """Return the natural log; units without response get the smallest response there is.

    Units whose magnitude is no number stay NaN.
    """
    positive = magnitude[np.isfinite(magnitude) & (magnitude > 0)]
    least = positive.min() if positive.size else 1.0
    finite = np.where(np.isfinite(magnitude), magnitude, np.nan)
    logs: Float[np.ndarray, "layer unit"] = np.log(np.maximum(finite, least))
    return logs


def _means(
    logs: Float[np.ndarray, "layer unit"],
    network: Bool[np.ndarray, "layer unit"],
    control: Bool[np.ndarray, "layer unit"],
) -> tuple[tuple[float, float], float]:
    known = np.isfinite(logs)
    sets = [logs[chosen & known] for chosen in (network, control)]
    if not all(len(one) for one in sets):
        return (_NAN, _NAN), _NAN
    first, second = (float(one.mean()) for one in sets)
    of_site = float(logs[known].std(ddof=1)) if known.sum() > 1 else 0.0
    spreads = [float(one.std(ddof=1)) if len(one) > 1 else of_site for one in sets]
    pooled = float(np.sqrt(np.mean(np.square(spreads))))
    if pooled == 0:  # all alike within both
        return (first, second), 0.0 if first == second else float(
            np.copysign(np.inf, second - first)
        )
    return (first, second), (second - first) / pooled
