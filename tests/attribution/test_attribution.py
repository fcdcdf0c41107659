"""Attribution against lesions, finite differences and autograd through forward passes by hand."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handwritten
import numpy as np
import pytest
import torch
import transformers
from more_checkpoints import MORE_CONFIGS
from tiny_models import CONFIGS, make_checkpoint
from torch import Tensor

import lensloc as ll
from lensloc import SITES, Contrast, LensLocError, Responses, UnitMask
from lensloc.attribution import attributing, running
from lensloc.attribution.attributing import METHODS, attribute
from lensloc.attribution.result import Attribution
from lensloc.errors import NotFiniteError
from lensloc.forward.sites import get_site, hook_names
from lensloc.lesions.lesioning import open_lesions
from lensloc.models.tokens import token_ids

CONTRAST = Contrast.from_texts(
    {
        "sentences": [
            "the old gardener watered every plant",
            "nobody remembered who had built the bridge",
            "twelve plus nineteen",
        ],
        "nonwords": [
            "glorbix fendal mopi strane",
            "wuggle trisket plonder vash glorbix mopi trine",
        ],
        "unused": ["a text that nobody asked for"],
    },
    target="sentences",
    control="nonwords",
    name="small",
)
SUMMANDS = ("mlp_out", "attn_out", "z", "mlp_post")


@pytest.fixture(scope="module")
def double(checkpoints: dict[str, Path], tiny_name: str, backend: Any) -> Any:
    return ll.load_model(checkpoints[tiny_name], backend=backend, dtype="float64")


@pytest.fixture(scope="module")
def double_gpt2(checkpoints: dict[str, Path]) -> Any:
    return ll.load_model(checkpoints["gpt2"], dtype="float64")


def sites_of(model: Any) -> list[str]:
    return [
        name
        for name, site in SITES.items()
        if not site.is_summary
        and not site.has_one_layer
        and (name != "resid_mid" or "blocks.0.hook_resid_mid" in model.hook_dict)
    ]


def run(model: Any, method: Any = "grad_x_act", site: Any = "mlp_post", **options: Any) -> Any:
    options = {"progress": False, "contrast": CONTRAST} | options
    if method != "integrated_gradients":
        options.pop("n_steps", None)  # which only a path has
    return attribute(model, options.pop("contrast"), method, site, **options)


def mean_log_prob(logits: Tensor, ids: list[int]) -> Tensor:
    """Mean log-probability of tokens 2 to n of one text, given what stands before each."""
    by_position = logits[0, :-1].log_softmax(-1)
    return by_position[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean()


def log_probs(model: Any, contrast: Contrast = CONTRAST) -> Tensor:
    """Mean log-probability of every text, one at a time: [text]."""
    found = []
    for text in contrast.texts:
        ids = token_ids(model, text)
        with torch.no_grad():
            logits = model(torch.tensor([ids]), return_type="logits")
        found.append(mean_log_prob(logits.double(), ids))
    return torch.stack(found)


def difference(values: Tensor, contrast: Contrast = CONTRAST) -> Tensor:
    """Mean over the target's texts less mean over the control's, of [text, ...]."""
    target = torch.tensor([label in contrast.target for label in contrast.labels])
    return values[target].mean(0) - values[~target].mean(0)


def mask_of(found: Attribution, *units: tuple[int, int]) -> UnitMask:
    mask = torch.zeros(found.shape, dtype=torch.bool)
    for layer, unit in units:
        mask[layer, unit] = True
    return UnitMask(found.site, mask)


def some_units(found: Attribution, n: int = 4) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    return [(i % found.shape[0], int(rng.integers(found.shape[1]))) for i in range(n)]


def lesioned(model: Any, mask: UnitMask, mode: Any = "zero", **options: Any) -> Tensor:
    with ll.lesion(model, mask, mode, check=False, **options):
        return log_probs(model)


# -- first order -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tiny_name", "backend"),
    [("llama", "hooked"), ("gpt2", "bridge"), ("neox", "hooked")],
    indirect=True,
)
def test_gradients_equal_central_differences(double: Any, tiny_name: str, backend: str) -> None:
    # transformers' RMSNorm computes in float32, whatever the model's dtype.
    single = tiny_name == "llama" and backend == "bridge"
    step, tolerance = (1e-2, 1e-5) if single else (1e-4, 1e-8)
    for site, found in run(double, site=sites_of(double)).items():
        assert found.score.dtype == torch.float64
        for unit in some_units(found):
            up, down = (
                difference(lesioned(double, mask_of(found, unit), "scale", scale=scale))
                for scale in (1 + step, 1 - step)
            )
            slope = float(up - down) / (2 * step)
            expected = pytest.approx(slope, rel=100 * tolerance, abs=10 * tolerance)
            assert float(found.score[unit]) == expected, site


def test_gradients_equal_autograd_through_a_forward_pass_by_hand(
    double: Any, tiny_name: str, checkpoints: dict[str, Path]
) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name]).double()
    weights = {name: value.detach() for name, value in original.state_dict().items()}
    weights["output"] = original.get_output_embeddings().weight.detach()
    forward = getattr(handwritten, "_" + tiny_name)
    sites = [site for site in sites_of(double) if site != "head"]
    effects: dict[str, list[Tensor]] = {site: [] for site in sites}
    for text in CONTRAST.texts:
        ids = token_ids(double, text)
        gates: dict[tuple[str, int], Tensor] = {}

        def gate(site: str, layer: int, value: Tensor, gates: Any = gates) -> Tensor:
            made = torch.ones(value.shape[2:], dtype=value.dtype, requires_grad=True)
            gates[site, layer] = made
            return value * made

        total = mean_log_prob(forward(original.config, weights, torch.tensor([ids]), gate), ids)
        slopes = dict(zip(gates, torch.autograd.grad(total, list(gates.values())), strict=True))
        for site in sites:
            effects[site].append(torch.stack([slopes[site, i].flatten() for i in range(3)]))
    for site, found in run(double, site=sites).items():
        expected = difference(torch.stack(effects[site]))
        torch.testing.assert_close(
            found.score, expected, rtol=1e-4, atol=float(1e-5 * expected.abs().max())
        )


def test_any_hook_point_of_the_blocks(double_gpt2: Any) -> None:
    site = "ln1.hook_normalized"  # passed three times: for queries, keys and values
    found = run(double_gpt2, site=site)
    assert found.shape == (3, 32)
    up, down = (
        difference(lesioned(double_gpt2, mask_of(found, (1, 7)), "scale", scale=scale))
        for scale in (1 + 1e-4, 1 - 1e-4)
    )
    assert float(found.score[1, 7]) == pytest.approx(float(up - down) / 2e-4, rel=1e-5)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_head_is_the_sum_of_its_dimensions(double: Any, method: str) -> None:
    # A head's gate moves all dimensions of z together, and so does the path of a layer.
    found = run(double, method, ["z", "head"], n_steps=2)
    summed = found["z"].mean_target.unflatten(1, (4, -1)).sum(-1)
    torch.testing.assert_close(found["head"].mean_target, summed)


@pytest.mark.hooked
@pytest.mark.parametrize("name", ["olmo2", "gemma2", "opt", "qwen3", "mixtral"])
def test_both_classes_agree_where_blocks_are_built_otherwise(name: str, tmp_path: Path) -> None:
    """Norms after attention and MLP, soft caps, experts."""
    folder = make_checkpoint(tmp_path / "model", MORE_CONFIGS[name]())
    models = [ll.load_model(folder, backend=backend) for backend in ("hooked", "bridge")]
    sites = [site for site in sites_of(models[0]) if name != "mixtral" or "mlp_p" not in site]
    one, other = (run(model, site=sites) for model in models)
    for site in sites:
        scale = float(one[site].score.abs().max())
        torch.testing.assert_close(one[site].score, other[site].score, rtol=0, atol=1e-4 * scale)


def test_neurons_of_a_mixture_of_experts_are_refused(tmp_path: Path, backend: Any) -> None:
    folder = make_checkpoint(tmp_path / "model", MORE_CONFIGS["mixtral"]())
    with pytest.raises(LensLocError, match="is not defined in it"):
        run(ll.load_model(folder, backend=backend), site="mlp_post")


# -- the path --------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SUMMANDS)
def test_effects_along_the_path_sum_to_that_of_the_layer(double: Any, site: str) -> None:
    found = run(double, "integrated_gradients", site, n_steps=24)
    assert found.gap is not None
    assert float(found.gap.max()) < 1e-3
    intact = log_probs(double)
    for layer in range(3):
        whole = torch.zeros(found.shape, dtype=torch.bool)
        whole[layer] = True
        effect = intact - lesioned(double, UnitMask(site, whole))
        assert float(found.score[layer].sum()) == pytest.approx(float(difference(effect)), abs=1e-3)
        target = float(effect[:3].mean())
        assert float(found.mean_target[layer].sum()) == pytest.approx(target, abs=1e-3)


def test_the_residual_stream_needs_another_baseline_than_zero(
    double: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        from_zero = run(double, "integrated_gradients", "resid_post")
        assert "resid_post miss more than 5 %" in caplog.text
        caplog.clear()
        from_mean = run(double, "integrated_gradients", "resid_post", baseline="mean")
        assert not caplog.text
    assert float(from_mean.gap.max()) < 1e-3 < float(from_zero.gap.min())


def test_first_order_effects_of_a_normalised_output_sum_to_nothing(double: Any) -> None:
    """Scaling all of what the final norm reads changes nothing (but for its epsilon)."""
    found = run(double, site="resid_post")
    assert abs(float(found.score[-1].sum())) < 1e-3 * float(found.score[-1].abs().max())


def test_the_mean_is_over_all_tokens_that_are_read(double: Any) -> None:
    for site in ("resid_post", "head"):
        names = hook_names(get_site(site), double)
        read = []
        for text in CONTRAST.texts:
            with torch.no_grad():
                _, cache = double.run_with_cache(torch.tensor([token_ids(double, text)]))
            read.append(torch.stack([cache[name][0, :-1].flatten(1) for name in names], dim=1))
        tokens = torch.cat(read)  # [token, layer, width]
        given = Responses("z" if site == "head" else site, tokens.mean(0, keepdim=True), ("mean",))
        found = run(double, "ablation_effect", site, baseline="mean", units=None)
        intact = log_probs(double)
        for unit in some_units(found, 3):
            effect = intact - lesioned(double, mask_of(found, unit), "mean", reference=given)
            assert float(found.score[unit]) == pytest.approx(float(difference(effect)), abs=1e-6)
        sizes = tokens.unflatten(2, (4, -1)).norm(dim=-1) if site == "head" else tokens.abs()
        torch.testing.assert_close(found.magnitude, sizes.mean(0), rtol=1e-6, atol=1e-9)
        again = run(double, site=site)
        torch.testing.assert_close(again.magnitude, found.magnitude, rtol=1e-6, atol=1e-9)
        # First order: what goes with the distance from the mean instead of from zero.
        slope = (run(double, site=site, baseline="mean").score - again.score).abs().max()
        assert slope > 1e-4


# -- one unit at a time ----------------------------------------------------------------------------


def test_ablation_effects_equal_lesions(tiny: Any) -> None:
    intact = log_probs(tiny)
    for site, first in run(tiny, site=sites_of(tiny)).items():
        units = some_units(first, 3)
        mask = mask_of(first, *units)
        found = run(tiny, "ablation_effect", site, units=mask)
        assert torch.equal(torch.isfinite(found.score), mask.mask)
        assert torch.equal(torch.isfinite(found.mean_control), mask.mask)
        for unit in units:
            effect = intact - lesioned(tiny, mask_of(found, unit))
            assert float(found.score[unit]) == pytest.approx(float(difference(effect)), abs=1e-5)


def test_what_ablation_costs_is_in_the_log(
    tiny_llama: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(tiny_llama, "ablation_effect", "head")
    assert "switches off 12 units, each over 5 texts" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_units_that_were_not_asked_for(tiny: Any, method: str) -> None:
    everything = run(tiny, method, "head", n_steps=2)
    mask = mask_of(everything, (0, 1), (0, 3), (2, 2))
    found = run(tiny, method, "head", units=mask, n_steps=2)
    torch.testing.assert_close(found.score[mask.mask], everything.score[mask.mask])
    assert bool(found.score[~mask.mask].isnan().all())
    torch.testing.assert_close(found.magnitude, everything.magnitude)
    if method == "integrated_gradients":
        assert found.gap.isnan().tolist() == [False, True, False]
    assert found.top(k=3) == mask
    best = mask_of(found, divmod(int(found.score.nan_to_num(-9).argmax()), 4))
    assert found.top(k=3).resized(k=1) == found.top(k=1) == best
    with pytest.raises(LensLocError, match="only 3 of 12 at head have a score"):
        found.top(k=4)
    assert found.agreement(everything.score) == pytest.approx(1)
    assert found.to_dataframe()["score"].isna().sum() == 9


# -- the three together ----------------------------------------------------------------------------


@pytest.mark.hooked
def test_the_three_agree_where_the_model_is_linear(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["gpt2"], dtype="float64")
    with torch.no_grad():
        model.blocks[1].mlp.W_out *= 1e-5  # so little that what follows bends nowhere
    only = torch.zeros(3, 128, dtype=torch.bool)
    only[1] = True
    first, path, exact = (
        run(model, method, units=UnitMask("mlp_post", only)).score[1] for method in METHODS
    )
    scale = float(exact.abs().max())
    assert scale > 1e-8
    torch.testing.assert_close(first, exact, rtol=0, atol=1e-3 * scale)
    torch.testing.assert_close(path, exact, rtol=0, atol=1e-3 * scale)


PLANTED = Contrast.from_texts(
    {
        "sun": [" sun" * 6, "the sun" + " sun" * 4, "old" + " sun" * 5],
        "vash": [" vash" * 6, "the vash" + " vash" * 4, "old" + " vash" * 5],
    },
    target="sun",
    control="vash",
)


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_unit_comes_first(checkpoints: dict[str, Path], method: str) -> None:
    """One neuron is on in the target's texts only, and there speaks for the token that comes."""
    model = ll.load_model(checkpoints["gpt2"])
    layer, neuron, read = model.blocks[2].mlp, 77, []
    handle = layer.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0][0, 1:-1]))
    log_probs(model, PLANTED)
    handle.remove()
    on, off = torch.cat(read[:3]).mean(0), torch.cat(read[3:]).mean(0)
    direction = 6 * (on - off) / (on - off).square().sum()
    token = token_ids(model, PLANTED.texts[0])[-1]
    assert token_ids(model, PLANTED.texts[1])[-1] == token
    with torch.no_grad():
        layer.W_in[:, neuron] = direction
        layer.b_in[neuron] = -direction @ (on + off) / 2
        layer.W_out[neuron] = 2 * model.W_U[:, token] / model.W_U[:, token].norm()
    last = torch.zeros(3, 128, dtype=torch.bool)
    last[2] = True
    # The gradients choose among all units, trying each one only among its layer's, for its cost.
    few = UnitMask("mlp_post", last) if method == "ablation_effect" else None
    found = run(model, method, contrast=PLANTED, units=few)
    assert found.top(k=1).addresses == ["L2.mlp_post.77"]
    assert float(found.score[2, neuron]) > 1.5 * float(
        found.score.nan_to_num(-9).flatten().sort().values[-2]
    )


