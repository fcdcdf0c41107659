"""Table of specifications -> in how many a claim holds, and what every choice changes."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lensloc.display.sentences.specifications import VERDICTS, Claims, Matters, Verdict
from lensloc.errors import LensLocError

_UNITS = {"accuracy": "share of items", "perplexity": "nats per token"}


def claims_of(table: pd.DataFrame, varied: Sequence[str], draws: int, level: float) -> list[Claims]:
    """Return what all specifications say on every task.

    Args:
        table: as :class:`~lensloc.results.specification_curves.Multiverse` has it.
        varied: choices that have several values.
        draws: of every control, as planned.
        level: of the test.
    """
    found = []
    for task, rows in table.groupby("task", sort=False):
        differences = rows["difference"].dropna()
        spread = [float("nan")] * 3
        if len(differences):
            spread = [float(differences.quantile(q)) for q in (0.5, 0.0, 1.0)]
        own = rows[rows["reference"]].iloc[0]
        measure = str(own["measure"])
        ranked = matters_of(rows, varied)
        values = by_value_of(rows, varied)
        matters = [
            Matters(
                str(each["choice"]), int(each["pairs"]), float(each["change"]),
                float(each["verdicts"]), _holds(values, str(each["choice"])),
            )
            for each in ranked.to_dict("records")
        ]  # fmt: skip
        counts: dict[Verdict, int] = {
            verdict: int((rows["verdict"] == verdict).sum()) for verdict in VERDICTS
        }
        found.append(
            Claims(
                str(task), _UNITS.get(measure, measure), counts,
                draws if rows["min_p"].notna().all() else 0, level,
                (spread[0], spread[1], spread[2]), int((rows["difference"] > 0).sum()),
                own["verdict"],
                (own["difference"], own["difference_low"], own["difference_high"]), matters,
            )
        )  # fmt: skip
    return found


def by_value_of(
    table: pd.DataFrame, varied: Sequence[str], task: str | None = None
) -> pd.DataFrame:
    """Return one row per task, choice and value; see :meth:`Multiverse.by_value`."""
    rows = []
    for name, part in _tasks(table, task):
        for choice in varied:
            for value, found in part[part[choice] != ""].groupby(choice, sort=False):
                holds = int((found["verdict"] == "holds").sum())
                rows.append(
                    {
                        "task": name,
                        "choice": choice,
                        "value": f"{value:g} %" if isinstance(value, float) else str(value),
                        "specifications": len(found),
                        "holds": holds,
                        "share": holds / len(found),
                        "difference": float(found["difference"].median()),
                    }
                )
    columns = ["task", "choice", "value", "specifications", "holds", "share", "difference"]
    made: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return made


def matters_of(table: pd.DataFrame, varied: Sequence[str], task: str | None = None) -> pd.DataFrame:
    """Return one row per task and choice; see :meth:`Multiverse.matters`."""
    rows = []
    for name, part in _tasks(table, task):
        mine = [_matters(name, choice, part, varied) for choice in varied]
        rows += sorted(mine, key=lambda row: -np.nan_to_num(row["change"], nan=-1.0))
    columns = ["task", "choice", "pairs", "change", "verdicts"]
    made: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return made


def _matters(task: str, choice: str, part: pd.DataFrame, varied: Sequence[str]) -> dict[str, Any]:
    """Hold every two specifications that differ in one choice only against each other."""
    others = [name for name in varied if name != choice]
    used = filled(part[part[choice] != ""], part, others)
    groups = [found for _, found in used.groupby(others, sort=False)] if others else [used]
    changes, verdicts = [], []
    for found in groups:
        values = found[["difference", "verdict"]].itertuples(index=False)
        for (a, one), (b, other) in itertools.combinations(values, 2):
            changes.append(abs(a - b))
            verdicts.append(one != other)
    known = [change for change in changes if np.isfinite(change)]
    return {
        "task": task,
        "choice": choice,
        "pairs": len(changes),
        "change": float(np.mean(known)) if known else float("nan"),
        "verdicts": float(np.mean(verdicts)) if verdicts else float("nan"),
    }


def filled(rows: pd.DataFrame, table: pd.DataFrame, choices: Sequence[str]) -> pd.DataFrame:
    """Put a value where a choice plays no part, so that rows can be compared with others.

    It is that of the reference specification, or else the first that there is.
    """
    own = table[table["reference"]].iloc[0]
    values = {}
    for name in choices:
        known = [value for value in table[name].unique() if value != ""]
        values[name] = own[name] if own[name] != "" else next(iter(known), "")
    columns = {name: rows[name].mask(rows[name] == "", value) for name, value in values.items()}
    made: pd.DataFrame = rows.assign(**columns)
    return made


def _tasks(table: pd.DataFrame, task: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    known = list(table["task"].unique())
    if task is not None and task not in known:
        raise LensLocError(f"There is no task {task!r}; there are {', '.join(map(str, known))}.")
    for name in known if task is None else [task]:
        yield str(name), table[table["task"] == name]


def _holds(values: pd.DataFrame, choice: str) -> dict[str, tuple[int, int]]:
    mine = values[values["choice"] == choice]
    return {
        str(row["value"]): (int(row["holds"]), int(row["specifications"]))
        for row in mine.to_dict("records")
    }
