"""Surprisals and reading times -> regressions, and tables of what surprisal adds to them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from lensloc.alignment.reading_data import ReadingTimes
from lensloc.alignment.regression import Fit, cross_validated, shifted, summed
from lensloc.alignment.scores import Resampled, rank_p
from lensloc.alignment.splits import Folds, make_folds
from lensloc.alignment.surprisal import WordSurprisals
from lensloc.contrasts.frequency import zipf_frequencies
from lensloc.errors import LensLocError
from lensloc.results.readings import (
    COLUMNS,
    CORRECTED,
    INTACT,
    NETWORK,
    TOKENS,
    ReadingStudy,
)
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance

_LEVEL = 0.05
_ENOUGH = 19  # draws, of which none reaches the network, give p = 0.05
_SPILL = 2  # words whose surprisal, length and frequency still show
_COLUMN = {CORRECTED: "corrected", TOKENS: "surprisal"}


@dataclass(frozen=True)
class Job:
    """What is lesioned.

    Attributes:
        network: name of the network that it belongs to; empty for the intact model.
        kind: ``intact``, ``network``, or how control units were drawn.
        seed: of the draw.
        mask: the units; None for the intact model.
    """

    network: str
    kind: str
    seed: int | None
    mask: UnitMask | None

    @property
    def words(self) -> str:
        """How the lesion is called in a message."""
        if self.kind == NETWORK:
            return f"The lesion of {self.network}"
        return f"The lesion of control units of {self.network} ({self.kind}, seed {self.seed})"


@dataclass(frozen=True, eq=False)
class Measured:
    """Surprisals under a lesion.

    Attributes:
        job: the lesion.
        surprisals: of every word; None if it gave none.
        took_effect: whether it moved a logit; None for the intact model.
    """

    job: Job
    surprisals: WordSurprisals | None
    took_effect: bool | None


@dataclass(frozen=True, eq=False)
class _Data:
    """Times with all that predicts them but surprisal.

    Attributes:
        word: ``[time]``, row of its word.
        times: ``[time]``.
        baseline: ``[time, predictor]``.
        stories: ``[time]``, number of its story.
        subjects: ``[time]``, number of its reader; None for means.
        folds: which times are held out together.
    """

    words: pd.DataFrame
    word: Int[np.ndarray, " time"]
    times: Float[np.ndarray, " time"]
    baseline: Float[np.ndarray, "time predictor"]
    stories: Int[np.ndarray, " time"]
    subjects: Int[np.ndarray, " time"] | None
    folds: Folds


def spilled(
    values: Float[np.ndarray, " word"], stories: Sequence[str]
) -> Float[np.ndarray, "word 3"]:
    """Return a predictor of a word, of the word before and of the one before that."""
    return np.stack([shifted(values, stories, by) for by in range(_SPILL + 1)], axis=1)


def _prepared(
    data: ReadingTimes, usable: Bool[np.ndarray, " word"], n_folds: int, language: str
) -> _Data:
    words = data.words
    if data.times.empty:
        raise LensLocError(f"{data.name} has words but no times to predict.")
    stories = list(words["story"])
    length = np.array([len(word) for word in words["word"]], dtype=np.float64)
    frequency = zipf_frequencies(list(words["word"]), language)
    baseline = np.concatenate([spilled(length, stories), spilled(frequency, stories)], axis=1)
    keyed = words.assign(word_row=np.arange(len(words)))[["story", "position", "word_row"]]
    merged = data.times.merge(keyed, on=["story", "position"], how="left")
    word = merged["word_row"].to_numpy(dtype=np.int64)
    chosen = usable[word] & np.isfinite(baseline[word]).all(axis=1)
    merged, word = merged[chosen], word[chosen]
    names = list(dict.fromkeys(merged["story"]))
    if len(names) < 2:
        raise LensLocError(
            f"{data.name} has times of {len(names)} stories that can be predicted; whole stories "
            "are held out, so give at least two."
        )
    folds = make_folds(list(merged["story"]), n_folds=min(n_folds, len(names)), what="stories")
    return _Data(
        words,
        word,
        merged["time"].to_numpy(dtype=np.float64),
        baseline[word],
        folds.groups,
        pd.factorize(merged["subject"])[0].astype(np.int64) if data.by_subject else None,
        folds,
    )


def compare(
    data: ReadingTimes,
    measured: Sequence[Measured],
    *,
    n_folds: int,
    language: str,
    n_resamples: int,
    confidence: float,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    provenance: Provenance | None = None,
) -> ReadingStudy:
    """Predict times from every lesion's surprisals, and hold the gains side by side."""
    if not 0 < confidence < 1 or n_resamples < 1:
        raise LensLocError("confidence lies between 0 and 1, and n_resamples is at least 1.")
    intact = measured[0].surprisals
    assert intact is not None
    kinds = [TOKENS] if intact.marks == "none" else [CORRECTED, TOKENS]
    stories = list(data.words["story"])
    predictors = {
        (at, kind): spilled(_in_order(each.surprisals.table, _COLUMN[kind], data), stories)
        for at, each in enumerate(measured)
        if each.surprisals is not None
        for kind in kinds
    }
    usable = np.logical_and.reduce([np.isfinite(p).all(axis=1) for p in predictors.values()])
    known = _prepared(data, usable, n_folds, language)
    base = cross_validated(known.baseline, known.times, known.folds, known.subjects)
    n_stories = len(known.folds.names)
    counts = summed(np.ones(len(known.times)), known.stories, n_stories)
    resampled = Resampled.of(n_stories, n_resamples=n_resamples, confidence=confidence, seed=seed)
    gains: dict[tuple[int, str], _Gain] = {}
    for key, found in predictors.items():
        whole = np.concatenate([known.baseline, found[known.word]], axis=1)
        fit = cross_validated(whole, known.times, known.folds, known.subjects)
        difference = summed(fit.log_likelihood - base.log_likelihood, known.stories, n_stories)
        gains[key] = _Gain(fit, difference, counts, found[known.word, 0])
    table = _table(measured, kinds, gains, base, resampled, provenance)
    comparisons = _comparisons(measured, kinds, gains, resampled)
    by_story = pd.DataFrame(
        [
            {
                "network": measured[at].job.network,
                "kind": measured[at].job.kind,
                "seed": measured[at].job.seed,
                "surprisal": kind,
                "story": known.folds.names[number],
                "n_times": int(counts[number]),
                "gain": float(gain.sums[number] / counts[number]),
            }
            for (at, kind), gain in gains.items()
            for number in range(n_stories)
        ]
    ).astype({"seed": "Int64"})
    left_out = len(data.times) - len(known.times)
    return ReadingStudy(
        _ranked(table, comparisons),
        comparisons,
        by_story,
        intact.table,
        confidence,
        {
            **(settings or {}),
            "n_folds": known.folds.n_folds,
            "left_out": left_out,
            "by_subject": data.by_subject,
            "language": language,
            "seed": seed,
            "n_resamples": n_resamples,
            "data": data.name,
        },
        (*intact.warnings, *warnings, *_sentences(table, comparisons, left_out)),
        provenance or Provenance(),
    )


