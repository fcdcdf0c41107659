"""Responses -> Selectivity: t-tests of every unit at once, in float64.

Pure tensor arithmetic. Nothing here knows what a model is.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import gammaln
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t
from torch import Tensor

from lensloc.arguments import listed, require_a
from lensloc.errors import LensLocError
from lensloc.selectivity.maps import Selectivity
from lensloc.selectivity.moments import Moments, as_float64, total
from lensloc.units import ragged
from lensloc.units.provenance import Provenance
from lensloc.units.responses import Responses

Test = Literal["welch", "paired"]
TESTS: tuple[str, ...] = get_args(Test)


def welch(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool | None = None,
    provenance: Provenance | None = None,
) -> Selectivity:
    """Welch's t-test of every unit, target against control.

    ``t = (m1 - m2) / sqrt(v1/n1 + v2/n2)`` with Welch and Satterthwaite's degrees of freedom,
    as ``scipy.stats.ttest_ind(target, control, equal_var=False)`` gives it; in float64.

    A unit that is constant over all stimuli has t = 0 and p = 1. A difference cannot count for
    more than floating point resolves: the standard error is at least four units in the last place
    of the unit's largest response. So a unit that is constant within each condition has a large but
    finite t, and rounding that differs between batches does not make a dead unit selective.

    Args:
        responses: pooled activations.
        target: conditions whose larger response makes t positive.
        control: conditions to compare with.
        absolute: test the absolute values of the pooled activations (the published procedure); if
            None, as the responses were localized, and absolute where that is not known.
        provenance: kept in the result; that of the responses if None.

    Returns:
        Float64 statistics ``[layer, unit]``.

    Raises:
        LensLocError: with fewer than two stimuli in target or control.

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> values = torch.tensor([5.0, 6, 7, -1, 2, 3])  # of one unit, to six stimuli
        >>> labels = ("sentences",) * 3 + ("nonwords",) * 3
        >>> responses = ll.Responses("head", values.reshape(6, 1, 1), labels)
        >>> found = ll.welch(responses, ("sentences",), ("nonwords",))
        >>> round(found.t.item(), 2), round(found.d.item(), 2)  # of 5, 6, 7 against 1, 2, 3
        (4.9, 4.0)
        >>> signed = ll.welch(responses, ("sentences",), ("nonwords",), absolute=False)
        >>> round(signed.t.item(), 2)
        3.5
    """
    target_values, control_values = groups(responses, target, control)
    absolute = responses.absolute if absolute is None else absolute
    return welch_of_moments(
        responses.site,
        Moments.of(target_values, absolute=absolute),
        Moments.of(control_values, absolute=absolute),
        _made(provenance, responses, target, control, absolute, "welch"),
        responses.widths,
    )


def welch_of_moments(
    site: str,
    target: Moments,
    control: Moments,
    provenance: Provenance,
    widths: ragged.Widths = None,
) -> Selectivity:
    """Welch's t-test as :func:`welch`, of responses that were summarised by their moments.

    Args:
        site: name of the site.
        target: moments of the (absolute) responses to the target.
        control: of those to the control.
        provenance: kept in the result.
        widths: units of every layer, where layers differ in width.

    Raises:
        LensLocError: with fewer than two stimuli in target or control.
    """
    for role, found in (("target", target), ("control", control)):
        _require_two(role, found.n)
    a, b = target, control
    both = a + b
    least = both.least_variance
    se2_a, se2_b = a.variance / a.n, b.variance / b.n
    se2 = torch.maximum(se2_a + se2_b, least)
    df_pooled = a.n + b.n - 2
    pooled = torch.maximum((a.m2 + b.m2) / df_pooled, least)
    spread = se2_a**2 / (a.n - 1) + se2_b**2 / (b.n - 1)
    df = torch.where(spread > 0, (se2_a + se2_b) ** 2 / spread, float(df_pooled))
    df = df.masked_fill(both.constant, float(df_pooled))
    difference = (a.mean - b.mean).masked_fill(both.constant, 0.0)
    return _selectivity(
        site,
        t=difference / _above_zero(se2),
        df=df,
        d=difference / _above_zero(pooled),
        moments=(a, b, both),
        provenance=provenance,
        widths=widths,
    )


def paired(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool | None = None,
    provenance: Provenance | None = None,
) -> Selectivity:
    """Paired t-test of every unit: each target stimulus against its partner in the control.

    Partners are the two stimuli of one item, wherever they stand; without items, the n-th stimulus
    of a target condition and the n-th of the control condition in the same place.

    ``t = m / sqrt(v / n)`` of the differences, with n - 1 degrees of freedom, as
    ``scipy.stats.ttest_rel`` gives it. Use it where stimuli come in pairs (minimal pairs,
    translations); what a pair has in common then adds no noise. d and g stay differences in
    standard deviations of the stimuli (pooled), not of the differences, so that they compare
    with those of :func:`welch`. Constant units and rounding are treated as there.

    Args:
        responses: pooled activations.
        target: conditions whose larger response makes t positive.
        control: conditions to compare with.
        absolute: as in :func:`welch`.
        provenance: as there.

    Raises:
        LensLocError: with fewer than two pairs; an item that has not just one stimulus on either
            side; or, without items, unequal numbers of stimuli.
    """
    values = pairs(responses, target, control)
    absolute = responses.absolute if absolute is None else absolute
    a, b = (Moments.of(part, absolute=absolute) for part in values)
    both = a + b
    least = both.least_variance
    differences = as_float64(values[0], absolute) - as_float64(values[1], absolute)
    found = Moments.of(differences, absolute=False)
    mean = found.mean.masked_fill(both.constant, 0.0)
    return _selectivity(
        responses.site,
        t=mean / _above_zero(torch.maximum(found.variance / found.n, least)),
        df=torch.full_like(mean, float(found.n - 1)),
        d=mean / _above_zero(torch.maximum((a.m2 + b.m2) / (a.n + b.n - 2), least)),
        moments=(a, b, both),
        provenance=_made(provenance, responses, target, control, absolute, "paired"),
        widths=responses.widths,
    )


def groups(
    responses: Responses, target: Sequence[str], control: Sequence[str]
) -> tuple[Float[Tensor, "n_target layer unit"], Float[Tensor, "n_control layer unit"]]:
    """Return the responses to target and control.

    Raises:
        LensLocError: with fewer than two stimuli in one of them.
    """
    require_a(Responses, responses, "responses")
    found = responses.of(listed(target, str)), responses.of(listed(control, str))
    for role, values in zip(("target", "control"), found, strict=True):
        _require_two(role, len(values))
    return found


def pairs(
    responses: Responses, target: Sequence[str], control: Sequence[str]
) -> tuple[Float[Tensor, "pair layer unit"], Float[Tensor, "pair layer unit"]]:
    """Return the responses to target and control, pair by pair.

    Raises:
        LensLocError: with fewer than two pairs, or where stimuli cannot be paired.
    """
    groups(responses, target, control)
    return responses.pairs(target, control)


def benjamini_hochberg(
    p: Float[Tensor, "layer unit"], units: Bool[Tensor, "layer unit"] | None = None
) -> Float[Tensor, "layer unit"]:
    """Return p corrected for the false discovery rate over all units (Benjamini, Hochberg 1995).

    Args:
        p: of every unit.
        units: which places are units; all if None. The others are NaN, and are not corrected for.
    """
    known = torch.ones_like(p, dtype=torch.bool) if units is None else units
    corrected = torch.full_like(p, torch.nan)
    corrected[known] = torch.from_numpy(false_discovery_control(p[known].numpy(), method="bh"))
    return corrected


def hedges_correction(df: int) -> float:
    """Return the factor that takes the small-sample bias from Cohen's d (Hedges 1981, exact)."""
    if df < 2:
        return 0.0
    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def summarised(moments: Mapping[str, Moments], conditions: Sequence[str], role: str) -> Moments:
    """Return the moments of several conditions together.

    Raises:
        LensLocError: if there is none.
    """
    found = [moments[name] for name in conditions if name in moments]
    if not found:
        raise LensLocError(f"The {role} ({', '.join(conditions)}) holds no stimulus; name others.")
    return total(found)


