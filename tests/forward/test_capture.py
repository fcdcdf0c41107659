"""Captured values against a run of one text at a time; nothing about a batch changes them."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CONFIGS, make_checkpoint, train_tokenizer

import lensloc as ll
from lensloc import SITES, LensLocError, capture
from lensloc.forward.capturing import POOLINGS, capture_moments
from lensloc.forward.sites import get_site, hook_names
from lensloc.forward.tokenizing import tokenize
from lensloc.models.adapting import surface

TEXTS = [
    "the old gardener watered every plant",
    "vash",
    "nobody remembered who had built the stone bridge before the sun came up",
    "glorbix  fendal",
    "twelve plus nineteen is thirty one",
    "a",
]
LABELS = ["x", "y"] * 3


def sites_of(model: Any) -> list[str]:
    blocks = [name for name, site in SITES.items() if not site.has_one_layer]
    return [name for name in blocks if name != "resid_mid" or has_resid_mid(model)]


def has_resid_mid(model: Any) -> bool:
    return "blocks.0.hook_resid_mid" in model.hook_dict


def attention_by_hand(site: str, pattern: torch.Tensor) -> torch.Tensor:
    """Summarise where each head attends, query by query, in Python."""
    n_heads, n_tokens, _ = pattern.shape
    summary = torch.zeros(n_tokens, n_heads, dtype=torch.float64)
    for head in range(n_heads):
        for query in range(n_tokens):
            row = pattern[head, query, : query + 1].tolist()
            summary[query, head] = {
                "attn_entropy": -sum(p * math.log(p) for p in row if p > 0),
                "attn_first": row[0],
                "attn_distance": sum(p * (query - key) for key, p in enumerate(row)),
            }[site]
    return summary


def by_hand(model: Any, text: str, site: str, pooling: str) -> torch.Tensor:
    """Pool one text's unfiltered cache with loops."""
    ids = model.to_tokens(text)
    with torch.no_grad():
        _, cache = model.run_with_cache(ids)
    if pooling == "last-token":
        positions = [ids.shape[1] - 1]
    elif pooling == "word-end":
        encoded = model.tokenizer(text, add_special_tokens=False)
        shift = ids.shape[1] - len(encoded["input_ids"])
        ends, at = [], 0
        for word in text.split():
            at = text.index(word, at) + len(word)
            ends.append(encoded.char_to_token(at - 1) + shift)
        positions = ends
    else:
        positions = list(range(ids.shape[1]))
    layers = []
    for layer in range(model.cfg.n_layers):
        value = cache[SITES[site].hook.format(layer=layer)][0].double()
        if site.startswith("attn_") and site != "attn_out":
            value = attention_by_hand(site, value)
        elif site == "head":
            value = value.reshape(len(value), model.cfg.n_heads, -1).square().sum(-1).sqrt()
        chosen = torch.stack([value[position].flatten() for position in positions])
        if pooling == "sum":
            layers.append(chosen.sum(0))
        elif pooling == "max":
            layers.append(chosen.max(0).values)
        else:
            layers.append(chosen.mean(0))
    return torch.stack(layers)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_site_and_pooling_equals_one_text_at_a_time(tiny: Any, pooling: Any) -> None:
    sites = sites_of(tiny)
    found = capture(tiny, TEXTS, LABELS, sites, pooling=pooling, batch_size=4, progress=False)
    for site in sites:
        expected = torch.stack([by_hand(tiny, text, site, pooling) for text in TEXTS])
        values = found.responses[site].values
        assert values.shape == expected.shape, site
        torch.testing.assert_close(values.double(), expected, rtol=2e-5, atol=2e-5)
    assert found.n_tokens == sum(tiny.to_tokens(text).shape[1] for text in TEXTS)
    assert found.responses[sites[0]].conditions == tuple(LABELS)


def test_units_of_every_site_are_counted_right(tiny: Any, tiny_name: str) -> None:
    heads, d_head = 4, 8
    groups = 2 if tiny_name == "llama" else heads
    d_mlp = 128 if tiny_name == "gpt2" else 48
    width = dict.fromkeys(("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"), 32)
    width |= {"mlp_pre": d_mlp, "mlp_post": d_mlp, "head": heads, "z": heads * d_head}
    width |= dict.fromkeys(("attn_entropy", "attn_first", "attn_distance"), heads)
    width |= {"q": heads * d_head, "k": groups * d_head, "v": groups * d_head}
    found = capture(tiny, TEXTS[:2], ["x", "y"], sites_of(tiny), progress=False)
    for site, responses in found.responses.items():
        assert tuple(responses.values.shape) == (2, 3, width[site]), site


