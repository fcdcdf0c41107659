"""What else is known of networks, as a page shows it: people, specificity, analysts' choices."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lensloc.pages.report import dissociations, people, specifications, sweeps
from lensloc.pages.report.methods import references
from lensloc.pages.report.people import People
from lensloc.pages.report.pieces import bullets, definitions, heading, joined, prose
from lensloc.pages.report.sections import Section
from lensloc.results.encodings import Encoding
from lensloc.results.readings import ReadingStudy
from lensloc.results.specification_curves import Multiverse
from lensloc.results.specificities import Specificity
from lensloc.results.sweeps import Sweep

Result = People | Specificity | Multiverse | Sweep
"""What can be a section of a study's page, or a page of its own."""


@dataclass(frozen=True)
class Part:
    """A result as a page shows it.

    Attributes:
        title: of a page of its own.
        subtitle: of such a page.
        summary: what it says, in sentences.
        warnings: what to mind.
        section: its figures and tables.
        methods: a paragraph for a paper.
        facts: where it comes from.
        links: its tables, as files.
    """

    title: str
    subtitle: str
    summary: Sequence[str]
    warnings: Sequence[str]
    section: Section
    methods: str
    facts: dict[str, str]
    links: Sequence[Markup]


def part_of(found: Result, name: str = "", number_of: int = 1) -> Part:
    """Return a result as a page shows it.

    Args:
        found: the result.
        name: what names of files begin with; the result's own if empty.
        number_of: which of several of its kind on a page it is.
    """
    if isinstance(found, Encoding | ReadingStudy):
        model = found.provenance.model
        split = f"; {found.split} split" if isinstance(found, Encoding) else ""
        return Part(
            people.title_of(found) + (f" and {model}" if model else ""),
            f"{len(found.table):,} rows of scores{split}",
            found.summary(),
            found.warnings,
            people.section(found, number_of),
            people.people_methods(found),
            people.facts(found),
            people.links(found, name or model or "features", number_of),
        )
    if isinstance(found, Specificity):
        model = str(found.study.table["model"].iloc[0])
        return Part(
            dissociations.about(found),
            dissociations.size(found),
            found.summary(),
            found.warnings,
            dissociations.section(found),
            dissociations.methods(found),
            dissociations.facts(found),
            dissociations.links(found, name or model),
        )
    if isinstance(found, Sweep):
        return Part(
            sweeps.about(found),
            sweeps.size(found),
            found.summary(),
            found.warnings,
            sweeps.section(found),
            sweeps.methods(found),
            sweeps.facts(found),
            sweeps.links(found, name or found.name),
        )
    return Part(
        specifications.about(found),
        specifications.size(found),
        found.summary(),
        found.warnings,
        specifications.section(found),
        specifications.methods(found),
        specifications.facts(found),
        specifications.links(found, name or "multiverse"),
    )


def parts_of(several: Sequence[Result], name: str) -> list[Part]:
    """Return results as one page shows them, those of one kind numbered."""
    kinds = [type(each) for each in several]
    return [
        part_of(each, name, kinds[: place + 1].count(type(each)))
        for place, each in enumerate(several)
    ]


def provenance(part: Part) -> Section:
    """List where a result comes from, for a page of its own."""
    return Section("provenance", "Provenance", definitions(part.facts))


def method(part: Part) -> Section:
    """Give a paragraph for a paper."""
    cited = references(part.methods)
    listed = (heading("References"), bullets(cited)) if cited else ()
    return Section("methods", "Methods", joined(prose(part.methods), *listed))
