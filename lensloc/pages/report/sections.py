"""The sections of a report: each a heading and what stands below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from lensloc import plot
from lensloc.contrasts.pictures import thumbnails
from lensloc.display.markup import shortened
from lensloc.display.sentences.lesions import control_name
from lensloc.pages.report.figures import PageFigure
from lensloc.pages.report.files import link, stimuli_table
from lensloc.pages.report.methods import (
    lesion_methods,
    methods,
    references,
)
from lensloc.pages.report.pieces import (
    bullets,
    folded,
    grid,
    heading,
    joined,
    listing,
    picture,
    prose,
)
from lensloc.pages.report.words import sides
from lensloc.results.lesion_groups import first_to_fall
from lensloc.results.lesions import NETWORK, LesionStudy
from lensloc.studies import Study
from lensloc.units.stimuli import Stimulus

_COLUMNS = 200  # of the heatmaps of units: a page is narrower than a screen
_EXAMPLES = 3
_PICTURES = 8


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: of its element, for links.
        title: its heading.
        content: what stands below it.
        figures: those among its content.
    """

    name: str
    title: str
    content: Markup
    figures: tuple[PageFigure, ...] = ()


# -- sections of a study ---------------------------------------------------------------------------


def heatmaps(study: Study) -> Section:
    """Show t of every unit of every site."""
    target, control = sides(study.selectivity)
    units = [
        PageFigure(
            f"figure-units-{number}",
            plot.unit_heatmap(found, columns=_COLUMNS),
            f"t of every unit at {site}",
            f"A row per layer, its units sorted by t. Red: larger responses to {target}; blue: to "
            f"{control}.",
        )
        for number, (site, found) in enumerate(study.found.items())
    ]
    words = "The explorer shows how many units of every layer are selected, at every site."
    content = joined(prose(words), grid([figure.element() for figure in units]))
    return Section("heatmaps", "All units", content, tuple(units))


def top_units(study: Study, top: int) -> Section:
    """List the most selective units."""
    table = study.selectivity.to_dataframe(study.network)
    rows = [
        {
            "unit": row.address,
            "t": f"{row.t:.1f}",
            "q": f"{row.q:.1e}",
            "d": f"{row.d:.2f}",
            "mean, target": f"{row.mean_target:.3g}",
            "mean, control": f"{row.mean_control:.3g}",
            "size in its layer": f"{row.magnitude_percentile:.0f} %"
            + (" (outlier)" if row.outlier else ""),
        }
        for row in table.head(top).itertuples(index=False)
    ]
    caption = f"The {len(rows)} units of largest t at {study.site}, of {len(table):,} selected"
    note = (
        "Means are of absolute activations. Size in its layer: the percentage of the layer's "
        "units whose mean absolute response is no larger than this one's."
        if study.network.provenance.absolute
        else "Size in its layer: the percentage of the layer's units whose mean absolute "
        "response is no larger than this one's."
    )
    content = joined(listing(rows, caption), prose(note))
    return Section("units", "Top units", content)


def profile(study: Study) -> Section:
    """Show how strongly the network responds in every condition."""
    found = study.profile
    assert found is not None
    how = (
        "Units were picked on one half of the stimuli and measured on the other, so that selection "
        "does not flatter them."
        if found.cross_validated
        else f"Measured: {found.how}."
    )
    figure = PageFigure(
        "figure-profile",
        plot.response_profile(found),
        f"Response of {found.n_units:,} units at {found.site} in every condition",
        f"{how} Bars: {100 * found.confidence:g} % bootstrap intervals over stimuli.",
        panels=True,
    )
    return Section("profile", "Response profile", figure.element(), (figure,))


