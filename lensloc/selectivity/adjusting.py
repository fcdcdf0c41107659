"""Selectivity after nuisances are regressed out, stimulus by stimulus: length, surprisal, ..."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from lensloc.display.plugins import gist
from lensloc.errors import LensLocError
from lensloc.selectivity.maps import Selectivity
from lensloc.selectivity.moments import Moments, as_float64, layer_chunks
from lensloc.selectivity.t_tests import _made, _selectivity, groups, hedges_correction
from lensloc.units.provenance import Provenance
from lensloc.units.responses import Responses

# A side of which the nuisances explain all but this share of the variance is no side of its own.
_LEAST_LEFT = 1e-9


@dataclass(frozen=True, eq=False)
class AdjustedFor:
    """A statistic that regresses nuisances out; made by :func:`adjusted_for`.

    Attributes:
        nuisances: one row per stimulus, in the order of the responses; one column per nuisance.
    """

    nuisances: pd.DataFrame

    @property
    def name(self) -> str:
        """As it stands in provenance."""
        return f"adjusted for {', '.join(map(str, self.nuisances.columns))}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it depends on: the names of the nuisances, and a hash of their values."""
        values = np.ascontiguousarray(self.nuisances.to_numpy(dtype=np.float64))
        return {
            "nuisances": list(map(str, self.nuisances.columns)),
            "values": xxhash.xxh3_128_hexdigest(values.tobytes()),
        }

    def __call__(
        self,
        responses: Responses,
        target: tuple[str, ...],
        control: tuple[str, ...],
        *,
        absolute: bool | None = None,
        provenance: Provenance | None = None,
    ) -> Selectivity:
        """Test the coefficient of the side in a linear regression of every unit's responses.

        Raises:
            LensLocError: another number of stimuli than of rows; too few stimuli; sides that the
                nuisances tell apart by themselves.
        """
        if len(self.nuisances) != len(responses.conditions):
            raise LensLocError(
                f"There are nuisances of {len(self.nuisances)} stimuli and responses to "
                f"{len(responses.conditions)}; give one row per stimulus, in the same order."
            )
        absolute = responses.absolute if absolute is None else absolute
        groups(responses, target, control)  # checks
        rows = [n for n, name in enumerate(responses.conditions) if name in {*target, *control}]
        side = np.array([0.5 if responses.conditions[n] in target else -0.5 for n in rows])
        left, basis = self._left(side, rows)
        df = len(rows) - basis.shape[1] - 1
        every = responses.at(rows)
        difference, spread, mean = _regressed(every.values, absolute, left, basis)
        moments = [
            Moments.of(responses.of(names), absolute=absolute) for names in (target, control)
        ]
        both = moments[0] + moments[1]
        least = both.least_variance.cpu()
        constant = both.constant.cpu()
        variance = torch.maximum(spread / df, least)
        difference = difference.masked_fill(constant, 0.0)
        error = torch.where(variance > 0, variance, 1.0).sqrt()
        found = _selectivity(
            responses.site,
            t=difference / (error / float(np.sqrt(left @ left))),
            df=torch.full_like(difference, float(df)),
            d=difference / error,
            moments=(moments[0], moments[1], both),
            provenance=_made(provenance, responses, target, control, absolute, "welch").replace(
                test=self.name
            ),
            widths=responses.widths,
        )
        middle = mean - difference * float(side.mean())
        return dataclasses.replace(
            found,
            g=found.d * hedges_correction(df),
            mean_target=middle + difference / 2,
            mean_control=middle - difference / 2,
        )

    def _left(
        self, side: Float[np.ndarray, " stimulus"], rows: list[int]
    ) -> tuple[Float[np.ndarray, " stimulus"], Float[np.ndarray, "stimulus rank"]]:
        """Return what nuisances leave of the side, and an orthonormal basis of constant and them.

        Nuisances that are constant, or told by others, add nothing to the basis.
        """
        values = self.nuisances.iloc[rows].to_numpy(dtype=np.float64)
        values = values - values.mean(axis=0)
        scale = np.abs(values).max(axis=0)
        values = values[:, scale > 0] / scale[scale > 0]
        design = np.column_stack([np.ones(len(side)), values])
        directions, sizes, _ = np.linalg.svd(design, full_matrices=False)
        basis = directions[:, sizes > sizes[0] * len(side) * np.finfo(np.float64).eps]
        if len(rows) - basis.shape[1] < 2:
            raise LensLocError(
                f"{len(rows)} stimuli are too few to regress out {self.nuisances.shape[1]} "
                "nuisances; give more stimuli, or fewer nuisances."
            )
        left = side - basis @ (basis.T @ side)
        if left @ left <= _LEAST_LEFT * (side @ side):
            names = ", ".join(map(str, self.nuisances.columns))
            raise LensLocError(
                f"The nuisances ({names}) tell target and control apart by themselves, so that "
                "no difference is left to test; match the stimuli instead, or leave one out."
            )
        return left, basis


