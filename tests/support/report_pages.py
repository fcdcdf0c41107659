"""What stands in a report, and results to report."""

import base64
import html
import io
import re

import pandas as pd

from lensloc.results.lesions import LesionStudy, tabulate


def text_of(page: str) -> str:
    """What a reader sees of a page without scripts."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    body = re.sub(r"</?dfn[^>]*>", "", body)  # within a line of words
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


def tables_of(page: str) -> dict[str, pd.DataFrame]:
    """The tables that a page offers, by the names of their files."""
    links = re.findall(
        r'download="([^"]*)" href="data:text/csv;charset=utf-8;base64,([^"]*)"', page
    )
    return {
        name: pd.read_csv(io.BytesIO(base64.b64decode(content)), keep_default_na=False)
        for name, content in links
    }


def lesioned(drop: float, half: float, difference_low: float, effect: bool = True) -> LesionStudy:
    place = {"model": "tiny", "network": "language", "mode": "zero", "percent": 1.0, "n_units": 9}
    scored = {"task": "pairs", "measure": "accuracy", "n_items": 50, "score": 0.9 - drop}
    scored |= {"intact": 0.9, "chance": 0.5, "took_effect": effect, "drop": drop}
    bounds = {"drop_low": drop - half, "drop_high": drop + half}
    # Of units that were given, not drawn: the interval decides.
    compared = {"difference": 0.1, "difference_low": difference_low, "difference_high": 0.3}
    compared |= {"network_drop": drop, "control_drop": drop, "n_compared": 50}
    return LesionStudy(
        tabulate(
            [
                {**place, **scored, **bounds, "kind": "network", "seed": None},
                {**place, **scored, **bounds, **compared, "kind": "magnitude", "seed": None},
            ]
        )
    )