def stimuli(study: Study) -> Section:
    """Show lengths of the conditions, and a few texts of each."""
    contrast = study.contrast
    # Where a file lay is nobody's business; its name is.
    path = Path(contrast.source)
    source = path.name if path.is_absolute() else contrast.source
    balance = study.balance if study.balance is not None else contrast.balance()
    measures, digits = list(balance.differences), ".1f" if balance.of == "text" else ".3g"
    rows = [
        {
            "condition": str(row["condition"]),
            "role": str(row["role"]) or "beside",
            f"{balance.of}s": f"{row['texts']:,}",
            **{f"{m} (sd)": f"{row[m]:{digits}} ({row[f'{m}_sd']:{digits}})" for m in measures},
        }
        for row in balance.table.to_dict("records")
    ]
    differences = ", ".join(f"{name} {value:+.2f}" for name, value in balance.differences.items())
    examples = joined(
        *(
            heading(name)
            + (pictures(texts) or bullets([_shown(text) for text in texts[:_EXAMPLES]], "examples"))
            for name, texts in contrast.conditions.items()
        )
    )
    what = "Lengths per text" if balance.of == "text" else f"Measures per {balance.of}"
    content = joined(
        prose(f"Source: {source}."),
        listing(rows, f"{what}: mean and standard deviation"),
        prose(
            f"Standardised difference, target minus control: {differences}. Above 0.5 either way, "
            f"{'a difference in length' if balance.of == 'text' else 'such a difference'} can pass "
            "for selectivity."
        ),
        examples,
    )
    return Section("stimuli", "Stimuli", content)


def _shown(text: str) -> str:
    return text.name if isinstance(text, Stimulus) else shortened(text, 240)


def pictures(stimuli: Sequence[str]) -> Markup:
    """Return the first of some pictures, small, with their names; nothing of other stimuli."""
    first = stimuli[:_PICTURES]
    return joined(
        *(
            picture(source, each.name if isinstance(each, Stimulus) else each)
            for each, source in zip(first, thumbnails(first), strict=False)
        )
    )


def method(study: Study, more: str = "") -> Section:
    """Give a paragraph for a paper, and more of it, on what else is on the page."""
    text = " ".join(part for part in (methods(study), more) if part)
    return Section(
        "methods", "Methods", joined(prose(text), heading("References"), bullets(references(text)))
    )


def downloads(study: Study, more: Sequence[Markup] = ()) -> Section:
    """Offer the tables, and more of them."""
    name = f"{study.contrast.name}-{study.network.provenance.model}"
    table = study.selectivity.to_dataframe(study.network)
    links = [
        link(
            table,
            f"{name}-units.csv",
            f"The {len(table):,} selected units at {study.site}, with all statistics",
        ),
        link(stimuli_table(study.contrast), f"{name}-stimuli.csv", "The stimuli"),
    ]
    if study.profile is not None:
        links.append(link(study.profile.table, f"{name}-profile.csv", "The response profile"))
    if study.lesions is not None:
        links += lesion_links(study.lesions, name)
    return offered([*links, *more])


def offered(links: Sequence[Markup]) -> Section:
    """Offer files that are in the page."""
    words = (
        "Tables as CSV. They are inside this page. A text that a spreadsheet would take for a "
        "formula has an apostrophe in front."
    )
    return Section("downloads", "Downloads", joined(prose(words), bullets(links)))


# -- sections of lesions ---------------------------------------------------------------------------


def lesions(found: LesionStudy) -> Section:
    """Show what lesions cost beside those of controls."""
    level = f"{100 * found.confidence:g} %"
    sizes = found.table["percent"].nunique()
    if sizes > 1:
        dose = PageFigure(
            "figure-lesions",
            plot.dose_response(found),
            "Harm by size of the lesion",
            f"Line and band: the network and its {level} interval over items. Other lines: means "
            "over the draws of a control, which are the faint points. Hollow: no effect.",
            panels=True,
        )
    else:
        dose = PageFigure(
            "figure-lesions",
            plot.lesion_bars(found),
            f"Harm of lesions of {found.table['percent'].iloc[0]:g} % of the units",
            f"The bar of a network has its {level} interval over items, that of a control the "
            "range of its draws. The points are the draws.",
            panels=True,
        )
    rows = _compared(found) or _measured(found)
    parts = [dose.element(), listing(rows, f"What lesions cost, with {level} intervals")]
    if not found.comparisons.empty:
        parts.append(prose(_ON_TESTS))
    held = _balanced(found)
    if held:
        parts += [listing(held, "How alike network and controls are"), prose(_ON_BALANCE)]
    return Section("lesions", "Lesions", joined(*parts), (dose,))