def _require_two(role: str, n: int) -> None:
    if n < 2:
        raise LensLocError(
            f"The {role} has {n} stimul{'us' if n == 1 else 'i'}; a t-test needs at least two in "
            "each."
        )


def _above_zero(variance: Tensor) -> Tensor:
    # Zero only where a unit never responds, whose difference is zero as well.
    return torch.where(variance > 0, variance, 1.0).sqrt()


def _made(
    provenance: Provenance | None,
    responses: Responses,
    target: Sequence[str],
    control: Sequence[str],
    absolute: bool,
    test: Test,
) -> Provenance:
    known = provenance or responses.provenance or Provenance()
    roles = listed(target, str), listed(control, str)
    # With other roles it is another contrast of the same texts.
    same = provenance is not None or (known.target, known.control) == roles
    return known.replace(
        site=responses.site,
        target=roles[0],
        control=roles[1],
        contrast_hash=known.contrast_hash if same else "",
        absolute=absolute,
        test=test,
    )


def _selectivity(
    site: str,
    *,
    t: Float[Tensor, "layer unit"],
    df: Float[Tensor, "layer unit"],
    d: Float[Tensor, "layer unit"],
    moments: tuple[Moments, Moments, Moments],
    provenance: Provenance,
    widths: ragged.Widths,
) -> Selectivity:
    target, control, both = (found.cpu() for found in moments)
    t, df, d = t.cpu(), df.cpu(), d.cpu()
    p = torch.from_numpy(np.asarray(2 * student_t.sf(t.abs().numpy(), df.numpy())))
    return Selectivity(
        site=site,
        t=t,
        df=df,
        p=p,
        q=benjamini_hochberg(p, ragged.valid((p.shape[0], p.shape[1]), widths)),
        d=d,
        g=d * hedges_correction(target.n + control.n - 2),
        mean_target=target.mean,
        mean_control=control.mean,
        magnitude=both.magnitude,
        kurtosis=both.kurtosis,
        provenance=provenance.replace(site=site, n_target=target.n, n_control=control.n),
        widths=widths,
    )
