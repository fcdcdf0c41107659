"""The table of unit granularities, column by column against its definition."""

import math
from typing import Any

import numpy as np
import pair_parts
import pandas as pd
import pytest
import torch

import lensloc as ll
from lensloc import Contrast, LensLocError, tasks
from lensloc.studies.granularities import COMPARED, halves_of

TARGET = [f"the {a} cat sees the {b} dog" for a in ("old", "red", "sad") for b in "abcd"]
CONTROL = [f"{a} {b} florp zim {a}" for a in ("blick", "dax", "wug") for b in "wxyz"]


@pytest.fixture(scope="module")
def contrast() -> Contrast:
    conditions = {"words": TARGET, "nonwords": CONTROL}
    return Contrast.from_texts(conditions, target="words", control="nonwords")


@pytest.fixture(scope="module")
def task() -> tasks.MinimalPairs:
    return tasks.minimal_pairs(limit=1)


def table_of(model: Any, contrast: Any, **options: Any) -> pd.DataFrame:
    options = {"percent": 5, "n_splits": 4, "progress": False, **options}
    return ll.compare_granularities(model, contrast, **options)


def test_columns_follow_their_definitions(tiny: Any, contrast: Contrast) -> None:
    table = table_of(tiny, contrast, seed=3)
    expected_sites = [s for s in COMPARED if s != "resid_mid" or _has_resid_mid(tiny)]
    assert table["site"].tolist() == expected_sites
    found = ll.localize(tiny, contrast, expected_sites, progress=False)
    residual = found["resid_post"].top(percent=5)
    for row in table.to_dict("records"):
        here = found[row["site"]]
        n = here.t.numel()
        mask = here.top(k=max(1, int(0.05 * n)))
        assert (row["n_layers"], row["units_per_layer"]) == here.shape
        assert (row["n_units"], row["n_selected"]) == (n, len(mask))
        frame = here.to_dataframe()
        significant = frame[frame["q"] < 0.05]
        assert row["significant_target"] == pytest.approx((significant["t"] > 0).sum() / n)
        assert row["significant_control"] == pytest.approx((significant["t"] < 0).sum() / n)
        assert row["best_t"] == pytest.approx(frame["t"].abs().max(), rel=1e-5)
        selected = here.to_dataframe(mask)
        assert row["selected_d"] == pytest.approx(selected["d"].mean(), rel=1e-5)
        layers = selected["layer"].value_counts(normalize=True)
        assert row["layer_centre"] == pytest.approx(selected["layer"].mean() / 2)
        entropy = -sum(p * math.log(p) for p in layers) / math.log(3)
        assert row["layer_entropy"] == pytest.approx(entropy, abs=1e-9)
        there = residual.per_layer() / len(residual)
        shared = sum(min(layers.get(i, 0.0), there[i].item()) for i in range(3))
        assert row["resid_overlap"] == pytest.approx(shared, abs=1e-6)
        assert row["outliers"] == int(selected["outlier"].sum())
        if row["site"].startswith("resid"):
            assert row["distinct_dims"] == selected["unit"].nunique()
            assert row["repeats"] == len(mask) - selected["unit"].nunique()
        else:
            assert pd.isna(row["repeats"])


def _has_resid_mid(model: Any) -> bool:
    return "blocks.0.hook_resid_mid" in model.hook_dict


def test_reliability_is_that_of_localizing_both_halves(tiny_llama: Any, contrast: Contrast) -> None:
    table = table_of(tiny_llama, contrast, sites=["mlp_post", "head"], n_splits=2, seed=5)
    for row in table.to_dict("records"):
        held_out, shared, stepped = [], [], []
        for split in (5, 6):
            maps = [
                ll.localize(tiny_llama, half, [row["site"]], progress=False)[row["site"]]
                for half in contrast.split(split)
            ]
            tops = [m.top(k=row["n_selected"]) for m in maps]
            shared.append(len(tops[0] & tops[1]) / row["n_selected"])
            held_out += [maps[1].d[tops[0].mask].mean(), maps[0].d[tops[1].mask].mean()]
            r = pd.Series(maps[0].t.flatten()).corr(pd.Series(maps[1].t.flatten()), "spearman")
            stepped.append(2 * r / (1 + r))
        assert row["selected_d_cv"] == pytest.approx(float(np.mean(held_out)), rel=1e-4)
        assert row["dice"] == pytest.approx(np.mean(shared))
        assert row["reliability"] == pytest.approx(np.mean(stepped), abs=1e-3)
        assert row["selected_d_cv"] < row["selected_d"]


def test_halves_keep_items_together() -> None:
    contrast = Contrast(
        "pairs",
        {"other": ("z",) * 4, "a": tuple("abcd"), "b": tuple("efgh")},
        ("b",),
        ("a",),
        items={"other": tuple("1234"), "a": tuple("1234"), "b": tuple("4321")},
    )
    items = [*"1234", *"4321"]  # of the rows of contrast.texts
    for seed in range(4):
        one, two = halves_of(contrast, seed)
        assert sorted(one + two) == list(range(8))
        assert not {items[row] for row in one} & {items[row] for row in two}


