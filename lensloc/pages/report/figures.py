"""Figures for a page: each once, with what differs between a light and a dark page beside it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup

from lensloc import plot
from lensloc.pages.report import pieces
from lensloc.plot.common import title_height
from lensloc.plot.labels import most_lines

_ABOVE = 20  # a figure without its title
_TEMPLATES = {"light": "plotly_white", "dark": "plotly_dark"}


@dataclass(frozen=True)
class PageFigure:
    """A figure on a page.

    Attributes:
        name: of its element.
        figure: as :mod:`lensloc.plot` made it; its title becomes a heading of the page.
        title: that heading.
        caption: what to see in it.
        panels: whether its panels may stand above each other where a page is narrow.
        fixed: whether it keeps its width, and scrolls where a page is narrower; for grids of many
            rows and columns, whose names need their place.
    """

    name: str
    figure: go.Figure
    title: str
    caption: str
    panels: bool = False
    fixed: bool = False

    def element(self) -> Markup:
        """Return the element that the figure is drawn in."""
        height = int(self.figure.layout.height or 450)
        return pieces.figure(self.name, self.title, self.caption, height, scrolls=self.fixed)

    def data(self) -> dict[str, Any]:
        """Return the figure as plain data, with ``[path, light, dark]`` for what themes change."""
        figure = self._untitled()
        light = json.loads(plot.themed(figure, "light").to_json())
        dark = json.loads(plot.themed(figure, "dark").to_json())
        for each in (light, dark):  # the same for all figures, so it is on the page once
            del each["layout"]["template"]
        return {
            "id": self.name,
            "data": light["data"],
            "layout": light["layout"],
            "themes": [list(difference) for difference in _differences(light, dark, ())],
            "panels": self.panels,
            "least": int(self.figure.layout.width or 0) if self.fixed else 0,
        }

    def _untitled(self) -> go.Figure:
        copy = go.Figure(self.figure)
        # Titles of panels stand where the title of the figure stood.
        titles = [str(each.text) for each in copy.layout.annotations]
        top = 36 + 20 * (most_lines(titles) - 1) if titles else 14
        margin = {"l": 60, "r": 16, "t": top, "b": copy.layout.margin.b}
        height = copy.layout.height
        if height is not None:
            copy.layout.height = height - (copy.layout.margin.t or 80) + top
        if self.fixed:
            title = str(self.figure.layout.title.text or "")
            known = self.figure.layout.margin
            margin["t"] = known.t - title_height(title) + _ABOVE
            margin |= {"l": known.l, "r": known.r}
            copy.layout.height = self.figure.layout.height - known.t + margin["t"]
        copy.update_layout(title=None, width=None, autosize=True, margin=margin)
        return copy


def templates() -> dict[str, Any]:
    """Return plotly's templates of the two themes."""
    return {
        theme: json.loads(json.dumps(plotly.io.templates[name].to_plotly_json()))
        for theme, name in _TEMPLATES.items()
    }


def _differences(
    light: Any, dark: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[list[str | int], Any, Any]]:
    """Find the leaves of two figures of one structure that differ."""
    if isinstance(light, dict):
        for name, value in light.items():
            yield from _differences(value, dark[name], (*path, name))
    elif isinstance(light, list):
        for number, (a, b) in enumerate(zip(light, dark, strict=True)):
            yield from _differences(a, b, (*path, number))
    elif light != dark:
        yield list(path), light, dark
