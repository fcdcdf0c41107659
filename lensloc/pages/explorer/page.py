"""The explorer on a page of its own, and what pages that hold it are made of."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lensloc.display.files import write_file

_HEIGHT = 900  # of the frame in a notebook, in pixels

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
        title = html.escape(f"{data['contrast']}: {data['target']} > {data['control']}")
        body = f'<h1>{title}</h1><div id="lensloc-explorer"></div>{data_script(data)}'
        style = (
            ":root{color-scheme:light dark}body{margin:1rem;background:Canvas;color:CanvasText}"
            "h1{font:650 1.1rem system-ui,sans-serif}" + explorer_style()
        )
        module = source("explorer.js") + source("model.js") + _HOST
        return cls(document(title, style, f"<main>{body}</main>", module))

    def _repr_html_(self) -> str:
        # A frame of its own keeps the page's and the notebook's scripts and styles apart.
        return (
            f'<iframe srcdoc="{html.escape(self.html, quote=True)}" title="lensloc explorer" '
            f'sandbox="allow-scripts allow-downloads" width="100%" height="{_HEIGHT}" '
            'style="border:0"></iframe>'
        )

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
        return write_file(Path(path), self.html.encode(), overwrite=overwrite)


def source(name: str) -> str:
    """Return a script or style sheet of the explorer."""
    return (resources.files("lensloc.pages.explorer") / name).read_text(encoding="utf-8")


def explorer_style() -> str:
    """Return the explorer's style sheet."""
    return source("explorer.css")


def data_script(data: Any, name: str = "lensloc-explorer-data") -> str:
    """Return data as a script element that holds JSON, from which nothing can break out."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def document(
    title: str, style: str, body: str, module: str, *, unpacked: Sequence[str] = ()
) -> str:
    """Return a whole page that runs one script, no other, and loads nothing.

    Args:
        title: of the page, escaped.
        style: its style sheet.
        body: its content.
        module: the script, an ES module.
        unpacked: scripts that this one may unpack from the page and run.
    """
    # A text that found a way out of its element would still run nothing: what is allowed to run is
    # listed by its hash. Figures set styles as they are drawn.
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in (module, *unpacked))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head>"
        f'<body>{body}<script type="module">{module}</script></body></html>'
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