def test_batch_size_order_and_neighbours_change_nothing(tiny: Any) -> None:
    sites = ["resid_post", "mlp_post", "head"]

    def values(texts: list[str], batch_size: Any) -> dict[str, torch.Tensor]:
        found = capture(
            tiny, texts, ["x"] * len(texts), sites, batch_size=batch_size, progress=False
        )
        return {site: found.responses[site].values for site in sites}

    alone = values(TEXTS, 1)
    order = [3, 0, 5, 1, 4, 2]
    for batch_size in (2, 4, 64, "auto"):
        together = values(TEXTS, batch_size)
        shuffled = values([TEXTS[i] for i in order], batch_size)
        for site in sites:
            torch.testing.assert_close(together[site], alone[site], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(shuffled[site], alone[site][order], rtol=1e-5, atol=1e-5)


@pytest.mark.hooked
def test_all_sites_come_from_one_pass_a_batch(tiny_llama: Any, monkeypatch: Any) -> None:
    calls: list[torch.Size] = []
    original = tiny_llama.run_with_cache

    def counted(tokens: torch.Tensor, **options: Any) -> Any:
        calls.append(tokens.shape)
        return original(tokens, **options)

    monkeypatch.setattr(tiny_llama, "run_with_cache", counted)
    logits = []
    handle = tiny_llama.unembed.register_forward_hook(lambda *_: logits.append(1))
    capture(tiny_llama, TEXTS, LABELS, sites_of(tiny_llama), batch_size=3, progress=False)
    handle.remove()
    assert len(calls) == 2
    assert not logits, "the unembedding ran although no logits are needed"


def test_plain_models_reduce_what_passes_before_the_next_block_runs(
    checkpoints: dict[str, Path],
) -> None:
    """Otherwise whole responses of every layer are kept until the end of the pass."""
    model = ll.load_model(checkpoints["llama"], backend="transformers", progress=False)
    seen, happened = surface(model), []
    names = hook_names(get_site("resid_post"), model)
    for layer, block in enumerate(model.model.layers):
        block.register_forward_pre_hook(lambda *_, at=layer: happened.append(at))
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        found = seen.reduced(
            tokens, names, lambda name, value: happened.append(name) or value.sum()
        )
    assert happened == [each for layer, name in enumerate(names) for each in (layer, name)]
    with torch.no_grad():
        whole = seen.capture(tokens, names)
    assert {name: float(value.sum()) for name, value in whole.items()} == {
        name: float(value) for name, value in found.items()
    }


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["gpt2"])
    expected = capture(model, TEXTS, LABELS, progress=False).responses["resid_post"].values
    model.tokenizer.padding_side = "left"
    found = capture(model, TEXTS, LABELS, progress=False).responses["resid_post"].values
    assert torch.equal(found, expected)


def test_models_in_training_mode_are_run_without_dropout(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["gpt2"], backend="bridge")
    expected = capture(model, TEXTS, LABELS, progress=False).responses["resid_post"].values
    model.train()
    found = capture(model, TEXTS, LABELS, progress=False).responses["resid_post"].values
    assert torch.equal(found, expected)
    assert model.training


def test_out_of_memory_halves_the_batch(
    tiny_llama: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    expected = capture(tiny_llama, TEXTS, LABELS, progress=False).responses["resid_post"].values
    original = tiny_llama.run_with_cache
    sizes = []

    def small_machine(tokens: torch.Tensor, **options: Any) -> Any:
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(tokens, **options)

    monkeypatch.setattr(tiny_llama, "run_with_cache", small_machine)
    caplog.clear()
    found = capture(tiny_llama, TEXTS, LABELS, progress=False).responses["resid_post"].values
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert max(sizes) == 6
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("memory ran out with 6 stimuli at once; going on with half as many")

    def no_memory(tokens: torch.Tensor, **options: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(tiny_llama, "run_with_cache", no_memory)
    told = r"even for number \d of the stimuli alone .*fewer sites at once, cut it off"
    with pytest.raises(LensLocError, match=told):
        capture(tiny_llama, TEXTS, LABELS, progress=False)


def test_a_model_that_sees_pads_gets_batches_of_equal_length(
    tiny_llama: Any, monkeypatch: Any
) -> None:
    shapes: list[tuple[int, ...]] = []
    original = tiny_llama.run_with_cache

    def seen(tokens: torch.Tensor, **options: Any) -> Any:
        shapes.append(tuple(tokens.shape))
        return original(tokens, **options)

    monkeypatch.setattr(tiny_llama, "run_with_cache", seen)
    monkeypatch.setattr(tiny_llama.cfg, "attention_dir", "bidirectional")
    texts = ["the old", "the sun", "vash", "mopi fendal strane wuggle"]
    capture(tiny_llama, texts, LABELS[:4], progress=False)
    lengths = sorted(len(tokenize(tiny_llama, [text])[0].ids) for text in texts)
    assert sorted(length for rows, length in shapes for _ in range(rows)) == lengths


def test_half_precision_is_pooled_in_float32(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], dtype="bfloat16")
    found = capture(model, TEXTS, LABELS, ["head"], pooling="mean", progress=False)
    assert found.responses["head"].values.dtype == torch.float32


@pytest.mark.hooked
def test_double_precision_stays_double(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], dtype="float64")
    found = capture(model, TEXTS, LABELS, ["head", "resid_post"], pooling="mean", progress=False)
    for site in ("head", "resid_post"):
        expected = torch.stack([by_hand(model, text, site, "mean") for text in TEXTS])
        torch.testing.assert_close(found.responses[site].values, expected, rtol=1e-12, atol=1e-12)


