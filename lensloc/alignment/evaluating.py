"""Features and responses -> tables: every set of features fitted, scored and held side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lensloc.alignment.baselines import PASSAGE, baselines
from lensloc.alignment.datasets import BrainResponses
from lensloc.alignment.encoding_words import sentences
from lensloc.alignment.ridge import Ridge, predict
from lensloc.alignment.scores import Outcome, Resampled, Scores, rank_p
from lensloc.alignment.splits import Folds
from lensloc.alignment.timecourse import Design
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError
from lensloc.results.encodings import (
    BASELINE,
    COLUMNS,
    CONTROL,
    JOINT,
    NETWORK,
    NUISANCE,
    UNTRAINED,
    Encoding,
)
from lensloc.units.provenance import Provenance


@dataclass(frozen=True, eq=False)
class Features:
    """One set of features of the stimuli.

    Attributes:
        values: ``[stimulus, unit]``.
        network: the network that it is, or is held beside.
        kind: ``network``, ``control`` or ``untrained``.
        name: how its units were chosen.
        seed: of the draw; None if nothing was drawn.
        site: where its units are.
        layer: their layer, if they are all in one.
    """

    values: Float[np.ndarray, "stimulus unit"]
    network: str = "units"
    kind: str = NETWORK
    name: str = ""
    seed: int | None = None
    site: str = ""
    layer: int | None = None


def evaluate(
    design: Design,
    features: Sequence[Features],
    folds: Folds,
    ridge: Ridge,
    *,
    language: str,
    n_resamples: int,
    confidence: float,
    seed: int,
    warnings: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
    progress: bool = True,
) -> Encoding:
    """Fit every set of features, the baselines, and networks and baselines together."""
    if not 0 < confidence < 1 or n_resamples < 1:
        raise LensLocError("confidence lies between 0 and 1, and n_resamples is at least 1.")
    values = design.values
    resampled = Resampled.of(
        len(folds.names), n_resamples=n_resamples, confidence=confidence, seed=seed
    )
    known = baselines(design, language)
    # Where passages are held out whole, what tells them apart can explain nothing of them.
    nuisance = [
        band
        for name, bands in known.items()
        for band in bands
        if name != PASSAGE or folds.split == "shuffled"
    ]
    networks = [each for each in features if each.kind == NETWORK]
    n_fits = len(features) + len(known) + 1 + len(networks)
    rows: list[_Row] = []
    with progress_bar(progress, n_fits, "regressions") as advance:

        def fit(each: Features, n_units: int, *bands: Float[np.ndarray, "kept _"]) -> None:
            scores = Scores.of(predict(bands, values, folds, ridge), values, folds)
            rows.append(_Row(each, n_units, scores.outcome(resampled.counts)))
            advance(1)

        for each in features:
            fit(each, each.values.shape[1], design.features(each.values))
        for name, bands in known.items():
            fit(_of_none(BASELINE, name), sum(band.shape[1] for band in bands), *bands)
        fit(_of_none(NUISANCE, NUISANCE), sum(band.shape[1] for band in nuisance), *nuisance)
        for each in networks:
            both = dataclasses.replace(each, kind=JOINT, name=JOINT)
            fit(both, each.values.shape[1], *nuisance, design.features(each.values))
    model = provenance.model if provenance else ""
    table = _table(rows, design.responses, folds.split, resampled, model)
    comparisons = _comparisons(rows, resampled, folds.split)
    told = sentences(design, folds, table, comparisons, max(row.outcome.n_constant for row in rows))
    made = {
        **(settings or {}),
        "split": folds.split,
        "n_folds": folds.n_folds,
        "n_passages": len(folds.names),
        "delays": list(design.delays),
        "n_samples": len(values),
        "alphas": list(ridge.alphas),
        "language": language,
        "seed": seed,
        "n_resamples": n_resamples,
        "stimuli": design.stimuli.hash,
    }
    return Encoding(
        table,
        comparisons,
        _of_responses(rows, design.responses, folds.split),
        confidence,
        made,
        (*warnings, *told),
        provenance or Provenance(),
    )


@dataclass(frozen=True, eq=False)
class _Row:
    features: Features
    n_units: int
    outcome: Outcome


def _of_none(kind: str, name: str) -> Features:
    return Features(np.zeros((0, 0)), "", kind, name)


def _table(
    rows: Sequence[_Row],
    responses: BrainResponses,
    split: str,
    resampled: Resampled,
    model: str,
) -> pd.DataFrame:
    joint = {row.features.network: row.outcome for row in rows if row.features.kind == JOINT}
    (nuisance,) = (row.outcome for row in rows if row.features.kind == NUISANCE)
    records = []
    for row in rows:
        each, found = row.features, row.outcome
        r_low, r_high = resampled.interval(found.r_resampled)
        r2_low, r2_high = resampled.interval(found.r2_resampled)
        record = {
            "model": model,
            "network": each.network,
            "kind": each.kind,
            "name": each.name,
            "seed": each.seed,
            "site": each.site,
            "layer": each.layer,
            "n_units": row.n_units,
            "split": split,
            **{"r": _mean(found.r), "r_low": r_low, "r_high": r_high},
            **{"r2": _mean(found.r2), "r2_low": r2_low, "r2_high": r2_high},
            **_normalised(found.r, found.r2, responses.ceilings),
        }
        if each.kind == NETWORK:
            both = joint[each.network]
            record["unique"] = _mean(both.r2) - _mean(nuisance.r2)
            record["unique_low"], record["unique_high"] = resampled.interval(
                both.r2_resampled - nuisance.r2_resampled
            )
        records.append(record)
    table: pd.DataFrame = pd.DataFrame(records, columns=list(COLUMNS))
    table = table.astype({"seed": "Int64", "layer": "Int64"})
    return table


def _mean(values: Float[np.ndarray, " response"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _normalised(
    r: Float[np.ndarray, " response"],
    r2: Float[np.ndarray, " response"],
    ceilings: Float[np.ndarray, " response"] | None,
) -> dict[str, float]:
    if ceilings is None:
        return {}
    known = np.isfinite(ceilings) & (ceilings > 0) & np.isfinite(r) & np.isfinite(r2)
    if not known.any():
        return {}
    top = ceilings[known]
    return {
        "ceiling": float(top.mean()),
        "r_normalised": float(r[known].mean() / top.mean()),
        "r2_normalised": float(r2[known].mean() / (top**2).mean()),
    }


def _comparisons(rows: Sequence[_Row], resampled: Resampled, split: str) -> pd.DataFrame:
    records = []
    for network in (row for row in rows if row.features.kind == NETWORK):
        name, own = network.features.network, _mean(network.outcome.r)
        others: dict[tuple[str, str], list[Outcome]] = {}
        for row in rows:
            beside = row.features.kind in (CONTROL, UNTRAINED) and row.features.network == name
            if beside or row.features.kind == BASELINE:
                key = (row.features.kind, row.features.name)
                others.setdefault(key, []).append(row.outcome)
        for (kind, against), draws in others.items():
            found = np.array([_mean(outcome.r) for outcome in draws])
            low, high = resampled.difference(
                network.outcome.r_resampled, np.stack([outcome.r_resampled for outcome in draws])
            )
            records.append(
                {
                    "network": name,
                    "kind": kind,
                    "against": against,
                    "draws": len(draws),
                    "split": split,
                    "network_r": own,
                    "other_r": _mean(found),
                    "difference": own - _mean(found),
                    "difference_low": low,
                    "difference_high": high,
                    "p": rank_p(own, found) if kind == CONTROL else np.nan,
                }
            )
    columns = ["network", "kind", "against", "draws", "split", "network_r", "other_r",
               "difference", "difference_low", "difference_high", "p"]  # fmt: skip
    table: pd.DataFrame = pd.DataFrame(records, columns=columns)
    return table


def _of_responses(rows: Sequence[_Row], responses: BrainResponses, split: str) -> pd.DataFrame:
    parts = []
    for row in rows:
        found = pd.DataFrame(
            {
                "network": row.features.network,
                "kind": row.features.kind,
                "name": row.features.name,
                "seed": row.features.seed,
                "split": split,
                "response": list(responses.names),
                "region": list(responses.regions),
                "r": row.outcome.r,
                "r2": row.outcome.r2,
                "ceiling": np.nan if responses.ceilings is None else responses.ceilings,
            }
        )
        ceiling = found["ceiling"].where(found["ceiling"] > 0)
        parts.append(found.assign(r_normalised=found["r"] / ceiling))
    table: pd.DataFrame = pd.concat(parts, ignore_index=True).astype({"seed": "Int64"})
    return table
