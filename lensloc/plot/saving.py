"""Figures in files: pages that open offline, and pictures."""

import importlib
import importlib.util
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from lensloc.display.files import require_free, write_file
from lensloc.display.places import path_of
from lensloc.errors import LensLocError
from lensloc.plot.showing import CONFIG

_NO_KALEIDO = (
    "{path} needs kaleido, which draws pictures; install it with `pip install 'lensloc[png]'`, or "
    "write .html."
)
_NO_BROWSER = (
    "{path} could not be drawn, since kaleido found no working Chrome or Chromium{reason}; install "
    "Chromium (or run kaleido_get_chrome), or write .html."
)


def save(figure: go.Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure as a page that opens offline (``.html``) or as a picture.

    Args:
        figure: what to write.
        path: a file ending in ``.html``, or in ``.png``, ``.svg`` or ``.pdf``, for which the
            extra ``lensloc[png]`` and a Chrome or Chromium browser are needed.
        overwrite: replace a file that is there. A page of the same figure is no other file.

    Raises:
        LensLocError: for another suffix, a place that cannot be written or is taken, or a missing
            extra.
    """
    path = path_of(path)
    if path.suffix.lower() not in (".html", ".png", ".svg", ".pdf"):
        raise LensLocError(
            f"{path} has an unknown suffix; figures are written as .html, .png, .svg or .pdf."
        )
    if path.suffix.lower() == ".html":
        # Always the same page of the same figure, so that it is told to be the same file.
        page = plotly.io.to_html(figure, CONFIG, include_plotlyjs=True, div_id="lensloc-figure")
        around = f'<body style="background: {figure.layout.paper_bgcolor or "white"}">'
        content = page.replace("<body>", around, 1).encode()
    else:
        require_free(path, overwrite=overwrite)
        require_drawable(path)
        content = _picture(figure, path)
    return write_file(path, content, overwrite=overwrite)


def require_drawable(path: Path) -> None:
    """Check that a figure can be written to a file of that suffix, before it is made.

    Raises:
        LensLocError: a picture without kaleido, or without a browser, which draws it.
    """
    if path.suffix.lower() in (".html", ".htm"):
        return
    if importlib.util.find_spec("kaleido") is None:
        raise LensLocError(_NO_KALEIDO.format(path=path))
    if not _has_browser():
        raise LensLocError(_NO_BROWSER.format(path=path, reason=""))


def _has_browser() -> bool:
    """Whether kaleido would find a browser; yes if it does not say, so that it is asked later."""
    try:
        chromium = importlib.import_module("choreographer.browsers.chromium").Chromium
        return bool(chromium.find_browser(skip_local=False))
    except Exception:  # of another version of the library
        return True


def _picture(figure: go.Figure, path: Path) -> bytes:
    try:
        content = plotly.io.to_image(figure, format=path.suffix[1:].lower(), scale=2)
    except Exception as error:  # of every kind: kaleido's, its browser's, plotly's
        first = error.args[0] if error.args else ""
        said = str(first[0] if isinstance(first, tuple) and first else first or error)
        reason = (said.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        words = f"{type(error).__name__} {error}".lower()
        if "chrome" in words or "browser" in words:
            raise LensLocError(_NO_BROWSER.format(path=path, reason=f" ({reason})")) from error
        if isinstance(error, ImportError) or "kaleido" in words:
            raise LensLocError(_NO_KALEIDO.format(path=path)) from error
        raise LensLocError(
            f"{path} could not be drawn by kaleido ({reason}); write .html instead."
        ) from error
    return bytes(content)
