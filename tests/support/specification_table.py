"""Tables of specifications whose answers are known, without a model."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lensloc.results.specification_curves import CHOICES, Multiverse
from lensloc.vocabulary import SPECIFICATION

GRIDS: dict[int, dict[str, Sequence[Any]]] = {
    12: {"site": ("resid_post", "mlp_post"), "percent": (0.5, 1.0, 2.0), "mode": ("zero", "mean")},
    96: {
        "activations": ("absolute", "signed"),
        "pooling": ("last-token", "mean"),
        "max_tokens": ("whole", "12"),
        "site": ("resid_post", "mlp_post"),
        "percent": (0.5, 1.0, 2.0),
        "mode": ("zero", "mean"),
    },
    400: {
        "activations": ("absolute", "signed"),
        "pooling": ("last-token", "word-end", "mean", "sum", "max"),
        "site": ("resid_post", "mlp_post"),
        "percent": (0.5, 1.0, 2.0, 3.0, 5.0),
        "mode": ("zero", "mean"),
        "control": ("layer", "magnitude+outliers"),
    },
}


def specifications(
    grid: Mapping[str, Sequence[Any]],
    *,
    effects: Mapping[tuple[str, Any], float] | None = None,
    draws: int = 20,
    noise: float = 0.03,
    tasks: Sequence[str] = ("minimal-pairs",),
) -> Multiverse:
    """Make a multiverse in which the difference is a sum of what every value adds."""
    rng = np.random.default_rng(0)
    default = {name: "whole" if value is None else value for name, value in SPECIFICATION.items()}
    rows = []
    for number, values in enumerate(itertools.product(*grid.values())):
        chosen = dict(zip(grid, values, strict=True))
        for task in tasks:
            known = effects or {("site", "resid_post"): 0.2, ("percent", 2.0): 0.1}
            effect = sum(size for (name, value), size in known.items() if chosen[name] == value)
            effect += noise * rng.standard_normal()
            low, high = effect - 0.1, effect + 0.1
            reached = draws if effect < -0.1 else int(draws / 3) if effect < 0.1 else 0
            verdict = {0: "holds", draws: "reversed"}.get(reached, "not told apart")
            rows.append(
                {
                    "specification": number,
                    "reference": number == 0,
                    **{name: chosen.get(name, default[name]) for name in CHOICES},
                    "n_units": 172,
                    "unit_set": number // 2,
                    "overlap": 0.5,
                    "noise": False,
                    "task": task,
                    "measure": "accuracy",
                    "n_items": 244,
                    "intact": 0.88,
                    "score": 0.88 - effect - 0.05,
                    "drop": effect + 0.05,
                    "draws": draws,
                    "n_compared": 244,
                    "network_drop": effect + 0.05,
                    "control_drop": 0.05,
                    "difference": effect,
                    "difference_low": low,
                    "difference_high": high,
                    "p_more": (1 + reached) / (draws + 1),
                    "p_less": (1 + draws - reached) / (draws + 1),
                    "min_p": 1 / (draws + 1),
                    "verdict": "open" if draws < 3 else verdict,
                    "took_effect": True,
                    "smd": 0.1,
                    "poor": False,
                }
            )
    table: pd.DataFrame = pd.DataFrame(rows)
    return Multiverse(table, combinations=len(rows) // len(tasks), planned_draws=draws)
