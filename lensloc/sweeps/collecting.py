"""What a store has of a plan -> one result."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lensloc.display.sentences.sweeps import noted_at, versions_sentence
from lensloc.results.sweeps import (
    CELLS,
    LAYERS,
    LESIONS,
    LOCALIZATIONS,
    PUBLISHED,
    SHARES,
    SPECIFICITY,
    Sweep,
    tabulated,
)
from lensloc.studies.store import Store
from lensloc.sweeps.cells import Cell, shown_name
from lensloc.sweeps.checking import ReadyPlan
from lensloc.sweeps.plan import PublishedEntry
from lensloc.sweeps.working import record_of

Row = dict[str, Any]


def collected(ready: ReadyPlan, store: Store, *, call: str = "") -> Sweep:
    """Return what is there of a plan.

    Args:
        ready: the plan.
        store: where its cells are kept.
        call: what asked for it, as code.
    """
    cells: list[Row] = []
    localizations: list[Row] = []
    lesions: list[Row] = []
    layers: list[Row] = []
    indices: list[Row] = []
    shares: list[Row] = []
    said: dict[str, dict[str, None]] = {}
    versions: dict[str, dict[str, None]] = {}
    for _, cell in ready.cells():
        record = record_of(store, cell)
        cells.append(_row_of(cell, record))
        if record is None or record["failed"]:
            continue
        for name, version in record["versions"].items():
            versions.setdefault(name, {})[version] = None
        result, about = record["result"], record["model"]
        for sentence in about.get("warnings", ()):
            said.setdefault(sentence, {})[cell.model] = None
        for sentence in result["warnings"]:
            of = cell.contrast or "specificity"
            said.setdefault(sentence, {})[f"{of} at {cell.site} of {cell.model}"] = None
        place = {"model": cell.model, "contrast": cell.contrast, "site": cell.site,
                 "protocol": cell.protocol}  # fmt: skip
        if cell.kind == "localize":
            localizations.append({**place, "percent": ready.plan.percent, **about, **result})
            layers += _layers(place, result["per_layer"])
        elif cell.kind == "lesion":
            lesions += _lesions({**place, "lesion": cell.lesion}, result)
        else:
            indices += [{**place, **row} for row in result["indices"]]
            shares += [{**place, **row} for row in result["table"]]
    warnings = [noted_at(sentence, list(places)) for sentence, places in said.items()]
    warnings += [
        versions_sentence(name, list(several))
        for name, several in versions.items()
        if len(several) > 1
    ]
    frames = {
        "localizations": tabulated(localizations, LOCALIZATIONS),
        "lesions": tabulated(lesions, LESIONS),
        "specificity": tabulated(indices, SPECIFICITY),
        "shares": tabulated(shares, SHARES),
        "layers": tabulated(layers, LAYERS),
    }
    published = [
        row
        for entry in ready.plan.published
        for row in _published(entry, ready.plan.source, frames["localizations"], frames["lesions"])
    ]
    return Sweep(
        name=ready.plan.name, cells=tabulated(cells, CELLS), **frames,
        published=tabulated(published, PUBLISHED), warnings=tuple(warnings), call=call,
        about=ready.plan.about,
    )  # fmt: skip


def _row_of(cell: Cell, record: Mapping[str, Any] | None) -> Row:
    state = "waiting" if record is None else "failed" if record["failed"] else "done"
    known = record or {"seconds": None, "made": "", "failed": ""}
    return {
        "cell": cell.name, "kind": cell.kind, "model": cell.model, "contrast": cell.contrast,
        "site": cell.site, "protocol": cell.protocol, "lesion": cell.lesion, "state": state,
        "seconds": known["seconds"], "made": known["made"], "reason": known["failed"],
    }  # fmt: skip


def _layers(place: Row, shares: Sequence[float]) -> list[Row]:
    last = max(1, len(shares) - 1)
    return [
        {**place, "layer": layer, "relative_depth": layer / last, "share": share}
        for layer, share in enumerate(shares)
    ]


def _lesions(place: Row, result: Mapping[str, Any]) -> list[Row]:
    """Return a row per size, task and control, or one without control where there is none."""
    rows: list[Row] = []
    for network in result["networks"]:
        at = ("percent", "task")
        beside = [row for row in result["compared"] if all(row[k] == network[k] for k in at)]
        own = {**place, **network, "kind": None, "network_drop": network["drop"]}
        rows += [{**own, **row} for row in beside] or [own]
    return rows


_OF_LOCALIZATION = (
    *("n_layers", "width", "n_parameters", "n_units", "largest_t", "significant", "depth"),
)


def _published(
    entry: PublishedEntry, source: str, localizations: pd.DataFrame, lesions: pd.DataFrame
) -> list[Row]:
    """Return a published number beside every row that it is of; beside nothing if there is none."""
    of_localization = entry.quantity in _OF_LOCALIZATION
    table = localizations if of_localization else lesions
    filters = {"contrast": entry.contrast, "site": entry.site}
    if not of_localization:
        filters["task"] = entry.task
    same = table["model"].map(lambda name: str(name).split("@")[0]) == shown_name(entry.model)
    for name, wanted in filters.items():
        if wanted is not None:
            same &= table[name] == wanted
    if entry.percent is not None:
        same &= table["percent"] == entry.percent
    number = {"quantity": entry.quantity, "published": entry.value,
              "source": entry.source or source}  # fmt: skip
    found = table[same]
    if entry.quantity in ("n_layers", "width", "n_parameters"):  # of the model, wherever
        found = found.drop_duplicates(["model"])
    if found.empty:
        given = {"model": entry.model, "contrast": entry.contrast, "site": entry.site,
                 "task": entry.task, "percent": entry.percent}  # fmt: skip
        return [{**given, **number}]
    keep = [name for name in PUBLISHED if name in found.columns]
    rows = [{str(k): v for k, v in row.items()} for row in found[keep].to_dict("records")]
    measured = found[entry.quantity].tolist()
    return [{**row, **number, "measured": m} for row, m in zip(rows, measured, strict=True)]
