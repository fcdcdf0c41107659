"""A study -> one self-contained HTML page that opens offline."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lensloc.arguments import require_a, require_numbers
from lensloc.display.files import require_free, write_file
from lensloc.display.places import path_of
from lensloc.errors import LensLocError, refuse_idle
from lensloc.pages.report.baselines import require_untrained
from lensloc.pages.report.page import lesion_page, part_page, study_page
from lensloc.pages.report.parts import Result
from lensloc.pages.report.people import People
from lensloc.pages.report.words import summary, verdict_of
from lensloc.results.encodings import Encoding
from lensloc.results.lesions import LesionStudy
from lensloc.results.readings import ReadingStudy
from lensloc.results.specification_curves import Multiverse
from lensloc.results.specificities import Specificity
from lensloc.results.sweeps import Sweep
from lensloc.studies import Localization, Study
from lensloc.units.mask import UnitMask
from lensloc.units.selection import least_note

__all__ = ["report", "strongest", "summary", "verdict_of"]

_TOP = 15


def report(
    study: Study | Localization | LesionStudy | Result,
    out: str | Path = "report.html",
    *,
    percent: float | None = None,
    site: str | None = None,
    top: int = _TOP,
    people: People | Sequence[People] = (),
    specificity: Specificity | None = None,
    multiverse: Multiverse | None = None,
    untrained: Localization | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a page about a study: what was found, what to mind, figures, methods, tables.

    The page is one file, opens offline, and loads nothing. Its explorer shows the units behind
    every cell of the heatmap and, for a localization with ``keep_responses=True``, how each of the
    most selective units responds to every stimulus.

    Args:
        study: what :func:`lensloc.study`, :func:`lensloc.localize` or :func:`lensloc.lesion_study`
            returned; or :func:`lensloc.specificity`, :func:`lensloc.multiverse`,
            :func:`lensloc.sweep`, :func:`lensloc.alignment.encode` or
            :func:`lensloc.alignment.reading_times`.
        out: the ``.html`` file.
        percent: of a localization, per cent of units that make the network; 1 if None.
        site: of a localization, the site that is described; the first if None.
        top: how many units to list; a lesion study lists none, and refuses it.
        people: of a study or localization, what its networks predict of people, each a section of
            the page: what :func:`lensloc.alignment.encode` or
            :func:`lensloc.alignment.reading_times` returned, or several of these.
        specificity: likewise, whether lesions of networks harm their own tasks only: what
            :func:`lensloc.specificity` returned.
        multiverse: likewise, what lesions cost under every analyst's choices: what
            :func:`lensloc.multiverse` returned.
        untrained: of a study or localization, what :func:`lensloc.localize` finds with the same
            contrast, at the same sites, in the untrained model
            (``ll.load_model(name, untrained=True)``): what architecture and stimuli give alone.
        overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        LensLocError: something else than a study; percent or site for what has its own; a page
            that cannot be written, or is there already.
    """
    path = path_of(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise LensLocError(f"{path} must end in .html, since a report is a page.")
    require_numbers(top=top)
    if top < 1:
        raise LensLocError(f"A report lists at least one unit; top={top} does not.")
    require_free(path, overwrite=overwrite)
    added = _added(study, people, specificity, multiverse)
    if isinstance(study, Localization):
        chosen = next(iter(study)) if site is None else site
        size = 1.0 if percent is None else percent
        note = least_note(size, study[chosen].n_units, chosen)
        notes = () if note is None else (note,)
        study = Study(study, chosen, size, notes=notes, call=study.call)
    elif percent is not None or site is not None:
        raise LensLocError("percent and site are for a localization; this study has its own.")
    if untrained is not None:
        require_untrained(study, untrained)
    if isinstance(study, Study):
        page = study_page(study, top, added, untrained)
    elif isinstance(study, LesionStudy):
        refuse_idle("a lesion study lists no units; leave it out", top=top != _TOP)
        page = lesion_page(study)
    elif isinstance(study, Encoding | ReadingStudy | Specificity | Multiverse | Sweep):
        refuse_idle("this page lists no units; leave it out", top=top != _TOP)
        page = part_page(study)
    else:
        raise LensLocError(
            "A report is made of a study, a localization, a lesion study, a specificity, a "
            f"multiverse, a sweep or an alignment; {type(study).__name__} is none."
        )
    return write_file(path, page.encode(), overwrite=overwrite)


def _added(
    study: object,
    people: People | Sequence[People],
    specificity: Specificity | None,
    multiverse: Multiverse | None,
) -> list[Result]:
    """Return what else the page of a study or localization shows.

    Raises:
        LensLocError: something else than was asked for, or another page.
    """
    beside = [people] if isinstance(people, Encoding | ReadingStudy) else list(people)
    for each in beside:
        if not isinstance(each, Encoding | ReadingStudy):
            raise LensLocError(
                "people takes what ll.alignment.encode or ll.alignment.reading_times returned; "
                f"{type(each).__name__} is neither."
            )
    given: dict[str, list[Result]] = {"people": [*beside]}
    if specificity is not None:
        require_a(Specificity, specificity, "specificity")
        given["specificity"] = [specificity]
    if multiverse is not None:
        require_a(Multiverse, multiverse, "multiverse")
        given["multiverse"] = [multiverse]
    for name in (name for name, several in given.items() if several):
        if not isinstance(study, Study | Localization):
            raise LensLocError(f"{name} is for the page of a study or localization; leave it out.")
    order = ("specificity", "multiverse", "people")
    return [each for name in order for each in given.get(name, [])]


def strongest(study: Localization | Study, network: UnitMask, top: int) -> pd.DataFrame:
    """Return the network's units of largest t, formatted to be read."""
    found = study.found if isinstance(study, Study) else study
    table = found[network.site].to_dataframe(network).head(top)
    shown: pd.DataFrame = pd.DataFrame(
        {
            "unit": table["address"],
            "t": table["t"].map("{:.1f}".format),
            "q": table["q"].map("{:.1e}".format),
            "d": table["d"].map("{:.2f}".format),
            "mean, target": table["mean_target"].map("{:.3g}".format),
            "mean, control": table["mean_control"].map("{:.3g}".format),
        }
    )
    return shown