# -- nothing about a batch, and nothing left behind ------------------------------------------------


def shuffled(contrast: Contrast) -> Contrast:
    return contrast.keep({name: range(len(t))[::-1] for name, t in contrast.conditions.items()})


@pytest.mark.parametrize(
    ("method", "baseline"), list(zip(METHODS, ["zero", "mean", "mean"], strict=True))
)
def test_batches_and_order_change_nothing(tiny: Any, method: str, baseline: str) -> None:
    exact = method == "ablation_effect"
    always = {"site": "head" if exact else "attn_out", "baseline": baseline, "n_steps": 2}
    alone = run(tiny, method, **always, batch_size=1)
    # As many digits as a forward pass in float32 has, whose sums depend on the batch's shape.
    tolerance = 1e-6 if exact else 3e-6 * float(alone.mean_target.abs().max())
    for options in ({"batch_size": 2}, {"contrast": shuffled(CONTRAST)}):
        found = run(tiny, method, **always, **options)
        torch.testing.assert_close(found.score, alone.score, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.magnitude, alone.magnitude, rtol=1e-5, atol=0)


def test_batches_and_order_change_nothing_in_double_precision(double: Any) -> None:
    if double.cfg.normalization_type == "RMS" and hasattr(double, "original_model"):
        pytest.skip("transformers' RMSNorm computes in float32, whatever the model's dtype")
    sites = sites_of(double)
    alone = run(double, site=sites, batch_size=1)
    together = run(double, site=sites, contrast=shuffled(CONTRAST))
    for site in sites:
        torch.testing.assert_close(together[site].score, alone[site].score, rtol=1e-9, atol=1e-12)
    one = run(double, site="resid_mid" if "resid_mid" in sites else "z")
    torch.testing.assert_close(one.score, alone[one.site].score, rtol=1e-9, atol=1e-12)


