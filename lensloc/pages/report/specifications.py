"""The section on analysts' choices: in how many a claim holds, and what that depends on."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from lensloc import plot
from lensloc.display.sentences.words import counted, listed, number, percentage
from lensloc.pages.report.figures import PageFigure
from lensloc.pages.report.files import link
from lensloc.pages.report.pieces import joined, listing, prose
from lensloc.pages.report.sections import Section
from lensloc.results.specification_curves import Multiverse, shown

TITLE = "Analysts' choices"
_NAME = "choices"


def section(found: Multiverse) -> Section:
    """Show every specification, what they say together, and by which choices they differ."""
    level = f"{100 * found.confidence:g} %"
    tasks = list(dict.fromkeys(map(str, found.table["task"])))
    figures = [
        PageFigure(
            f"figure-{_NAME}-{place}",
            plot.multiverse(found, task=task),
            f"Harm to {task} under every choice",
            "A column per specification, sorted by what the chosen units cost more than control "
            f"units. Bars: {level} intervals. Below, the two drops, and the choices of which each "
            "specification is made. Dotted: the reference specification.",
            fixed=True,
        )
        for place, task in enumerate(tasks, start=1)
    ]
    content = [*map(prose, found.summary()), *(figure.element() for figure in figures)]
    values = [_value(row, tasks) for row in found.by_value().to_dict("records")]
    if values:
        content.append(listing(values, "In how many specifications the claim holds, by choice"))
    matters = [_matters(row, tasks) for row in found.matters().to_dict("records") if row["pairs"]]
    if matters:
        content += [listing(matters, "How much every choice matters"), prose(_ON_MATTERS)]
    left = [_left(row) for row in found.left_out.to_dict("records")]
    if left:
        words = f"Left out of {counted(found.combinations, 'combination')}"
        content.append(listing(left, words))
    return Section(_NAME, TITLE, joined(*content), tuple(figures))


_ON_MATTERS = (
    "Every two specifications that differ in one choice only are compared with each other. "
    "Change: the mean absolute change of the difference from control units."
)


def _value(row: Mapping[Any, Any], tasks: list[str]) -> dict[str, str]:
    return {
        "choice": str(row["choice"]),
        "value": str(row["value"]),
        **_of_task(row, tasks),
        "holds in": f"{row['holds']} of {row['specifications']}",
        "median difference": _or_dash(row["difference"]),
    }


def _matters(row: Mapping[Any, Any], tasks: list[str]) -> dict[str, str]:
    return {
        "choice": str(row["choice"]),
        **_of_task(row, tasks),
        "pairs": f"{row['pairs']:,}",
        "change": _or_dash(row["change"]),
        "verdict differs": percentage(row["verdicts"]),
    }


def _of_task(row: Mapping[Any, Any], tasks: list[str]) -> dict[str, str]:
    return {"task": str(row["task"])} if len(tasks) > 1 else {}


def _left(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "choices": ", ".join(f"{name} {shown(value)}" for name, value in row["choices"].items()),
        "specifications": f"{row['n']:,}",
        "why": f"{row['kind']}: {row['reason']}",
    }


def _or_dash(value: float) -> str:
    return "–" if pd.isna(value) else number(value, 3)


def about(found: Multiverse) -> str:
    """Return what a page of its own is about."""
    tasks = listed(dict.fromkeys(map(str, found.table["task"])))
    return f"{TITLE}: does a lesion harm {tasks}?"


def size(found: Multiverse) -> str:
    """Return how much was measured."""
    return counted(found.n_specifications, "specification")


def methods(found: Multiverse) -> str:
    """Describe what was done, in a paragraph that can go into a paper."""
    choices = listed(found.varied) if found.varied else "nothing"
    draws = (
        f"{found.planned_draws} draws of control units" if found.planned_draws else "control units"
    )
    return (
        "Whether a lesion of the chosen units does more harm than one of control units was asked "
        "under every combination of defensible choices (Steegen et al. 2016; Simonsohn et al. "
        f"2020). What varied was {choices}; of {counted(found.combinations, 'combination')} "
        f"{found.n_specifications:,} are specifications of their own. Each holds its units against "
        f"{draws} and answers by their place among the draws, p = (1 + draws at least as harmful) "
        "/ (1 + draws), one-sided (Phipson and Smyth 2010), where units were drawn. Specifications "
        "share units, items and draws, so that the share in which the claim holds is no "
        "probability."
    )


def links(found: Multiverse, name: str) -> list[Markup]:
    """Offer the tables."""
    offered = [
        link(found.table, f"{name}-choices.csv", f"{TITLE}: every specification and task"),
        link(found.by_value(), f"{name}-choices-values.csv", f"{TITLE}: by value"),
        link(found.matters(), f"{name}-choices-matters.csv", f"{TITLE}: how much each matters"),
    ]
    if len(found.left_out):
        table = found.left_out.assign(
            choices=[_left(row)["choices"] for row in found.left_out.to_dict("records")]
        )
        offered.append(link(table, f"{name}-choices-left-out.csv", f"{TITLE}: what is left out"))
    return offered


def facts(found: Multiverse) -> dict[str, str]:
    """List where it comes from, for a page of its own."""
    own = found.table[found.table["reference"]].iloc[0]
    words = ", ".join(f"{name} {shown(own[name])}" for name in found.varied if own[name] != "")
    return {"Reference specification": words, "Call": found.call}
