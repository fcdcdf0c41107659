"""Lesions against forward passes written by hand, in both model classes."""

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handwritten
import numpy as np
import pair_parts
import pytest
import torch
import transformers
from more_checkpoints import MORE_CONFIGS
from tiny_models import make_checkpoint
from torch import Tensor

import lensloc as ll
from lensloc import Contrast, LensLocError, LensLocWarning, Pairs, Responses, UnitMask, lesion
from lensloc.contrasts.aligning import align
from lensloc.forward.sites import SITES, get_site, hook_names, shape
from lensloc.lesions.lesioning import Lesion, open_lesions
from lensloc.models import describe
from lensloc.vocabulary import TASK_MODES

LESIONED = [n for n, site in SITES.items() if not site.is_summary and not site.has_one_layer]
SEED = 3
TOKENS = torch.randint(0, 320, (3, 11), generator=torch.Generator().manual_seed(SEED))


@pytest.fixture(scope="module")
def originals(checkpoints: dict[str, Path]) -> dict[str, Any]:
    load = transformers.AutoModelForCausalLM.from_pretrained
    return {name: load(folder).eval() for name, folder in checkpoints.items()}


def has(model: Any, site: str) -> bool:
    return site != "resid_mid" or "blocks.0.hook_resid_mid" in model.hook_dict


def random_mask(
    model: Any,
    site: str,
    *,
    share: float = 0.3,
    seed: int = SEED,
    size: tuple[int, int] | None = None,
) -> UnitMask:
    size = size or size_of(model, site)
    chosen = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share
    chosen[1:, :2] = True
    chosen[0] = False  # a layer without units
    return UnitMask(site, chosen)


def size_of(model: Any, site: str) -> tuple[int, int]:
    # A bridge's configuration does not say how wide its MLPs are; those of the tests are alike.
    widths = {"LlamaForCausalLM": 48, "GPT2LMHeadModel": 128, "GPTNeoXForCausalLM": 48}
    return shape(get_site(site), model) or (3, widths[describe(model).architecture])


def reference(model: Any, site: str, n: int = 7) -> Responses:
    size = size_of(model, site)
    values = torch.randn(n, *size, generator=torch.Generator().manual_seed(5)) * 2
    return Responses(site, values.abs() if site == "head" else values, ("x",) * n)


