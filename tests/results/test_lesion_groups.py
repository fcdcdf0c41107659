"""Groups that fall under lesions: said of no more than the level allows, where nothing falls."""

import numpy as np
import pandas as pd
from scipy import stats

from lensloc.results.lesion_cases import NETWORK
from lensloc.results.lesion_groups import groups_of

N_TASKS, N_GROUPS, N_ITEMS = 60, 12, 40


def items(lost: float, gained: float) -> pd.DataFrame:
    """Items of tasks of which so large shares are lost and gained, whatever the group."""
    draw = np.random.default_rng(0)
    n = N_TASKS * N_GROUPS * N_ITEMS
    intact = draw.integers(0, 2, size=n).astype(float)
    change = draw.random(n)
    value = np.where(intact == 1, change >= lost, change < gained).astype(float)
    return pd.DataFrame({
        "network": "language", "mode": "zero", "percent": 1.0, "kind": NETWORK, "seed": np.nan,
        "task": np.repeat(np.arange(N_TASKS), N_GROUPS * N_ITEMS).astype(str),
        "group": np.tile(np.repeat(list("abcdefghijkl"), N_ITEMS), N_TASKS),
        "intact": intact, "intact_weight": 1.0, "value": value, "weight": 1.0,
        "higher_is_better": True,
    })  # fmt: skip


def test_groups_fall_by_chance_in_no_more_tasks_than_the_level() -> None:
    table = groups_of(items(0.7, 0.7), "group", None, 0.95)
    assert len(table) == N_TASKS * N_GROUPS
    hits = int(table.groupby("task")["falls_at"].any().sum())
    assert stats.binomtest(hits, N_TASKS, 0.05, alternative="greater").pvalue > 0.001
    harmed = groups_of(items(0.7, 0.05), "group", None, 0.95)
    assert harmed["falls_at"].notna().mean() > 0.9