_ON_TESTS = (
    "p is that of the test over draws that the network does more harm: (1 + draws that do at "
    "least as much) / (1 + draws), one-sided. Differences are on the items that all draws were "
    "measured on."
)
_ON_BALANCE = (
    "Figures are means over draws. The standardised difference is that of log magnitude, control "
    "minus network, in standard deviations. If it is beyond 0.25, or if there are fewer than half "
    "as many outliers, the match is poor. Draws alike: the share of its units that a draw has in "
    "common with another."
)


def _balanced(found: LesionStudy) -> list[dict[str, str]]:
    """Return how alike controls are to their networks, where magnitudes are known."""
    held = found.balance
    if held.empty or held["smd"].isna().all():
        return []
    several = held["network"].nunique() > 1
    return [
        {
            **({"network": row["network"]} if several else {}),
            "units": f"{row['percent']:g} %",
            "control": control_name(row["kind"]),
            "standardised difference": _known(row["smd"], "+.2f"),
            "outliers, network": _known(row["outliers_network"], ".0f"),
            "outliers, control": _known(row["outliers_control"], ".1f"),
            "in other layers": _known(row["layers_apart"], ".2f"),
            "dimensions shared": _known(row["dimensions_shared"], ".0f"),
            "draws alike": _known(row["alike"], ".2f"),
            "match": "poor" if row["poor"] else "",
        }
        for row in held.to_dict("records")
    ]


def _known(value: float, form: str) -> str:
    return "" if pd.isna(value) else f"{value:{form}}"


def modes(found: LesionStudy) -> Section:
    """Show what units become side by side."""
    level = f"{100 * found.confidence:g} %"
    figure = PageFigure(
        "figure-modes",
        plot.ablation_modes(found),
        "Harm by what the units become",
        f"Bars: the network, with its {level} interval over items.",
        panels=True,
    )
    rows = [
        {
            "units become": row["mode"],
            "units": f"{int(row['n_units']):,}",
            "task": row["task"],
            "intact": f"{row['intact']:.3g}",
            "lesioned": f"{row['score']:.3g}",
            "drop": _interval(row, "drop"),
            "took effect": "yes" if row["took_effect"] else "no",
        }
        for row in found.table[found.table["kind"] == NETWORK].to_dict("records")
    ]
    words = (
        "Zero may take the model where no text takes it. The mean, and the response to another "
        "stimulus, keep each unit among values that it has. dims-mean sets the network's "
        "dimensions of the residual stream to their means in every layer, so that later blocks "
        "cannot write to them again. If only zero does harm, that may be the reason."
    )
    parts = [prose(words), figure.element(), listing(rows, f"Drops with {level} intervals")]
    return Section("modes", "What the units become", joined(*parts), (figure,))


