"""What all figures share: titles, sizes, names, and what they are about."""

from collections.abc import Iterable
from math import ceil

import plotly.graph_objects as go

from lensloc.plot.labels import fitted, labels, literal
from lensloc.plot.showing import remove_sharing
from lensloc.plot.themes import dress
from lensloc.selectivity import Selectivity
from lensloc.units.provenance import Provenance

# Pixels of a letter of a title; its lines; letters of a name in it.
_TITLE_LETTER = 9.2
_TITLE_LINES, _NAME = 5, 40
# Letters and lines of an entry of a legend; of a legend that has many.
_ENTRY, _ENTRY_OF_MANY, _MANY = (48, 2), (30, 1), 8


def finish(figure: go.Figure, title: str, *, width: int, height: int) -> None:
    """Give a figure its title, broken into lines that fit, its size and the look of all figures."""
    _keep_names(figure)
    remove_sharing(figure)
    lines = fitted(title, int(width / _TITLE_LETTER), _TITLE_LINES)
    figure.update_layout(
        title={
            "text": lines,
            "x": 0.02,
            "xanchor": "left",
            "font": {"size": 17},
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 24},
        },
        width=width,
        height=height,
        margin={"l": 64, "r": 24, "t": title_height(lines), "b": 64},
        font={"size": 13},
    )
    dress(figure, "light")


def title_height(text: str) -> int:
    """Return how high the margin is that a title takes, in pixels, with room below it."""
    return 64 + 22 * text.count("<br>")


def _keep_names(figure: go.Figure) -> None:
    """Show names as they are: "1" and "2024-05" are no numbers or dates, "<b>" is no format."""
    entries = dict.fromkeys(trace.name for trace in figure.data if trace.name)
    entry = _ENTRY if len(entries) <= _MANY else _ENTRY_OF_MANY
    shown = dict(zip(entries, labels(entries, *entry), strict=True))
    for trace in figure.data:
        if trace.name:
            trace.name = shown[trace.name]
        for letter in ("x", "y"):
            values = getattr(trace, letter, None)
            if values is None or {type(value) for value in values} != {str}:
                continue
            trace[letter] = [literal(value) for value in values]
            axis = (trace[f"{letter}axis"] or letter).replace(letter, f"{letter}axis", 1)
            figure.layout[axis].type = "category"


def size_in_words(found: Selectivity) -> str:
    """Say how many layers and units per layer a map has."""
    layers, units = found.shape
    if found.widths is None:
        return f"{layers} x {units:,}"
    return f"{found.n_units:,} in {layers} layers of {min(found.widths):,} to {units:,}"


def contrast_of(found: Selectivity) -> str:
    """Say what was compared: ``sentences > nonwords``."""
    return sides_of(found.provenance)


def sides_of(made: Provenance) -> str:
    """Say what was compared: ``sentences > nonwords``."""
    sides = {"target": made.target, "control": made.control}
    return " > ".join(" + ".join(map(brief, names)) or role for role, names in sides.items())


def about(several: Iterable[Provenance]) -> str:
    """Say which contrasts and models results are of, as far as they know: ``language in gpt2``."""
    made = list(several)
    contrasts = few((each.contrast for each in made), "contrasts")
    models = few((each.model for each in made), "models")
    return " in ".join(part for part in (contrasts, models) if part)


def brief(name: object) -> str:
    """Return a name as it stands in a title: of a long one, the middle is left out."""
    return fitted(literal(str(name)), _NAME, 1)


def titled(words: str, subject: str) -> str:
    """Put what a figure is about behind what it shows."""
    return f"{words}: {subject}" if subject else words


def few(names: Iterable[object], what: str) -> str:
    """Name up to three; of more, say how many of what there are: ``12 networks``."""
    known = list(dict.fromkeys(str(name) for name in names if name))
    return ", ".join(map(brief, known)) if len(known) <= 3 else f"{len(known)} {what}"


def name_of_t(found: Selectivity) -> str:
    """Say which t it is."""
    test = found.provenance.test
    return {"paired": "paired t", "welch": "Welch's t"}.get(test, f"t, {test}")


def grid(n_panels: int, most: int) -> tuple[int, int]:
    """Return rows and columns for so many panels, at most ``most`` side by side, evenly filled."""
    rows = ceil(n_panels / max(1, most))
    return rows, ceil(n_panels / rows)