@dataclass(frozen=True, eq=False)
class _Gain:
    """What surprisal adds to the log-likelihood.

    Attributes:
        fit: the regression with surprisal.
        sums: ``[story]``, the gain summed over a story's times.
        counts: ``[story]``, how many times it has.
        surprisal: ``[time]``, of the word itself.
    """

    fit: Fit
    sums: Float[np.ndarray, " story"]
    counts: Float[np.ndarray, " story"]
    surprisal: Float[np.ndarray, " time"]

    @property
    def mean(self) -> float:
        """Gain a time."""
        return float(self.sums.sum() / self.counts.sum())

    def over(self, drawn: Float[np.ndarray, "resample story"]) -> Float[np.ndarray, " resample"]:
        """Return the gain per time where stories were drawn so often."""
        gains: Float[np.ndarray, " resample"] = (drawn @ self.sums) / (drawn @ self.counts)
        return gains


def _in_order(table: pd.DataFrame, column: str, data: ReadingTimes) -> Float[np.ndarray, " word"]:
    """Return a column of surprisals in the order of the words."""
    missing = [name for name in ("story", "position", column) if name not in table.columns]
    if missing:
        raise LensLocError(f"The table of surprisals lacks the column {missing[0]!r}.")
    keyed = table[["story", "position", column]].drop_duplicates(["story", "position"])
    merged = data.words.merge(keyed, on=["story", "position"], how="left", indicator=True)
    alone = merged["_merge"] == "left_only"
    if alone.any():
        row = merged[alone].iloc[0]
        raise LensLocError(
            f"Word {row['position']} ({row['word']!r}) of story {row['story']} has no surprisal; "
            "give one for every word."
        )
    values: Float[np.ndarray, " word"] = merged[column].to_numpy(dtype=np.float64)
    return values


def _table(
    measured: Sequence[Measured],
    kinds: Sequence[str],
    gains: Mapping[tuple[int, str], _Gain],
    base: Fit,
    resampled: Resampled,
    provenance: Provenance | None,
) -> pd.DataFrame:
    rows = []
    for at, each in enumerate(measured):
        for kind in kinds:
            gain = gains.get((at, kind))
            row: dict[str, Any] = {
                "model": provenance.model if provenance else "",
                "network": each.job.network,
                "kind": each.job.kind,
                "seed": each.job.seed,
                "n_units": 0 if each.job.mask is None else len(each.job.mask),
                "surprisal": kind,
                "baseline": float(base.log_likelihood.mean()),
                "took_effect": each.took_effect,
            }
            if gain is not None:
                low, high = resampled.interval(gain.over(resampled.counts))
                slopes = gain.fit.slopes[-(_SPILL + 1) :].tolist()
                row |= {
                    "n_times": int(gain.counts.sum()),
                    "n_stories": len(gain.counts),
                    "mean_surprisal": float(gain.surprisal.mean()),
                    "log_likelihood": float(gain.fit.log_likelihood.mean()),
                    **{"gain": gain.mean, "gain_low": low, "gain_high": high},
                    **dict(zip(("slope", "slope_previous", "slope_before"), slopes, strict=True)),
                }
                if each.job.mask is not None:
                    whole = gains[0, kind]
                    row["loss"] = whole.mean - gain.mean
                    row["loss_low"], row["loss_high"] = resampled.interval(
                        whole.over(resampled.counts) - gain.over(resampled.counts)
                    )
            rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"seed": "Int64", "n_times": "Int64", "n_stories": "Int64"})
    return table


