"""Layers of different width: no padded place is counted, drawn, selected or corrected for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import lensloc as ll
from lensloc.selectivity.reliability import split_half
from lensloc.units import ragged
from lensloc.units.outliers import outliers

WIDTHS = (3, 8, 5, 1)
SHAPE = (4, 8)
N = 12


def responses(seed: int = 0, planted: float = 4.0) -> ll.Responses:
    """Responses of 17 units in layers of 3, 8, 5 and 1; L1.2 and L3.0 prefer a."""
    draws = torch.randn(2 * N, *SHAPE, generator=torch.Generator().manual_seed(seed))
    draws[:N, 1, 2] += planted
    draws[:N, 3, 0] += planted
    values = draws.masked_fill(~ragged.valid(SHAPE, WIDTHS), torch.nan)
    return ll.Responses("conv", values, ("a",) * N + ("b",) * N, widths=WIDTHS)


def found(absolute: bool = False) -> ll.Selectivity:
    return ll.welch(responses(), ("a",), ("b",), absolute=absolute)


def flat() -> ll.Responses:
    """The same units in one layer, in the same order."""
    values = responses().values[:, ragged.valid(SHAPE, WIDTHS)][:, None]
    return ll.Responses("conv", values, ("a",) * N + ("b",) * N)


def test_statistics_and_their_correction_are_those_of_the_units_alone() -> None:
    mine, alone = found(), ll.welch(flat(), ("a",), ("b",), absolute=False)
    units = ragged.valid(SHAPE, WIDTHS)
    for name in ("t", "df", "p", "q", "d", "g", "mean_target", "magnitude", "kurtosis"):
        values = getattr(mine, name)
        torch.testing.assert_close(values[units], getattr(alone, name)[0])
        assert values[~units].isnan().all()
    expected = stats.false_discovery_control(mine.p[units].numpy())
    np.testing.assert_allclose(mine.q[units], expected)
    assert mine.n_units == 17
    assert mine.significant().addresses == ["L1.conv.2", "L3.conv.0"]


@pytest.mark.parametrize("pair", [False, True])
def test_permutations_halves_and_intervals_see_units_alone(pair: bool) -> None:
    test = "paired" if pair else "welch"
    mine = ll.max_t(responses(), ("a",), ("b",), test=test, n_permutations=200)  # type: ignore[arg-type]
    alone = ll.max_t(flat(), ("a",), ("b",), test=test, n_permutations=200)  # type: ignore[arg-type]
    units = ragged.valid(SHAPE, WIDTHS)
    np.testing.assert_array_equal(mine.maxima, alone.maxima)
    torch.testing.assert_close(mine.p[units], alone.p[0])
    assert mine.p[~units].isnan().all()
    assert mine.significant().addresses == ["L1.conv.2", "L3.conv.0"]
    halves = [(list(range(0, 2 * N, 2)), list(range(1, 2 * N, 2)))]
    assert split_half(responses(), ("a",), ("b",), halves, k=2) == split_half(
        flat(), ("a",), ("b",), halves, k=2
    )
    ends = [ll.bootstrap_d(each, ("a",), ("b",), n_resamples=50) for each in (responses(), flat())]
    torch.testing.assert_close(ends[0].low[units], ends[1].low[0])
    assert ends[0].undefined[~units].isnan().all()
    told = [ll.discrimination(each, ("a",), ("b",)) for each in (responses(), flat())]
    torch.testing.assert_close(told[0].auc[units], told[1].auc[0])


def test_percentages_count_units_alone() -> None:
    top = found().top(percent=50)
    assert len(top) == 8
    assert not top.mask[~top.units].any()
    assert len(found().top(percent=100)) == len(found().bottom(k=17)) == 17
    with pytest.raises(ll.LensLocError, match="18 units were asked for"):
        found().top(k=18)
    assert found().between(0, 100, 17, seed=0) == found().top(k=17)
    whole = found().top(k=17)
    assert whole.percent_per_layer().tolist() == [100.0] * 4
    assert whole.per_layer().tolist() == list(WIDTHS)
    assert top.resized(percent=100).n_units == 17
    assert "17 in 4 layers of 1 to 8" in top._repr_html_()
    assert str(top).startswith("UnitMask(8 of 4x(1 to 8) units at conv")


def test_outliers_are_told_by_the_median_of_the_units_alone() -> None:
    magnitude = torch.tensor([[1.0, 1, 9, torch.nan, torch.nan, torch.nan, torch.nan]])
    assert outliers(magnitude).tolist() == [[False, False, True, False, False, False, False]]


def test_tables_hold_units_alone() -> None:
    table = found().to_dataframe()
    assert len(table) == 17
    assert not table.isna().any().any()
    assert table["magnitude_percentile"].groupby(table["layer"]).max().tolist() == [100.0] * 4
    assert table["address"].tolist()[3] == "L1.conv.0"


def test_set_algebra_keeps_to_the_units() -> None:
    top = found().top(k=4)
    rest = ~top
    assert len(rest) == 13
    assert len(top | rest) == 17
    assert len(top & rest) == 0
    assert (top | rest) - rest == top
    assert (top & top).magnitude is not None
    other = ll.UnitMask("conv", top.mask)
    assert other != top
    with pytest.raises(ll.LensLocError, match=r"4x\(1 to 8\).*4x8"):
        top & other
    with pytest.raises(ll.LensLocError, match=r"L0\.conv\.3 does not exist: layer 0 has 3 units"):
        ll.UnitMask.from_addresses(["L0.conv.3"], SHAPE, widths=WIDTHS)
    with pytest.raises(ll.LensLocError, match="widths says how many units each of 4 layers"):
        ll.UnitMask.from_addresses(["L0.conv.1"], SHAPE, widths=(1, 2))
    with pytest.raises(ll.LensLocError, match="widths says"):
        ll.UnitMask.from_addresses(["L0.conv.1"], SHAPE, widths=(1, 2, 3, 9))


def test_files_keep_the_widths(tmp_path: Path) -> None:
    top = found().top(k=4)
    path = top.save(tmp_path / "mask.safetensors")
    kept = ll.UnitMask.load(path)
    assert kept == top
    assert kept.widths == WIDTHS
    assert kept.rule == top.rule
    assert kept.resized(k=17).addresses == top.resized(k=17).addresses
    assert ragged.same(kept.magnitude, top.magnitude)  # type: ignore[arg-type]
    assert top.save(path) == path  # the same set is no other file
    with pytest.raises(ll.LensLocError, match=r"differ in width, which an \.npy does not say"):
        top.save(tmp_path / "mask.npy")


@pytest.mark.parametrize(
    "kind", ["random", "layer", "magnitude", "outliers", "layer+magnitude", "least-active",
             "least-selective"],
)  # fmt: skip
def test_no_control_draws_a_padded_place(kind: str) -> None:
    network = ll.UnitMask.from_addresses(["L1.conv.2", "L2.conv.0"], SHAPE, widths=WIDTHS)
    top = found().top(k=17)
    network = ll.UnitMask(
        "conv", network.mask, score=top.score, magnitude=top.magnitude, widths=WIDTHS
    )
    drawn = torch.zeros(SHAPE, dtype=torch.long)
    for control in ll.controls(kind, seeds=range(40))(network):
        assert len(control.mask) == 2
        assert control.mask.widths == WIDTHS
        drawn += control.mask.mask
    assert drawn[~network.units].sum() == 0
    if kind == "random":  # every unit that is not the network's is drawn, in the long run
        more = [network.random_like(seed).mask for seed in range(80)]
        assert torch.equal(torch.stack(more).any(dim=0), network.units & ~network.mask)


def test_overlaps_expect_what_units_alone_share() -> None:
    one = ll.UnitMask.from_addresses(["L0.conv.0", "L1.conv.2"], SHAPE, widths=WIDTHS)
    two = ll.UnitMask.from_addresses(["L0.conv.1", "L1.conv.2"], SHAPE, widths=WIDTHS)
    row = ll.overlap({"one": one, "two": two}).iloc[0]
    assert row["n_units"] == 17
    assert row["n_expected"] == pytest.approx(4 / 17)
    assert row["n_expected_by_layer"] == pytest.approx(1 / 3 + 1 / 8)
    assert row["p"] == pytest.approx(stats.hypergeom.sf(0, 17, 2, 2))


def test_layers_of_one_width_are_not_padded() -> None:
    mask = ll.UnitMask.from_addresses(["L0.conv.0"], (2, 3), widths=(3, 3))
    assert mask.widths is None
    assert mask == ll.UnitMask.from_addresses(["L0.conv.0"], (2, 3))
