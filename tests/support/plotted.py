"""Results to draw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from lensloc import Selectivity, UnitMask
from lensloc.results.lesions import LesionStudy, tabulate
from lensloc.results.matrices import LanguageMatrix, Steering
from lensloc.selectivity import MaxT
from lensloc.units.provenance import Provenance


def mask_of(shape: tuple[int, int], *units: tuple[int, int], site: str = "resid_post") -> UnitMask:
    mask = torch.zeros(shape, dtype=torch.bool)
    for layer, unit in units:
        mask[layer, unit] = True
    return UnitMask(site, mask)


def selectivity(
    n_layers: int = 3, n_units: int = 8, seed: int = 0, site: str = "resid_post"
) -> Selectivity:
    rng = np.random.default_rng(seed)
    arrays = {
        name: torch.from_numpy(rng.normal(size=(n_layers, n_units)))
        for name in ("t", "df", "d", "g", "mean_target", "mean_control", "magnitude", "kurtosis")
    }
    arrays |= {name: torch.from_numpy(rng.uniform(size=(n_layers, n_units))) for name in "pq"}
    made = Provenance(target=("sentences",), control=("nonwords",))
    return Selectivity(site, provenance=made, **arrays)


def null_of(found: Selectivity, *, two_sided: bool = True) -> MaxT:
    """A null of 99 permutations whose largest t are 0.02 to 1.98, and of which few units pass."""
    maxima = np.arange(1, 100) * 0.02
    size = (found.t.abs() if two_sided else found.t).numpy()
    p = (1 + (maxima >= size[..., None]).sum(axis=-1)) / 100
    edges = np.linspace(-6, 6, 25)
    counts = found.t.numel() * np.histogram(np.random.default_rng(0).normal(size=999), edges)[0]
    return MaxT(found.site, found.t, torch.from_numpy(p), maxima, counts / 999, edges, two_sided)


def granularities(networks: tuple[str, ...] = ("language",)) -> pd.DataFrame:
    """Three sites per network, as compare_granularities tabulates them; no agreement, no drops."""
    rng = np.random.default_rng(0)
    names = [
        *("significant_target", "significant_control", "selected_d", "selected_d_cv"),
        *("reliability", "dice", "dice_chance", "layer_entropy", "layer_centre"),
    ]
    sites = ["resid_post", "mlp_post", "head"]
    table = pd.DataFrame(
        [
            {"network": n, "site": s, "unit": f"a {s}", "n_units": 90}
            for n in networks
            for s in sites
        ]
    )
    table[names] = rng.uniform(size=(len(table), len(names)))
    table["reliability_low"] = table["reliability"] - 0.1
    table["reliability_high"] = table["reliability"] + 0.05
    return table


def lesions() -> LesionStudy:
    rows = [
        {
            **{"model": "tiny", "network": "language", "mode": "zero", "percent": percent},
            **{"kind": kind, "seed": seed, "task": task, "measure": "accuracy"},
            **{"drop": 0.01 * percent, "drop_low": 0.0, "drop_high": 0.02 * percent},
            "took_effect": percent > 1,
        }
        for task in ("pairs", "choice", "more", "last")
        for percent in (1.0, 5.0)
        for kind, seed in (("network", None), ("layer", 0), ("layer", 1))
    ]
    return LesionStudy(tabulate(rows))


FIVE = ("en", "de", "tr", "fr", "es")


def matrix(
    lesioned: Sequence[str] = FIVE,
    tested: Sequence[str] | None = None,
    draws: dict[str, int] | None = None,
) -> LanguageMatrix:
    """Changes around zero; the first cell's interval holds zero, the next one's does not."""
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    kinds = {"network": 1} | ({"random": 3} if draws is None else draws)
    for kind, n in kinds.items():
        for seed in range(n):
            for one in lesioned:
                for other in tested or lesioned:
                    change = 0.6 if (one, kind) == (other, "network") else random.normal(0, 0.1)
                    half = abs(change) * (1.5 if len(rows) % 2 == 0 else 0.5)
                    rows.append(
                        {
                            **{"model": "tiny", "lesioned": one, "kind": kind},
                            **{"seed": None if kind == "network" else seed, "n_units": 120},
                            **{"tested": other, "n_texts": 21, "change": change},
                            **{"change_low": change - half, "change_high": change + half},
                        }
                    )
    table = pd.DataFrame(rows)
    table["seed"] = table["seed"].astype("Int64")
    return LanguageMatrix(table, 0.9)


def steering(
    languages: Sequence[str] = FIVE,
    toward: Sequence[str] | None = None,
    deactivate: Sequence[bool] = (False, True),
) -> Steering:
    random = np.random.default_rng(0)
    rows = [
        {
            **{"asked": asked, "toward": other, "level": level, "deactivated": zeroed},
            **{"kind": kind, "seed": seed, "in_toward": random.uniform()},
            **{"switched": random.uniform(), "changed": random.uniform()},
            "fluency": -random.uniform(),
        }
        for asked in languages
        for other in toward or languages
        if other != asked
        for level, kind, seed, zeroed in [
            ("-", "network", None, False),
            *([("-", "network", None, True)] if True in deactivate else []),
            *(
                (level, kind, seed, zeroed)
                for level in ("mean", "q0.95")
                for kind, seed in (("network", None), ("layer", 0), ("layer", 1))
                for zeroed in deactivate
            ),
        ]
    ]
    table = pd.DataFrame(rows)
    table["seed"] = table["seed"].astype("Int64")
    return Steering(table, pd.DataFrame())
