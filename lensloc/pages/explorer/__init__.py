"""The explorer: an interactive view of a localization, in notebooks and on pages.

It is one hand-written ES module, ``explorer.js``, with its style sheet. In a notebook it runs as an
anywidget; on a page (a report, or a notebook without anywidget) a few lines stand for the widget's
model.
"""

import importlib
import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lensloc.errors import LensLocError
from lensloc.pages.explorer.contents import best, payload
from lensloc.pages.explorer.page import ExplorerPage, data_script, explorer_style, source
from lensloc.studies import Localization, Study
from lensloc.units.token_responses import TokenResponses

if TYPE_CHECKING:
    from lensloc.pages.explorer.widget import Explorer

__all__ = [
    "ExplorerPage",
    "best",
    "data_script",
    "explore",
    "explorer_style",
    "payload",
    "source",
]

_MOST_PERCENT = 5.0
# What a widget sends to the browser, and what a notebook keeps of a page.
_MOST_BYTES = {"widget": 24_000_000, "page": 4_000_000}


def explore(
    found: "Localization | Study",
    *,
    percent: float | None = None,
    most: float | None = None,
    tokens: TokenResponses | Iterable[TokenResponses] | None = None,
) -> "Explorer | ExplorerPage":
    """Show a localization in which you can look around.

    A heatmap of layers and sites shows where the most selective units are, and a cell lists its
    units. A unit shows its responses to the stimuli of every condition, and the stimuli that it
    responds to most and least, if the localization was made with ``keep_responses=True``. With
    ``keep_responses="all"`` the contrast's other conditions are shown, too. A slider chooses how
    many units are selected.

    Args:
        found: what :func:`lensloc.localize` or :func:`lensloc.study` found.
        percent: per cent of units that are selected at first; a study's own, or 1, if None.
        most: the largest percentage to choose; 5, or ``percent`` if that is larger, if None.
        tokens: what :func:`lensloc.capture_tokens` kept at one of the sites, or several: the texts
            of a unit among them are shown with every token in the colour of its response.

    Returns:
        An anywidget (``pip install "lensloc[notebook]"``), whose ``percent``, ``side``, ``site``,
        ``layer`` and ``unit`` follow what is chosen, and whose ``mask`` is the set of units. Where
        anywidget is not installed, the same view as HTML, which needs no kernel.

    Raises:
        LensLocError: for something else than a localization, or percentages that make no sense.
    """
    located = found.found if isinstance(found, Study) else found
    if not isinstance(located, Localization):
        raise LensLocError(
            f"The explorer shows what localize found; {type(found).__name__} is something else."
        )
    if percent is None:
        percent = found.percent if isinstance(found, Study) else 1.0
    if most is None:
        most = max(_MOST_PERCENT, percent)
    if importlib.util.find_spec("anywidget") is None:
        data = payload(
            located, percent=percent, most=most, most_bytes=_MOST_BYTES["page"], tokens=tokens
        )
        return ExplorerPage.of(data)
    widget = importlib.import_module("lensloc.pages.explorer.widget")
    data = payload(
        located, percent=percent, most=most, most_bytes=_MOST_BYTES["widget"], tokens=tokens
    )
    shown: Explorer = widget.Explorer.of(located, data)
    return shown
