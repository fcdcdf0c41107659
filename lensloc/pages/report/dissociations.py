"""The section on networks x tasks: what lesions break, and how specific that is."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from lensloc import plot
from lensloc.display.sentences.lesions import control_name
from lensloc.display.sentences.words import interval, listed, number
from lensloc.pages.report.figures import PageFigure
from lensloc.pages.report.files import link
from lensloc.pages.report.methods import lesion_methods
from lensloc.pages.report.pieces import joined, listing, prose
from lensloc.pages.report.sections import Section
from lensloc.results.specificities import Specificity

TITLE = "Specificity"
_NAME = "specificity"


def section(found: Specificity) -> Section:
    """Show what every lesion costs every task, what that says of specificity, and the figures."""
    level = f"{100 * found.study.confidence:g} %"
    figures = [
        PageFigure(
            f"figure-{_NAME}-{number_of}",
            plot.specificity(found, kind=kind),
            f"What lesions cost own and other tasks, beside {control_name(kind)}",
            "Share of the room to fall that is lost, red for harm. Outlined: the network's own "
            "tasks. In brackets: not told apart from the controls. On the right, each network's "
            f"index beside those of its control draws; bars: {level} intervals of the difference "
            "from the draws' mean, over draws and items.",
            fixed=True,
        )
        for number_of, kind in enumerate(found.found, start=1)
    ]
    cells = [_cell(row) for row in found.table.to_dict("records")]
    content = [
        *map(prose, found.summary()),
        *(figure.element() for figure in figures),
        listing([_index(row) for row in found.indices.to_dict("records")],
                f"Indices: own tasks minus others, with {level} intervals"),
        prose(_ON_INDICES),
        listing(cells, f"Every network and task, with {level} intervals"),
    ]  # fmt: skip
    return Section(_NAME, TITLE, joined(*content), tuple(figures))


_ON_INDICES = (
    "Index: the share of the room to fall that a network's own tasks lose, minus that of the "
    "others; 0 is damage that spares nothing. p: its place among the indices of the control draws, "
    "(1 + draws that reach it) / (1 + draws); of all together, over choices of one set per network."
)


def _cell(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "network": str(row["network"]),
        "task": str(row["task"]),
        "own": "own" if row["own"] else "",
        "items": f"{int(row['n_items']):,}",
        "intact": _or_dash(row["intact"], 2),
        "room": "none" if pd.isna(row["room"]) else number(row["room"], 2),
        "share lost": _or_dash(row["share"], 2),
        "control": "" if pd.isna(row["kind"]) else control_name(str(row["kind"])),
        "control's share": _or_dash(row["control_share"], 2),
        "difference": _with_interval(row, 3),
        "p": _or_dash(row["p_more"], 3),
    }


def _index(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "network": str(row["network"]),
        "control": control_name(str(row["kind"])),
        "index": _or_dash(row["index"], 2),
        "controls' index": _or_dash(row["control_index"], 2),
        "draws": "" if pd.isna(row["draws"]) else f"{int(row['draws'])}",
        "difference": _with_interval(row, 2),
        "in sd of draws": _or_dash(row["standardised"], 1),
        "p": _or_dash(row["p"], 3),
    }


def _with_interval(row: Mapping[Any, Any], digits: int) -> str:
    words = _or_dash(row["difference"], digits)
    if pd.isna(row["difference"]):
        return words
    return f"{words} {interval(row['difference_low'], row['difference_high'], digits)}".strip()


def _or_dash(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else number(value, digits)


def about(found: Specificity) -> str:
    """Return what a page of its own is about."""
    models = listed(dict.fromkeys(map(str, found.study.table["model"])))
    return f"Specificity of {listed(found.networks)} in {models}"


def size(found: Specificity) -> str:
    """Return how much was measured."""
    return f"{len(found.networks):,} networks x {len(found.tasks):,} tasks"


def methods(found: Specificity) -> str:
    """Describe what was done, in a paragraph that can go into a paper."""
    answered = (
        "; items are of the kinds that the intact model answers on a half that was not measured"
        if found.room["kinds_answered"].notna().any()
        else ""
    )
    own = "; ".join(f"{name}: {listed(tasks)}" for name, tasks in found.domains.items() if tasks)
    return (
        f"{lesion_methods(found.study)} Drops were divided by the room that a score has to fall to "
        f"that of guessing{answered}. The index of a network is the share of the room that its own "
        f"tasks lose ({own}) minus that of the other tasks. It was compared with the same index of "
        "every control draw. A dissociation is double if every network's index exceeds its "
        "controls' and each harms its own tasks more than the others do."
    )


def links(found: Specificity, name: str) -> list[Markup]:
    """Offer the tables."""
    return [
        link(found.table, f"{name}-specificity.csv", "Specificity: every network and task"),
        link(found.indices, f"{name}-indices.csv", "Specificity: indices and their tests"),
        link(found.room, f"{name}-room.csv", "Specificity: what was measured of every task"),
    ]


def facts(found: Specificity) -> dict[str, str]:
    """List where it comes from, for a page of its own."""
    return {
        "Model": listed(dict.fromkeys(map(str, found.study.table["model"]))),
        "Seed": str(found.seed),
        "Call": found.call or found.study.call,
    }
