"""The section on several models: where networks lie, what lesions cost, what was published."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from lensloc import plot
from lensloc.display.sentences.words import counted, listed, number, percentage
from lensloc.pages.report.figures import PageFigure
from lensloc.pages.report.files import link
from lensloc.pages.report.pieces import heading, joined, listing, prose
from lensloc.pages.report.sections import Section
from lensloc.results.sweeps import Sweep

_NAME = "models"


def section(found: Sweep) -> Section:
    """Show networks by relative depth, drops beside controls, specificity, and every number."""
    figures = list(_figures(found))
    content: list[Markup] = [*map(prose, found.summary())]
    content += [figure.element() for figure in figures]
    if not found.localizations.empty:
        rows = [_localization(row) for row in _records(found.localizations)]
        content += [heading("Localizations"), listing(rows, "One row per model, contrast and site")]
    if not found.lesions.empty:
        rows = [_lesion(row) for row in _records(found.lesions)]
        content += [heading("Lesions"), listing(rows, "Drops beside controls")]
    if not found.specificity.empty:
        rows = [_specific(row) for row in _records(found.specificity)]
        content += [heading("Specificity"), listing(rows, "Indices beside controls")]
    if not found.published.empty:
        rows = [_published(row) for row in _records(found.published)]
        content += [heading("Published"), listing(rows, "Published numbers, and what is measured")]
    return Section(_NAME, "Models", joined(*content), tuple(figures))


def _figures(found: Sweep) -> list[PageFigure]:
    figures = []
    if not found.layers.empty:
        figures.append(
            PageFigure(
                f"figure-{_NAME}-depths", plot.sweep_depths(found), "Where networks lie",
                "A column per model; its first layer is at the bottom and its last at the top, "
                "however many there are. Darker: more of the layer's units are selected.",
                fixed=True,
            )
        )  # fmt: skip
    for place, task in enumerate(dict.fromkeys(map(str, found.lesions["task"])), start=1):
        figures.append(
            PageFigure(
                f"figure-{_NAME}-drops-{place}", plot.sweep_drops(found, task=task),
                f"What lesions cost on {task}",
                "Filled: the network's lesion, with its interval over items. Open: the mean of "
                "its controls. Above zero: harm. Of several sizes, the one nearest to 1 % is "
                "shown.",
                fixed=True,
            )
        )  # fmt: skip
    if not found.specificity.empty:
        figures.append(
            PageFigure(
                f"figure-{_NAME}-specificity", plot.sweep_specificity(found),
                "How specific lesions are",
                "Share of the room to fall that a network's own tasks lose minus that of others, "
                "above the same of its controls. Red: more specific than controls.",
                fixed=True,
            )
        )  # fmt: skip
    return figures


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _place(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(row[name]) for name in ("model", "contrast", "site", "protocol")}


def _localization(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        **_place(row),
        "layers": f"{row['n_layers']:,}",
        "units per layer": f"{row['width']:,}",
        "selected": f"{row['n_units']:,}",
        "largest t": number(row["largest_t"], 1),
        "prefer the target": percentage(row["significant"]),
        "mean depth": number(row["depth"]),
        "outliers": f"{row['n_outliers']:,}",
    }


def _lesion(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        **_place(row),
        "lesion": f"{row['lesion']}, {row['percent']:g} %",
        "task": str(row["task"]),
        "drop": _or_dash(row["network_drop"]),
        "control": "–" if pd.isna(row["kind"]) else str(row["kind"]),
        "its drop": _or_dash(row["control_drop"]),
        "difference": _or_dash(row["difference"]),
        "p": _or_dash(row["p_more"]),
        "more harm": "–" if pd.isna(row["kind"]) else str(row["verdict"]),
    }


def _specific(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        **{name: str(row[name]) for name in ("model", "site", "protocol", "kind", "network")},
        "index": _or_dash(row["index"]),
        "controls": _or_dash(row["control_index"]),
        "difference": _or_dash(row["difference"]),
        "p": _or_dash(row["p"]),
    }


def _published(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "model": str(row["model"]),
        "contrast": "–" if pd.isna(row["contrast"]) else str(row["contrast"]),
        "task": "–" if pd.isna(row["task"]) else str(row["task"]),
        "number": str(row["quantity"]),
        "published": f"{row['published']:g}",
        "measured": "–" if pd.isna(row["measured"]) else f"{row['measured']:.4g}",
        "source": str(row["source"]),
    }


def _or_dash(value: Any) -> str:
    return "–" if pd.isna(value) else number(float(value), 3)


def about(found: Sweep) -> str:
    """Return what a page of its own is about."""
    return f"{found.name}: {counted(len(found.models), 'model')} beside each other"


def size(found: Sweep) -> str:
    """Return how much was measured."""
    counts = found.counts
    return f"{counts['done']:,} of {counted(len(found.cells), 'cell')} measured"


def methods(found: Sweep) -> str:
    """Describe what was done, in a paragraph that can go into a paper."""
    contrasts = listed(name for name in dict.fromkeys(map(str, found.cells["contrast"])) if name)
    sites = listed(dict.fromkeys(map(str, found.cells["site"])))
    protocols = listed(dict.fromkeys(map(str, found.cells["protocol"])))
    text = (
        f"Networks for {contrasts} were localized at {sites} of "
        f"{counted(len(found.models), 'model')} by the protocol {protocols} (AlKhamissi et al. "
        "2024; Welch 1947). Depth is a layer's number divided by that of the last layer."
    )
    if not found.lesions.empty:
        text += (
            " Lesions were measured as drops from the intact model, and beside control units by "
            "their place among draws, one-sided (Phipson and Smyth 2010), model by model and "
            "without correction for the number of models."
        )
    return text


def links(found: Sweep, name: str) -> list[Markup]:
    """Offer the tables."""
    tables = {
        "": (found.table, "Every localization and lesion"),
        "-layers": (found.layers, "Selected units by layer"),
        "-specificity": (found.specificity, "Specificity: indices"),
        "-shares": (found.shares, "Specificity: every network and task"),
        "-published": (found.published, "Published numbers"),
        "-cells": (found.cells, "Every cell"),
    }
    return [
        link(table, f"{name}{tail}.csv", words)
        for tail, (table, words) in tables.items()
        if not table.empty
    ]


def facts(found: Sweep) -> dict[str, str]:
    """List where it comes from, for a page of its own."""
    known = found.localizations.drop_duplicates("model")
    models = ", ".join(
        f"{row['model']} ({str(row['weights_hash'])[:13]})" for row in _records(known)
    )
    return {"About": found.about, "Models": models, "Call": found.call}
