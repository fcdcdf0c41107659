"""What all figures share: titles, sizes, and how they are written to files."""

from math import ceil
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from lensloc.errors import LensLocError
from lensloc.files import write_atomically
from lensloc.plot.themes import dress
from lensloc.selectivity import Selectivity


def save(figure: go.Figure, path: str | Path) -> Path:
    """Write a figure as a page that opens offline (``.html``) or as a picture.

    Args:
        figure: what to write.
        path: a file ending in ``.html``, or in ``.png``, ``.svg`` or ``.pdf``, for which the
            extra ``lensloc[png]`` and a Chrome or Chromium browser are needed.

    Raises:
        LensLocError: for another suffix, a place that cannot be written, or a missing extra.
    """
    path = Path(path)
    if path.suffix not in (".html", ".png", ".svg", ".pdf"):
        raise LensLocError(
            f"{path} has an unknown suffix; figures are written as .html, .png, .svg or .pdf."
        )
    if path.suffix == ".html":
        page = figure.to_html(include_plotlyjs=True, full_html=True)
        around = f'<body style="background: {figure.layout.paper_bgcolor or "white"}">'
        content = page.replace("<body>", around, 1).encode()
    else:
        content = _picture(figure, path)
    return write_atomically(path, content)


def _picture(figure: go.Figure, path: Path) -> bytes:
    try:
        content = plotly.io.to_image(figure, format=path.suffix[1:], scale=2)
    except (ImportError, ValueError) as error:
        if not _kaleido_is_missing(error):
            raise
        raise LensLocError(
            f"{path} needs kaleido, which draws pictures; install it with "
            "`pip install 'lensloc[png]'`, or write .html."
        ) from error
    except Exception as error:
        raise LensLocError(
            f"{path} could not be drawn, since kaleido found no working Chrome or Chromium "
            f"({str(error).strip().splitlines()[0]}); install one, or write .html."
        ) from error
    return bytes(content)


def _kaleido_is_missing(error: Exception) -> bool:
    return isinstance(error, ImportError) or "kaleido" in str(error).lower()


def finish(figure: go.Figure, title: str, *, width: int, height: int) -> None:
    """Give a figure its title, broken into lines that fit, its size and the look of all figures."""
    _keep_names(figure)
    lines = wrapped(title, width=int(width / 8.5))
    figure.update_layout(
        title={"text": lines, "x": 0.02, "xanchor": "left", "font": {"size": 17}},
        width=width,
        height=height,
        margin={"l": 64, "r": 24, "t": 64 + 22 * lines.count("<br>"), "b": 64},
        font={"size": 13},
    )
    dress(figure, "light")


def _keep_names(figure: go.Figure) -> None:
    """Show names as they are: "1" and "2024-05" are no numbers or dates, "<b>" is no format."""
    for trace in figure.data:
        if trace.name:
            trace.name = literal(trace.name)
        for letter in ("x", "y"):
            values = getattr(trace, letter, None)
            if values is None or {type(value) for value in values} != {str}:
                continue
            trace[letter] = [literal(value) for value in values]
            axis = (trace[f"{letter}axis"] or letter).replace(letter, f"{letter}axis", 1)
            figure.layout[axis].type = "category"


def literal(name: str) -> str:
    """Return a name that figures show as it is written; ``<br>`` still breaks a line."""
    return name.replace("<", "&lt;").replace("&lt;br>", "<br>")


def wrapped(label: str, width: int = 22) -> str:
    """Break a label into lines of at most so many characters."""
    lines: list[str] = []
    for part in label.split("<br>"):
        line = ""
        for word in part.split(" "):
            if line and len(line) + len(word) + 1 > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
    return "<br>".join(lines)


def contrast_of(found: Selectivity) -> str:
    """Say what was compared: ``sentences > nonwords``."""
    made = found.provenance
    return literal(
        f"{' + '.join(made.target) or 'target'} > {' + '.join(made.control) or 'control'}"
    )


def name_of_t(found: Selectivity) -> str:
    """Say which t it is."""
    return "paired t" if found.provenance.test == "paired" else "Welch's t"


def grid(n_panels: int, most: int) -> tuple[int, int]:
    """Return rows and columns for so many panels, at most ``most`` side by side, evenly filled."""
    rows = ceil(n_panels / max(1, most))
    return rows, ceil(n_panels / rows)
