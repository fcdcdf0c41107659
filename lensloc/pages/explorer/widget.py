"""The explorer as an anywidget. The only module that needs anywidget."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from lensloc.pages.explorer.contents import Side, best
from lensloc.pages.explorer.page import ExplorerPage, source
from lensloc.studies import Localization
from lensloc.units.mask import UnitMask


class Explorer(anywidget.AnyWidget):
    """A view of a localization in a notebook; made by :func:`lensloc.explore`.

    Attributes:
        percent: per cent of units that are selected; can be set.
        side: ``"target"`` or ``"control"``, the side that the selected units prefer; can be set.
        site: the site of the cell that was last chosen; empty at first.
        layer: its layer.
        unit: address of the unit that was last chosen; empty at first.
        theme: ``"light"``, ``"dark"``, or ``"auto"`` for the notebook's own.
    """

    _esm = source("explorer.js")
    _css = source("explorer.css")
    payload = traitlets.Dict().tag(sync=True)
    percent = traitlets.Float(1.0).tag(sync=True)
    side = traitlets.Enum(("target", "control"), "target").tag(sync=True)
    site = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    unit = traitlets.Unicode("").tag(sync=True)
    theme = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)

    _found: Localization

    @classmethod
    def of(cls, found: Localization, data: dict[str, Any]) -> "Explorer":
        """Make the view of a localization from its payload."""
        made = cls(payload=data, percent=data["percent"])
        made._found = found
        return made

    @property
    def mask(self) -> UnitMask | None:
        """The selected units of the chosen site (the first, if none was chosen); None for none."""
        side: Side = "control" if self.side == "control" else "target"
        return best(self._found[self.site or next(iter(self._found))], side, self.percent)

    def __repr__(self) -> str:
        sites = ", ".join(self._found)
        contrast = self._found.contrast.name
        return f"Explorer({contrast} at {sites}; {self.percent:g} % of the units)"

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the view as a page that opens offline, without a kernel.

        Args:
            path: the file.
            overwrite: replace a file that is there.

        Raises:
            LensLocError: if the place cannot be written, or is taken.
        """
        page = ExplorerPage.of({**self.payload, "percent": self.percent})
        return page.save(path, overwrite=overwrite)