@pytest.mark.parametrize(
    ("tiny_name", "backend"), [("llama", "hooked"), ("neox", "bridge")], indirect=True
)
def test_lesions_are_those_of_a_lesion_by_hand(
    tiny: Any, contrast: Contrast, task: tasks.MinimalPairs
) -> None:
    sites = ["resid_post", "head", "attn_entropy"]
    table = table_of(
        tiny, contrast, sites=sites, percent=20, lesion=True, task=task, number=3, control_seeds=[0]
    )
    assert set(table["control"]) <= {"layer", "random"}
    assert table["task"].unique().tolist() == ["minimal-pairs"]
    found = ll.localize(tiny, contrast, sites, progress=False)
    whole = task(tiny).score
    for row in table.to_dict("records"):
        for size, k in (("fraction", row["n_selected"]), ("number", 3)):
            mask = found[row["site"]].top(k=k).mask
            site = "head" if row["site"] == "attn_entropy" else row["site"]
            with ll.lesion(tiny, ll.UnitMask(site, mask)):
                expected = whole - task(tiny).score
            assert row[f"drop_{size}"] == pytest.approx(expected)
            assert row[f"drop_{size}_low"] <= expected <= row[f"drop_{size}_high"]
            assert math.isfinite(row[f"drop_{size}_control"])
        assert row["took_effect"]


def test_several_networks_poolings_and_options(tiny_llama: Any, contrast: Contrast) -> None:
    turned = contrast.with_roles(target="nonwords", control="words")
    table = table_of(
        tiny_llama,
        {"words": contrast, "nonwords": turned},
        sites=["resid_post", "attn_first"],
        pooling={"words": "last-token", "nonwords": "mean"},
        attribution="grad_x_act",
        n_permutations=99,
    )
    assert table["network"].tolist() == ["words", "words", "nonwords", "nonwords"]
    assert table["significant_max_t"].between(0, 1).all()
    residual = table["site"] == "resid_post"
    assert table.loc[residual, "agreement"].between(-1, 1).all()
    assert table.loc[~residual, "agreement"].isna().all()
    direct = ll.attribute(tiny_llama, contrast, "grad_x_act", "resid_post", progress=False)
    t = ll.localize(tiny_llama, contrast, progress=False)["resid_post"].t
    assert table["agreement"][0] == pytest.approx(direct.agreement(t), abs=1e-6)


def test_pairs_stand_beside_t(tiny_llama: Any, contrast: Contrast) -> None:
    pairs = pair_parts.letters()
    networks = {"words": contrast, "again": contrast}
    table = table_of(
        tiny_llama, networks, sites=["mlp_post", "attn_first"], pairs={"words": pairs}, percent=10
    )
    assert table["site"].tolist() == ["mlp_post", "attn_first"] * 2
    effects = ll.localize_pairs(tiny_llama, pairs, "mlp_post", progress=False)["mlp_post"]
    t = ll.localize(tiny_llama, contrast, ["mlp_post"], progress=False)["mlp_post"]
    expected = pd.Series(t.t.flatten()).corr(pd.Series(effects.score.flatten()), "spearman")
    assert table["pairs_agreement"][0] == pytest.approx(expected)
    shared = len(t.top(k=14) & effects.top(k=14)) / 14
    assert table["pairs_overlap"][0] == pytest.approx(shared)
    assert table["pairs_agreement"][1:].isna().all()
    assert any("words, letters: There are 6 pairs" in note for note in table.attrs["warnings"])
    assert len(ll.plot.granularity(table).data) > 0
    with pytest.raises(LensLocError, match="Pairs were given for 'sums', which is no network"):
        table_of(tiny_llama, networks, pairs={"sums": pairs})


def test_a_planted_head_is_found_where_it_is(
    tiny_llama: Any, contrast: Contrast, monkeypatch: Any
) -> None:
    """A head that puts out thirty times as much in sentences as in anything else."""
    sentences = {tuple(tiny_llama.to_tokens(text)[0].tolist()) for text in TARGET}
    running: list[tuple[int, ...]] = []
    original = tiny_llama.run_with_cache

    def noted(tokens: torch.Tensor, **options: Any) -> Any:
        running[:] = [tuple(tokens[0].tolist())]
        return original(tokens, **options)

    def plant(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z = z.clone()
        z[:, :, 2] = torch.nn.functional.normalize(z[:, :, 2], dim=-1)
        z[:, :, 2] *= 30.0 if running[0] in sentences else 1.0
        return z

    monkeypatch.setattr(tiny_llama, "run_with_cache", noted)
    with tiny_llama.hooks(fwd_hooks=[("blocks.1.attn.hook_z", plant)]):
        table = table_of(
            tiny_llama, contrast, sites=["head", "z"], percent=10, batch_size=1, n_splits=2
        )
        found = ll.localize(tiny_llama, contrast, ["head"], batch_size=1, progress=False)
    assert "L1.head.2" in found["head"].top(k=1)
    assert table["n_selected"].tolist() == [1, 9]
    assert table["layer_centre"][0] == 0.5
    assert table["dice"][0] == 1.0


def test_bad_requests_are_refused(tiny_llama: Any, contrast: Contrast) -> None:
    with pytest.raises(LensLocError, match="No contrast was given"):
        table_of(tiny_llama, {})
    with pytest.raises(LensLocError, match="No site was named"):
        table_of(tiny_llama, contrast, sites=[])
    with pytest.raises(LensLocError, match="no site 'neurons'"):
        table_of(tiny_llama, contrast, sites=["neurons"])
    with pytest.raises(LensLocError, match="n_splits is at least 1"):
        table_of(tiny_llama, contrast, n_splits=0)
    with pytest.raises(LensLocError, match="No pooling was given for the network 'texts'"):
        table_of(tiny_llama, {"texts": contrast}, pooling={"words": "mean"})
    with pytest.raises(LensLocError, match="as many units elsewhere"):
        table_of(tiny_llama, contrast, sites=["head"], percent=90, lesion=True, number=8)