def _comparisons(
    measured: Sequence[Measured],
    kinds: Sequence[str],
    gains: Mapping[tuple[int, str], _Gain],
    resampled: Resampled,
) -> pd.DataFrame:
    rows = []
    for at, each in enumerate(measured):
        if each.job.kind != NETWORK:
            continue
        name = each.job.network
        others: dict[str, list[int]] = {}
        for number, other in enumerate(measured):
            if other.job.network == name and other.job.kind != NETWORK:
                others.setdefault(other.job.kind, []).append(number)
        for kind in kinds:
            own = gains.get((at, kind))
            whole = gains[0, kind]
            for control, numbers in others.items():
                found = [gains[n, kind] for n in numbers if (n, kind) in gains]
                losses = np.array([whole.mean - gain.mean for gain in found])
                loss = float("nan") if own is None else whole.mean - own.mean
                low, high = float("nan"), float("nan")
                if own is not None and found:
                    low, high = resampled.difference(
                        -own.over(resampled.counts),
                        np.stack([-gain.over(resampled.counts) for gain in found]),
                    )
                rows.append(
                    {
                        "network": name,
                        "control": control,
                        "surprisal": kind,
                        "draws": len(found),
                        "network_loss": loss,
                        "control_loss": float(losses.mean()) if len(losses) else np.nan,
                        "difference": loss - float(losses.mean()) if len(losses) else np.nan,
                        "difference_low": low,
                        "difference_high": high,
                        "p": rank_p(loss, losses),
                    }
                )
    columns = ["network", "control", "surprisal", "draws", "network_loss", "control_loss",
               "difference", "difference_low", "difference_high", "p"]  # fmt: skip
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def _ranked(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Put the rank of a network's loss beside it, the least favourable of its kinds of control."""
    table = table.copy()
    for (network, kind), found in comparisons.groupby(["network", "surprisal"], sort=False):
        rows = (
            (table["network"] == network)
            & (table["kind"] == NETWORK)
            & (table["surprisal"] == kind)
        )
        table.loc[rows, "p"] = found["p"].max()
        table.loc[rows, "draws"] = int(found["draws"].min())
    return table


def _sentences(table: pd.DataFrame, comparisons: pd.DataFrame, left_out: int) -> list[str]:
    """Return what a reader of the tables should know."""
    told = []
    if left_out:
        told.append(
            f"{left_out} times are left out: their word, or one of the two before it in the story, "
            "has no surprisal, or there is none."
        )
    for row in table[table["kind"] == INTACT].to_dict("records"):
        if np.isfinite(row["gain_low"]) and row["gain_low"] <= 0:
            told.append(
                f"Surprisal ({row['surprisal']}) does not surely tell anything about reading times "
                f"that length and frequency do not: a gain of {row['gain']:+.4f} nats per time, "
                f"interval from {row['gain_low']:+.4f} to {row['gain_high']:+.4f}."
            )
    idle = table[table["took_effect"].eq(False)].drop_duplicates(["network", "kind", "seed"])
    told += [
        f"The lesion of {row['network']} ({row['kind']}) took no effect: its hooks did not fire, "
        "changed nothing, or moved no logit."
        for row in idle.to_dict("records")
    ]
    for row in comparisons.to_dict("records"):
        told += _rank_sentence(row)
    return told


def _rank_sentence(row: Mapping[Hashable, Any]) -> list[str]:
    """Say where a network's loss does not surely stand out among those of its controls."""
    p, draws = float(row["p"]), int(row["draws"])
    if not np.isfinite(p) or p <= _LEVEL:
        return []
    figures = (
        f"({row['control']}, surprisal {row['surprisal']}): {row['network_loss']:+.4f} against "
        f"{row['control_loss']:+.4f} nats per time"
    )
    least = 1 / (1 + draws)
    if np.isclose(p, least):
        return [
            f"Lesioning {row['network']} takes away more of what predicts readers than lesioning "
            f"as many control units does in any of {draws} draws {figures}; but {draws} draws "
            f"cannot give a p below {least:.2f}, so take at least {_ENOUGH}."
        ]
    return [
        f"Lesioning {row['network']} does not take away more of what predicts readers than "
        f"lesioning as many control units {figures}, p = {p:.2f} over {draws} draws."
    ]
