"""Permutation tests, intervals and reliability against loops and scipy."""

import dataclasses
import math
from inspect import unwrap
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from lensloc import (
    Contrast,
    LensLocError,
    Responses,
    bootstrap_d,
    discrimination,
    localize,
    max_t,
    paired,
    welch,
)
from lensloc.selectivity import Moments, split_half, t_and_d
from lensloc.selectivity.reliability import stepped_up
from lensloc.units.provenance import Provenance
from lensloc.units.text_sets import TextSet


def responses(a: np.ndarray, b: np.ndarray, dtype: torch.dtype = torch.float64) -> Responses:
    values = torch.from_numpy(np.concatenate([a, b])).to(dtype)
    return Responses("resid_post", values, ("a",) * len(a) + ("b",) * len(b))


def data(n: int, m: int, seed: int = 0, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(shift, 1.5, (n, 2, 6)), rng.normal(0, 1, (m, 2, 6))
    a[:, 0, 0] = b[:, 0, 0] = 2.0  # a constant unit
    a[:, 0, 1], b[:, 0, 1] = np.round(a[:, 0, 1]), np.round(b[:, 0, 1])  # ties
    return a, b


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_moments_equal_numpy_and_add_up(absolute: bool, parts: int) -> None:
    values = np.random.default_rng(1).gamma(2, 2, (40, 3, 5)) - 3
    values[:, 1, 2] = 7.0
    chunks = np.array_split(values, parts)
    found = [Moments.of(torch.from_numpy(chunk), absolute=absolute) for chunk in chunks]
    total = found[0]
    for other in found[1:]:
        total = total + other
    expected = np.abs(values) if absolute else values
    assert total.n == 40
    np.testing.assert_allclose(total.mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(total.variance, expected.var(0, ddof=1), rtol=1e-11, atol=1e-25)
    np.testing.assert_allclose(total.magnitude, np.abs(values).mean(0), rtol=1e-12)
    np.testing.assert_array_equal(total.low, expected.min(0))
    np.testing.assert_array_equal(total.high, expected.max(0))
    varied = ~total.constant.numpy()
    assert varied.sum() == 14
    kurtosis = scipy.stats.kurtosis(expected[:, varied], axis=0)
    np.testing.assert_allclose(total.kurtosis.numpy()[varied], kurtosis, rtol=1e-9, atol=1e-9)
    assert total.kurtosis[1, 2] == 0


@pytest.mark.parametrize(("n", "m"), [(9, 9), (7, 12), (2, 2)])
@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("absolute", [True, False])
def test_max_t_equals_a_loop(n: int, m: int, two_sided: bool, absolute: bool) -> None:
    a, b = data(n, m)
    found = max_t(
        responses(a, b), ("a",), ("b",), absolute=absolute, two_sided=two_sided,
        n_permutations=40, seed=3,
    )  # fmt: skip
    every = np.concatenate([a, b])
    every = np.abs(every) if absolute else every
    labels = np.repeat([1.0, 0.0], [n, m])
    rng = np.random.default_rng(3)
    rng.permuted(np.tile(labels, (40, 1)), axis=1)
    shuffled = np.random.default_rng(3).permuted(np.tile(labels, (40, 1)), axis=1)
    maxima, counts = [], np.zeros(len(found.null_counts))
    for row in shuffled == 1:
        t = np.zeros((2, 6))
        for layer in range(2):
            for unit in range(6):
                x, y = every[row, layer, unit], every[~row, layer, unit]
                if np.ptp(every[:, layer, unit]) > 0:
                    error = x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y)
                    # As everywhere: four units in the last place of the largest response.
                    least = (4 * 2.0**-52 * np.abs(every[:, layer, unit]).max()) ** 2
                    t[layer, unit] = (x.mean() - y.mean()) / math.sqrt(max(error, least))
        maxima.append(np.abs(t).max() if two_sided else t.max())
        counts += np.histogram(t, found.null_edges)[0]
    np.testing.assert_allclose(found.maxima, maxima, rtol=1e-6)
    if n > 2:  # with two against two, separated groups lie beyond the bins
        assert np.abs(np.cumsum(found.null_counts) - np.cumsum(counts / 40)).max() < 0.2
        assert found.null_counts.sum() == pytest.approx(12)
    size = found.t.abs() if two_sided else found.t
    for layer in range(2):
        for unit in range(6):
            larger = sum(top >= size[layer, unit].item() * (1 - 1e-9) for top in found.maxima)
            assert found.p[layer, unit].item() == pytest.approx((1 + larger) / 41)
    expected = welch(responses(a, b), ("a",), ("b",), absolute=absolute)
    assert torch.equal(found.t, expected.t)


def test_paired_max_t_equals_a_loop() -> None:
    a, b = data(8, 8)
    found = max_t(
        responses(a, b), ("a",), ("b",), absolute=False, test="paired", n_permutations=25, seed=5
    )
    signs = np.random.default_rng(5).integers(0, 2, size=(25, 8)) * 2.0 - 1.0
    differences = a - b
    with np.errstate(invalid="ignore"):
        t = scipy.stats.ttest_1samp(signs[:, :, None, None] * differences, 0, axis=1).statistic
    expected = np.nan_to_num(np.abs(t)).reshape(25, -1).max(axis=1)
    np.testing.assert_allclose(found.maxima, expected, rtol=1e-9)
    assert torch.equal(found.t, paired(responses(a, b), ("a",), ("b",), absolute=False).t)


def test_thresholds_and_p_agree() -> None:
    a, b = data(30, 30, shift=0.9)
    found = max_t(responses(a, b), ("a",), ("b",), absolute=False, n_permutations=199)
    for alpha in (0.01, 0.05, 0.3):
        above = found.t.abs() > found.threshold(alpha)
        assert torch.equal(above, found.p <= alpha)
    assert len(found.significant(0.05)) == int(((found.p <= 0.05) & (found.t > 0)).sum()) > 0
    with pytest.raises(LensLocError, match=r"alpha = 0\.001 cannot be told from 199 permutations"):
        found.threshold(0.001)
    assert "199 permutations" in repr(found)


def test_seeds_and_precision_of_responses() -> None:
    a, b = data(12, 10)
    one = max_t(responses(a, b), ("a",), ("b",), n_permutations=50, seed=1)
    again = max_t(responses(a, b), ("a",), ("b",), n_permutations=50, seed=1)
    other = max_t(responses(a, b), ("a",), ("b",), n_permutations=50, seed=2)
    single = max_t(responses(a, b, torch.float32), ("a",), ("b",), n_permutations=50, seed=1)
    np.testing.assert_array_equal(one.maxima, again.maxima)
    assert not np.array_equal(one.maxima, other.maxima)
    np.testing.assert_allclose(single.maxima, one.maxima, rtol=1e-4)


def test_family_wise_error_on_null_data() -> None:
    """In 200 experiments without effect, about 5 % may find a unit: binomial 99.9 % interval."""
    rng = np.random.default_rng(11)
    hits = 0
    for run in range(200):
        shared = rng.normal(size=(24, 1, 1))  # units are correlated, as in a model
        values = torch.from_numpy(rng.standard_t(4, size=(24, 2, 20)) + shared)
        made = Responses("resid_post", values, ("a",) * 12 + ("b",) * 12)
        found = max_t(made, ("a",), ("b",), absolute=False, n_permutations=99, seed=run)
        hits += bool((found.p <= 0.05).any())
    low, high = scipy.stats.binom.interval(0.999, 200, 0.05)
    assert low <= hits <= high


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_paired_statistics_equal_scipy(absolute: bool, dtype: torch.dtype) -> None:
    a, b = data(15, 15)
    made = responses(a, b, dtype)
    found = paired(made, ("a",), ("b",), absolute=absolute)
    a, b = (made.of((name,)).double().numpy() for name in "ab")
    if absolute:
        a, b = np.abs(a), np.abs(b)
    with np.errstate(invalid="ignore"):
        expected = scipy.stats.ttest_rel(a, b)
    usable = np.isfinite(expected.statistic)
    assert usable.sum() == 11
    np.testing.assert_allclose(found.t.numpy()[usable], expected.statistic[usable], rtol=1e-10)
    np.testing.assert_allclose(found.p.numpy()[usable], expected.pvalue[usable], rtol=1e-9)
    assert found.t[0, 0] == 0
    assert found.p[0, 0] == 1
    assert set(found.df.flatten().tolist()) == {14.0}
    expected_d = welch(made, ("a",), ("b",), absolute=absolute).d
    torch.testing.assert_close(found.d, expected_d, rtol=1e-12, atol=1e-14)
    assert found.provenance.test == "paired"


def test_unequal_numbers_are_no_pairs() -> None:
    a, b = data(5, 6)
    for test in (
        lambda: paired(responses(a, b), ("a",), ("b",)),
        lambda: max_t(responses(a, b), ("a",), ("b",), test="paired"),
        lambda: bootstrap_d(responses(a, b), ("a",), ("b",), aligned=True),
    ):
        with pytest.raises(LensLocError, match="target has 5 stimuli and the control 6"):
            test()


@pytest.mark.parametrize("aligned", [True, False])
def test_intervals_of_d_equal_a_loop(aligned: bool) -> None:
    a, b = data(10, 10)
    found = bootstrap_d(
        responses(a, b), ("a",), ("b",), absolute=False, aligned=aligned, n_resamples=60, seed=4
    )
    rng = np.random.default_rng(4)
    first = rng.multinomial(10, np.full(10, 0.1), size=60)
    second = first if aligned else rng.multinomial(10, np.full(10, 0.1), size=60)
    for layer, unit in ((0, 1), (0, 3), (1, 5)):
        d = []
        for drawn_a, drawn_b in zip(first, second, strict=True):
            x = np.repeat(a[:, layer, unit], drawn_a)
            y = np.repeat(b[:, layer, unit], drawn_b)
            d.append((x.mean() - y.mean()) / math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2))
        low, high = np.quantile(d, [0.025, 0.975])
        assert found.low[layer, unit].item() == pytest.approx(low, rel=1e-9)
        assert found.high[layer, unit].item() == pytest.approx(high, rel=1e-9)
    assert found.low[0, 0] == found.high[0, 0] == 0