# -- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_tokens_are_those_of_the_tokenizer_itself(
    tmp_path: Path, adds_bos: bool, backend: Any
) -> None:
    folder = make_checkpoint(tmp_path / "model", CONFIGS["gpt2"](), adds_bos=adds_bos)
    plain = train_tokenizer(tmp_path / "tokenizer", adds_bos=adds_bos)
    model = ll.load_model(folder, backend=backend)
    for text, tokens in zip(TEXTS, tokenize(model, TEXTS), strict=True):
        assert list(tokens.ids) == plain(text)["input_ids"]
        assert list(tokens.ids) == model.to_tokens(text)[0].tolist()
    assert (tokenize(model, ["a"])[0].ids[0] == plain.bos_token_id) == adds_bos


def test_the_models_setting_for_bos_is_followed(checkpoints: dict[str, Path], backend: Any) -> None:
    model = ll.load_model(checkpoints["gpt2"], backend=backend)
    for wanted in (True, False):
        model.cfg.default_prepend_bos = wanted
        for text, tokens in zip(TEXTS, tokenize(model, TEXTS), strict=True):
            assert list(tokens.ids) == model.to_tokens(text)[0].tolist()


def test_word_ends_are_the_last_tokens_of_words(tiny_llama: Any) -> None:
    text = "glorbix  nobody, sun\tvash"
    (tokens,) = tokenize(tiny_llama, [text], word_ends=True)
    pieces = [tiny_llama.tokenizer.decode([i]) for i in tokens.ids]
    assert len(tokens.word_ends) == 4
    starts = [0, *(end + 1 for end in tokens.word_ends[:-1])]
    words = [
        "".join(pieces[a : b + 1]).strip() for a, b in zip(starts, tokens.word_ends, strict=True)
    ]
    assert words == text.split()


def test_words_cut_off_by_max_tokens_are_no_whole_words(tiny_llama: Any) -> None:
    (whole,) = tokenize(tiny_llama, ["nobody glorbix vash"], word_ends=True)
    cut = whole.word_ends[1]  # keeps all of glorbix but its last token
    (short,) = tokenize(tiny_llama, ["nobody glorbix vash"], word_ends=True, max_tokens=cut)
    assert short.word_ends == whole.word_ends[:1]
    with pytest.raises(LensLocError, match="no whole word"):
        tokenize(tiny_llama, ["glorbix"], word_ends=True, max_tokens=1)


def test_max_tokens_keeps_the_first_ones(tiny_llama: Any) -> None:
    whole, short = (
        tokenize(tiny_llama, TEXTS[:1])[0],
        tokenize(tiny_llama, TEXTS[:1], max_tokens=3)[0],
    )
    assert short.ids == whole.ids[:3]
    full = capture(tiny_llama, TEXTS, LABELS, pooling="sum", progress=False, max_tokens=10**6)
    assert full.n_tokens == sum(len(text.ids) for text in tokenize(tiny_llama, TEXTS))


# -- trouble -----------------------------------------------------------------------------------


def test_texts_longer_than_the_window_are_named(tiny_llama: Any) -> None:
    with pytest.raises(LensLocError, match=r"Text 2 \('word word .*'\) has \d+ tokens.* is 96"):
        capture(tiny_llama, ["a", "word " * 100], ["x", "y"], progress=False)
    capture(tiny_llama, ["a", "word " * 100], ["x", "y"], progress=False, max_tokens=96)