def groups(found: LesionStudy, percent: float, most: int = 12) -> list[Section]:
    """List which groups of items fall first, of every task that has several; none if none has."""
    if found.items.empty:
        return []
    # Phenomena of pairs, which are fewer than paradigms; of other tasks whatever groups they have.
    table = found.by_group()
    if (found.items["phenomenon"].astype(str) != "").any():
        coarse = found.by_group("phenomenon")
        rest = table[~table["task"].isin(set(coarse["task"]))]
        table = pd.concat([coarse, rest], ignore_index=True)
    sizes = sorted(set(table["percent"]), key=lambda size: abs(size - percent))
    rows = []
    for (_, task), same in pd.DataFrame(first_to_fall(table, sizes[0])).groupby(
        ["network", "task"], sort=False
    ):
        if same["group"].nunique() > 1:
            rows += [_fallen(row, str(task)) for row in same.head(most).to_dict("records")]
    if not rows:
        return []
    words = (
        f"What falls first stands first, at {sizes[0]:g} % of the units, with at most {most} "
        "groups per task. Falls at: the smallest size from which on more items lose than gain, by "
        "an exact sign test, at a false discovery rate of 5 % over all groups of the task."
    )
    table_of = listing(rows, "What groups of items lost")
    content = joined(prose(words), table_of, *_every_group(found, sizes[0], rows))
    return [Section("groups", "What falls first", content)]


def _every_group(
    found: LesionStudy, percent: float, shown: Sequence[Mapping[str, str]]
) -> list[Markup]:
    """List the effect on every paradigm or kind of items, where that is more than is shown."""
    rows = [_fallen(row, str(row["task"])) for row in first_to_fall(found.by_group(), percent)]
    if len(rows) <= len(shown):
        return []
    title = f"All {len(rows):,} paradigms and kinds of items"
    return [folded(title, listing(rows, f"{title}, at {percent:g} % of the units"))]


def _fallen(row: Mapping[Any, Any], task: str) -> dict[str, str]:
    beside = [f"{control_name(kind)} {drop:.2f}" for kind, drop in row["controls"].items()]
    return {
        "task": task,
        "group": row["group"],
        "items": str(row["n_items"]),
        "intact": f"{row['intact']:.2f}",
        "drop": f"{row['drop']:.2f}",
        "controls": ", ".join(beside),
        "falls at": "–" if pd.isna(row["falls_at"]) else f"{row['falls_at']:g} %",
    }


def _compared(found: LesionStudy) -> list[dict[str, str]]:
    several = found.table["network"].nunique() > 1
    return [
        {
            "task": row["task"],
            **({"network": row["network"]} if several else {}),
            "units": f"{row['percent']:g} %",
            "control": control_name(row["kind"]),
            "draws": str(row["draws"]),
            "network's drop": f"{row['network_drop']:.3f}",
            "control's drop": f"{row['control_drop']:.3f}",
            "difference": _interval(row, "difference"),
            "p": "" if pd.isna(row["p_more"]) else f"{row['p_more']:.3f}",
        }
        for row in found.comparisons.to_dict("records")
    ]


def _measured(found: LesionStudy) -> list[dict[str, str]]:
    return [
        {
            "task": row["task"],
            "network": row["network"],
            "units": f"{row['percent']:g} %",
            "intact": f"{row['intact']:.3g}",
            "lesioned": f"{row['score']:.3g}",
            "drop": _interval(row, "drop"),
            "took effect": "yes" if row["took_effect"] else "no",
        }
        for row in found.table[found.table["kind"] == NETWORK].to_dict("records")
    ]


def _interval(row: Mapping[Any, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"


def lesion_method(found: LesionStudy) -> Section:
    """Give a paragraph on lesions for a paper."""
    text = lesion_methods(found)
    call = joined(heading("Call"), prose(found.call)) if found.call else ""
    content = joined(prose(text), call, heading("References"), bullets(references(text)))
    return Section("methods", "Methods", content)


def lesion_links(found: LesionStudy, name: str) -> list[Markup]:
    """Offer the tables of lesions."""
    links = [link(found.table, f"{name}-lesions.csv", "Every lesion and task")]
    if not found.comparisons.empty:
        words = "Networks against controls"
        links.append(link(found.comparisons, f"{name}-comparisons.csv", words))
    return links


def lesion_downloads(found: LesionStudy) -> Section:
    """Offer the tables of lesions alone."""
    return offered(lesion_links(found, str(found.table["model"].iloc[0])))
