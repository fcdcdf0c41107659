"""How strongly a set of units responds in every condition, measured fairly."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import bootstrap
from torch import Tensor

from lensloc.arguments import require_a, require_numbers
from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.profiles import profile_notes
from lensloc.errors import LensLocError, LensLocWarning, unwarned
from lensloc.forward.capturing import Pooling, capture
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.profiles import HALVES, ResponseProfile
from lensloc.selectivity import TESTS, paired, welch
from lensloc.studies.sides import sides_of
from lensloc.units.mask import UnitMask
from lensloc.units.mask import describe as describe_mask
from lensloc.units.responses import Responses
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import PlacePooling

# Of every condition so many texts must not have selected the units for the rest to be left out.
_SPARE = 1 / 3

CrossValidate = bool | Literal["auto"]


def response_profile(
    model: Model,
    mask: UnitMask,
    contrast: Contrast,
    *,
    cross_validate: CrossValidate = "auto",
    pooling: Pooling | PlacePooling | None = None,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = True,
) -> ResponseProfile:
    """Measure the masked units' mean response in every condition, also those without a role.

    Units that were selected on these stimuli are measured fairly only on others. Whether they were
    is told by the texts (a mask knows which selected it), whatever the contrast is called and
    whichever roles its conditions have now. Then:

    - if enough texts of every condition did not select the units (a third), only these are
      measured: so for a mask from one half of the stimuli;
    - otherwise units are picked by the mask's own rule (top or bottom, how many, what is excluded
      ...) and for the mask's own target and control on one half of the stimuli, and measured on the
      other, and the other way round;
    - where neither can be done (sets that were combined, imported or named, controls that are not
      random), the mask's own units are measured on all texts, with a warning.

    What was done stands in ``how`` of the result. Pooling and truncation are those of the mask.

    Args:
        model: a loaded model.
        mask: the units.
        contrast: conditions to measure.
        cross_validate: ``"auto"`` as above; True to pick by the mask's rule on halves in any case;
            False to measure the mask's own units on all texts.
        pooling: over which tokens or places; that of the mask if None, and the last token where a
            mask knows none.
        confidence: of the percentile bootstrap intervals, over stimuli.
        n_resamples: of the bootstrap.
        seed: of halves and bootstrap.
        batch_size: texts per batch.
        progress: show a progress bar.

    Raises:
        LensLocError: if the mask does not fit the model, or is empty; if units are to be picked
            again and the mask has no rule that halves of these stimuli could follow.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, confidence=confidence)
    surface(model)
    require_a(UnitMask, mask, "mask")
    require_a(Contrast, contrast, "contrast")
    _require_units(mask)
    made = mask.provenance
    _plan(mask, contrast, cross_validate)  # refuse early
    # Single elements of a wrapped module are not pooled.
    usual = "last-token" if surface(model).takes_tokens else None
    captured = capture(
        model,
        *_every_text(contrast),
        [mask.site],
        pooling=pooling or made.pooling or usual,  # type: ignore[arg-type]
        max_tokens=made.max_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    responses = captured.responses[mask.site]
    n_layers, n_units = responses.values.shape[1:]
    mask.require_shape((n_layers, n_units), describe(model).name, responses.widths)
    found = profile_of(
        responses,
        mask,
        contrast,
        cross_validate=cross_validate,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )
    assert found.sides is not None
    # Those of the mask were told when it was made; what the profile shows is its summary.
    known = {*mask.warnings, *profile_notes(found.sides, held_out=found.held_out)}
    for sentence in found.warnings:
        if sentence not in known:
            warnings.warn(sentence, LensLocWarning, stacklevel=2)
    return found


def profile_of(
    responses: Responses,
    mask: UnitMask,
    contrast: Contrast,
    *,
    cross_validate: CrossValidate = "auto",
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> ResponseProfile:
    """Do what :func:`response_profile` does, with responses that are known already.

    Args:
        responses: at the mask's site, to all texts of the contrast, condition by condition.
        mask: the units.
        contrast: conditions to measure.
        cross_validate: as there.
        confidence: as there.
        n_resamples: as there.
        seed: as there.

    Raises:
        LensLocError: if the mask is empty, the responses are to other texts, or units are to be
            picked again on halves of the stimuli and cannot be.
    """
    _require_units(mask)
    if not 0 < confidence < 1 or n_resamples < 1:
        raise LensLocError("confidence lies between 0 and 1, and n_resamples is at least 1.")
    _, labels = _every_text(contrast)
    if responses.conditions != tuple(labels):
        raise LensLocError(
            f"The responses are not those to all texts of {contrast.name}, condition by condition; "
            "capture these."
        )
    made = mask.provenance
    plan = _plan(mask, contrast, cross_validate)
    values = responses.values.cpu().double()
    every = contrast.conditions
    scores = pd.DataFrame(
        {
            "condition": labels,
            "row": [row for found in every.values() for row in range(len(found))],
            **dict.fromkeys(_SCORES, np.nan),
        }
    )
    if plan.pick_again:
        items = None
        if contrast.items is not None:
            items = tuple(item for found in contrast.items.values() for item in found)
        plan = _on_halves(
            scores,
            Responses(mask.site, values, tuple(labels), items, widths=mask.widths),
            mask,
            contrast,
            plan,
            required=cross_validate is True,
            seed=seed,
        )
    if not plan.pick_again:
        _score(scores, values, plan.rows, mask, plan.rows, absolute=made.absolute)
    scores = scores.dropna(subset=list(_SCORES)).reset_index(drop=True)
    table = _summarise(scores, list(every), confidence, n_resamples, seed)
    sides = sides_of(scores, contrast, confidence, n_resamples, seed)
    notes = profile_notes(sides, held_out=plan.held_out)
    return ResponseProfile(
        table,
        scores,
        plan.pick_again,
        len(mask),
        mask.site,
        confidence,
        how=plan.how,
        held_out=plan.held_out,
        sides=sides,
        signed=not made.absolute,
        warnings=tuple(dict.fromkeys((*mask.warnings, *plan.warnings, *notes))),
        contrast=contrast.name,
        model=made.model,
    )


# -- which units, on which texts -------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """Which units are measured, and on which of the texts.

    Attributes:
        rows: which texts, counted over all conditions.
        how: the plan in words.
        pick_again: whether units are picked on halves.
        held_out: whether no text that is measured selects the units.
        warnings: what speaks against it.
    """

    rows: list[int]
    how: str
    pick_again: bool = False
    held_out: bool = False
    warnings: tuple[str, ...] = ()


def _plan(mask: UnitMask, contrast: Contrast, cross_validate: CrossValidate) -> _Plan:
    """Decide what is measured; see :func:`response_profile`.

    Raises:
        LensLocError: if units are to be picked again, and cannot be.
    """
    if cross_validate not in (True, False, "auto"):
        raise LensLocError(
            f"cross_validate is True, False or 'auto'; {cross_validate!r} is none of them."
        )
    texts, labels = _every_text(contrast)
    every = list(range(len(texts)))
    again = _Plan(every, HALVES, pick_again=True, held_out=True)
    if cross_validate is True:
        reason = _why_not_again(mask, contrast)
        if reason is not None:
            raise LensLocError(
                f"The units of the mask {describe_mask(mask)} cannot be picked again on halves of "
                f"the stimuli, since {reason}; say cross_validate=False."
            )
        return again
    known, used = _used(mask, contrast)
    random = mask.rule is not None and mask.rule.kind == "random"
    units = "random units" if random else "given units"
    if not known:
        return _Plan(every, f"{units}; which stimuli selected them is not known")
    if not used:
        return _Plan(every, f"{units}, on stimuli that did not select them", held_out=True)
    counted = f"{len(used)} of the {len(texts)} stimuli"
    if random:
        return _Plan(every, f"{units}, outside a set that was selected on {counted}")
    given = f"{units}, on stimuli of which {len(used)} of {len(texts)} selected them"
    if not cross_validate:
        return _Plan(every, given)
    spare = [row for row in every if row not in used]
    left = {name: sum(labels[row] == name for row in spare) for name in contrast.conditions}
    if all(left[name] >= max(2, len(t) * _SPARE) for name, t in contrast.conditions.items()):
        words = f"{units}, on the {len(spare)} of {len(texts)} stimuli that did not select them"
        return _Plan(spare, words, held_out=True)
    reason = _why_not_again(mask, contrast) or _why_other_stimuli(mask, contrast)
    return again if reason is None else _flattered(every, given, counted, reason)


def _flattered(rows: list[int], given: str, counted: str, reason: str) -> _Plan:
    sentence = (
        f"The units were selected on {counted} that they are measured on, which flatters them; "
        f"they were not picked again on halves, since {reason}."
    )
    return _Plan(rows, given, warnings=(sentence,))


def _used(mask: UnitMask, contrast: Contrast) -> tuple[bool, set[int]]:
    """Return whether it is known which texts selected the units, and which of these did."""
    texts, labels = _every_text(contrast)
    made, selected_on = mask.provenance, mask.selected_on
    if selected_on:
        return True, {row for row, text in enumerate(texts) if text in selected_on}
    if not made.contrast_hash:
        return False, set()
    # Of a file that keeps no texts: these, or others.
    roles = made.target + made.control
    same = made.contrast_hash == contrast.content_hash
    return same, {row for row, label in enumerate(labels) if same and label in roles}


def _why_not_again(mask: UnitMask, contrast: Contrast) -> str | None:
    """Say why units cannot be picked again by the mask's rule; None if they can."""
    made, rule = mask.provenance, mask.rule
    known = made.target and made.control and made.test in TESTS
    if rule is None or not rule.can_be_reapplied or not known:
        return f"no rule says how ({made.selection or 'imported units'})"
    missing = [name for name in made.target + made.control if name not in contrast.conditions]
    if missing:
        return (
            f"they were selected for {' + '.join(made.target)} > {' + '.join(made.control)}, and "
            f"{contrast.name} has no condition {missing[0]!r}"
        )
    return None


def _why_other_stimuli(mask: UnitMask, contrast: Contrast) -> str | None:
    """Say that conditions of these names hold other texts than those that selected the units."""
    made = mask.provenance
    roles = made.target + made.control
    texts = TextSet.of(text for name in roles for text in contrast.conditions[name])
    if not mask.selected_on or texts <= mask.selected_on:
        return None
    return f"the conditions {', '.join(roles)} hold other texts here than those that selected them"


def _on_halves(
    scores: pd.DataFrame,
    responses: Responses,
    mask: UnitMask,
    contrast: Contrast,
    plan: _Plan,
    *,
    required: bool,
    seed: int,
) -> _Plan:
    """Pick on one half, measure on the other, both ways; say what came of it."""
    made, rule = mask.provenance, mask.rule
    assert rule is not None
    texts, labels = _every_text(contrast)
    test = paired if made.test == "paired" else welch
    halves = [_flat_rows(contrast.conditions, half) for half in contrast.split_rows(seed)]
    picked = []
    with unwarned():  # told when the mask was made
        for half in halves:
            try:
                found = test(responses.at(half), made.target, made.control, absolute=made.absolute)
            except LensLocError as error:
                raise LensLocError(
                    "Half of the stimuli are too few to pick units on, so that the other half can "
                    f"be measured ({str(error).rstrip('.')}); add stimuli, or measure all of them, "
                    "cross_validate=False, which flatters the units."
                ) from error
            picked.append(found.select(rule))
    if not all(map(len, picked)):
        reason = f"on one half of them the rule ({made.selection}) picks no unit"
        if required:
            raise LensLocError(
                f"The units of the mask {describe_mask(mask)} cannot be picked again on halves of "
                f"the stimuli, since {reason}; say cross_validate=False."
            )
        _, used = _used(mask, contrast)
        given = f"given units, on stimuli of which {len(used)} of {len(texts)} selected them"
        return _flattered(plan.rows, given, f"{len(used)} of the {len(texts)} stimuli", reason)
    twice = 0
    values = responses.values.cpu()
    roles = made.target + made.control
    for units, half, other in zip(picked, halves, halves[::-1], strict=True):
        chose = TextSet.of(texts[row] for row in half if labels[row] in roles)
        rows = [row for row in other if texts[row] not in chose]
        twice += len(other) - len(rows)
        if rows:
            _score(scores, values, rows, units, plan.rows, absolute=made.absolute)
    how = plan.how
    if {len(units) for units in picked} != {len(mask)}:
        how += f", {len(picked[0])} and {len(picked[1])} units"
    told = plan.warnings
    if twice:
        told += (
            f"{twice} of the {len(texts)} stimuli hold a text that occurs more than once, so that "
            "it is in both halves; they were left out.",
        )
    return _Plan(plan.rows, how, pick_again=True, held_out=True, warnings=told)


def _require_units(mask: UnitMask) -> None:
    if len(mask) == 0:
        raise LensLocError("The mask holds no unit, so there is no response to measure.")


def _every_text(contrast: Contrast) -> tuple[list[str], list[str]]:
    """Return all texts, condition by condition, and the condition of each."""
    texts = [text for found in contrast.conditions.values() for text in found]
    return texts, [name for name, found in contrast.conditions.items() for _ in found]


_SCORES = ("absolute", "signed", "standardised")


def _flat_rows(conditions: Mapping[str, Sequence[str]], rows: Mapping[str, list[int]]) -> list[int]:
    offsets, total = {}, 0
    for name, texts in conditions.items():
        offsets[name] = total
        total += len(texts)
    return [offsets[name] + row for name, found in rows.items() for row in found]


def _score(
    scores: pd.DataFrame,
    values: Float[Tensor, "stimulus layer unit"],
    rows: list[int],
    units: UnitMask,
    over: list[int],
    *,
    absolute: bool,
) -> None:
    """Write the mean response of the units to some stimuli into the table of scores.

    Units are standardised over the stimuli ``over``. What is standardised is what the units were
    selected by: absolute responses, or signed ones.
    """
    chosen = values[:, units.mask]
    size = chosen.abs()
    tested = size if absolute else chosen
    among = tested[over]
    spread = among.std(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    standardised = (tested - among.mean(dim=0)) / spread
    for name, found in zip(_SCORES, (size, chosen, standardised), strict=True):
        scores.loc[rows, name] = found[rows].mean(dim=1).numpy()


def _summarise(
    scores: pd.DataFrame, names: list[str], confidence: float, n_resamples: int, seed: int
) -> pd.DataFrame:
    rows = []
    for name in names:
        found = scores[scores["condition"] == name]
        row: dict[str, Any] = {"condition": name, "stimuli": len(found)}
        for score in _SCORES:
            sample = found[score].to_numpy()
            row[score] = float(sample.mean()) if len(sample) else np.nan
            low = high = float("nan")  # one stimulus has no interval
            if len(sample) > 1:
                interval = bootstrap(
                    (sample,),
                    np.mean,
                    method="percentile",
                    confidence_level=confidence,
                    n_resamples=n_resamples,
                    rng=np.random.default_rng(seed),
                ).confidence_interval
                low, high = float(interval.low), float(interval.high)
            row |= {f"{score}_low": low, f"{score}_high": high}
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table
