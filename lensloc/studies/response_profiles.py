"""How strongly a set of units responds in every condition, measured fairly."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import bootstrap
from torch import Tensor

from lensloc.arguments import require_a, require_model
from lensloc.capture import capture
from lensloc.errors import LensLocError
from lensloc.models import describe
from lensloc.profiles import ResponseProfile
from lensloc.responses import Responses
from lensloc.selectivity import TESTS, paired, welch
from lensloc.stimuli import Contrast
from lensloc.units import UnitMask
from lensloc.units import describe as describe_mask


def response_profile(
    model: Any,
    mask: UnitMask,
    contrast: Contrast,
    *,
    cross_validate: bool | Literal["auto"] = "auto",
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = True,
) -> ResponseProfile:
    """Measure the masked units' mean response in every condition, also those without a role.

    A mask that was selected with this contrast is measured fairly only on stimuli that it was not
    selected on: then as many units are picked at its site on one half of the stimuli and measured
    on the other, and the other way round. Pooling and truncation are those of the mask.

    Args:
        model: a loaded model.
        mask: the units.
        contrast: conditions to measure.
        cross_validate: pick and measure on different halves; ``"auto"`` does so if the mask was
            selected with this contrast.
        confidence: of the percentile bootstrap intervals, over stimuli.
        n_resamples: of the bootstrap.
        seed: of halves and bootstrap.
        batch_size: texts a batch.
        progress: show a progress bar.

    Raises:
        LensLocError: if the mask does not fit the model, or is empty.
    """
    require_model(model)
    require_a(UnitMask, mask, "mask")
    require_a(Contrast, contrast, "contrast")
    _require_units(mask)
    made = mask.provenance
    captured = capture(
        model,
        *_every_text(contrast),
        [mask.site],
        pooling=made.pooling or "last-token",  # type: ignore[arg-type]
        max_tokens=made.max_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    responses = captured.responses[mask.site]
    n_layers, n_units = responses.values.shape[1:]
    mask.require_shape((n_layers, n_units), describe(model).name)
    return profile_of(
        responses,
        mask,
        contrast,
        cross_validate=cross_validate,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )


def profile_of(
    responses: Responses,
    mask: UnitMask,
    contrast: Contrast,
    *,
    cross_validate: bool | Literal["auto"] = "auto",
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
        LensLocError: if the mask is empty, the responses are to other texts, or the units cannot be
            picked again on halves.
    """
    _require_units(mask)
    made = mask.provenance
    if cross_validate == "auto":
        cross_validate = made.contrast_hash == contrast.content_hash
    if cross_validate and made.test not in TESTS:
        raise LensLocError(
            f"The mask {describe_mask(mask)} was selected by {made.test}, which cannot be done "
            "again on halves of the stimuli; give another contrast, or say cross_validate=False."
        )
    every = contrast.conditions
    texts, labels = _every_text(contrast)
    if responses.conditions != tuple(labels):
        raise LensLocError(
            f"The responses are not those to all texts of {contrast.name}, condition by condition; "
            "capture these."
        )
    values = responses.values.double().cpu()
    scores = pd.DataFrame(
        {"condition": labels, "row": [row for found in every.values() for row in range(len(found))]}
    )
    if cross_validate:
        first, second = contrast.split_rows(seed)
        test = paired if made.test == "paired" else welch
        for picked_on, measured_on in ((first, second), (second, first)):
            picked = _flat_rows(every, picked_on)
            units = test(
                Responses(mask.site, values[picked], tuple(labels[i] for i in picked)),
                contrast.target,
                contrast.control,
                absolute=made.absolute,
            ).top(k=len(mask))
            _score(scores, values, _flat_rows(every, measured_on), units)
    else:
        _score(scores, values, list(range(len(texts))), mask)
    table = _summarise(scores, list(every), confidence, n_resamples, seed)
    return ResponseProfile(
        table, scores, bool(cross_validate), len(mask), mask.site, confidence,
        contrast=contrast.name, model=made.model,
    )  # fmt: skip


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
) -> None:
    """Write the mean response of the units to some stimuli into the table of scores."""
    chosen = values[:, units.mask]
    size = chosen.abs()
    spread = size.std(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    standardised = (size - size.mean(dim=0)) / spread
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
            row[score] = float(sample.mean())
            low = high = float(sample.mean())
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
