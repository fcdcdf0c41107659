"""Attribution patching against autograd by hand, exact patching and planted circuits."""

from pathlib import Path
from typing import Any

import handwritten
import numpy as np
import pair_parts
import pytest
import torch
import transformers
from planted_circuits import circuit
from torch import Tensor

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, Pairs
from lensloc.attribution import curves
from lensloc.contrasts.aligning import align
from lensloc.forward.sites import get_site, hook_names
from lensloc.models.adapting import surface
from lensloc.models.surface import opened
from lensloc.results.recovery import Recovery

SITES = ["resid_pre", "resid_post", "attn_out", "mlp_out", "mlp_pre", "mlp_post", "z"]


@pytest.fixture(scope="module")
def double(checkpoints: dict[str, Path], tiny_name: str) -> Any:
    return ll.load_model(checkpoints[tiny_name], backend="transformers", dtype="float64")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return pair_parts.letters()


def found_of(model: Any, pairs: Pairs, sites: Any = SITES, **options: Any) -> ll.PairLocalization:
    return ll.localize_pairs(model, pairs, sites, progress=False, **options)


def ids_of(model: Any, pairs: Pairs) -> list[tuple[list[int], list[int], list[int], list[int]]]:
    """Prompt, corrupted prompt, right and wrong continuation of every pair, as tokens."""
    rows = []
    for pair in align(model, pairs.pairs):
        first, right, wrong = pair.right.first, pair.right, pair.wrong
        prompts = list(right.clean[:first]), list(right.corrupted[:first])
        rows.append((*prompts, list(right.clean[first:]), list(wrong.clean[first:])))
    return rows


