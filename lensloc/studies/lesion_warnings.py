"""What to mind in a study of lesions: idle ones, what gave no number, ties."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lensloc.errors import LensLocWarning
from lensloc.results.lesion_cases import idle_lesions
from lensloc.results.lesions import NETWORK
from lensloc.tasks import TaskResult
from lensloc.tasks.base import MANY_TIES

_LESION = ["network", "mode", "percent", "kind"]


def study_warnings(
    table: pd.DataFrame,
    results: Sequence[TaskResult],
    intact: Mapping[tuple[str, str], TaskResult],
) -> tuple[str, ...]:
    """Warn of what speaks against rows of a table, and return the sentences.

    Args:
        table: as :class:`~lensloc.results.lesions.LesionStudy` has it.
        results: what every row is of.
        intact: of the intact model, by network and task.
    """
    every = (
        *(sentence for result in intact.values() for sentence in result.warnings),
        *idle_lesions(table),
        *_without_numbers(table, results),
        *_without_score(table),
        *_lost_draws(table),
        *_tied(table),
    )
    found = tuple(dict.fromkeys(every))
    for sentence in found:
        warnings.warn(sentence, LensLocWarning, stacklevel=3)
    return found


def _named(row: Any) -> str:
    """Name the lesion of a row of the table."""
    return f"{row['network']} ({row['mode']}, {row['percent']:g} %, {row['kind']})"


def _without_numbers(table: pd.DataFrame, results: Sequence[TaskResult]) -> Iterator[str]:
    """Name the lesions that left the model without numbers: once per task, with the first text."""
    lost = table[~table["finite"]]
    for _, rows in lost.groupby([*_LESION, "task"], sort=False):
        first = rows.iloc[0]
        result = results[int(rows.index[0])]
        reason = result.warnings[0].rstrip(".") if result.warnings else "items have no value"
        draws = f" in {len(rows)} draws" if len(rows) > 1 else ""
        what = f"leaves {first['task']} without a score{draws}"
        yield f"The lesion of {_named(first)} {what}: {reason}."


def _without_score(table: pd.DataFrame) -> Iterator[str]:
    """Name the lesions under which there was nothing to score, or the score is no float."""
    lost = table[table["finite"] & table["score"].isna()]
    for _, rows in lost.groupby([*_LESION, "task"], sort=False):
        first = rows.iloc[0]
        draws = f" in {len(rows)} draws" if len(rows) > 1 else ""
        reason = (
            "nothing was there to be scored"
            if np.isnan(first["drop"])
            else "its drop says how much is lost, but no number is large enough for the score"
        )
        yield f"Under the lesion of {_named(first)}, {first['task']} has no score{draws}: {reason}."


def _lost_draws(table: pd.DataFrame) -> Iterator[str]:
    controls = table[table["kind"] != NETWORK]
    for _, rows in controls.groupby([*_LESION, "task"], sort=False):
        first, n_lost = rows.iloc[0], int(rows["drop"].isna().sum())
        left = len(rows) - n_lost
        if not n_lost or np.isnan(first["intact"]):
            continue
        rest = "so there is no interval" if left < 2 else "and differences are from the others"
        yield (
            f"Of the control {_named(first)}, {n_lost} of {len(rows)} draws gave no number for "
            f"{first['task']}, {rest}."
        )


def _tied(table: pd.DataFrame) -> Iterator[str]:
    """Say once per task how many lesions leave the model guessing."""
    shares = table["n_ties"] / table["n_items"]
    for task, rows in table[shares > MANY_TIES].groupby("task", sort=False):
        worst = table.loc[shares[rows.index].idxmax()]
        yield (
            f"Under {len(rows)} of {int((table['task'] == task).sum())} lesions more than "
            f"{100 * MANY_TIES:g} % of the items of {task} are ties, whose credit is shared; most "
            f"are {int(worst['n_ties'])} of {int(worst['n_items'])}, under {_named(worst)}."
        )