def test_intervals_cover_the_true_effect() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.8, 1, (60, 1, 400)), rng.normal(0, 1, (60, 1, 400))
    found = bootstrap_d(responses(a, b), ("a",), ("b",), absolute=False, n_resamples=400)
    covered = ((found.low <= 0.8) & (found.high >= 0.8)).double().mean().item()
    assert 0.90 < covered < 0.985


@pytest.mark.parametrize("absolute", [True, False])
def test_auc_and_d_prime_equal_scipy(absolute: bool) -> None:
    a, b = data(9, 14)
    found = discrimination(responses(a, b), ("a",), ("b",), absolute=absolute)
    a, b = (np.abs(a), np.abs(b)) if absolute else (a, b)
    u = scipy.stats.mannwhitneyu(a, b, axis=0).statistic
    np.testing.assert_allclose(found.auc, u / (9 * 14), rtol=1e-12)
    assert found.auc[0, 0] == 0.5
    assert found.d_prime[0, 0] == 0
    spread = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 2)
    with np.errstate(invalid="ignore"):
        expected = (a.mean(0) - b.mean(0)) / spread
    np.testing.assert_allclose(found.d_prime[1], expected[1], rtol=1e-10)


def test_subsets_equal_welch_on_each() -> None:
    a, b = data(20, 16)
    made = responses(a, b, torch.float32)
    rng = np.random.default_rng(0)
    target = torch.zeros(4, 36, dtype=torch.bool)
    control = torch.zeros(4, 36, dtype=torch.bool)
    for row in range(4):
        target[row, rng.choice(20, 5 + row, replace=False)] = True
        control[row, 20 + rng.choice(16, 9 - row, replace=False)] = True
    t, d = t_and_d(made, target, control)
    for row in range(4):
        kept = target[row] | control[row]
        labels = tuple(label for label, keep in zip(made.conditions, kept, strict=True) if keep)
        expected = welch(Responses("resid_post", made.values[kept], labels), ("a",), ("b",))
        np.testing.assert_allclose(t[row], expected.t, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(d[row], expected.d, rtol=1e-8, atol=1e-9)


def test_split_half_equals_a_loop() -> None:
    a, b = data(20, 20, shift=0.7)
    a[:, 0, 1] += 0.123  # no t of exactly 0 beside that of the constant unit
    made = responses(a, b)
    halves = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(20).tolist()
        one, two = order[:10], order[10:]
        halves.append(([*one, *(20 + i for i in one)], [*two, *(20 + i for i in two)]))
    found = split_half(made, ("a",), ("b",), halves, k=4, absolute=False)
    stepped, dice, held_out = [], [], []
    for split in halves:
        maps = []
        for rows in split:
            labels = tuple(made.conditions[row] for row in rows)
            part = Responses("resid_post", made.values[list(rows)], labels)
            maps.append(welch(part, ("a",), ("b",), absolute=False))
        r = scipy.stats.spearmanr(maps[0].t.flatten(), maps[1].t.flatten()).statistic
        stepped.append(2 * r / (1 + r) if r > 0 else r)
        tops = [m.top(k=4).mask for m in maps]
        dice.append(2 * int((tops[0] & tops[1]).sum()) / 8)
        held_out += [maps[1].d[tops[0]].mean().item(), maps[0].d[tops[1]].mean().item()]
    assert found.t == pytest.approx(np.mean(stepped), rel=1e-9)
    assert found.t_low <= found.t <= found.t_high
    assert found.dice == pytest.approx(np.mean(dice))
    assert found.dice_chance == pytest.approx(4 / 12)
    assert found.d_held_out == pytest.approx(np.mean(held_out), rel=1e-9)
    assert found.n_splits == 3


def test_bad_requests_are_refused() -> None:
    a, b = data(4, 4)
    made = responses(a, b)
    with pytest.raises(LensLocError, match="At least one permutation is needed; 0 is not"):
        max_t(made, ("a",), ("b",), n_permutations=0)
    with pytest.raises(LensLocError, match="control has 0 stimuli"):
        max_t(made, ("a",), ("c",))
    with pytest.raises(LensLocError, match="confidence lies between 0 and 1; 1 does not"):
        bootstrap_d(made, ("a",), ("b",), confidence=1.0)
    with pytest.raises(LensLocError, match="no split"):
        split_half(made, ("a",), ("b",), [], k=1)
    with pytest.raises(LensLocError, match="fewer than two stimuli"):
        split_half(made, ("a",), ("b",), [([0, 4, 5], [1, 2, 3, 6, 7])], k=1)


# -- what statistics inherit -----------------------------------------------------------------------


def localized(absolute: bool, test: str, **more: Any) -> Responses:
    a, b = data(12, 12, seed=4)
    made = Provenance(target=("a",), control=("b",), absolute=absolute, test=test, **more)
    return dataclasses.replace(responses(a, b), provenance=made)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("test", ["welch", "paired"])
def test_responses_are_tested_as_they_were_localized(absolute: bool, test: Any) -> None:
    made = localized(absolute, test, model="m", contrast_hash="h")
    plain = dataclasses.replace(made, provenance=None)
    sides = (("a",), ("b",))
    options: dict[str, Any] = {"n_permutations": 20, "seed": 1}
    expected = max_t(plain, *sides, absolute=absolute, test=test, **options)
    for found in (max_t(made, *sides, **options), max_t(made, **options)):
        assert torch.equal(found.t, expected.t)
        np.testing.assert_array_equal(found.maxima, expected.maxima)
        assert found.provenance.model == "m"
        assert found.significant().provenance.contrast_hash == "h"
    told = max_t(made, *sides, absolute=not absolute, test="welch", **options)
    assert torch.equal(told.t, welch(plain, *sides, absolute=not absolute).t)
    run = paired if test == "paired" else welch
    assert torch.equal(run(made, *sides).t, run(plain, *sides, absolute=absolute).t)
    assert run(made, *sides).provenance.test == test
    aligned = test == "paired"
    drawn = bootstrap_d(plain, *sides, absolute=absolute, aligned=aligned, n_resamples=30)
    assert torch.equal(bootstrap_d(made, *sides, n_resamples=30).low, drawn.low)
    told_apart = discrimination(plain, *sides, absolute=absolute)
    assert torch.equal(discrimination(made, *sides).d_prime, told_apart.d_prime)
    halves = [([*range(6), *range(12, 18)], [*range(6, 12), *range(18, 24)])]
    known = split_half(plain, *sides, halves, k=3, absolute=absolute, test=test)
    assert split_half(made, *sides, halves, k=3) == known


def test_other_roles_are_another_contrast_of_the_same_texts() -> None:
    made = localized(True, "welch", contrast_hash="h", texts=TextSet.of(["x"]).encode())
    turned = welch(made, ("b",), ("a",)).provenance
    assert (turned.target, turned.control, turned.contrast_hash) == (("b",), ("a",), "")
    assert turned.text_set == TextSet.of(["x"])
    assert welch(made, ("a",), ("b",)).provenance.contrast_hash == "h"


def test_a_localization_is_permuted_as_it_was_localized(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    options: dict[str, Any] = {"n_permutations": 20, "seed": 2}
    found = localize(
        tiny_llama, small_contrast, ["resid_post", "head"], absolute=False, keep_responses=True,
        progress=False,
    )  # fmt: skip
    for site in found:
        null = found.max_t(site, **options)
        assert torch.equal(null.t, found[site].t)
        by_hand = max_t(
            found.responses[site], small_contrast.target, small_contrast.control, absolute=False,
            **options,
        )  # fmt: skip
        np.testing.assert_array_equal(null.maxima, by_hand.maxima)
        mask = null.significant(0.99)
        assert mask.provenance.model == "my-llama"
        assert mask.selected_on == found[site].top(k=1).selected_on
        assert mask.rule is not None
        assert not mask.rule.can_be_reapplied
    only = localize(tiny_llama, small_contrast, keep_responses=True, progress=False)
    assert torch.equal(max_t(only, **options).t, only["resid_post"].t)
    assert torch.equal(
        max_t(only, absolute=False, **options).t,
        max_t(only.responses["resid_post"], absolute=False, **options).t,
    )
    bare = localize(tiny_llama, small_contrast, progress=False)
    for message, call in (
        ("2 sites were localized; say which", lambda: found.max_t(**options)),
        ("'mlp_post' was not localized", lambda: found.max_t("mlp_post")),
        ("localize with keep_responses=True", lambda: bare.max_t()),
        ("do not know which conditions", lambda: max_t(responses(*data(4, 4)))),
    ):
        with pytest.raises(LensLocError, match=message):
            call()
    with pytest.raises(LensLocError, match=r"Selectivity is neither, so give found\.responses"):
        unwrap(max_t)(only["resid_post"])


# -- bounds ----------------------------------------------------------------------------------------


def test_the_reliability_of_noise_is_bounded() -> None:
    """With few stimuli halves of noise disagree, and stepping that up would go beyond -1."""
    draw = np.random.default_rng(8)
    found = []
    for seed in range(12):
        a, b = draw.normal(size=(4, 1, 9)), draw.normal(size=(4, 1, 9))
        halves = []
        for split in range(4):
            one = np.random.default_rng([seed, split]).permutation(4).tolist()
            two = np.random.default_rng([seed, split, 1]).permutation(4).tolist()
            halves.append(
                ([*one[:2], *(4 + i for i in two[:2])], [*one[2:], *(4 + i for i in two[2:])])
            )
        for test in ("welch", "paired"):
            if test == "paired":
                halves = [
                    (
                        [*h[0][:2], *(4 + i for i in h[0][:2])],
                        [*h[1][:2], *(4 + i for i in h[1][:2])],
                    )
                    for h in halves
                ]
            reliability = split_half(
                responses(a, b),
                ("a",),
                ("b",),
                halves,
                k=2,
                absolute=False,
                test=test,  # type: ignore[arg-type]
            )
            found += [reliability.t, reliability.t_low, reliability.t_high]
    assert -1 <= min(found) < -0.3
    assert max(found) <= 1


def test_stepping_up() -> None:
    assert stepped_up(0.5) == pytest.approx(2 / 3)
    assert [stepped_up(r) for r in (1.0, 0.0, -0.5, -1.0)] == [1.0, 0.0, -0.5, -1.0]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3)])