def _regressed(
    values: Float[Tensor, "stimulus layer unit"],
    absolute: bool,
    left: Float[np.ndarray, " stimulus"],
    basis: Float[np.ndarray, "stimulus rank"],
) -> tuple[Float[Tensor, "layer unit"], Float[Tensor, "layer unit"], Float[Tensor, "layer unit"]]:
    """Return each unit's coefficient of the side, its residual sum of squares, and its mean.

    By what the nuisances leave of both (Frisch and Waugh 1933; Lovell 1963).
    """
    weights, known = torch.from_numpy(left), torch.from_numpy(basis)
    parts = []
    for chunk in layer_chunks(values):
        every = as_float64(chunk, absolute).cpu()
        flat = every.flatten(1)
        mean = flat.mean(dim=0)
        flat = flat - mean  # so that sums of squares keep their digits
        rest = flat - known @ (known.T @ flat)
        coefficient = weights @ rest / (weights @ weights)
        rest = rest - weights[:, None] * coefficient
        shape = every.shape[1:]
        parts.append([v.reshape(shape) for v in (coefficient, (rest**2).sum(dim=0), mean)])
    found = [torch.cat(several) for several in zip(*parts, strict=True)]
    return found[0], found[1], found[2]


def adjusted_for(nuisances: "pd.DataFrame | Mapping[str, Any]") -> AdjustedFor:
    """Return a statistic that tests every unit after nuisances are regressed out of its responses.

    Every unit's responses are regressed on the side of the contrast and on the nuisances, by least
    squares; t is that of the side's coefficient (``n - rank - 1`` degrees of freedom), which is how
    much more the unit responds to the target than to a control stimulus of the same length, say.
    ``d`` is the coefficient in standard deviations of the residuals, and the two means are those at
    the nuisances' mean. Without nuisances that vary this is Student's t of equal variances: where
    sides differ both in spread and in number, p is too small or too large, which Welch's is not;
    take as many stimuli of either side. What differs between the sides in every stimulus cannot be
    regressed out, and is refused.

    Args:
        nuisances: one row per stimulus, in the order of the responses (:func:`lensloc.nuisances`
            makes such a table); columns of numbers.

    Raises:
        LensLocError: what is no table, or has no column, two of one name, or one that holds
            something else than numbers.

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> length = [2.0, 4, 6, 1, 3, 5]
        >>> values = torch.tensor([3.0, 5, 7, 1, 3, 5.5])  # length, and 1 more in the target
        >>> responses = ll.Responses("head", values.reshape(6, 1, 1), ("a",) * 3 + ("b",) * 3)
        >>> found = ll.adjusted_for({"length": length})(responses, ("a",), ("b",))
        >>> round((found.mean_target - found.mean_control).item(), 2)
        0.77
    """
    try:
        table = pd.DataFrame(nuisances)
    except (TypeError, ValueError) as error:
        raise LensLocError(
            "Nuisances are a table with one row per stimulus, or {name: numbers}; what was given "
            f"is of type {type(nuisances).__name__} and makes none ({gist(error)})."
        ) from error
    if table.shape[1] == 0:
        raise LensLocError("There is no nuisance to regress out; give at least one column.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise LensLocError(f"Two nuisances are called {twice!r}; give each a name of its own.")
    for name in table.columns:
        column = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            row = int(wrong[0])
            raise LensLocError(
                f"The nuisance {name!r} of stimulus {row + 1} is {str(table[name].iloc[row])!r}, "
                "which is no number; correct it, or leave the nuisance out."
            )
        table[name] = column
    return AdjustedFor(table.reset_index(drop=True))
