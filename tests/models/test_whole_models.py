"""Models are what they seem: the weights that the files hold, all of them, and no others."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from more_checkpoints import tiny_bundled, touch, write_gguf
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, SIZES, make_checkpoint
from transformer_lens import loading_from_pretrained as loading

import lensloc as ll
from lensloc import LensLocError
from lensloc.models import BUNDLED, BundledModel, describe, fetch
from lensloc.models.identity import provenance_of, weights_hash
from lensloc.units.provenance import Provenance

pytestmark = pytest.mark.usefixtures("one_thread")

Weights = dict[str, torch.Tensor]


@pytest.fixture
def changed(tmp_path: Path, checkpoints: dict[str, Path]) -> Callable[..., Path]:
    """A checkpoint whose weights, or whose configuration, were changed."""

    def change(
        weights: Callable[[Weights], Weights] = lambda w: w,
        name: str = "llama",
        **fields: Any,
    ) -> Path:
        folder = shutil.copytree(checkpoints[name], tmp_path / "model", dirs_exist_ok=True)
        file = folder / "model.safetensors"
        save_file(weights(load_file(file)), file, metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))
        return folder

    return change


def renamed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {f"{prefix}{key}": value for key, value in weights.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: value for key, value in weights.items() if part not in key}


def as_lora(weights: Weights) -> Weights:
    found = {}
    for key, value in weights.items():
        stem = key.removesuffix(".weight")
        found[f"base_model.model.{stem}{'.base_layer' if 'proj' in key else ''}.weight"] = value
    return found


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "base_model.model.", "student.module."]
)
def test_names_of_a_wrapped_model_are_refused_with_the_prefix(
    name: str, prefix: str, changed: Callable[..., Path]
) -> None:
    with pytest.raises(LensLocError, match="would be drawn at random") as caught:
        ll.load_model(changed(renamed(prefix), name))
    assert repr(prefix) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_around_a_model_is_refused(changed: Callable[..., Path]) -> None:
    with pytest.raises(LensLocError, match=r"adapter \(LoRA\).*merge_and_unload"):
        ll.load_model(changed(as_lora))


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize(
    ("change", "fields", "named"),
    [
        (without("layers.1.mlp"), {}, "model.layers.1.mlp.down_proj.weight"),
        (without("layers.2.input_layernorm"), {}, "model.layers.2.input_layernorm.weight"),
        (without("lm_head"), {}, "lm_head.weight"),
        (without("nothing"), {"num_hidden_layers": 5}, "model.layers.3.input_layernorm.weight"),
        (without("nothing"), {"attention_bias": True}, "model.layers.0.self_attn.k_proj.bias"),
    ],
)
def test_missing_weights_are_refused_by_name(
    change: Any, fields: dict[str, Any], named: str, backend: Any, changed: Callable[..., Path]
) -> None:
    with pytest.raises(LensLocError, match=r"lacks .* would be drawn at random") as caught:
        ll.load_model(changed(change, **fields), backend=backend)
    assert named in str(caught.value)


def test_tied_weights_are_not_missing(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    tied = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    folder = make_checkpoint(tmp_path / "tied", tied)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert describe(ll.load_model(folder)).warnings == ()
    assert "lm_head.weight" not in load_file(checkpoints["gpt2"] / "model.safetensors")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["LlamaForSequenceClassification", "LlamaForTokenClassification"])
def test_classifiers_and_reward_models_are_refused(tied: bool, kind: str, tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied, num_labels=1)
    getattr(transformers, kind)(config).save_pretrained(tmp_path)
    with pytest.raises(LensLocError, match=f"{kind}, which predicts no tokens") as caught:
        ll.load_model(tmp_path)
    assert ("lm_head.weight" in str(caught.value)) == (not tied)


def test_a_base_model_without_its_output_layer(tmp_path: Path) -> None:
    """A plain LlamaModel: refused, unless its output layer is tied to the embedding."""
    transformers.LlamaModel(transformers.LlamaConfig(**SIZES)).save_pretrained(tmp_path / "a")
    with pytest.raises(LensLocError, match=r"lacks 1 weight .*lm_head\.weight"):
        ll.load_model(tmp_path / "a")
    tied = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    transformers.LlamaModel(tied).save_pretrained(tmp_path / "b")
    assert ll.load_model(tmp_path / "b").cfg.n_layers == 3


def test_unused_weights_are_told(
    changed: Callable[..., Path], caplog: pytest.LogCaptureFixture, small_contrast: Any
) -> None:
    model = ll.load_model(changed(num_hidden_layers=2))
    (sentence,) = describe(model).warnings
    assert "9 weights" in sentence
    assert "model.layers.2.input_layernorm.weight" in sentence
    assert sentence in caplog.text
    assert sentence in ll.localize(model, small_contrast, progress=False).warnings


def test_masks_of_old_checkpoints_are_no_weights(changed: Callable[..., Path]) -> None:
    def old(weights: Weights) -> Weights:
        masks = {f"transformer.h.{n}.attn.masked_bias": torch.tensor(-1e4) for n in range(3)}
        rows = {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, 96, 96) for n in range(3)}
        return weights | masks | rows

    assert describe(ll.load_model(changed(old, "gpt2"))).warnings == ()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"intermediate_size": 64}, "down_proj.weight is 32 x 48 in the file, and 32 x 64"),
        ({"vocab_size": 330}, "is 320 x 32 in the file, and 330 x 32 by the configuration"),
    ],
)
def test_another_width_is_told(
    fields: dict[str, int], named: str, changed: Callable[..., Path]
) -> None:
    with pytest.raises(LensLocError) as caught:
        ll.load_model(changed(**fields))
    assert named in str(caught.value)
    assert "report" not in str(caught.value)


def test_a_missing_part_of_a_stack_of_experts_is_found(tmp_path: Path) -> None:
    """transformers joins experts to one weight each layer, which is there, but smaller."""
    config = transformers.MixtralConfig(**SIZES, num_local_experts=4)
    folder = make_checkpoint(tmp_path / "model", config)
    file = folder / "model.safetensors"
    weights = load_file(file)
    for part, message in (
        ("experts.2.", r"3 x 32 x 48 in the file, and 4 x 32 x 48"),
        ("layers.1.block_sparse_moe.experts.2.w1", "some may be missing"),
        (".gate.", r"lacks 3 weights .*mlp\.gate\.weight"),
    ):
        save_file(without(part)(weights), file, metadata={"format": "pt"})
        with pytest.raises(LensLocError, match=message):
            ll.load_model(folder)


def test_an_adapter_alone_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "adapter_config.json")
    with pytest.raises(LensLocError, match=r"an adapter \(LoRA\) without its model"):
        ll.load_model(tmp_path)


def test_an_untrained_model_needs_no_weights(changed: Callable[..., Path]) -> None:
    folder = changed(renamed("module."), num_hidden_layers=4)
    model = ll.load_model(folder, untrained=True)
    assert model.cfg.n_layers == 4
    made = provenance_of(describe(model))
    assert made.untrained
    assert made.seeds == ("weights 42",)
    assert provenance_of(describe(ll.load_model(folder, untrained=True, seed=3))).seeds == (
        "weights 3",
    )


# -- TransformerLens' own format -------------------------------------------------------------------


def test_native_models_are_whole(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch, checkpoints: dict[str, Path]
) -> None:
    """Stood in for by a tiny model, since there is no hub here."""
    weights = dict(tiny_llama.state_dict())

    def config(name: str, **_: Any) -> Any:
        fields = tiny_llama.cfg.to_dict()
        return type(tiny_llama.cfg).from_dict(
            fields | {"tokenizer_name": str(checkpoints["llama"]), "default_prepend_bos": True}
        )

    monkeypatch.setattr(loading, "get_pretrained_model_config", config)
    monkeypatch.setattr(loading, "get_pretrained_state_dict", lambda *_, **__: dict(weights))
    model = ll.load_model("solu-1l")
    assert weights_hash(model) == weights_hash(tiny_llama)
    assert model.to_tokens("the old")[0, 0] == model.tokenizer.bos_token_id
    for name in ("embed.W_E", "unembed.W_U", "blocks.1.mlp.W_in"):
        kept = weights.pop(name)
        with pytest.raises(LensLocError, match=f"lacks 1 weight .*{name}"):
            ll.load_model("solu-1l")
        weights[name] = kept
    weights["embed.W_E"] = weights["embed.W_E"][:-1]
    with pytest.raises(LensLocError, match="could not be loaded by TransformerLens"):
        ll.load_model("solu-1l")


# -- .gguf -----------------------------------------------------------------------------------------


def rewritten(
    source: Path,
    path: Path,
    keep: Callable[[str], bool] = lambda name: True,
    settings: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
    quantised: gguf.GGMLQuantizationType | None = None,
) -> Path:
    """Copy a .gguf file, with other tensors or settings, or with its matrices quantised."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    fields = {field.name: (field.contents(), field.types[0]) for field in reader.fields.values()}
    for name, value in (settings or {}).items():
        kind = {str: gguf.GGUFValueType.STRING, float: gguf.GGUFValueType.FLOAT32}.get(
            type(value), gguf.GGUFValueType.UINT32
        )
        fields[name] = (value, kind)
    for name, (value, kind) in fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, value)
        else:
            writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        if not keep(tensor.name):
            continue
        data = tensor.data.copy()
        if quantised is not None and data.ndim == 2 and data.shape[1] % 32 == 0:
            writer.add_tensor(tensor.name, gguf.quantize(data, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(tensor.name, data)
    for name, data in (tensors or {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def packed(tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    return write_gguf(tmp_path / "model.gguf", checkpoints["llama"])


def test_a_gguf_file_without_a_layer_is_refused(packed: Path, tmp_path: Path) -> None:
    cut = rewritten(packed, tmp_path / "cut.gguf", lambda name: not name.startswith("blk.1."))
    with pytest.raises(LensLocError, match=r"lacks 9 weights .*model\.layers\.1\."):
        ll.load_model(cut)


@pytest.mark.parametrize("told_by", ["name", "settings"])
def test_one_shard_of_a_gguf_file_is_refused(packed: Path, tmp_path: Path, told_by: str) -> None:
    named = told_by == "name"
    first = rewritten(
        packed,
        tmp_path / ("m-00001-of-00003.gguf" if named else "m.gguf"),
        settings=None if named else {"split.count": 3, "split.no": 0},
    )
    if named:
        shutil.copy(first, tmp_path / "m-00003-of-00003.gguf")
    with pytest.raises(LensLocError, match="llama-gguf-split --merge") as caught:
        ll.load_model(first)
    assert ("m-00002-of-00003.gguf is not beside it" in str(caught.value)) == named


def test_unused_tensors_of_a_gguf_file_are_told(packed: Path, tmp_path: Path) -> None:
    bias = torch.zeros(32).numpy()
    longer = rewritten(packed, tmp_path / "more.gguf", tensors={"blk.0.attn_q.bias": bias})
    (sentence,) = describe(ll.load_model(longer)).warnings
    assert "1 weight of" in sentence
    assert "blk.0.attn_q.bias" in sentence
    assert describe(ll.load_model(packed)).warnings == ()


@pytest.mark.parametrize(
    ("settings", "tensors", "named"),
    [
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, {}, "yarn"),
        ({}, {"rope_freqs.weight": torch.tensor([1.0, 1.0, 4.0, 8.0]).numpy()}, "rope_freqs"),
        ({"llama.attention.sliding_window": 16}, {}, "sliding_window"),
    ],
)
def test_settings_of_a_gguf_file_that_transformers_passes_over(
    settings: Any, tensors: Any, named: str, packed: Path, tmp_path: Path
) -> None:
    odd = rewritten(packed, tmp_path / "odd.gguf", settings=settings, tensors=tensors)
    with pytest.raises(LensLocError, match=f"transformers does not read .*{named}"):
        ll.load_model(odd)


def test_quantization_is_told_from_the_tensors(packed: Path, tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    small = rewritten(packed, tmp_path / "small.gguf", quantised=kind)
    model = ll.load_model(small)
    assert describe(model).quantization == "Q8_0, dequantised to float32"
    assert provenance_of(describe(model)).quantization == "Q8_0, dequantised to float32"
    assert describe(ll.load_model(packed)).quantization == ""
    assert describe(ll.load_model(small, untrained=True)).quantization == ""


# -- the bundled model -----------------------------------------------------------------------------


def test_the_bundled_model_says_what_it_is(pretrained: Any) -> None:
    made = provenance_of(describe(pretrained))
    assert made.quantization == "Q4_1, dequantised to float32"
    assert made.about == ("SmolLM2-135M-Instruct, 4-bit (Q4_1) weights dequantised to float32")
    assert "SmolLM2-135M-Instruct, 4-bit (Q4_1) weights" in BUNDLED["smollm2-135m"].about
    assert made.device == "cpu"
    assert made.transformers == transformers.__version__
    assert made.numpy
    assert made.python.count(".") == 2
    assert Provenance.from_json(made.to_json()) == made


def test_a_wheel_of_other_weights_is_refused(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word for how the weights are stored is checked against the file's own."""
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    tiny, _ = tiny_bundled(downloads, checkpoints["llama"])
    claimed = BundledModel(tiny.name, tiny.package, tiny.gguf, tiny.sha256, "", "Tiny", "Q4_1")
    assert claimed.in_words == "Tiny, 4-bit (Q4_1) weights dequantised to float32"
    with pytest.raises(LensLocError, match="not as Q4_1"):
        fetch(claimed, progress=False)
    monkeypatch.setattr("lensloc.models.gguf_files.file_type", lambda path: "Q4_1")
    assert fetch(claimed, progress=False).is_dir()
    monkeypatch.setitem(BUNDLED, "tiny", claimed)
    card = describe(ll.load_model("tiny"))
    assert (card.about, card.quantization) == (claimed.in_words, "Q4_1, dequantised to float32")
    untrained = describe(ll.load_model("tiny", untrained=True))
    assert (untrained.about, untrained.quantization) == (
        "the architecture of Tiny, as initialised",
        "",
    )


# -- arguments, code, names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"untrained": True, "dtype": "float16"},
        {"seed": 1},
        {"device": "cpu"},
        {"backend": "bridge"},
        {"trust_remote_code": True},
    ],
)
def test_arguments_without_effect_on_a_loaded_model_are_refused(
    arguments: dict[str, Any], tiny_llama: Any
) -> None:
    with pytest.raises(LensLocError, match="no effect on a model that is already loaded") as caught:
        ll.load_model(tiny_llama, **arguments)
    assert all(name in str(caught.value) for name in arguments)
    assert ll.load_model(tiny_llama, progress=False) is tiny_llama


def test_a_seed_without_effect_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(LensLocError, match="seed=7 has no effect on trained weights"):
        ll.load_model(checkpoints["llama"], seed=7)


@pytest.mark.parametrize("word", ["robert", "llama", "gemma-3", "t5", "hubert", "wav2vec2-base"])
def test_the_path_of_the_temporary_folder_does_not_matter(
    word: str, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    (tmp_path / word).mkdir()
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / word))
    monkeypatch.chdir(tmp_path / word)
    packed = write_gguf(tmp_path / word / "model.gguf", checkpoints["llama"])
    for given in (checkpoints["llama"], checkpoints["gpt2"], packed):
        assert describe(ll.load_model(given)).check.startswith("passed")
    (tmp_path / word / "model.gguf").unlink()
    assert list((tmp_path / word).iterdir()) == []


@pytest.mark.parametrize("place", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_is_run_only_if_it_is_trusted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path / "remote", CONFIGS["llama"]())
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "Path(__file__).with_name('ran').touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
        "OwnForCausalLM.__name__ = 'LlamaForCausalLM'\n"
        "class OwnTokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )
    file = folder / place
    fields = json.loads(file.read_text())
    if place == "config.json":
        classes: Any = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
        fields |= {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    else:
        classes = {"AutoTokenizer": ["own.OwnTokenizer", None]}
        fields |= {"tokenizer_class": "OwnTokenizer"}
    file.write_text(json.dumps(fields | {"auto_map": classes}))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    for options in ({}, {"untrained": True}):
        with pytest.raises(LensLocError, match="trust_remote_code=True"):
            ll.load_model(folder, **options)  # type: ignore[arg-type]
    trusted = ll.load_model(folder, backend="auto", trust_remote_code=True)
    assert trusted.tokenizer is not None


def test_an_empty_file_is_still_told(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="cannot be read as a GGUF"):
        ll.load_model(touch(tmp_path / "bad.gguf"))
    assert logging.getLogger("lensloc")