def test_resamples_without_spread_make_no_interval(n: int, m: int, aligned: bool) -> None:
    draw = np.random.default_rng(5)
    a, b = draw.normal(0.5, 1, (n, 2, 30)), draw.normal(0, 1, (m, 2, 30))
    a[:, 0, 0], b[:, 0, 0] = 3.0, 1.0  # constant within each side: a large d in truth
    a[:, 0, 1] = b[:, 0, 1] = 2.0
    found = bootstrap_d(
        responses(a, b), ("a",), ("b",), absolute=False, aligned=aligned, n_resamples=400, seed=2
    )
    observed = welch(responses(a, b), ("a",), ("b",), absolute=False).d
    assert (found.low <= found.high).all()
    assert found.low[0, 0] > 1e6
    assert found.low[0, 1] == found.high[0, 1] == 0
    usual = torch.ones(2, 30, dtype=torch.bool)
    usual[0, :2] = False
    # Bounded by the smallest spread that a resample can have: that of one side's two values.
    spreads = [
        np.min([np.ptp(x[[i, j]], axis=0) for i in range(len(x)) for j in range(i)], axis=0)
        for x in (a, b)
    ]
    least = np.minimum(*spreads) / np.sqrt(2 * (n + m - 2))
    reach = np.ptp(np.concatenate([a, b]), axis=0) / np.maximum(least, 1e-300)
    for end in (found.low, found.high):
        assert (np.abs(end.numpy()) <= reach + 1e-9)[usual.numpy()].all()
    share = {2: 0.5 if aligned else 0.25, 3: 1 / 9 if aligned else 1 / 81}[n]
    np.testing.assert_allclose(found.undefined[usual], share, atol=0.06)
    assert found.undefined[0, :2].tolist() == [0, 0]
    if n == 2 and aligned:  # all that is left is the sample itself
        torch.testing.assert_close(found.low[usual], observed[usual])
