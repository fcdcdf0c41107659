"""What was measured under lesions -> the table of a study, and its items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lensloc.models import ModelCard
from lensloc.results.draws import Comparison
from lensloc.results.lesions import (
    NETWORK,
    Intervals,
    Scores,
    cohen_h,
    drop,
    scores_of,
    tabulate,
)
from lensloc.studies.in_turn import Measured
from lensloc.studies.measuring import PlannedLesion
from lensloc.tasks import TaskResult
from lensloc.units.balance import Balance, balance
from lensloc.units.mask import UnitMask, is_residual


@dataclass(frozen=True, eq=False)
class Job:
    """One lesion of a study.

    Attributes:
        network: whose lesion it is, or beside whose it stands.
        percent: its size.
        mode: label of what its units become.
        kind: ``network``, or how the control was chosen.
        seed: of the draw; None if nothing was drawn.
        lesion: to be opened.
        balance: of the control beside the network; of the network beside itself.
        alike: share of its units that a draw of this control has in common with another.
    """

    network: str
    percent: float
    mode: str
    kind: str
    seed: int | None
    lesion: PlannedLesion
    balance: Balance
    alike: float = float("nan")

    @property
    def mask(self) -> UnitMask:
        """The units."""
        return self.lesion.mask


@dataclass(frozen=True, eq=False)
class Row:
    """What one lesion did to one task.

    Attributes:
        job: the lesion.
        measured: what the task gave.
        compared: of a control, the comparison of the network with all its draws; None of the
            network, and of a control that was not drawn.
    """

    job: Job
    measured: Measured
    compared: Comparison | None = None


def own_balance(mask: UnitMask) -> Balance:
    """Return the balance of a set of units with itself: its magnitudes, outliers and layers."""
    magnitude = None if mask.magnitude is None else mask.magnitude.double().numpy()
    units = mask.mask.numpy()
    return balance(units, units, magnitude, residual=is_residual(mask.site))


def table_of(
    card: ModelCard,
    rows: Sequence[Row],
    intact: Mapping[tuple[str, str], TaskResult],
    n_resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Return one row per lesion and task, as :class:`~lensloc.results.lesions.LesionStudy` has it.

    Args:
        card: of the model.
        rows: what was measured; every control after its network.
        intact: what the intact model did, by network and task.
        n_resamples: of the bootstrap over items.
        confidence: of intervals.
        seed: of the bootstrap.
    """
    known: dict[int, Intervals] = {}
    networks: dict[tuple[Any, ...], Row] = {}
    found = []
    for row in rows:
        job, result = row.job, row.measured.result
        whole = intact[job.network, result.task]
        n_items = len(result.items)
        if n_items not in known:
            known[n_items] = Intervals.over(
                n_items, n_resamples=n_resamples, confidence=confidence, seed=seed
            )
        place = (job.network, job.mode, job.percent, result.task)
        against: dict[str, Any] = {}
        if job.kind == NETWORK:
            networks[place] = row
        elif row.compared is not None:
            against = _over_draws(row.compared)
        else:
            network = networks[place].measured.result
            against = _over_items(network, result, whole, known[n_items])
        measured = _measured(row.measured, whole, known[n_items])
        found.append({"model": card.name, **_units(job), **measured, **against})
    return tabulate(found)


def items_table(rows: Sequence[Row], intact: Mapping[tuple[str, str], TaskResult]) -> pd.DataFrame:
    """Return one row per lesion, task and item: :class:`~lensloc.results.lesions.LesionStudy`."""
    parts = []
    for row in rows:
        job, result = row.job, row.measured.result
        whole = row.measured.beside(intact[job.network, result.task])
        items = whole.items
        part = pd.DataFrame(
            {
                "network": job.network,
                "mode": job.mode,
                "percent": job.percent,
                "kind": job.kind,
                "seed": pd.array([job.seed] * len(items), dtype="Int64"),
                "task": result.task,
                "item": items["item"].to_numpy(),
                "group": items["group"].to_numpy(),
                "phenomenon": items["phenomenon"].to_numpy() if "phenomenon" in items else "",
                "intact": items["value"].to_numpy(dtype=float),
                "intact_weight": items["weight"].to_numpy(dtype=float),
                "value": result.items["value"].to_numpy(dtype=float),
                "weight": result.items["weight"].to_numpy(dtype=float),
                "higher_is_better": result.higher_is_better,
            }
        )
        parts.append(part)
    found: pd.DataFrame = pd.concat(parts, ignore_index=True)
    words = ["network", "mode", "kind", "task", "item", "group", "phenomenon"]
    typed: pd.DataFrame = found.astype(dict.fromkeys(words, "category"))
    return typed


def _units(job: Job) -> dict[str, Any]:
    magnitude, held, beside = job.mask.magnitude, job.balance, job.kind != NETWORK
    return {
        "network": job.network,
        "site": job.mask.site,
        "mode": job.mode,
        "percent": job.percent,
        "kind": job.kind,
        "seed": job.seed,
        "n_units": len(job.mask),
        "magnitude": float(magnitude[job.mask.mask].mean()) if magnitude is not None else np.nan,
        "log_magnitude": held.log_magnitude[1],
        "n_outliers": None if held.outliers[1] < 0 else held.outliers[1],
        "smd": held.smd if beside else np.nan,
        "layers_apart": held.layers_apart if beside else np.nan,
        "dimensions_shared": held.dimensions_shared if beside else None,
        "units_shared": held.units_shared if beside else None,
        "alike": job.alike,
    }


def _measured(found: Measured, whole: TaskResult, intervals: Intervals) -> dict[str, Any]:
    result, beside = found.result, found.beside(whole)
    low, high = intervals.of_drop(_scores(result), _scores(beside))
    accuracy = result.measure == "accuracy"
    return {
        "task": result.task,
        "measure": result.measure,
        "n_items": len(result.items),
        "score": result.score,
        "intact": beside.score,
        "chance": np.nan if result.chance is None else result.chance,
        "n_ties": result.n_ties,
        "finite": result.is_finite,
        "drop": drop(_scores(result), _scores(beside)),
        "drop_low": low,
        "drop_high": high,
        "cohen_h": cohen_h(beside.score, result.score) if accuracy else np.nan,
        "took_effect": found.effect.took_effect,
        "moved": np.nan if found.effect.moved is None else found.effect.moved,
    }


def _over_draws(compared: Comparison) -> dict[str, Any]:
    return {
        "n_compared": compared.n_items,
        "network_drop": compared.network,
        "control_drop": compared.control,
        "difference": compared.difference,
        "difference_low": compared.low,
        "difference_high": compared.high,
        "p_more": compared.p_more,
        "p_less": compared.p_less,
        "min_p": compared.min_p,
    }


def _over_items(
    network: TaskResult, control: TaskResult, whole: TaskResult, intervals: Intervals
) -> dict[str, Any]:
    """Compare two given sets of units: nothing was drawn, so only items vary."""
    a, b, intact = _scores(network), _scores(control), _scores(whole)
    low, high = intervals.of_difference(a, [b], intact)
    return {
        "n_compared": len(intact.value),
        "network_drop": drop(a, intact),
        "control_drop": drop(b, intact),
        "difference": drop(a, intact) - drop(b, intact),
        "difference_low": low,
        "difference_high": high,
    }


def _scores(result: TaskResult) -> Scores:
    return scores_of(result.items, higher_is_better=result.higher_is_better)