# -- the estimate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient_at", ["clean", "corrupted"])
def test_effects_equal_autograd_through_a_forward_pass_by_hand(
    double: Any,
    tiny_name: str,
    checkpoints: dict[str, Path],
    pairs: Pairs,
    gradient_at: Any,
) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name]).double()
    weights = {name: value.detach() for name, value in original.state_dict().items()}
    weights["output"] = original.get_output_embeddings().weight.detach()
    forward = getattr(handwritten, "_" + tiny_name)
    found = found_of(double, pairs, gradient_at=gradient_at)
    expected: dict[str, Tensor] = {}
    metrics = []
    for clean, corrupted, right, wrong in ids_of(double, pairs):
        both = []
        for prompt in (clean, corrupted):
            kept: list[dict[tuple[str, int], Tensor]] = []

            def keep(site: str, layer: int, value: Tensor, kept: Any = kept) -> Tensor:
                value.requires_grad_(True) if value.is_leaf else value.retain_grad()
                kept[-1][site, layer] = value
                return value

            def logits_of(tokens: Tensor, kept: Any = kept, keep: Any = keep) -> Tensor:
                kept.append({})
                return forward(original.config, weights, tokens, keep)

            metric = pair_parts.metric_of(logits_of, prompt, right, wrong)
            metric.backward()
            both.append((kept, float(metric.detach())))
        metrics.append([metric for _, metric in both])
        at, other = (0, 1) if gradient_at == "clean" else (1, 0)
        for run, other_run in zip(both[at][0], both[other][0], strict=True):
            for place, value in run.items():
                away = value.detach() - other_run[place].detach()
                sign = 1 if gradient_at == "clean" else -1
                effect = sign * (away * value.grad)[0].sum(dim=0).flatten()
                site, layer = place
                if site in found:
                    known = expected.setdefault(site, torch.zeros(found[site].shape).double())
                    known[layer] += effect / len(pairs)
    np.testing.assert_allclose(np.array(metrics).T, [found.clean, found.corrupted], atol=1e-5)
    assert set(expected) == set(SITES)
    for site, effects in expected.items():
        scale = float(effects.abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(found[site].score, effects, rtol=1e-4, atol=1e-5 * scale)


def test_error_magnitude_and_heads(double: Any, pairs: Pairs) -> None:
    found = found_of(double, pairs, ["mlp_post", "z", "head"])
    single = [found_of(double, pairs.keep([row]), "mlp_post") for row in range(len(pairs))]
    each = torch.stack([one["mlp_post"].score for one in single])
    torch.testing.assert_close(found["mlp_post"].score, each.mean(0))
    torch.testing.assert_close(found["mlp_post"].error, each.std(0) / len(pairs) ** 0.5)
    assert single[0]["mlp_post"].error.isnan().all()
    # A head's patch moves all dimensions of its z together.
    summed = found["z"].score.unflatten(1, (4, -1)).sum(-1)
    torch.testing.assert_close(found["head"].score, summed)
    assert (found["mlp_post"].magnitude > 0).all()
    assert found.difference == pytest.approx(float((found.clean - found.corrupted).mean()))


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
def test_every_kind_of_model_has_the_same_effects(checkpoints: dict[str, Path]) -> None:
    from kinds import KINDS

    pairs = pair_parts.letters()
    for name in ("gpt2", "neox"):
        models = [
            ll.load_model(checkpoints[name], backend=kind, dtype="float64")  # type: ignore[arg-type]
            for kind in KINDS
        ]
        several = [found_of(model, pairs, [*SITES, "head"]) for model in models]
        for other in several[:-1]:
            for site, effects in several[-1].items():
                scale = float(effects.score.abs().max())
                torch.testing.assert_close(
                    other[site].score, effects.score, rtol=0, atol=1e-4 * scale
                )
        mask = several[0]["mlp_post"].top(k=7)
        prompt = torch.tensor([align(models[0], pairs.pairs)[0].right.clean])
        logits = []
        for model in models:
            with torch.no_grad(), ll.lesion(model, mask, "corrupt", reference=pairs, check=False):
                logits.append(surface(model).logits(prompt))
        for other_logits in logits[1:]:
            torch.testing.assert_close(other_logits, logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("tiny_name", ["llama", "gpt2"], indirect=True)
def test_batches_pads_and_dtype_change_nothing(
    double: Any, tiny_name: str, checkpoints: dict[str, Path], pairs: Pairs
) -> None:
    whole = found_of(double, pairs)
    for size in (1, 4):
        other = found_of(double, pairs, batch_size=size)
        np.testing.assert_allclose(other.clean, whole.clean, atol=1e-6)
        for site in SITES:
            torch.testing.assert_close(other[site].score, whole[site].score, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(other[site].magnitude, whole[site].magnitude)
    # A lesion of the last position makes texts of one length be run by themselves.
    mask = ll.UnitMask("resid_pre", torch.ones(3, 32, dtype=torch.bool))
    with ll.lesion(double, mask, "scale", scale=0.9, positions="last", check=False):
        last = [found_of(double, pairs, batch_size=size)["mlp_post"].score for size in (1, 6)]
    torch.testing.assert_close(last[0], last[1], rtol=1e-5, atol=1e-7)
    single = ll.load_model(checkpoints[tiny_name], backend="transformers")
    for site, effects in found_of(single, pairs).items():
        scale = float(whole[site].score.abs().max())
        torch.testing.assert_close(effects.score, whole[site].score, rtol=0, atol=1e-3 * scale)


def test_the_estimate_is_exact_where_the_metric_is_linear(checkpoints: dict[str, Path]) -> None:
    """Without a last norm, the difference of two logits is linear in what the last block adds."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["gpt2"]).double()
    loaded.transformer.ln_f = torch.nn.Identity()
    model = ll.load_model(
        loaded, tokenizer=transformers.AutoTokenizer.from_pretrained(checkpoints["gpt2"])
    )
    pairs = Pairs.from_texts(["a 1", "x c 1"], ["b 1", "x d 1"], ["Q", "T"], ["q", "u"])
    pairs = _without_space(pairs)
    assert all(len(row[2]) == len(row[3]) == 1 for row in ids_of(model, pairs))
    for site in ("mlp_out", "resid_post", "mlp_post"):
        effects = found_of(model, pairs, site)[site]
        clean = _metrics(model, pairs)
        last = effects.shape[0] - 1
        for units in ([0], [5], [0, 5, 9], list(range(effects.shape[1]))):
            mask = torch.zeros(effects.shape, dtype=torch.bool)
            mask[last, units] = True
            chosen = ll.UnitMask(site, mask)
            with ll.lesion(model, chosen, "corrupt", reference=pairs, check=False):
                lost = (clean - _metrics(model, pairs)).mean()
            assert float(effects.score[mask].sum()) == pytest.approx(lost, abs=1e-8)


def _without_space(pairs: Pairs) -> Pairs:
    """The continuations without a space in front, as one token each."""
    columns = [[getattr(pair, name) for pair in pairs.pairs] for name in ("clean", "corrupted")]
    more = [[getattr(pair, name).strip() for pair in pairs.pairs] for name in ("right", "wrong")]
    return Pairs.from_texts(*columns, *more, separator="")


# -- choosing --------------------------------------------------------------------------------------


def test_selections_know_their_rule(double: Any, pairs: Pairs) -> None:
    found = found_of(double, pairs, ["mlp_post", "resid_post"])
    effects = found["mlp_post"]
    top = effects.top(k=5)
    order = effects.score.flatten().argsort(descending=True, stable=True)[:5]
    assert set(top.mask.flatten().nonzero().squeeze(1).tolist()) == set(order.tolist())
    assert top.rule == ll.SelectionRule("top", k=5, statistic="attribution patching")
    assert top.provenance.selection == "top 5 units by attribution patching"
    assert top.provenance.contrast_hash == pairs.content_hash
    assert pairs.pairs[0].clean in top.selected_on
    absolute = effects.top(percent=10, absolute=True)
    sizes = effects.score.abs()
    assert len(absolute) == sizes.numel() // 10
    assert sizes[absolute.mask].min() >= sizes[~absolute.mask].max()
    assert absolute.rule is not None
    assert absolute.rule.statistic == "|attribution patching|"
    table = effects.to_dataframe(top)
    assert table["score"].tolist() == sorted(table["score"], reverse=True)
    assert len(effects.to_dataframe()) == effects.score.numel()
    assert effects.agreement(effects.score) == pytest.approx(1)
    assert effects.agreement(-effects.score) == pytest.approx(-1)
    with pytest.raises(LensLocError, match="2 sites were localized"):
        found.top(k=1)
    with pytest.raises(LensLocError, match="'head' was not localized"):
        found["head"]
    drawn = ll.plot.layer_heatmap(found, percent=10)
    assert len(drawn.data) >= 1
    assert "sum of all" in found._repr_html_()
    assert top.random_like(0).mask.sum() == 5


# -- a planted circuit -----------------------------------------------------------------------------


def test_a_planted_circuit_is_found_and_suffices(tmp_path: Path) -> None:
    model, pairs, units = circuit(tmp_path)
    found = found_of(model, pairs, "mlp_post")
    effects = found["mlp_post"]
    assert effects.top(k=len(units)).addresses == units
    assert (effects.score.flatten() != 0).sum() == len(units)
    measured = ll.faithfulness(
        model,
        pairs,
        {"pairs": effects, "wrong way round": effects.top(k=3)},
        sizes=[1, 2, len(units), 20],
        n_random=19,
        progress=False,
    )
    kept = measured.curves["pairs"]["faithfulness"].share
    taken = measured.curves["pairs"]["completeness"].share
    assert kept[2:] == pytest.approx([1, 1], abs=1e-4)
    assert taken[2:] == pytest.approx([1, 1], abs=1e-4)
    assert 0 < kept[0] < kept[1] < 1
    assert measured.units_for(0.999) == len(units)
    assert measured.carried == pytest.approx(1, abs=0.3)  # words differ in size, too
    chance = np.array([curve.share[2] for curve in measured.random["faithfulness"]])
    assert np.median(chance) == pytest.approx(0, abs=1e-4)  # most draws miss all three
    assert chance.max() < 0.99
    assert not [note for note in measured.warnings if "no more than random" in note]
    assert [note for note in measured.warnings if "chosen on pairs that the curves" in note]
    # Exact patching agrees.
    single = measured.exact.set_index("address")
    assert set(single.index[single["exact"].abs() > 1e-5]) == set(units)
    assert measured.agreement["pairs"] > 0.9
    assert measured.layers["exact"].abs().idxmax() == 1
    figure = ll.plot.faithfulness(measured)
    assert len(figure.data) > 4
    assert "carried by the site" in measured._repr_html_()
    assert set(measured.table["ranking"]) == {"pairs", "wrong way round", "random"}


# -- curves against lesions ------------------------------------------------------------------------


def test_curves_are_those_of_lesions_by_hand(
    double: Any, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = pairs.keep([0, 1, 2, 4])
    effects = found_of(double, few, "z")["z"]
    monkeypatch.setattr(curves, "_require_carried", lambda *given: None)
    monkeypatch.setattr(curves, "recovery", _any_recovery)
    measured = ll.faithfulness(
        double, few, effects, sizes=[3, 40], n_random=1, n_exact=4, progress=False
    )
    every = torch.ones(effects.shape, dtype=torch.bool)

    def under(mask: Tensor) -> np.ndarray:
        if not mask.any():
            return _metrics(double, few)
        chosen = ll.UnitMask("z", mask)
        with ll.lesion(double, chosen, "corrupt", reference=few, check=False):
            return _metrics(double, few)

    clean, none = under(~every), under(every)
    for number, k in enumerate((3, 40)):
        mask = effects.top(k=k).mask
        share = (under(~mask) - none).mean() / (clean - none).mean()
        assert measured.curves["pairs"]["faithfulness"].share[number] == pytest.approx(share)
        share = (clean - under(mask)).mean() / (clean - none).mean()
        assert measured.curves["pairs"]["completeness"].share[number] == pytest.approx(share)
    for row in measured.exact.itertuples():
        mask = torch.zeros_like(every)
        mask[row.layer, row.unit] = True
        assert row.exact == pytest.approx((clean - under(mask)).mean(), abs=1e-6)


def _turned(pairs: Pairs) -> Pairs:
    return Pairs.from_texts(
        [pair.corrupted for pair in pairs.pairs],
        [pair.clean for pair in pairs.pairs],
        [pair.right for pair in pairs.pairs],
        [pair.wrong for pair in pairs.pairs],
    )


def _any_recovery(curve: str, sizes: Any, scores: Any, clean: Any, none: Any) -> Recovery:
    """Shares, also where a random model carries nothing that is worth a curve."""
    above = scores - none if curve == "faithfulness" else clean - scores
    share = above.mean(axis=1) / (clean - none).mean()
    return Recovery(curve, sizes, share, share, share, float((clean - none).mean()), len(clean))


def _metrics(model: Any, pairs: Pairs) -> np.ndarray:
    seen = surface(model)
    found = []
    for clean, _, right, wrong in ids_of(model, pairs):
        with torch.no_grad():
            found.append(float(pair_parts.metric_of(seen.logits, clean, right, wrong)))
    return np.array(found)


# -- bad input -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(checkpoints: dict[str, Path]) -> Any:
    return ll.load_model(checkpoints["llama"])


def test_pairs_of_unequal_length_are_named_or_left_out(small: Any) -> None:
    given = pair_parts.given()
    with pytest.raises(LensLocError, match=r"^Pair \d: the clean prompt has \d+ tokens but the"):
        found_of(small, given)
    kept = Pairs.from_texts(
        ["a 1", "old village"], ["b 1", "gardener"], ["Q", "Q"], ["R", "R"]
    ).aligned(small)
    assert len(kept) == 1
    assert "1 of 2 pairs of custom was left out" in kept.warnings[0]
    assert "Pair 2: the clean prompt has" in kept.warnings[0]
    assert kept.aligned(small) == kept
    with pytest.raises(LensLocError, match="No pair of texts given in Python can be aligned: Pair"):
        Pairs.from_texts(["old village"], ["gardener"], ["Q"], ["R"]).aligned(small)


def test_bad_requests_are_refused_in_a_sentence(
    small: Any, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = found_of(small, pairs, "mlp_post")["mlp_post"]
    with pytest.raises(LensLocError, match="take head instead"):
        found_of(small, pairs, "attn_first")
    with pytest.raises(LensLocError, match="A batch holds at least one"):
        found_of(small, pairs, batch_size=0)
    with pytest.raises(LensLocError, match=r"sizes are whole numbers .* within 1 to 144"):
        ll.faithfulness(small, pairs, effects, sizes=[5, 5])
    with pytest.raises(LensLocError, match="does not keep scores"):
        ll.faithfulness(small, pairs, ll.UnitMask("mlp_post", effects.top(k=3).mask))
    other = found_of(small, pairs, "resid_post")
    with pytest.raises(LensLocError, match="measure one site at a time"):
        ll.faithfulness(small, pairs, {"a": effects, "b": other})
    with pytest.raises(LensLocError, match="at least two pairs"):
        ll.faithfulness(small, pairs.keep([0]), effects)
    with pytest.raises(LensLocError, match="n_random is at least 0"):
        ll.faithfulness(small, pairs, effects, n_random=-1)
    # The model reads the first token only in a mixture of nothing: no difference at all.
    seen = surface(small)
    points = hook_names(get_site("resid_pre"), small)
    with opened(seen, [(points[0], lambda value: value * 0 + 1.0)]):
        with pytest.raises(LensLocError, match="is the same after clean and corrupted prompts"):
            found_of(small, pairs, "mlp_post")
        with pytest.raises(LensLocError, match="no difference to recover"):
            ll.faithfulness(small, pairs, effects, progress=False)
    monkeypatch.setattr("lensloc.models.quantized.is_quantized", lambda model: True)
    with pytest.raises(LensLocError, match="Attribution patching needs gradients"):
        found_of(small, pairs)


def test_what_the_model_makes_of_the_pairs_is_told(small: Any, pairs: Pairs) -> None:
    found = found_of(small, _turned(pairs) if _better(small, pairs) else pairs, "mlp_post")
    said = " ".join(found.warnings)
    assert "wrong way round" in said or "cannot be said to tell them apart" in said
    assert "There are 6 pairs only" in said
    assert said.split(".")[0] in repr(found)
    assert found["mlp_post"].top(k=2).warnings == found.warnings


def _better(model: Any, pairs: Pairs) -> bool:
    return found_of(model, pairs, "mlp_post").difference > 0


def test_pairs_of_text_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("clean,corrupted,right,wrong\nThe dog,The dogs,barks,bark\nA,A,b,c\n")
    with pytest.raises(LensLocError, match=r"mine.csv, row 3: clean and corrupted are the same"):
        Pairs.from_file(path)
    path.write_text("clean,corrupted,right,wrong\nThe dog,The dogs,barks, barks\n")
    with pytest.raises(LensLocError, match=r"row 2: right and wrong are the same"):
        Pairs.from_file(path)
    path.write_text("clean,corrupted,right,wrong\n")
    with pytest.raises(LensLocError, match="holds no pair"):
        Pairs.from_file(path)
    path.write_text("clean,corrupted,right\nThe dog,The dogs,barks\n")
    with pytest.raises(LensLocError, match="lacks the column 'wrong'"):
        Pairs.from_file(path)
    path.write_text("Clean;corrupted;right;bad;kind\nThe dog;The dogs;barks;bark;n\n")
    found = Pairs.from_file(path, wrong="bad", group="kind", sep=";")
    assert found.groups == {"n": 1}
    assert found.pairs[0].continuations == (" barks", " bark")
    table = found.to_dataframe()
    again = Pairs.from_dataframe(table, name="mine")
    assert again.content_hash == found.content_hash
    lines = tmp_path / "mine.jsonl"
    table.to_json(lines, orient="records", lines=True)
    assert Pairs.from_file(lines).content_hash == found.content_hash
    assert "mine: 1 pair;" in repr(found)
    with pytest.raises(LensLocError, match="no bundled pairs 'irony'"):
        Pairs.bundled("irony")
    with pytest.raises(LensLocError, match=r"1 pair of .* cannot be split"):
        found.split(0)
    with pytest.raises(LensLocError, match="there are 1 clean, 2 corrupted"):
        Pairs.from_texts(["a"], ["b", "c"], ["d"], ["e"])


def test_bundled_pairs() -> None:
    import subprocess
    import sys

    from lensloc.contrasts.bundled import bundled_folder
    from lensloc.vocabulary import BUNDLED_PAIRS

    script = bundled_folder() / "make_pairs.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)
    for name in BUNDLED_PAIRS:
        found = Pairs.bundled(name)
        assert len(found) >= 40
        assert len(set(found.pairs)) == len(found)
        halves = found.split(3)
        assert {pair.place for half in halves for pair in half.pairs} == {
            pair.place for pair in found.pairs
        }
        assert abs(len(halves[0]) - len(halves[1])) <= 1
        balance = found.balance()
        assert abs(balance.differences["words"]) < 0.01
        assert len(found.limited(2)) == 2 * len(found.groups)
    sums = Pairs.bundled("sums")
    for pair in sums.pairs:
        for prompt, more in zip(pair.prompts, pair.continuations, strict=True):
            a, b = prompt.split("is ")[1].split("?")[0].split(" + ")
            assert int(a) + int(b) == int(more)


def test_left_out_is_told_once(small: Any) -> None:
    mixed = Pairs.from_texts(["a 1", "old village"], ["b 1", "gardener"], ["Q", "Q"], ["R", "R"])
    found = found_of(small, mixed.aligned(small), "mlp_post")
    assert sum("left out" in note for note in found.warnings) == 1
    opened_in_vain = ll.lesion(small, found.top(k=1), "corrupt", reference=mixed.aligned(small))
    with pytest.warns(LensLocWarning, match="took no effect"), opened_in_vain:
        pass
