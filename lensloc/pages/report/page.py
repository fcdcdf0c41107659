"""The page of a report: its frame, its scripts, and how large it may be."""

import base64
import functools
import gzip
from collections.abc import Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lensloc.display.markup import isolated
from lensloc.display.sentences.words import listed
from lensloc.display.templates import rendered
from lensloc.pages.explorer import data_script, explorer_style, payload, source
from lensloc.pages.explorer.page import document
from lensloc.pages.report import baselines, origins, parts, pieces, sections
from lensloc.pages.report.figures import templates
from lensloc.pages.report.parts import Result, part_of, parts_of
from lensloc.pages.report.sections import Section
from lensloc.pages.report.words import lesion_summary, sides, summary, verdict_of
from lensloc.results.lesions import LesionStudy
from lensloc.studies import Localization, Study

# What a page may hold at most; responses of units to single stimuli take what the rest leaves.
_MOST_BYTES = 5_800_000
_BASE64 = 4 / 3
_PADDING = 1000  # of base64, which fills up every array
_IN_A_PARAGRAPH = 6  # sentences of a summary
_MOST_PERCENT = 5.0


def study_page(
    study: Study,
    top: int,
    beside: Sequence[Result] = (),
    untrained: Localization | None = None,
) -> str:
    """Return the page of a study.

    Args:
        study: the study.
        top: how many units to list.
        beside: what else is known of its networks.
        untrained: the same contrast, localized in the untrained model.
    """
    made = study.network.provenance
    target, control = sides(study.selectivity)
    title = f"The {made.contrast} network of {made.model}"
    about = f"{made.about}; " if made.about else ""
    subtitle = (
        f"{about}{target} > {control}; {len(study.network):,} units at {study.site}; "
        f"{made.date[:10]}"
    )
    added = parts_of(beside, f"{study.contrast.name}-{made.model}")
    body = [
        _summary(summary(study)),
        *_warnings([*study.warnings, *(note for each in added for note in each.warnings)]),
        _explorer(study),
        sections.heatmaps(study),
        sections.top_units(study, top),
        *([sections.profile(study)] if study.profile is not None else []),
        *([sections.lesions(study.lesions)] if study.lesions is not None else []),
        *(sections.groups(study.lesions, study.percent) if study.lesions is not None else []),
        *([baselines.untrained(study, untrained)] if untrained is not None else []),
        *([sections.modes(study.modes)] if study.modes is not None else []),
        *(each.section for each in added),
        sections.stimuli(study),
        sections.method(study, " ".join(each.methods for each in added)),
        origins.provenance(made, study),
        sections.downloads(study, [link for each in added for link in each.links]),
    ]
    empty = data_script(_payload(study, 0))
    page = _page(title, subtitle, body, empty, verdict_of(study))
    room = _MOST_BYTES - len(page.encode()) - _PADDING
    return page.replace(empty, data_script(_payload(study, int(room / _BASE64))), 1)


def lesion_page(lesions: LesionStudy) -> str:
    """Return the page of lesions alone."""
    table = lesions.table
    networks = listed(dict.fromkeys(table["network"]))
    title = f"Lesions of {networks} in {table['model'].iloc[0]}"
    subtitle = f"{len(table):,} lesions and tasks"
    body = [
        _summary([" ".join(lesion_summary(lesions))]),
        *_warnings(lesions.warnings),
        sections.lesions(lesions),
        *sections.groups(lesions, 1.0),
        sections.lesion_method(lesions),
        sections.lesion_downloads(lesions),
    ]
    return _page(title, subtitle, body, Markup(""))


def part_page(found: Result) -> str:
    """Return the page of one result alone."""
    part = part_of(found)
    body = [
        _summary(paragraphs(part.summary)),
        *_warnings(part.warnings),
        part.section,
        parts.method(part),
        parts.provenance(part),
        sections.offered(part.links),
    ]
    return _page(part.title, part.subtitle, body, Markup(""))


def _payload(study: Study, most_bytes: int) -> dict[str, Any]:
    found = payload(
        study.found,
        percent=study.percent,
        most=max(_MOST_PERCENT, study.percent),
        most_bytes=most_bytes,
    )
    return {**found, "warnings": []}  # they have a section of their own


def paragraphs(sentences: Sequence[str]) -> list[str]:
    """Return a summary in paragraphs: a few sentences in one, of many (a sweep's) each its own."""
    return [" ".join(sentences)] if len(sentences) <= _IN_A_PARAGRAPH else list(sentences)


def _summary(several: Sequence[str]) -> Section:
    return Section("summary", "Summary", pieces.explained(several))


def _warnings(sentences: Sequence[str]) -> list[Section]:
    if not sentences:
        return []
    return [Section("warnings", "What to mind", pieces.bullets(sentences))]


def _explorer(study: Study) -> Section:
    kept = " and its responses" if study.found.responses else ""
    words = (
        "Choose how many units are selected, then a cell to list its units, then a unit to see "
        f"its statistics{kept}."
    )
    return Section("explore", "Explore", pieces.joined(pieces.prose(words), pieces.explorer()))


def _page(
    title: str, subtitle: str, body: Sequence[Section], explored: Markup, verdict: str = ""
) -> str:
    figures = [figure.data() for each in body for figure in each.figures]
    # The explorer's module and the page's share one script, so that neither needs an address.
    module = source("explorer.js") + source("model.js") + _source("report.js")
    style = explorer_style() + _source("report.css")
    plotly, packed = _plotly()
    content = rendered(
        "pages/report/body.html.jinja",
        title=title,
        subtitle=isolated(subtitle),
        verdict=isolated(verdict),
        sections=body,
        figures=data_script({"figures": figures, "templates": templates()}, "lensloc-figures"),
        explored=explored,
        plotly=packed,
    )
    return document(title, style, content, module, unpacked=[plotly])


@functools.cache
def _plotly() -> tuple[str, str]:
    """Return plotly.js, and the same compressed, as text.

    A page has it once, in 2 MB instead of 5, which leaves room for data.
    """
    script = get_plotlyjs()
    return script, base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _source(name: str) -> str:
    return (resources.files("lensloc.pages.report") / name).read_text(encoding="utf-8")
