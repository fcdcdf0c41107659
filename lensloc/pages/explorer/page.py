"""The explorer on a page of its own, and what pages that hold it are made of."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from lensloc.display.files import write_file
from lensloc.display.places import path_of
from lensloc.display.templates import pieces, rendered

_HEIGHT = 900  # of the frame in a notebook, in pixels
_PIECES = "pages/explorer/pieces.html.jinja"

# Inside a page, this stands for the model of a widget.
_HOST = """
const data = JSON.parse(document.getElementById("lensloc-explorer-data").textContent);
const el = document.getElementById("lensloc-explorer");
render({ model: pageModel({ payload: data, percent: data.percent, side: "target" }), el });
"""


@dataclass(frozen=True)
class ExplorerPage:
    """The explorer as a page of its own, for notebooks without anywidget, and for files.

    Attributes:
        html: the whole page; it opens offline.
    """

    html: str

    @classmethod
    def of(cls, data: dict[str, Any]) -> "ExplorerPage":
        """Make the page of a payload."""
        title = f"{data['contrast']}: {data['target']} > {data['control']}"
        body = pieces(_PIECES).main(title, data_script(data))
        style = (
            ":root{color-scheme:light dark}body{margin:1rem;background:Canvas;color:CanvasText}"
            "h1{font:650 1.1rem system-ui,sans-serif}" + explorer_style()
        )
        module = source("explorer.js") + source("model.js") + _HOST
        return cls(document(title, style, body, module))

    def _repr_html_(self) -> str:
        return str(pieces(_PIECES).frame(self.html, _HEIGHT))

    def __repr__(self) -> str:
        return f"ExplorerPage({len(self.html):,} characters of HTML; save it, or show it)"

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page.

        Args:
            path: the file.
            overwrite: replace a file that is there.

        Raises:
            LensLocError: if the place cannot be written, or is taken.
        """
        return write_file(path_of(path), self.html.encode(), overwrite=overwrite)


def source(name: str) -> str:
    """Return a script or style sheet of the explorer."""
    return (resources.files("lensloc.pages.explorer") / name).read_text(encoding="utf-8")


def explorer_style() -> str:
    """Return the explorer's style sheet."""
    return source("explorer.css")


def data_script(data: Any, name: str = "lensloc-explorer-data") -> Markup:
    """Return data as a script element that holds JSON, from which nothing can break out."""
    safe = htmlsafe_json_dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return cast(Markup, pieces(_PIECES).data(name, safe))


def document(
    title: str, style: str, body: Markup, module: str, *, unpacked: Sequence[str] = ()
) -> str:
    """Return a whole page that runs one script, no other, and loads nothing.

    Args:
        title: of the page.
        style: its style sheet.
        body: its content.
        module: the script, an ES module.
        unpacked: scripts that this one may unpack from the page and run.
    """
    return str(
        rendered(
            "pages/explorer/document.html.jinja",
            title=title,
            style=Markup(style),
            body=body,
            module=Markup(module),
            allowed=Markup(" ").join(
                Markup("'sha256-{}'").format(_sha256(script)) for script in (module, *unpacked)
            ),
        )
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
