"""Faithfulness and completeness of planted circuits; intervals over pairs; agreement of ranks."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from lensloc.errors import LensLocError
from lensloc.results.recovery import rank_agreement, recovery

SIZES = np.array([1, 2, 4, 8, 16, 32])


def planted(n: int = 200, seed: int = 0) -> dict[str, Any]:
    """Units' contributions to every pair's difference: the first four carry 80 %, 28 the rest."""
    rng = np.random.default_rng(seed)
    carried = np.array([0.2] * 4 + [0.2 / 28] * 28)
    difference = rng.normal(3.0, 1.0, n)
    parts = difference[:, None] * carried + rng.normal(0, 0.05, (n, 32))
    corrupted = rng.normal(-1, 2, n)
    return {"parts": parts, "corrupted": corrupted, "clean": corrupted + parts.sum(axis=1)}


def test_a_planted_circuit() -> None:
    pairs = planted()
    first = np.stack([pairs["parts"][:, :k].sum(axis=1) for k in SIZES])
    kept = pairs["corrupted"] + first  # the first k clean, all others corrupted
    taken = pairs["clean"] - first  # the first k corrupted
    for curve, scores in (("faithfulness", kept), ("completeness", taken)):
        found = recovery(curve, SIZES, scores, pairs["clean"], pairs["corrupted"])
        assert found.share == pytest.approx([0.2, 0.4, 0.8, 0.828, 0.886, 1.0], abs=0.02)
        assert found.share[-1] == pytest.approx(1)
        assert (found.low <= found.share + 1e-12).all()
        assert (found.share <= found.high + 1e-12).all()
        assert found.difference == pytest.approx(3, abs=0.3)
        assert found.n_pairs == 200
        assert found.units_for(0.75) == 4
        assert found.units_for(1.2) is None


def test_a_backup_makes_a_circuit_faithful_and_incomplete() -> None:
    """Either of two units is enough: one alone recovers all, and taking it away loses nothing."""
    clean, corrupted = np.full(50, 2.0) + np.arange(50) / 100, np.zeros(50)
    sizes = np.array([1, 2])
    faithful = recovery("faithfulness", sizes, np.stack([clean, clean]), clean, corrupted)
    complete = recovery("completeness", sizes, np.stack([clean, corrupted]), clean, corrupted)
    assert faithful.share.tolist() == [1.0, 1.0]
    assert complete.share.tolist() == [0.0, 1.0]


def test_interval_is_the_bootstraps_over_pairs() -> None:
    pairs = planted(120, seed=3)
    kept = pairs["corrupted"] + pairs["parts"][:, :4].sum(axis=1)
    scores = np.stack([kept + np.random.default_rng(0).normal(0, 1, 120)])
    found = recovery("faithfulness", np.array([4]), scores, pairs["clean"], pairs["corrupted"])
    taken = np.random.default_rng(1).integers(120, size=(8000, 120))
    above, below = scores[0] - pairs["corrupted"], pairs["clean"] - pairs["corrupted"]
    ratios = above[taken].mean(axis=1) / below[taken].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found.low[0] == pytest.approx(low, abs=0.008)
    assert found.high[0] == pytest.approx(high, abs=0.008)


def test_a_pair_without_a_difference_does_not_blow_up_the_share() -> None:
    clean, corrupted = np.array([2.0, 2.2, 1e-9, 2.1, 1.9]), np.zeros(5)
    scores = clean[None] / 2 + np.array([[0, 0, 0.1, 0, 0]])
    found = recovery("faithfulness", np.array([3]), scores, clean, corrupted)
    assert found.share[0] == pytest.approx((clean.sum() / 2 + 0.1) / clean.sum())


def test_area() -> None:
    pairs = planted()
    line = np.linspace(0, 1, 6)[:, None]
    scores = pairs["corrupted"] + line * (pairs["clean"] - pairs["corrupted"])
    found = recovery("faithfulness", SIZES, scores, pairs["clean"], pairs["corrupted"])
    assert found.area() == pytest.approx(0.5)  # the sizes double, so it is a line on that scale
    by_hand = sum(
        (found.share[i] + found.share[i + 1]) / 2 * (SIZES[i + 1] - SIZES[i]) for i in range(5)
    )
    assert found.area("linear") == pytest.approx(by_hand / 31)
    one = recovery("faithfulness", SIZES[:1], scores[:1], pairs["clean"], pairs["corrupted"])
    with pytest.raises(LensLocError, match="at least two sizes"):
        one.area()
    zero = recovery(
        "faithfulness", np.array([0, 5]), scores[:2], pairs["clean"], pairs["corrupted"]
    )
    with pytest.raises(LensLocError, match="no place for 0 units"):
        zero.area()
    assert 0 < zero.area("linear") < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"curve": "fidelity"}, "no curve 'fidelity'"),
        ({"clean": np.ones(3)}, "6 sizes, 3 clean and 20 corrupted"),
        ({"sizes": SIZES[::-1].copy()}, "sizes that ascend"),
        ({"clean": np.full(20, np.nan)}, "Pair 0 has a score in 'clean' that is no number"),
        ({"clean": np.zeros(20), "corrupted": np.arange(20.0)}, "-9.5 above corrupted"),
        ({"clean": np.tile([1.0, -1.0], 10), "corrupted": np.zeros(20)}, "told from nothing"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    pairs = planted(20)
    arguments = {
        "curve": "faithfulness",
        "sizes": SIZES,
        "scores": np.zeros((6, 20)),
        "clean": pairs["clean"],
        "corrupted": pairs["corrupted"],
        **change,
    }
    with pytest.raises(LensLocError, match=words):
        recovery(**arguments)


def test_rank_agreement() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 30))
    b = a + rng.normal(size=(4, 30))
    b[0, 0], a[1, 1] = np.nan, np.inf
    rho, n = rank_agreement(a, b)
    kept = np.isfinite(a) & np.isfinite(b)
    ranks = stats.rankdata(a[kept]), stats.rankdata(b[kept])
    assert rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert n == 118
    where = np.zeros((4, 30), dtype=bool)
    where[2] = True
    assert rank_agreement(a, b, where) == rank_agreement(a[2], b[2])
    assert np.isnan(rank_agreement(a, np.ones((4, 30)))[0])
    assert rank_agreement(a[0, :2], b[0, 1:3])[1] == 2
