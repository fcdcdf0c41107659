"""Statistics against scipy and against loops; selection against hand-made orders."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from lensloc import (
    LensLocError,
    LensLocWarning,
    Responses,
    SelectionRule,
    Selectivity,
    UnitMask,
    welch,
)
from lensloc.selectivity import benjamini_hochberg, hedges_correction

FIELDS = ("t", "df", "p", "q", "d", "g", "mean_target", "mean_control", "magnitude", "kurtosis")


def responses(a: np.ndarray, b: np.ndarray, dtype: torch.dtype = torch.float64) -> Responses:
    values = torch.from_numpy(np.concatenate([a, b])).to(dtype)
    return Responses("resid_post", values, ("a",) * len(a) + ("b",) * len(b))


def with_t(t: list[list[float]]) -> Selectivity:
    array = torch.tensor(t, dtype=torch.float64)
    return Selectivity("resid_post", **dict.fromkeys(FIELDS, array))


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (2, 9), (30, 17), (240, 240)])
@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_statistics_equal_scipy(n_a: int, n_b: int, absolute: bool, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(n_a * 100 + n_b)
    a, b = rng.normal(0.4, 2.0, (n_a, 3, 50)), rng.normal(0.0, 1.0, (n_b, 3, 50))
    made = responses(a, b, dtype)
    found = welch(made, ("a",), ("b",), absolute=absolute)
    a, b = (made.of((name,)).double().numpy() for name in "ab")
    if absolute:
        a, b = np.abs(a), np.abs(b)
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-9)
    np.testing.assert_allclose(found.df, expected.df, rtol=1e-10)
    np.testing.assert_allclose(found.mean_target, a.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.mean_control, b.mean(0), rtol=1e-12)


def test_effect_sizes_equal_a_loop() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, (6, 2, 4)), rng.normal(0, 2, (9, 2, 4))
    found = welch(responses(a, b), ("a",), ("b",), absolute=False)
    for layer in range(2):
        for unit in range(4):
            x, y = a[:, layer, unit], b[:, layer, unit]
            pooled = np.sqrt((5 * x.var(ddof=1) + 8 * y.var(ddof=1)) / 13)
            d = (x.mean() - y.mean()) / pooled
            assert found.d[layer, unit].item() == pytest.approx(d, rel=1e-12)
            approximate = d * (1 - 3 / (4 * 13 - 1))  # Hedges' approximation of the exact factor
            assert found.g[layer, unit].item() == pytest.approx(approximate, rel=1e-3)


def test_hedges_correction_equals_the_gamma_function() -> None:
    from math import gamma, sqrt

    for df in (2, 3, 10, 50):
        exact = gamma(df / 2) / (sqrt(df / 2) * gamma((df - 1) / 2))
        assert hedges_correction(df) == pytest.approx(exact, rel=1e-12)


def test_benjamini_hochberg_on_a_worked_example() -> None:
    p = torch.tensor([[0.01, 0.04, 0.03], [0.005, 0.5, 0.9]], dtype=torch.float64)
    # Sorted: .005 .01 .03 .04 .5 .9, times 6/rank: .03 .03 .06 .06 .6 .9; already monotone.
    expected = torch.tensor([[0.03, 0.06, 0.06], [0.03, 0.6, 0.9]], dtype=torch.float64)
    assert torch.allclose(benjamini_hochberg(p), expected)


def test_layers_are_tested_alone_and_together_alike() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 40, 1500)), rng.normal(size=(20, 40, 1500))
    found = welch(responses(a, b, torch.float32), ("a",), ("b",))  # more than one chunk
    alone = welch(responses(a[:, 7:8], b[:, 7:8], torch.float32), ("a",), ("b",))
    torch.testing.assert_close(found.t[7:8], alone.t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_constant_and_dead_units_have_t_0_and_p_1(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(7, 1, 6)), rng.normal(size=(11, 1, 6))
    a[..., 0] = b[..., 0] = 0.0
    a[..., 1] = b[..., 1] = 3.7
    a[..., 2], b[..., 2] = -2.1, 2.1  # constant in magnitude
    found = welch(responses(a, b, dtype), ("a",), ("b",))
    assert found.t[0, :3].tolist() == [0, 0, 0]
    assert found.d[0, :3].tolist() == [0, 0, 0]
    assert found.p[0, :3].tolist() == [1, 1, 1]
    assert torch.isfinite(found.q).all()
    winners = found.top(k=1).addresses + found.bottom(k=1).addresses
    assert not set(winners) & {f"L0.resid_post.{unit}" for unit in range(3)}


def test_rounding_jitter_of_a_dead_unit_is_no_effect() -> None:
    a = np.full((50, 1, 1), 3.7, dtype=np.float32)
    b = np.nextafter(a, np.float32(4))
    found = welch(responses(a, b, torch.float32), ("a",), ("b",))
    assert abs(found.t.item()) < 1


def test_two_different_constants_are_finite_and_found() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(8, 1, 5)), rng.normal(size=(8, 1, 5))
    a[..., 3], b[..., 3] = 2.0, 1.0
    found = welch(responses(a, b, torch.float32), ("a",), ("b",))
    assert torch.isfinite(found.t).all()
    assert found.top(k=1).addresses == ["L0.resid_post.3"]


def test_ties_at_the_threshold_still_give_exactly_k_in_order() -> None:
    t = [[5.0, 1.0, 1.0, 1.0], [1.0, 9.0, 1.0, 1.0]]
    assert with_t(t).top(k=4).addresses == [
        "L0.resid_post.0", "L0.resid_post.1", "L0.resid_post.2", "L1.resid_post.1",
    ]  # fmt: skip
    assert with_t(t).bottom(k=2).addresses == ["L0.resid_post.1", "L0.resid_post.2"]


def test_thirty_tied_units_give_exactly_k() -> None:
    rng = np.random.default_rng(5)
    t = rng.normal(size=(4, 25))
    t.flat[rng.choice(100, 30, replace=False)] = 1.0
    for k in range(1, 101):
        assert len(with_t(t.tolist()).top(k=k)) == k


@pytest.mark.parametrize(
    ("percent", "total", "expected"),
    [(1, 17280, 172), (29, 100, 28), (100, 7, 7), (0.5, 400, 2), (99.9, 10, 9)],
)
def test_percentages_are_truncated_as_published(percent: float, total: int, expected: int) -> None:
    # The published code computes int((percentage / 100) * units); 29 / 100 * 100 is 28.999...
    found = with_t([list(range(total))])
    assert len(found.top(percent=percent)) == expected == int((percent / 100) * total)


def test_between_draws_only_from_the_range_and_by_the_seed() -> None:
    found = with_t([[float(i) for i in range(101)]])
    drawn = found.between(40, 60, 10, seed=1)
    values = found.t[drawn.mask]
    assert len(drawn) == 10
    assert values.min() >= 40
    assert values.max() <= 60
    assert drawn == found.between(40, 60, 10, seed=1)
    assert drawn != found.between(40, 60, 10, seed=2)
    assert len(found.between(40, 60, 21, seed=1)) == 21
    with pytest.raises(LensLocError, match="only 21"):
        found.between(40, 60, 22, seed=1)


def test_significant_units_by_direction() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 1, 30)), rng.normal(size=(40, 1, 30))
    a[..., 4] += 6
    b[..., 9] += 6
    found = welch(responses(a, b), ("a",), ("b",), absolute=False)
    assert "L0.resid_post.4" in found.significant(direction="target")
    assert "L0.resid_post.9" not in found.significant(direction="target")
    assert "L0.resid_post.9" in found.significant(direction="control")
    both = found.significant(direction="both")
    assert torch.equal(both.mask, found.q < 0.05)
    assert len(found.significant(q=1e-90)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.top(percent=0), "above 0 and at most 100"),
        (lambda s: s.top(percent=101), "above 0 and at most 100"),
        (lambda s: s.top(percent=float("nan")), "above 0 and at most 100"),
        (lambda s: s.top(k=4), "has 3"),
        (lambda s: s.top(k=0), "has 3"),
        (lambda s: s.top(), "either percent or k"),
        (lambda s: s.top(percent=50, k=1), "either percent or k"),
        (lambda s: s.between(60, 40, 1, 0), "low to high"),
        (lambda s: s.between(50, 50, 1, 0), "low to high"),
        (lambda s: s.significant(q=0), "between 0 and 1"),
    ],
)
def test_impossible_selections_are_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    found = with_t([[1.0, 2.0, 3.0]])
    with pytest.raises(LensLocError, match=message):
        call(found)


def test_too_few_stimuli_are_refused() -> None:
    a, b = np.zeros((1, 1, 2)), np.zeros((3, 1, 2))
    with pytest.raises(LensLocError, match="target has 1 stimulus;"):
        welch(responses(a, b), ("a",), ("b",))


def test_dataframe_has_every_unit_or_the_mask_sorted() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 2, 3)), rng.normal(size=(9, 2, 3))
    found = welch(responses(a, b), ("a",), ("b",))
    table = found.to_dataframe()
    assert list(table["address"][:4]) == [
        "L0.resid_post.0", "L0.resid_post.1", "L0.resid_post.2", "L1.resid_post.0",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["t"], found.t.flatten())
    best = found.to_dataframe(found.top(k=3))
    assert list(best["t"]) == sorted(found.t.flatten().tolist(), reverse=True)[:3]


# -- exclusions ------------------------------------------------------------------------------------


def line(n: int = 40) -> Selectivity:
    """t rises from unit to unit; its q is below 0.05 at both ends."""
    t = torch.linspace(-5, 5, n, dtype=torch.float64)[None]
    fields = dict.fromkeys(("df", "p", "d", "g", "mean_target", "mean_control", "kurtosis"), t)
    q = torch.where(t.abs() > 3, 0.01, 0.5)
    return Selectivity("mlp_post", t=t, q=q, magnitude=t.abs() + 1, **fields)


def units(*numbers: int, n: int = 40) -> UnitMask:
    return UnitMask.from_indices("mlp_post", torch.tensor(numbers), (1, n))


def numbers_of(mask: UnitMask) -> set[int]:
    return {unit for _, unit in mask.mask.nonzero().tolist()}


def test_what_was_excluded_once_stays_excluded() -> None:
    found = line().excluding(units(39, 38)).excluding(units(37)).excluding(units(0))
    assert numbers_of(found.top(k=2)) == {36, 35}
    assert numbers_of(found.bottom(k=2)) == {1, 2}
    assert found.excluded is not None
    assert int(found.excluded.sum()) == 4
    assert found.top(k=2).provenance.selection == (
        "top 2 units, without 2 given units and 1 given unit and 1 given unit"
    )
    direct = dataclasses.replace(line(), excluded=units(39).mask).excluding(units(38))
    assert numbers_of(direct.top(k=1)) == {37}
    with pytest.raises(LensLocError, match="37 units were asked for but only 36 of 40"):
        found.top(k=37)


def test_between_draws_no_excluded_unit() -> None:
    found = line().excluding(units(*range(10, 18)))
    drawn = [found.between(25, 50, 2, seed) for seed in range(30)]
    assert set.union(*map(numbers_of, drawn)) == {18, 19}
    # Percentiles are those of all units, excluded ones among them.
    with pytest.raises(LensLocError, match="only 2 lie between"):
        found.between(25, 50, 3, 0)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("target", {33, 36, 38, 39}), ("control", {0, 3}), ("both", {0, 3, 33, 36, 38, 39})],
)
def test_significant_units_leave_out_the_excluded(direction: Any, expected: set[int]) -> None:
    found = line().excluding(units(1, 2, 4, 5, 6, 7, 32, 34, 35, 37))
    assert numbers_of(found.significant(0.05, direction)) == expected


def test_a_rule_is_applied_to_other_statistics() -> None:
    found, other = line(), line().excluding(units(39))
    rule = found.excluding(units(0, 1)).bottom(k=3).rule
    assert rule is not None
    assert numbers_of(other.select(rule)) == {2, 3, 4}
    assert numbers_of(found.select(SelectionRule("top", k=1))) == {39}
    assert numbers_of(other.select(SelectionRule("top", k=1))) == {38}
    assert found.select(rule).rule == rule
    for bad, message in (
        (SelectionRule("random", seed=0), "cannot be chosen again"),
        (SelectionRule("top", k=1, statistic="attribution"), "cannot be chosen again"),
        (SelectionRule("top"), "Give either percent or k"),
        (SelectionRule("between", k=1, low=3, high=9), "needs a seed"),
        (SelectionRule("significant", q=0.1), "no direction None"),
        (SelectionRule("top", k=1, excluding=(SelectionRule("given", units=units(0, n=9).mask),)),
         "excludes units of 1x9"),
    ):  # fmt: skip
        with pytest.raises(LensLocError, match=message):
            found.select(bad)


# -- at least one unit -----------------------------------------------------------------------------


def test_a_percentage_below_one_unit_is_one_unit_with_a_warning_that_names_the_site() -> None:
    found = line(48)
    for select, kind in ((found.top, "top"), (found.bottom, "bottom"), (line(48).top, "top")):
        with pytest.warns(
            LensLocWarning, match="1 % of the 48 units at mlp_post is less than one unit"
        ):
            mask = select(percent=1)
        assert mask == getattr(found, kind)(k=1)
        assert mask.provenance.selection == f"{kind} 1 % (1 unit)"
    with pytest.warns(LensLocWarning, match=r"0\.5 % of the 48 units at mlp_post"):
        assert len(found.top(k=9).resized(percent=0.5)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(found.top(percent=4)) == 1  # 1.92 units, truncated as published