def logits_of(model: Any, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        return model(tokens, return_type="logits").clone()


def edit_by_hand(mask: UnitMask, replace: Callable[[int, Tensor, Tensor], Tensor]) -> Any:
    """An edit that replaces the masked units of [batch, pos, unit]; heads as whole rows of z."""
    place = "z" if mask.site == "head" else mask.site
    inputs: dict[int, Tensor] = {}

    def edit(site: str, layer: int, value: Tensor) -> Tensor:
        if site == "resid_pre":
            inputs[layer] = value
        if site != place:
            return value
        units = mask.mask[layer]
        heads = mask.site == "head"
        flat = value if heads else value.reshape(*value.shape[:2], -1)
        new = replace(layer, flat, inputs[layer])
        chosen = units[:, None] if heads else units
        return torch.where(chosen, new, flat).reshape(value.shape)

    return edit


def expected_and_options(
    model: Any, mask: UnitMask, mode: str
) -> Iterator[tuple[dict[str, Any], Callable[[int, Tensor, Tensor], Tensor]]]:
    """Every way to ask for a mode, beside what it should put in place of [batch, pos, unit]."""
    heads = mask.site == "head"
    if mode == "zero":
        yield {}, lambda layer, value, block_input: torch.zeros_like(value)
    elif mode == "scale":
        for scale in (0.25, -1.0, 3.0):
            yield {"scale": scale}, lambda layer, value, block_input, s=scale: value * s
    elif mode == "write":
        yield {}, lambda layer, value, block_input: block_input
    elif mode in ("mean", "resample"):
        given = reference(model, "z" if heads else mask.site)
        row = int(np.random.default_rng(11).integers(len(given.values)))
        summary = given.values.double().mean(0).float() if mode == "mean" else given.values[row]
        options = {"reference": given} | ({"seed": 11} if mode == "resample" else {})
        if heads:
            summary = summary.unflatten(-1, (4, -1))
        yield options, lambda layer, value, block_input: summary[layer].expand(value.shape)
    else:
        given = reference(model, mask.site)
        quantiles = np.quantile(given.values.double().numpy(), 0.9, axis=0)
        for options, found in (
            ({"value": 1.5}, torch.full(mask.shape, 1.5)),
            ({"value": given.values[0]}, given.values[0]),
            ({"quantile": 0.9, "reference": given}, torch.from_numpy(quantiles).float()),
        ):

            def clamp(layer: int, value: Tensor, block_input: Tensor, to: Tensor = found) -> Tensor:
                if heads:
                    return value / value.norm(dim=-1, keepdim=True) * to[layer][:, None]
                return to[layer].expand(value.shape)

            yield options, clamp


@pytest.mark.parametrize("mode", TASK_MODES)
@pytest.mark.parametrize("site", LESIONED)
def test_logits_equal_a_forward_pass_by_hand(
    tiny: Any, tiny_name: str, originals: dict[str, Any], site: str, mode: Any
) -> None:
    if not has(tiny, site):
        pytest.skip("a parallel block has no middle")
    mask = random_mask(tiny, site)
    if mode == "write" and site not in ("resid_mid", "resid_post"):
        with pytest.raises(LensLocError, match=f"resid_mid and resid_post, not at {site}"):
            lesion(tiny, mask, mode)
        return
    before = logits_of(tiny)
    for options, replace in expected_and_options(tiny, mask, mode):
        with lesion(tiny, mask, mode, **options) as opened:
            lesioned = logits_of(tiny)
        expected = handwritten.logits(originals[tiny_name], TOKENS, edit_by_hand(mask, replace))
        torch.testing.assert_close(lesioned, expected, rtol=1e-4, atol=2e-4)
        assert (lesioned - before).abs().max() > 1e-3
        assert opened.effect.took_effect
        # Layer 0 holds no unit; the others fire once per forward pass.
        names = hook_names(get_site(site), tiny)
        assert opened.effect.fired == {name: 1 for name in names[1:]}
        assert torch.equal(logits_of(tiny), before)
    assert open_lesions(tiny) == ()


def test_the_last_position_only(tiny: Any, tiny_name: str, originals: dict[str, Any]) -> None:
    mask = random_mask(tiny, "resid_post")

    def edit(site: str, layer: int, value: Tensor) -> Tensor:
        if site != "resid_post":
            return value
        edited = value.clone()
        edited[:, -1, mask.mask[layer]] = 0
        return edited

    with lesion(tiny, mask, positions="last"):
        lesioned = logits_of(tiny)
    expected = handwritten.logits(originals[tiny_name], TOKENS, edit)
    torch.testing.assert_close(lesioned, expected, rtol=1e-4, atol=2e-4)


def test_several_sites_at_once_and_nested_are_the_same(tiny: Any) -> None:
    masks = [random_mask(tiny, site) for site in ("resid_post", "mlp_post", "head", "z")]
    with lesion(tiny, masks):
        together = logits_of(tiny)
    with (
        lesion(tiny, masks[0]),
        lesion(tiny, masks[1]),
        lesion(tiny, masks[2]),
        lesion(tiny, masks[3]),
    ):
        assert len(open_lesions(tiny)) == 4
        nested = logits_of(tiny)
    assert torch.equal(together, nested)


def test_nesting_applies_the_outer_lesion_first(tiny: Any, tiny_name: str, originals: Any) -> None:
    mask = random_mask(tiny, "mlp_out")
    with lesion(tiny, mask, "clamp", value=2.0), lesion(tiny, mask, "scale", scale=3.0):
        found = logits_of(tiny)
    by_hand = edit_by_hand(mask, lambda layer, value, block_input: torch.full_like(value, 6.0))
    expected = handwritten.logits(originals[tiny_name], TOKENS, by_hand)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)


