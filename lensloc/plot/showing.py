"""Figures as they are shown: what stands in their mode bar, and that nothing is sent anywhere."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

CONFIG: dict[str, Any] = {
    "showSendToCloud": False,  # "Share chart...", which sends the data to a server
    "displaylogo": False,  # a link to the maker's pages
    "displayModeBar": "hover",
}
"""How plotly shows the figures of :mod:`lensloc.plot`, unless told otherwise."""

# The same button, which goes by two names, whatever shows the figure.
_REMOVED = ("sendDataToCloud", "sendChartToCloud")


class Figure(go.Figure):  # type: ignore[misc]  # a base class without types
    """A plotly figure that is shown and written under :data:`CONFIG`.

    A ``config`` that is given goes before it, entry by entry.
    """

    def show(self, *args: Any, config: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the figure; see ``plotly.io.show``."""
        plotly.io.show(self, *args, config=_config(config), **kwargs)

    def to_html(self, config: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> str:
        """Return the figure as HTML; see ``plotly.io.to_html``."""
        return str(plotly.io.to_html(self, _config(config), *args, **kwargs))

    def write_html(
        self, file: Any, config: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Write the figure as HTML; see ``plotly.io.write_html``."""
        plotly.io.write_html(self, file, _config(config), *args, **kwargs)

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(
            *args, **{**kwargs, "config": _config(kwargs.get("config"))}
        )
        return bundle

    def _ipython_display_(self) -> None:
        if plotly.io.renderers.render_on_display and plotly.io.renderers.default:
            self.show()
        else:
            super()._ipython_display_()


def _config(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**CONFIG, **(given or {})}


def panels(**options: Any) -> Figure:
    """Make a figure of panels; see ``plotly.subplots.make_subplots``."""
    made: Figure = make_subplots(figure=Figure(), **options)
    return made


def remove_sharing(figure: go.Figure) -> None:
    """Take the button out of a figure's mode bar that sends its data to a server."""
    figure.update_layout(modebar={"remove": list(_REMOVED)})