def test_a_model_without_a_tokenizer_is_refused(tiny_llama: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiny_llama, "tokenizer", None)
    with pytest.raises(LensLocError, match="no tokenizer"):
        capture(tiny_llama, TEXTS, LABELS, progress=False)


@pytest.mark.hooked
def test_word_ends_need_a_fast_tokenizer(tiny_llama: Any, monkeypatch: Any) -> None:
    class Slow:
        is_fast = False
        bos_token_id = None

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [1]}

    monkeypatch.setattr(tiny_llama, "tokenizer", Slow())
    with pytest.raises(LensLocError, match="fast tokenizer"):
        capture(tiny_llama, ["a"], ["x"], pooling="word-end", progress=False)


def test_non_finite_activations_name_site_layer_and_stimulus(checkpoints: dict[str, Path]) -> None:
    model = copy.deepcopy(ll.load_model(checkpoints["llama"]))
    with torch.no_grad():
        model.blocks[1].mlp.W_out[:, 7] = torch.inf
    with pytest.raises(LensLocError, match=r"L1\.resid_post\.7 is .* for text 1 \('the old"):
        capture(model, TEXTS, LABELS, progress=False)


def test_sites_that_a_model_lacks_are_named(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["neox"])  # parallel blocks: nothing lies in the middle
    with pytest.raises(LensLocError, match="'resid_mid' is not defined"):
        capture(model, TEXTS, LABELS, ["resid_mid"], progress=False)


def test_hook_names_that_do_not_exist_are_an_error_in_both_classes(tiny: Any) -> None:
    site = ll.Site("mine", "blocks.{layer}.hook_nothing", "nothing")
    with pytest.raises(LensLocError, match=r"no hook point 'blocks\.0\.hook_nothing'"):
        hook_names(site, tiny)


def test_unknown_sites_are_refused_with_the_known_ones() -> None:
    with pytest.raises(LensLocError, match="no site 'neurons'; the sites are resid_pre, "):
        get_site("neurons")


def test_any_hook_point_of_the_blocks_is_a_site(tiny: Any, tiny_name: str) -> None:
    names = ["ln1.hook_normalized", "blocks.{layer}.attn.hook_q"]
    found = capture(tiny, TEXTS, LABELS, names, batch_size=4, progress=False).responses
    assert list(found) == ["ln1.hook_normalized", "q"]  # one name for the same units
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            _, cache = tiny.run_with_cache(tiny.to_tokens(text))
        for layer in range(tiny.cfg.n_layers):
            expected = cache[f"blocks.{layer}.ln1.hook_normalized"][0, -1]
            torch.testing.assert_close(
                found["ln1.hook_normalized"].values[row, layer], expected, rtol=2e-5, atol=2e-5
            )
    address = "L1.ln1.hook_normalized.7"
    mask = ll.UnitMask.from_addresses([address], (tiny.cfg.n_layers, 32))
    assert mask.addresses == [address]
    assert address in mask


@pytest.mark.parametrize("name", ["attn.hook_pattern", "blocks.{layer}.attn.hook_attn_scores"])
def test_attention_patterns_as_such_are_no_site(name: str) -> None:
    with pytest.raises(LensLocError, match=r"a number for every pair of tokens.*attn_entropy"):
        get_site(name)


def test_hook_points_that_are_never_reached_are_named(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"])
    with pytest.raises(LensLocError, match=r"'blocks\.0\.hook_mlp_in' is never reached"):
        capture(model, TEXTS, LABELS, ["hook_mlp_in"], progress=False)


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
@pytest.mark.parametrize("absolute", [True, False])
def test_moments_are_those_of_the_responses(tiny: Any, batch_size: Any, absolute: bool) -> None:
    sites = ["resid_post", "head", "attn_entropy"]
    kept = capture(tiny, TEXTS, LABELS, sites, progress=False).responses
    summarised = capture_moments(
        tiny, TEXTS, LABELS, sites, absolute=absolute, batch_size=batch_size, progress=False
    )
    assert summarised.n_tokens == sum(tiny.to_tokens(text).shape[1] for text in TEXTS)
    for site in sites:
        for label in "xy":
            values = kept[site].of((label,)).double()
            values = values.abs() if absolute else values
            found = summarised.moments[site][label]
            assert found.n == 3
            torch.testing.assert_close(found.mean, values.mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.variance, values.var(0), rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(found.high, values.amax(0), rtol=1e-4, atol=1e-5)
