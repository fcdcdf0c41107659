"""localize: against an independent reference, planted ground truth, the store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from reference import t_map, top_mask
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformer_lens import HookedTransformer, HookedTransformerConfig

import lensloc as ll
from lensloc import Contrast, LensLocError, localize
from lensloc.studies.store import Store

BLOCKS = {"llama": "model.layers", "gpt2": "transformer.h", "neox": "gpt_neox.layers"}


@pytest.mark.parametrize("pooling", ["last-token", "mean"])
def test_tiny_models_equal_the_independent_reference(
    tiny: Any, tiny_name: str, checkpoints: dict[str, Path], small_contrast: Contrast, pooling: Any
) -> None:
    found = localize(tiny, small_contrast, pooling=pooling, progress=False)
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name])
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints[tiny_name])
    expected = t_map(
        original,
        original.get_submodule(BLOCKS[tiny_name]),
        tokenizer,
        small_contrast.conditions["sentences"],
        small_contrast.conditions["nonwords"],
        pooling=pooling,
    )
    np.testing.assert_allclose(found["resid_post"].t, expected, rtol=1e-3, atol=1e-3)
    mask = found.top(percent=10).mask.int().numpy()
    np.testing.assert_array_equal(mask, top_mask(expected, int(0.1 * 96)))


# -- planted ground truth --------------------------------------------------------------------------

PLANTED = {"mlp_post": [(0, 5), (1, 9)], "mlp_out": [(0, 3), (1, 6)]}


def planted_model() -> tuple[HookedTransformer, Contrast]:
    """A model in which chosen neurons fire for the words of the target only, and write to one
    chosen dimension each. All else is noise that does not know the conditions."""
    generator = torch.Generator().manual_seed(3)
    words = [f"w{i}" for i in range(40)]
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    cfg = HookedTransformerConfig(
        n_layers=2, d_model=16, n_ctx=32, d_head=8, n_heads=2, d_mlp=24, d_vocab=41,
        act_fn="relu", normalization_type=None, seed=0, default_prepend_bos=False,
    )  # fmt: skip
    model = HookedTransformer(cfg)
    model.set_tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    model.cfg.default_prepend_bos = False
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.zero_()
        model.pos_embed.W_pos.zero_()
        noise = torch.randn(41, 16, generator=generator)
        noise[:, 0] = -1  # dimension 0 says which condition a word belongs to, and does not vary
        noise[1:21, 0] = 1
        model.embed.W_E.copy_(noise)
        model.embed.W_E[:, [3, 6]] = 0
        for layer, block in enumerate(model.blocks):
            block.mlp.W_in.copy_(torch.randn(16, 24, generator=generator))
            block.mlp.W_in[[0, 3, 6]] = 0
            (_, neuron), (_, dimension) = PLANTED["mlp_post"][layer], PLANTED["mlp_out"][layer]
            block.mlp.W_in[:, neuron] = 0
            block.mlp.W_in[0, neuron] = 2
            block.mlp.W_in[1, neuron] = 0.3
            block.mlp.W_out[neuron, dimension] = 1
    rng = np.random.default_rng(0)
    texts = {
        "target": [" ".join(rng.choice(words[:20], 6)) for _ in range(30)],
        "control": [" ".join(rng.choice(words[20:], 6)) for _ in range(30)],
    }
    return model.eval(), Contrast.from_texts(texts, target="target", control="control")


@pytest.mark.parametrize("pooling", ["last-token", "word-end", "mean", "sum", "max"])
@pytest.mark.parametrize("absolute", [True, False])
def test_exactly_the_planted_units_are_found(pooling: Any, absolute: bool) -> None:
    model, contrast = planted_model()
    found = localize(
        model, contrast, list(PLANTED), pooling=pooling, absolute=absolute, progress=False
    )
    for site, units in PLANTED.items():
        selected = found[site].top(k=len(units))
        assert selected.addresses == [f"L{layer}.{site}.{unit}" for layer, unit in units]
        assert set(selected.addresses) <= set(found[site].significant(q=1e-6).addresses)
    dead = found["mlp_out"].p[:, 12]
    assert dead.tolist() == [1, 1]


# -- the result ------------------------------------------------------------------------------------


def test_one_site_answers_for_the_whole(tiny_llama: Any, small_contrast: Contrast) -> None:
    found = localize(tiny_llama, small_contrast, progress=False)
    only = found["resid_post"]
    assert found.top(k=3) == only.top(k=3)
    assert found.bottom(percent=5) == only.bottom(percent=5)
    assert found.between(10, 50, 4, seed=1) == only.between(10, 50, 4, 1)
    assert found.significant(q=0.5) == only.significant(q=0.5)
    assert len(found.to_dataframe()) == 96
    with pytest.raises(LensLocError, match="'head' was not localized; these were: resid_post"):
        found["head"]


def test_of_several_sites_one_has_to_be_named(tiny_llama: Any, small_contrast: Contrast) -> None:
    found = localize(tiny_llama, small_contrast, ["resid_post", "head"], progress=False)
    assert list(found) == ["resid_post", "head"]
    assert set(found.to_dataframe()["site"]) == {"resid_post", "head"}
    with pytest.raises(LensLocError, match="2 sites were localized; say which"):
        found.top(k=1)


def test_provenance_says_how_a_mask_was_made(tiny_llama: Any, small_contrast: Contrast) -> None:
    made = localize(tiny_llama, small_contrast, pooling="mean", progress=False).top(k=5).provenance
    assert made.model == "my-llama"
    assert made.weights_hash.startswith("xxh3:")
    assert made.contrast_hash == small_contrast.content_hash
    assert (made.target, made.control) == (("sentences",), ("nonwords",))
    assert (made.n_target, made.n_control) == (5, 4)
    assert (made.site, made.pooling, made.protocol) == ("resid_post", "mean", "lensloc")
    assert made.selection == "top 5 units"
    assert made.dtype == "float32"
    assert made.check.startswith("passed")
    assert made.lensloc
    assert made.transformer_lens
    assert made.torch
    assert made.date


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sites": ["nowhere"]}, "no site 'nowhere'"),
        ({"sites": []}, "No site was named"),
        ({"batch_size": 0}, "at least one text"),
        ({"max_tokens": 0}, "keeps none"),
    ],
)
def test_bad_settings_are_refused(
    tiny_llama: Any, small_contrast: Contrast, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LensLocError, match=message):
        localize(tiny_llama, small_contrast, progress=False, **settings)


# -- the store -------------------------------------------------------------------------------------


@pytest.fixture
def counted(tiny_llama: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    calls: list[int] = []
    original = tiny_llama.run_with_cache

    def run(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(tiny_llama, "run_with_cache", run)
    return tiny_llama, calls


def test_a_second_run_does_not_run_the_model(
    counted: tuple[Any, list[int]], small_contrast: Contrast, tmp_path: Path
) -> None:
    model, calls = counted
    store = Store.at(tmp_path)
    first = localize(model, small_contrast, progress=False, store=store)
    assert len(calls) == 1
    second = localize(model, small_contrast, progress=False, store=store)
    assert len(calls) == 1
    assert second.from_store == ("resid_post",)
    assert second.n_tokens == first.n_tokens
    for name in ("t", "df", "p", "q", "d", "g", "mean_target", "mean_control"):
        assert torch.equal(getattr(first["resid_post"], name), getattr(second["resid_post"], name))
    assert second["resid_post"].provenance == first["resid_post"].provenance
    localize(model, small_contrast, progress=False, store=store, recompute=True)
    assert len(calls) == 2


def test_only_missing_sites_are_run(
    counted: tuple[Any, list[int]], small_contrast: Contrast, tmp_path: Path
) -> None:
    model, calls = counted
    store = Store.at(tmp_path)
    localize(model, small_contrast, ["head"], progress=False, store=store)
    found = localize(model, small_contrast, ["resid_post", "head"], progress=False, store=store)
    assert len(calls) == 2
    assert list(found) == ["resid_post", "head"]
    assert found.from_store == ("head",)


def test_whatever_changes_the_result_misses_the_store(
    counted: tuple[Any, list[int]],
    small_contrast: Contrast,
    tmp_path: Path,
    checkpoints: dict[str, Path],
) -> None:
    model, calls = counted
    store = Store.at(tmp_path)
    localize(model, small_contrast, progress=False, store=store)
    texts = {name: list(t) for name, t in small_contrast.conditions.items()}
    texts["sentences"][0] += " now"
    changed = Contrast.from_texts(texts, target="sentences", control="nonwords", name="small")
    turned = Contrast.from_texts(texts, target="nonwords", control="sentences", name="small")
    runs: list[dict[str, Any]] = [
        {"contrast": changed},
        {"contrast": turned},
        {"pooling": "mean"},
        {"protocol": "alkhamissi2024"},
        {"absolute": False},
        {"max_tokens": 3},
    ]
    for number, settings in enumerate(runs, start=2):
        arguments = {"contrast": small_contrast, "progress": False, "store": store} | settings
        found = localize(model, **arguments)
        assert len(calls) == number, settings
        assert not found.from_store
    other = ll.load_model(checkpoints["llama"], untrained=True)
    assert not localize(other, small_contrast, progress=False, store=store).from_store


def test_a_model_changed_after_loading_misses_the_store(
    small_contrast: Contrast, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    model, store = ll.load_model(checkpoints["llama"]), Store.at(tmp_path)
    first = localize(model, small_contrast, progress=False, store=store)
    assert localize(model, small_contrast, progress=False, store=store).from_store
    with torch.no_grad():
        model.blocks[1].mlp.W_out[:, 3] *= 2
    changed = localize(model, small_contrast, progress=False, store=store)
    assert not changed.from_store
    assert not torch.equal(changed["resid_post"].t, first["resid_post"].t)
    assert changed.top(k=1).provenance.weights_hash != first.top(k=1).provenance.weights_hash
    model.cfg.default_prepend_bos = True
    assert not localize(model, small_contrast, progress=False, store=store).from_store


def test_a_damaged_entry_is_made_again(
    counted: tuple[Any, list[int]], small_contrast: Contrast, tmp_path: Path
) -> None:
    model, calls = counted
    store = Store.at(tmp_path)
    first = localize(model, small_contrast, progress=False, store=store)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:-10])
    again = localize(model, small_contrast, progress=False, store=store)
    assert len(calls) == 2
    assert torch.equal(again["resid_post"].t, first["resid_post"].t)
    assert localize(model, small_contrast, progress=False, store=store).from_store


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LensLocError, match="cannot be written"):
        Store.at(tmp_path / "file")