def test_a_batch_too_large_for_the_memory_is_halved(
    double_gpt2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(double_gpt2)
    whole = running.Runner._log_prob

    def fail(self: Any, logits: Tensor, rows: list[int]) -> Tensor:
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return whole(self, logits, rows)

    monkeypatch.setattr(running.Runner, "_log_prob", fail)
    found = run(double_gpt2)
    torch.testing.assert_close(found.score, expected.score, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.magnitude, expected.magnitude, rtol=1e-9, atol=1e-12)


def state(model: Any) -> Any:
    points = {id(point): point for point in model.hook_dict.values()}.values()
    return (
        [weights.requires_grad for weights in model.parameters()],
        [weights.grad for weights in model.parameters()],
        model.training,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        [list(point.fwd_hooks) + list(point.bwd_hooks) for point in points],
        sum(len(point._forward_hooks) + len(point._backward_hooks) for point in points),
    )


@pytest.fixture(scope="module")
def training(checkpoints: dict[str, Path], tiny_name: str, backend: Any) -> Any:
    model = ll.load_model(checkpoints[tiny_name], backend=backend).train()
    weights = list(model.parameters())
    for each in weights:
        each.requires_grad_(True)
    weights[1].requires_grad_(False)
    weights[0].grad = torch.ones_like(weights[0])
    return model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_nothing_is_left_behind(training: Any, method: str, error: Any) -> None:
    model, weights = training, list(training.parameters())
    kept = [each.detach().clone() for each in weights]
    before = state(model)

    def stop(activation: Tensor, hook: Any) -> None:
        if error is not None and activation.requires_grad == (method != "ablation_effect"):
            raise error

    with model.hooks(fwd_hooks=[("blocks.2.hook_mlp_out", stop)]):
        if error is None:
            run(model, method, "head", n_steps=2)
        else:
            with pytest.raises(error):
                run(model, method, "head", n_steps=2)
    after = state(model)
    assert before[1][0] is after[1][0]
    assert all(grad is None for grad in after[1][1:])
    assert torch.equal(weights[0].grad, torch.ones_like(weights[0]))
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    assert all(torch.equal(a, b) for a, b in zip(kept, weights, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_where_the_caller_takes_no_gradients(tiny: Any, method: str) -> None:
    expected = run(tiny, method, "head", n_steps=2).score
    with torch.no_grad():
        assert torch.equal(run(tiny, method, "head", n_steps=2).score, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(run(tiny, method, "head", n_steps=2).score, expected)


def test_open_lesions_stay_in_force(tiny: Any) -> None:
    mask = mask_of(run(tiny, site="mlp_post"), (1, 3), (1, 4))
    with ll.lesion(tiny, mask, check=False):
        found = run(tiny, site="mlp_post")
        assert len(open_lesions(tiny)) == 1
    assert found.score[1, 3:5].tolist() == [0, 0]
    assert found.provenance.lesion == "zero of 2 units at mlp_post"
    assert open_lesions(tiny) == ()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoints: dict[str, Path], tiny_name: str, dtype: Any) -> None:
    exact = run(ll.load_model(checkpoints[tiny_name]), site="mlp_post")
    half = run(ll.load_model(checkpoints[tiny_name], dtype=dtype), site="mlp_post")
    assert half.score.dtype == torch.float64
    assert half.agreement(exact.score) > 0.9


# -- results ---------------------------------------------------------------------------------------


def test_what_is_attributed(tiny: Any) -> None:
    found = run(tiny, site=["resid_post", "head"])
    assert list(found) == ["resid_post", "head"]
    assert isinstance(run(tiny, site=["head"]), dict)
    one = found["head"]
    assert (one.n_target, one.n_control) == (3, 2)
    assert torch.equal(one.score, one.mean_target - one.mean_control)
    made = one.provenance
    assert made.protocol == "attribution by grad_x_act, baseline zero"
    assert (made.site, made.n_target, made.contrast) == ("head", 3, "small")
    assert made.contrast_hash == CONTRAST.content_hash
    assert "12 of 3x4 units at head by grad_x_act" in repr(one)
    few = run(tiny, site="head", limit=1)
    short = CONTRAST.keep({name: [0] for name in CONTRAST.conditions})
    assert torch.equal(few.score, run(tiny, site="head", contrast=short).score)
    assert (few.n_target, few.n_control) == (1, 1)
    cut = run(tiny, site="head", max_tokens=4)
    assert cut.provenance.max_tokens == 4
    assert not torch.equal(cut.score, one.score)


def test_several_conditions_on_a_side_count_by_text(tiny_llama: Any) -> None:
    joined = {name: CONTRAST.conditions[name] for name in ("sentences", "nonwords", "unused")}
    many = Contrast.from_texts(joined, target=["sentences", "unused"], control="nonwords")
    found = run(tiny_llama, contrast=many)
    alone = run(tiny_llama, contrast=CONTRAST.with_roles(target="unused", control="nonwords"))
    expected = (3 * run(tiny_llama).mean_target + alone.mean_target) / 4
    torch.testing.assert_close(found.mean_target, expected, rtol=1e-5, atol=1e-8)


def test_selecting_and_reading(tiny_llama: Any) -> None:
    found = run(tiny_llama, site="mlp_post")
    best = found.top(k=5)
    cutoff = found.score.flatten().sort(descending=True).values[4]
    assert torch.equal(best.mask, found.score >= cutoff)
    assert best.provenance.selection == "top 5 units"
    assert best.resized(k=9) == found.top(k=9)
    assert len(found.top(percent=2.5)) == 3  # of 144, truncated
    assert torch.equal(best.magnitude, found.magnitude)
    for bad in ({}, {"k": 0}, {"percent": 101.0}, {"k": 145}):
        with pytest.raises(LensLocError):
            found.top(**bad)
    table = found.to_dataframe(best)
    assert table["score"].is_monotonic_decreasing
    assert sorted(table["address"]) == sorted(best.addresses)
    assert list(table) == [
        *("address", "site", "layer", "unit"),
        *("score", "mean_target", "mean_control", "magnitude"),
    ]
    assert len(found.to_dataframe()) == 144
    with pytest.raises(LensLocError, match="The mask is of z, these effects are of mlp_post"):
        found.to_dataframe(mask_of(run(tiny_llama, site="z"), (0, 0)))
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    ties = Attribution("head", "x", "zero", zeros, zeros, zeros, 1, 1, zeros)
    assert ties.top(k=2).addresses == ["L0.head.0", "L0.head.1"]


def test_agreement(tiny_llama: Any) -> None:
    found = run(tiny_llama, site="mlp_post")
    assert found.agreement(found.score.exp().float()) == pytest.approx(1)
    assert found.agreement(-found.score) == pytest.approx(-1)
    assert found.agreement(-found.score, absolute=True) == pytest.approx(1)
    t = ll.localize(tiny_llama, CONTRAST, sites=["mlp_post"], progress=False)["mlp_post"].t
    assert -1 < found.agreement(t) < 1
    for bad, message in (
        (t[:2], "The scores are of 3x48 units, the other values of 2x48"),
        (torch.ones_like(t), "a rank correlation needs three that differ"),
        (torch.full_like(t, torch.nan), "0 units at mlp_post are finite"),
    ):
        with pytest.raises(LensLocError, match=message):
            found.agreement(bad)


# -- bad input -------------------------------------------------------------------------------------


def test_bad_input_is_one_sentence(tiny_llama: Any, checkpoints: dict[str, Path]) -> None:
    found = run(tiny_llama, site="head")
    one_token = Contrast.from_texts({"a": ["the sun", "x"], "b": ["vash"]}, target="a", control="b")
    long = Contrast.from_texts({"a": ["sun " * 200], "b": ["vash vash"]}, target="a", control="b")
    check = attributing._require_arguments
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("no method 'saliency'; there are grad_x_act", lambda: check("saliency", "zero", None, 1)),
        ("no baseline 'median'", lambda: check("grad_x_act", "median", None, 1)),
        ("n_steps=0 has none", lambda: run(tiny_llama, "integrated_gradients", n_steps=0)),
        ("at least 1 text per condition; 0 is not", lambda: run(tiny_llama, limit=0)),
        ("A batch holds at least one text", lambda: run(tiny_llama, batch_size=0)),
        ("There is no site 'nowhere'", lambda: run(tiny_llama, site="nowhere")),
        ("No site was named", lambda: run(tiny_llama, site=[])),
        ("Text 2 of the condition 'a' .'x'. has one", lambda: run(tiny_llama, contrast=one_token)),
        ("context window is 96", lambda: run(tiny_llama, contrast=long)),
        (
            "units are of head, but effects were asked for at z, head",
            lambda: run(tiny_llama, site=["z", "head"], units=mask_of(found, (0, 0))),
        ),
        ("units holds no unit", lambda: run(tiny_llama, site="head", units=mask_of(found))),
        (
            "does not fit",
            lambda: run(tiny_llama, site="z", units=UnitMask("z", torch.ones(4, 32) > 0)),
        ),
        *(
            (
                "does not fit",
                lambda method=method: run(
                    tiny_llama, method, "z", units=UnitMask("z", torch.ones(3, 31) > 0)
                ),
            )
            for method in METHODS
        ),
    ]
    for message, make in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert str(caught.value).rstrip().endswith(".")
    assert run(tiny_llama, contrast=long, truncate=True).n_target == 1


def test_a_site_that_the_model_lacks(checkpoints: dict[str, Path], backend: Any) -> None:
    model = ll.load_model(checkpoints["neox"], backend=backend)
    with pytest.raises(LensLocError, match="hook_resid_mid"):
        run(model, site="resid_mid")


def test_a_model_that_is_not_causal(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ll.load_model(checkpoints["gpt2"])
    monkeypatch.setattr(model.cfg, "attention_dir", "bidirectional")
    with pytest.raises(LensLocError, match="in both directions"):
        run(model)


def test_numbers_read_off_attention_patterns_are_refused(tiny_llama: Any) -> None:
    for name in [name for name, site in SITES.items() if site.is_summary]:
        with pytest.raises(LensLocError, match="computed from attention patterns"):
            run(tiny_llama, site=name)


def test_effects_that_cannot_be_found(tiny_llama: Any) -> None:
    last = "blocks.2.hook_resid_post"
    for name in ("blocks.0.hook_resid_post", last):
        with (
            tiny_llama.hooks(fwd_hooks=[(name, lambda activation, hook: activation.detach())]),
            pytest.raises(LensLocError, match="does not reach the model's logits"),
        ):
            run(tiny_llama, site="mlp_out")
    for method in METHODS:
        with (
            tiny_llama.hooks(fwd_hooks=[(last, lambda activation, hook: activation * torch.inf)]),
            pytest.raises(NotFiniteError, match=r"^Token 2 of .* of text \d of the condition"),
        ):
            run(tiny_llama, method, "head")


def test_a_copy_of_a_model_gives_the_same(tiny_llama: Any) -> None:
    assert torch.equal(run(copy.deepcopy(tiny_llama)).score, run(tiny_llama).score)


def test_architectures_are_those_written_by_hand() -> None:
    assert set(CONFIGS) == {"llama", "gpt2", "neox"}
