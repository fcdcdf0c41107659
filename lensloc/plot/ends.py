"""Where units before and behind the blocks stand on an axis of layers."""

from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from lensloc.vocabulary import ONE_LAYER_SITES

_TICKS = dict(zip(ONE_LAYER_SITES, ("embed", "norm"), strict=True))
_WORDS = dict(zip(ONE_LAYER_SITES, ("embedding", "final norm"), strict=True))


def rows_of(sites: Iterable[str], n_layers: int) -> list[int]:
    """Return the places on the axis: the layers, one before them and one behind them if needed.

    Example:
        >>> rows_of(["resid_post", "ln_final"], 3)
        [0, 1, 2, 3]
    """
    before, behind = (name in sites for name in ONE_LAYER_SITES)
    return list(range(-before, n_layers + behind))


def row_of(site: str, n_layers: int) -> int:
    """Return the place of a site of one layer, or of the first layer of another.

    Example:
        >>> row_of("embed", 3), row_of("resid_post", 3), row_of("ln_final", 3)
        (-1, 0, 3)
    """
    return dict(zip(ONE_LAYER_SITES, (-1, n_layers), strict=True)).get(site, 0)


def place_in_words(row: int, n_layers: int) -> str:
    """Return what stands at a place.

    Example:
        >>> place_in_words(-1, 3), place_in_words(2, 3), place_in_words(3, 3)
        ('embedding', 'layer 2', 'final norm')
    """
    named = {row_of(site, n_layers): words for site, words in _WORDS.items()}
    return named.get(row, f"layer {row}")


def ticks(rows: list[int], n_layers: int, *, level: bool = False) -> dict[str, Any]:
    """Return the ticks of an axis of layers: every one, or every fifth, and the ends by name.

    Args:
        rows: places on the axis.
        n_layers: of the model.
        level: whether the axis is level, on which names take more room than on an upright one.

    Example:
        >>> ticks(rows_of(["embed"], 28), 28, level=True)["ticktext"]
        ['embed', '5', '10', '15', '20']
    """
    step = 1 if n_layers <= (20 if level else 40) else 5
    named = {row_of(site, n_layers): tick for site, tick in _TICKS.items()}
    if not any(row in named for row in rows):
        return {"dtick": step}
    # A number right beside a name would lie under it.
    shown = [row for row in rows if row in named or (row % step == 0 and row + step <= n_layers)]
    if level and min(rows) < 0:
        shown = [row for row in shown if row in named or row - step >= min(rows)]
    shown = shown if step > 1 else rows
    return {"tickvals": shown, "ticktext": [named.get(row, str(row)) for row in shown]}


def name_rows(figure: go.Figure, site: str) -> None:
    """Let a map of one site's units say what its only row is."""
    if site in _TICKS:
        figure.update_yaxes(tickvals=[0], ticktext=[_TICKS[site]], title=None)