# -- what happens inside -------------------------------------------------------------------------


def test_caches_and_hooks_inside_see_lesioned_values(tiny: Any) -> None:
    mask = random_mask(tiny, "mlp_out")
    name = hook_names(get_site("mlp_out"), tiny)[2]
    seen = []

    def look(activation: Tensor, hook: Any) -> None:
        seen.append(activation[..., mask.mask[2]].clone())

    with lesion(tiny, mask), torch.no_grad():
        expected = logits_of(tiny)
        everything, cache = tiny.run_with_cache(TOKENS)  # unfiltered
        assert torch.equal(everything, expected)
        assert (cache[name][..., mask.mask[2]] == 0).all()
        hooked = tiny.run_with_hooks(TOKENS, fwd_hooks=[(name, look)])
        assert torch.equal(hooked, expected)
        with tiny.hooks(fwd_hooks=[(name, look)]):
            assert torch.equal(logits_of(tiny), expected)
        generated = generate(tiny)
        tiny.reset_hooks()  # permanent ones stay, and ours are
        assert torch.equal(logits_of(tiny), expected)
        assert torch.equal(generate(tiny), generated)
    assert len(seen) == 2
    assert all((found == 0).all() for found in seen)


def generate(model: Any, *, cache: bool = True, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        return model.generate(
            tokens,
            max_new_tokens=8,
            do_sample=False,
            stop_at_eos=False,
            use_past_kv_cache=cache,
            return_type="tokens",
            verbose=False,
        )


@pytest.mark.parametrize("mode", ["zero", "scale", "clamp", "write"])
def test_generation_with_the_cache_equals_generation_without(tiny: Any, mode: Any) -> None:
    mask = random_mask(tiny, "resid_post", share=0.2)
    options = {"scale": {"scale": -2.0}, "clamp": {"value": 3.0}}.get(mode, {})
    before = generate(tiny)
    with lesion(tiny, mask, mode, **options) as opened:
        with_cache = generate(tiny)
        assert set(opened.effect.fired.values()) == {8}
        without = generate(tiny, cache=False)
        greedy = TOKENS
        for _ in range(8):
            greedy = torch.cat([greedy, logits_of(tiny, greedy)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(with_cache, without)
    assert torch.equal(with_cache, greedy)
    assert not torch.equal(with_cache, before)
    assert torch.equal(generate(tiny), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_exception_leaves_the_model_as_it_was(tiny: Any, error: type[BaseException]) -> None:
    before = logits_of(tiny)
    hooks = {name: list(point.fwd_hooks) for name, point in tiny.hook_dict.items()}

    def stop(activation: Tensor, hook: Any) -> None:
        raise error

    name = hook_names(get_site("mlp_out"), tiny)[2]
    with pytest.raises(error), lesion(tiny, random_mask(tiny, "resid_post"), "write"):
        tiny.run_with_hooks(TOKENS, fwd_hooks=[(name, stop)])
    assert torch.equal(logits_of(tiny), before)
    assert {name: list(point.fwd_hooks) for name, point in tiny.hook_dict.items()} == hooks
    assert not any(point._forward_hooks for point in tiny.hook_dict.values())


def test_a_users_own_hooks_stay(tiny_llama: Any) -> None:
    counted = []
    name = "blocks.1.hook_resid_post"
    with tiny_llama.hooks(fwd_hooks=[(name, lambda activation, hook: counted.append(1))]):
        with lesion(tiny_llama, random_mask(tiny_llama, "resid_post"), check=False):
            logits_of(tiny_llama)
        logits_of(tiny_llama)
    assert len(counted) == 2


def test_weights_are_not_touched_and_a_lesion_can_be_opened_again(tiny: Any) -> None:
    before = {name: value.clone() for name, value in tiny.named_parameters()}
    again = lesion(tiny, random_mask(tiny, "mlp_post"))
    outcomes = []
    for _ in range(2):
        with again:
            outcomes.append(logits_of(tiny))
            with pytest.raises(LensLocError, match="open already"):
                again.__enter__()
    assert torch.equal(*outcomes)
    for name, value in tiny.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoints: dict[str, Path], backend: Any, dtype: Any) -> None:
    model = ll.load_model(checkpoints["llama"], dtype=dtype, backend=backend)
    mask = random_mask(model, "resid_post")
    with lesion(model, mask, "clamp", value=1.5), torch.no_grad():
        logits, cache = model.run_with_cache(TOKENS)
    found = cache[hook_names(get_site("resid_post"), model)[1]]
    assert found.dtype == logits.dtype == getattr(torch, dtype)
    assert (found[..., mask.mask[1]] == 1.5).all()


def test_autocast_inference_mode_and_gradients(tiny: Any) -> None:
    mask = random_mask(tiny, "mlp_post")
    given = reference(tiny, "mlp_post")
    with lesion(tiny, mask, "mean", reference=given):
        expected = logits_of(tiny)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (logits_of(tiny).float() - expected).abs().max() < 1
    with torch.inference_mode():
        opened = lesion(tiny, mask, "mean", reference=given)
        with opened:
            assert torch.equal(tiny(TOKENS, return_type="logits"), expected)
    name = hook_names(get_site("mlp_post"), tiny)[1]
    gradients: dict[str, Tensor] = {}
    with opened:  # made under inference_mode, used where gradients are
        kept = [(name, lambda value, hook: value.retain_grad() or gradients.update(at=value))]
        with tiny.hooks(fwd_hooks=kept):
            tiny(TOKENS, return_type="logits").sum().backward()
    assert gradients["at"].grad is not None
    tiny.zero_grad()


def test_a_training_model_stays_in_training_mode(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["gpt2"]).train()
    with lesion(model, random_mask(model, "mlp_out")):
        model(TOKENS)
    assert model.training


# -- references ----------------------------------------------------------------------------------


def test_a_contrast_as_reference(tiny: Any, small_contrast: Contrast) -> None:
    mask = random_mask(tiny, "mlp_post")
    texts = small_contrast.texts
    captured = ll.capture(
        tiny, texts, small_contrast.labels, ["mlp_post", "z"], pooling="mean", progress=False
    )
    for site, mode in (("mlp_post", "mean"), ("head", "mean"), ("mlp_post", "resample")):
        mask = random_mask(tiny, site)
        with lesion(tiny, mask, mode, reference=small_contrast):  # type: ignore[arg-type]
            found = logits_of(tiny)
        with lesion(tiny, mask, mode, reference=captured.responses):  # type: ignore[arg-type]
            assert torch.equal(logits_of(tiny), found)


def test_seeds_of_resampling(tiny_llama: Any) -> None:
    mask = random_mask(tiny_llama, "resid_post")
    given = reference(tiny_llama, "resid_post", n=50)

    def resampled(seed: int) -> Tensor:
        with lesion(tiny_llama, mask, "resample", reference=given, seed=seed):
            return logits_of(tiny_llama)

    assert torch.equal(resampled(1), resampled(1))
    assert len({tuple(resampled(seed).flatten().tolist()) for seed in range(6)}) > 3


# -- a value for every unit ----------------------------------------------------------------------


def values_of(mask: UnitMask, seed: int = 9) -> Tensor:
    return torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed)).abs() + 0.5


@pytest.mark.parametrize("site", ["mlp_post", "resid_post", "head"])
def test_every_unit_is_clamped_to_its_own_value(tiny: Any, site: str) -> None:
    mask = random_mask(tiny, site)
    values = values_of(mask)
    values[~mask.mask] = torch.nan
    place = "z" if site == "head" else site
    names = hook_names(get_site(place), tiny)
    with lesion(tiny, mask, "clamp", value=values), torch.no_grad():
        _, cache = tiny.run_with_cache(TOKENS)
    for layer in (1, 2):
        found = cache[names[layer]]
        if site == "head":
            found = found.reshape(*found.shape[:2], 4, -1).norm(dim=-1)
        units = mask.mask[layer]
        expected = values[layer, units].expand(*found.shape[:2], -1)
        torch.testing.assert_close(found[..., units], expected)
    with lesion(tiny, mask, "clamp", value=2.0):
        alike = logits_of(tiny)
    with lesion(tiny, mask, "clamp", value=torch.full(mask.shape, 2.0, dtype=torch.float64)):
        assert torch.equal(logits_of(tiny), alike)


def test_settings_tell_values_apart_but_not_those_of_other_units(tiny_llama: Any) -> None:
    mask = random_mask(tiny_llama, "mlp_post")
    values = values_of(mask)
    elsewhere, other = values.clone(), values.clone()
    elsewhere[~mask.mask] = torch.inf
    layer, unit = mask.mask.nonzero()[5].tolist()
    other[layer, unit] += 1e-3
    settings = [
        lesion(tiny_llama, mask, "clamp", value=value).settings
        for value in (values, elsewhere, values.double(), other, 1.0)
    ]
    assert settings[0] == settings[1] == settings[2]
    assert settings[0] != settings[3]
    assert settings[0] != settings[4]
    assert settings[4]["value"] == 1.0
    turned = UnitMask("mlp_post", mask.mask.flip(1))
    same = values.clone()
    same[turned.mask] = values[mask.mask]
    assert lesion(tiny_llama, turned, "clamp", value=same).settings != settings[0]


def test_values_that_do_not_fit_are_refused(tiny_llama: Any) -> None:
    mask = random_mask(tiny_llama, "mlp_post")
    values = values_of(mask)
    layer, unit = mask.mask.nonzero()[3].tolist()
    cases: list[tuple[str, Callable[[], Lesion]]] = [
        (
            "value has the shape 3x47, but the mask 3x48; give one number",
            lambda: lesion(tiny_llama, mask, "clamp", value=values[:, 1:]),
        ),
        (
            "value has the shape 3x48, but the mask 3x48 and 3x48",
            lambda: lesion(tiny_llama, [mask, mask], "clamp", value=values),
        ),
        ("mode='scale' takes no value", lambda: lesion(tiny_llama, mask, "scale", value=values)),
        (
            "either value, or quantile",
            lambda: lesion(
                tiny_llama,
                mask,
                "clamp",
                value=values,
                quantile=0.5,
                reference=reference(tiny_llama, "mlp_post"),
            ),
        ),
    ]
    for number in (torch.nan, torch.inf, -torch.inf):
        wrong = values.clone()
        wrong[layer, unit] = number
        cases.append(
            (
                f"value must be numbers; that of the unit L{layer}.mlp_post.{unit} is {number}",
                lambda wrong=wrong: lesion(tiny_llama, mask, "clamp", value=wrong),  # type: ignore[misc]
            )
        )
    for message, make in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")


# -- did it do anything? -------------------------------------------------------------------------


def test_a_lesion_that_never_fired_warns(tiny: Any) -> None:
    with (
        pytest.warns(LensLocWarning, match="its hooks never fired"),
        lesion(tiny, random_mask(tiny, "mlp_out")) as opened,
    ):
        pass
    assert not opened.effect.took_effect


def test_a_lesion_that_changes_nothing_warns(tiny: Any) -> None:
    with (
        pytest.warns(LensLocWarning, match="changed no activation"),
        lesion(tiny, random_mask(tiny, "mlp_out"), "scale", scale=1.0) as opened,
    ):
        logits_of(tiny)
    assert opened.effect.fired
    assert not opened.effect.took_effect


def test_a_lesion_that_moves_no_logit_warns(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        model.blocks[2].mlp.W_out.zero_()
    mask = UnitMask.from_addresses(["L2.mlp_post.3"], (3, 48))
    with (
        pytest.warns(LensLocWarning, match="moved no logit of the probe"),
        lesion(model, mask) as opened,
    ):
        logits_of(model)
    assert opened.effect.changed
    assert opened.effect.moved == 0
    with warnings.catch_warnings(), lesion(model, mask, check=False) as opened:
        logits_of(model)
    assert opened.effect.moved is None


def test_the_probe_of_one_lesion_counts_in_no_other(tiny: Any) -> None:
    outer, inner = (lesion(tiny, random_mask(tiny, site)) for site in ("mlp_post", "resid_post"))
    with outer:
        with inner:
            logits_of(tiny)
        assert set(outer.effect.fired.values()) == {1}


def test_the_probe_says_how_far_logits_moved(tiny: Any) -> None:
    with lesion(tiny, random_mask(tiny, "resid_post")) as opened:
        logits_of(tiny)
    assert opened.effect.moved is not None
    assert opened.effect.moved > 0
    assert set(opened.effect.fired.values()) == {1}


def test_logits_that_are_no_numbers_any_more_count_as_moved(tiny_llama: Any) -> None:
    mask = UnitMask.from_addresses(["L2.resid_post.3"], (3, 32))
    with lesion(tiny_llama, mask, "scale", scale=1e39) as opened:  # infinite, then no number
        assert not torch.isfinite(logits_of(tiny_llama)).all()
    assert opened.effect.moved == math.inf
    assert opened.effect.took_effect


# -- bad input -----------------------------------------------------------------------------------


def test_bad_input_is_one_sentence(tiny_llama: Any, checkpoints: dict[str, Path]) -> None:
    good = random_mask(tiny_llama, "resid_post")
    given = reference(tiny_llama, "resid_post")
    cases: list[tuple[str, Callable[[], Lesion]]] = [
        ("holds no unit", lambda: lesion(tiny_llama, good - good)),
        ("No mask was given", lambda: lesion(tiny_llama, [])),
        ("does not fit", lambda: lesion(tiny_llama, UnitMask("resid_post", torch.ones(3, 31) > 0))),
        ("does not fit", lambda: lesion(tiny_llama, UnitMask("k", torch.ones(3, 32) > 0))),
        ("does not fit", lambda: lesion(tiny_llama, UnitMask("z", torch.ones(4, 32) > 0))),
        (
            "There is no site",
            lambda: lesion(tiny_llama, UnitMask("nowhere", torch.ones(3, 32) > 0)),
        ),
        ("needs scale", lambda: lesion(tiny_llama, good, "scale")),
        ("must be a number", lambda: lesion(tiny_llama, good, "scale", scale=float("nan"))),
        ("takes no scale", lambda: lesion(tiny_llama, good, scale=0.5)),
        ("needs reference", lambda: lesion(tiny_llama, good, "mean")),
        ("either value, or quantile", lambda: lesion(tiny_llama, good, "clamp")),
        ("belong together", lambda: lesion(tiny_llama, good, "clamp", quantile=0.5)),
        (
            "between 0 and 1",
            lambda: lesion(tiny_llama, good, "clamp", quantile=95, reference=given),
        ),
        (
            "needs them at mlp_out",
            lambda: lesion(tiny_llama, random_mask(tiny_llama, "mlp_out"), "mean", reference=given),
        ),
        (
            "hold no stimulus",
            lambda: lesion(
                tiny_llama, good, "mean", reference=Responses("resid_post", given.values[:0], ())
            ),
        ),
        (
            "capture them on this model",
            lambda: lesion(
                tiny_llama,
                good,
                "mean",
                reference=Responses("resid_post", given.values[:, :, :5], given.conditions),
            ),
        ),
    ]
    for message, make in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert str(caught.value).rstrip().endswith(".")


def test_a_hook_point_that_does_not_exist(checkpoints: dict[str, Path], backend: Any) -> None:
    model = ll.load_model(checkpoints["neox"], backend=backend)
    with pytest.raises(LensLocError, match="hook_resid_mid"):
        lesion(model, UnitMask("resid_mid", torch.ones(3, 32) > 0))


@pytest.mark.hooked
@pytest.mark.parametrize("name", ["olmo2", "gemma2", "opt", "qwen3"])
def test_both_classes_agree_where_blocks_are_built_otherwise(name: str, tmp_path: Path) -> None:
    """Norms after attention and MLP, soft caps, other MLP widths."""
    folder = make_checkpoint(tmp_path / "model", MORE_CONFIGS[name]())
    models = [ll.load_model(folder, backend=backend) for backend in ("hooked", "bridge")]
    for site in LESIONED:
        size = (3, 64) if name == "opt" and site.startswith("mlp_p") else None
        mask = random_mask(models[0], site, size=size)
        for mode in ("zero", "write") if site in ("resid_mid", "resid_post") else ("zero",):
            found = []
            for model in models:
                with lesion(model, mask, mode):  # type: ignore[arg-type]
                    found.append(logits_of(model))
            torch.testing.assert_close(*found, rtol=1e-3, atol=5e-4)


def test_neurons_of_a_mixture_of_experts_are_refused(tmp_path: Path, backend: Any) -> None:
    model = ll.load_model(
        make_checkpoint(tmp_path / "model", MORE_CONFIGS["mixtral"]()), backend=backend
    )
    for site in ("mlp_pre", "mlp_post"):
        with pytest.raises(LensLocError, match="not defined in it"):
            hook_names(get_site(site), model)
    with lesion(model, random_mask(model, "mlp_out")):
        logits_of(model)


def test_a_mask_of_another_model_of_the_same_shape_warns(
    checkpoints: dict[str, Path], small_contrast: Contrast, tiny_llama: Any
) -> None:
    found = ll.localize(tiny_llama, small_contrast, progress=False).top(k=3)
    untrained = ll.load_model(checkpoints["llama"], untrained=True)
    with pytest.warns(LensLocWarning, match="made on another model than"):
        lesion(untrained, found)
    with warnings.catch_warnings():
        lesion(tiny_llama, found)


def test_summaries_of_attention_cannot_be_set(tiny: Any) -> None:
    mask = UnitMask("attn_entropy", torch.ones(3, 4) > 0)
    with pytest.raises(LensLocError, match="cannot be set; lesion the heads themselves"):
        lesion(tiny, mask)


# A bridge says that it computes the norm otherwise while its inside is edited.
@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
@pytest.mark.parametrize("site", ["ln1.hook_normalized", "ln2.hook_normalized"])
def test_any_hook_point_can_be_lesioned(tiny: Any, site: str) -> None:
    mask = UnitMask(site, torch.arange(96).reshape(3, 32) % 5 == 0)
    with lesion(tiny, mask):
        with torch.no_grad():
            _, cache = tiny.run_with_cache(TOKENS)
        lesioned = logits_of(tiny)
    for layer in range(3):
        assert (cache[f"blocks.{layer}.{site}"][..., mask.mask[layer]] == 0).all()
    assert (lesioned - logits_of(tiny)).abs().max() > 1e-3


# -- the corrupted text of a pair ------------------------------------------------------------------


@pytest.mark.parametrize("site", ["resid_post", "mlp_post", "head"])
def test_corrupt_equals_a_forward_pass_by_hand(
    tiny: Any, tiny_name: str, originals: dict[str, Any], site: str
) -> None:
    """Every unit has, at every position, its value in the corrupted text of the same pair."""
    pairs = pair_parts.letters()
    mask = random_mask(tiny, site)
    texts = [text for pair in align(tiny, pairs.pairs) for text in (pair.right, pair.wrong)]
    rows = [texts[row] for row in (4, 1, 2)]  # of several pairs, in another order
    corrupted: dict[int, dict[tuple[str, int], Tensor]] = {}
    for number, row in enumerate(rows):

        def keep(name: str, layer: int, value: Tensor, number: int = number) -> Tensor:
            corrupted.setdefault(number, {})[name, layer] = value
            return value

        handwritten.logits(originals[tiny_name], torch.tensor([row.corrupted]), keep)
    with lesion(tiny, mask, "corrupt", reference=pairs) as opened:
        together = logits_of(tiny, _padded([row.clean for row in rows]))
        alone = logits_of(tiny, torch.tensor([rows[0].clean[:-1]]))  # without its last token
    assert opened.effect.took_effect
    for number, row in enumerate(rows):

        def edit(name: str, layer: int, value: Tensor, number: int = number) -> Tensor:
            if name != ("z" if site == "head" else site):
                return value
            other = corrupted[number][name, layer]
            units = mask.mask[layer]
            if site == "head":
                units = units[:, None].expand(value.shape[-2:])
            return torch.where(units, other, value)

        expected = handwritten.logits(originals[tiny_name], torch.tensor([row.clean]), edit)[0]
        found = together[number, : len(row.clean)]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
        if number == 0:
            torch.testing.assert_close(alone[0], expected[:-1], rtol=1e-4, atol=2e-4)


def _padded(rows: list[tuple[int, ...]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])


def test_corrupt_is_refused_where_no_pair_is_read(tiny: Any, small_contrast: Contrast) -> None:
    pairs = pair_parts.letters()
    mask = random_mask(tiny, "mlp_post")
    opened = lesion(tiny, mask, "corrupt", reference=pairs, check=False)
    with pytest.raises(LensLocError, match="is no clean text of the pairs 'letters'"), opened:
        logits_of(tiny, TOKENS)
    with pytest.raises(LensLocError, match="is no clean text of the pairs"), opened:
        ll.tasks.minimal_pairs(limit=1)(tiny)
    assert open_lesions(tiny) == ()
    two = Pairs.from_texts(["a 1", "a 1"], ["b 1", "c 1"], ["Q", "Q"], ["R", "R"])
    ids = torch.tensor([align(tiny, two.pairs)[0].right.clean])
    opened = lesion(tiny, mask, "corrupt", reference=two, check=False)
    with pytest.raises(LensLocError, match="the beginning of several pairs of 'custom'"), opened:
        logits_of(tiny, ids)
    with pytest.raises(LensLocError, match="mode='corrupt' needs reference: pairs"):
        lesion(tiny, mask, "corrupt")
    with pytest.raises(LensLocError, match=r"needs pairs for its reference, .* type Contrast"):
        lesion(tiny, mask, "corrupt", reference=small_contrast)
    with pytest.raises(LensLocError, match="Pairs are the reference of mode='corrupt' only"):
        lesion(tiny, mask, "mean", reference=pairs)
    with pytest.raises(LensLocError, match="texts of tasks are in no pair"):
        ll.lesion_study(tiny, {"few": mask}, [ll.tasks.minimal_pairs(limit=1)], modes=["corrupt"])


def test_units_are_named_by_their_addresses(tiny_llama: Any) -> None:
    shape = (tiny_llama.cfg.n_layers, tiny_llama.cfg.d_model)
    mask = UnitMask.from_addresses(["L0.resid_post.5", "L1.resid_post.2"], shape=shape)
    head = UnitMask.from_addresses(["L1.head.1"], shape=(shape[0], tiny_llama.cfg.n_heads))
    tokens = torch.tensor([[1, 2, 3, 4]])
    with lesion(tiny_llama, [mask, head]) as known:
        expected = tiny_llama(tokens)
    named = ["L0.resid_post.5", "L1.head.1", "L1.resid_post.2"]
    with lesion(tiny_llama, named) as found:
        assert torch.equal(tiny_llama(tokens), expected)
    assert found.settings["masks"] == known.settings["masks"]
    with lesion(tiny_llama, "L1.head.1"):
        one = tiny_llama(tokens)
    with lesion(tiny_llama, [head, *head]):  # a mask and its addresses
        assert torch.equal(tiny_llama(tokens), one)
