"""Groups of items under lesions: which paradigms or phenomena fall first?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from lensloc.display.sentences.falls import Falls, Group
from lensloc.display.sentences.lesions import control_name
from lensloc.errors import LensLocError
from lensloc.results.draws import TIED
from lensloc.results.items import Items, item_drops
from lensloc.results.lesion_cases import NETWORK

_LESION = ["network", "mode", "percent", "kind", "task"]
_CURVE = ["network", "mode", "kind", "task"]


def groups_of(
    items: pd.DataFrame, column: str, network: str | None, confidence: float
) -> pd.DataFrame:
    """Return what every group of items lost; see :meth:`LesionStudy.by_group`.

    A group loses at a size if more of its items lose than gain, by an exact sign test, at a false
    discovery rate over all groups of the task (Benjamini and Hochberg 1995). So a group of few
    items cannot be said to fall.

    Raises:
        LensLocError: if there are no items, no such network, or no such groups.
    """
    if items.empty:
        raise LensLocError(
            "This study holds no items, since it was put together from a table; take one that "
            "lesion_study returned."
        )
    if column not in ("group", "phenomenon"):
        raise LensLocError(
            f"Items are grouped by 'group' or 'phenomenon'; {column!r} is neither of them."
        )
    if network is not None:
        known = list(dict.fromkeys(items["network"].astype(str)))
        if network not in known:
            raise LensLocError(
                f"There is no network {network!r} in this study; there are {', '.join(known)}."
            )
        items = items[items["network"] == network]
    items = items[items[column].astype(str) != ""]
    if items.empty:
        raise LensLocError(f"No task of this study has groups by {column!r}; use 'group'.")
    by = [*_LESION, column]
    rows = []
    for key, found in items.groupby(by, sort=False, observed=True):
        place = dict(zip(by, key, strict=True))
        rows.append({**place, **_lost(found, str(place["kind"]))})
    table = pd.DataFrame(rows).rename(columns={column: "group"})
    words = [name for name in [*_LESION, "group"] if name != "percent"]
    table = table.astype(dict.fromkeys(words, "str"))
    table["q"] = table["falls_at"] = np.nan
    networks = table[table["kind"] == NETWORK]
    for _, same in networks[networks["p"].notna()].groupby(_LESION, sort=False):
        table.loc[same.index, "q"] = stats.false_discovery_control(same["p"].to_numpy())
    for _, curve in table[table["kind"] == NETWORK].groupby([*_CURVE, "group"], sort=False):
        table.loc[curve.index, "falls_at"] = _falls_at(curve, confidence)
    order = table.assign(control=table["kind"] != NETWORK, deepest=-table["drop"])
    keys = ["control", "network", "mode", "kind", "task", "percent", "falls_at", "deepest"]
    table = table.loc[order.sort_values(keys, kind="stable").index]
    ordered: pd.DataFrame = table.reset_index(drop=True)
    return ordered


def first_to_fall(table: pd.DataFrame, percent: float) -> Iterator[dict[str, Any]]:
    """Yield rows of a network's groups at one size, the first to fall first, beside controls.

    Args:
        table: what :func:`groups_of` returned.
        percent: the size.
    """
    here = table[table["percent"] == percent]
    controls = here[here["kind"] != NETWORK].set_index(["network", "mode", "task", "group"])
    for row in here[here["kind"] == NETWORK].to_dict("records"):
        key = (row["network"], row["mode"], row["task"], row["group"])
        beside: dict[str, float] = {}
        if key in controls.index:
            mine = controls.loc[[key]]
            beside = dict(zip(mine["kind"], mine["drop"], strict=True))
        yield {**{str(name): value for name, value in row.items()}, "controls": beside}


def falls_of(items: pd.DataFrame, percent: float, confidence: float) -> Iterator[Falls]:
    """Yield what every network's lesion did to the groups of every task, for a sentence.

    Groups are phenomena where a task has some, which are fewer than paradigms.

    Args:
        items: as :class:`~lensloc.results.lesions.LesionStudy` has them.
        percent: the size; of each network the nearest one that it has.
        confidence: 1 - the false discovery rate over the groups of a task.
    """
    if items.empty:
        return
    networks = items[items["kind"] == NETWORK]
    several = networks["mode"].nunique() > 1
    for task, own in networks.groupby("task", sort=False, observed=True):
        has = "phenomenon" in own and bool((own["phenomenon"].astype(str) != "").any())
        column = "phenomenon" if has else "group"
        if own[column].nunique() < 2:
            continue
        table = groups_of(own, column, None, confidence)
        for (network, mode), curve in table.groupby(["network", "mode"], sort=False):
            sizes = sorted(set(curve["percent"]), key=lambda size: (abs(size - percent), size))
            here = curve[curve["percent"] == sizes[0]]
            least = here["falls_at"].min()
            first = set(here.loc[here["falls_at"] == least, "group"])
            same = (items["network"] == network) & (items["mode"] == mode)
            beside = items[same & (items["task"] == task) & (items["percent"] == sizes[0])]
            beside = beside[(beside["kind"] != NETWORK) & beside[column].isin(first)]
            drops = _drops_beside(beside, column, confidence)
            yield Falls(
                f"{network} ({mode})" if several else str(network),
                str(task),
                "phenomena" if has else "groups",
                float(sizes[0]),
                len(sizes),
                [
                    Group(row["group"], row["drop"], row["falls_at"], drops.get(row["group"], {}))
                    for row in here.to_dict("records")
                ],
                int(here["n_items"].max()),
                1 - confidence,
            )


def _drops_beside(
    items: pd.DataFrame, column: str, confidence: float
) -> dict[str, dict[str, float]]:
    """Return group -> control, in words -> its mean drop over draws."""
    found: dict[str, dict[str, float]] = {}
    if not items.empty:
        for row in groups_of(items, column, None, confidence).to_dict("records"):
            name = control_name(str(row["kind"]))
            found.setdefault(str(row["group"]), {})[name] = float(row["drop"])
    return found


def _lost(found: pd.DataFrame, kind: str) -> dict[str, Any]:
    parts = [_scored(one) for _, one in found.groupby(found["seed"].fillna(-1), sort=False)]
    finite = [part for part in parts if np.isfinite(part[2]).all()]
    means = [(intact, lesioned, drops.mean()) for intact, lesioned, drops in finite]
    intact, lesioned, drop = np.mean(means, axis=0).tolist() if means else [np.nan] * 3
    alone = kind == NETWORK and bool(finite)
    return {
        "n_items": max(len(drops) for _, _, drops in parts),
        "draws": len(parts),
        "intact": intact,
        "lesioned": lesioned,
        "drop": drop,
        "p": _sign_test(finite[0][2]) if alone else np.nan,
    }


def _scored(one: pd.DataFrame) -> tuple[float, float, Float[np.ndarray, " item"]]:
    higher = bool(one["higher_is_better"].iloc[0])
    intact, lesioned = (
        Items(one[value].to_numpy(), one[weight].to_numpy(), higher)
        for value, weight in (("intact", "intact_weight"), ("value", "weight"))
    )
    return intact.score, lesioned.score, item_drops(lesioned, intact)


def _sign_test(drops: Float[np.ndarray, " item"]) -> float:
    """Return the p that items lose no more often than they gain: exact, one-sided."""
    lost, gained = int((drops > TIED).sum()), int((drops < -TIED).sum())
    if lost + gained == 0:
        return 1.0
    return float(stats.binomtest(lost, lost + gained, alternative="greater").pvalue)


def _falls_at(curve: pd.DataFrame, confidence: float) -> float:
    """Return the smallest size from which on the group loses, at all larger ones too."""
    found = float("nan")
    for row in curve.sort_values("percent", ascending=False).itertuples():
        if not row.q <= 1 - confidence:
            break
        found = float(row.percent)
    return found
