"""How a model is loaded: its class, revision, name, numbers, devices; and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, SIZES, make_checkpoint, train_tokenizer

import lensloc as ll
from lensloc import LensLocError
from lensloc.models import describe, is_quantized
from lensloc.models.identity import _hashed as weights_hashed
from lensloc.models.quantized import require_gradients

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = torch.arange(20)[None]


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found = model(TOKENS)
    return getattr(found, "logits", found)


# -- transformers' own model -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_transformers_own_model_comes_back(name: str, checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints[name], backend="transformers")
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[name])
    assert type(model) is type(original)
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(logits_of(model), logits_of(original))
    assert model.tokenizer("the old gardener") == transformers.AutoTokenizer.from_pretrained(
        checkpoints[name]
    )("the old gardener")
    assert model.prepends_bos is False
    card = describe(model)
    assert (card.backend, card.name) == ("transformers", checkpoints[name].name)
    assert card.dtype == "float32"
    assert card.check.startswith("passed (blocks within")
    assert card.architecture == type(original).__name__
    assert card.hashes == describe(ll.load_model(model)).hashes


def test_whether_a_tokenizer_adds_a_token_is_known(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", CONFIGS["llama"](), adds_bos=True)
    assert ll.load_model(folder, backend="transformers").prepends_bos is True


def test_a_model_of_transformers_that_the_user_loaded(checkpoints: dict[str, Path]) -> None:
    config = transformers.AutoConfig.from_pretrained(checkpoints["llama"])
    own = transformers.AutoModelForCausalLM.from_config(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    assert own.training
    assert ll.load_model(own, tokenizer=tokenizer, backend="transformers") is own
    assert own.tokenizer is tokenizer
    assert not own.training
    assert describe(own).name == checkpoints["llama"].name
    assert ll.load_model(own, name="mine").tokenizer is tokenizer
    assert describe(own).name == "mine"
    with pytest.raises(LensLocError, match="device='cpu' has no effect on a model that is already"):
        ll.load_model(own, device="cpu")
    bare = ll.load_model(transformers.AutoModelForCausalLM.from_config(config))
    assert bare.tokenizer is None
    assert describe(bare).tokenizer_hash == ""


def test_what_the_first_two_cannot_hold_stays_transformers_own(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise LensLocError("Not this one.")

    monkeypatch.setattr("lensloc.models.backends.to_hooked_transformer", refuse)
    assert describe(ll.load_model(checkpoints["llama"])).backend == "bridge"
    monkeypatch.setattr("lensloc.models.backends._to_bridge", refuse)
    model = ll.load_model(checkpoints["llama"])
    assert describe(model).backend == "transformers"
    assert model.config._attn_implementation == "sdpa"  # which the bridge would have changed
    with pytest.raises(LensLocError, match=r"Not this one\."):
        ll.load_model(checkpoints["llama"], backend="bridge")


def test_a_conversion_that_fails_halfway_reads_the_weights_again(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("half done")

    monkeypatch.setattr("lensloc.models.convert.filled", fail)
    model = ll.load_model(checkpoints["llama"])
    assert describe(model).backend == "bridge"
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    torch.testing.assert_close(logits_of(model), logits_of(original), rtol=0, atol=1e-4)


# -- TransformerLens 4 -----------------------------------------------------------------------------


def test_without_hooked_transformers_the_bridge_is_taken(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lensloc.models.convert.has_hooked", lambda: False)
    monkeypatch.setattr("lensloc.models.backends.has_hooked", lambda: False)
    with pytest.raises(LensLocError, match=r'has no HookedTransformer.*"transformer-lens<4"'):
        ll.load_model(checkpoints["llama"], backend="hooked")
    assert describe(ll.load_model(checkpoints["llama"])).backend == "bridge"
    with pytest.raises(LensLocError, match="has no HookedTransformer"):
        ll.load_model("solu-1l")


# -- revisions and names ---------------------------------------------------------------------------

COMMITS = {"main": "c0ffee" * 6 + "c0ff", "step3000": "beef" * 10}
SCRIPT = """
import json, sys
import lensloc as ll
from lensloc.models import describe
from lensloc.studies.store import Store

contrast = ll.Contrast.from_texts(
    {"a": ["the old gardener", "nobody in"], "b": ["twelve plus", "glorbix fendal"]},
    target="a", control="b",
)
for revision in (None, "step3000", "beef" * 10, "nothing"):
    try:
        model = ll.load_model("someone/pythia", revision=revision)
        found = ll.localize(model, contrast, progress=False, store=sys.argv[1])
        made = found["resid_post"].provenance
        print(json.dumps([made.model, made.revision, made.weights_hash, list(found.from_store)]))
    except ll.LensLocError as error:
        print(json.dumps(str(error)))
from lensloc.cli import main
main(sys.argv[2:])
"""


def test_revisions_of_a_hub_repository(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """In a process of its own, since the hub's library fixes its cache folder when imported."""
    hub = tmp_path / "hub"
    repository = hub / "models--someone--pythia"
    other = make_checkpoint(tmp_path / "other", CONFIGS["llama"](), seed=3)
    (repository / "refs").mkdir(parents=True)
    for (label, commit), source in zip(COMMITS.items(), (checkpoints["llama"], other), strict=True):
        shutil.copytree(source, repository / "snapshots" / commit)
        (repository / "refs" / label).write_text(commit)
    environment = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    environment["LENSLOC_CACHE"] = str(tmp_path / "cache")
    command = [
        "localize", "--model-name", "someone/pythia", "--revision", "step3000", "--backend",
        "transformers", "--dtype", "auto", "--num-units", "3", "--json", "--network", "formal",
        "--out", str(tmp_path / "mask.safetensors"),
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "store"), *command],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    main, step, by_commit, missing = map(json.loads, run.stdout.splitlines()[:4])
    assert main[:2] == ["someone/pythia", COMMITS["main"]]
    assert step[:2] == ["someone/pythia@step3000", COMMITS["step3000"]]
    assert by_commit[1] == COMMITS["step3000"]
    assert main[2] != step[2] == by_commit[2]
    # The store tells revisions apart, and knows the commit again under another name.
    assert main[3] == step[3] == []
    assert by_commit[3] == ["resid_post"]
    assert "of revision nothing is not in the hub cache" in missing
    assert "hf download someone/pythia --revision nothing" in missing
    made = ll.UnitMask.load(tmp_path / "mask.safetensors").provenance
    assert (made.revision, made.backend) == (COMMITS["step3000"], "transformers")
    assert made.model == "someone/pythia@step3000"


def test_a_revision_that_the_hub_does_not_have() -> None:
    from huggingface_hub.errors import RevisionNotFoundError

    from lensloc.models.reading import unreadable

    error = OSError("x is not a valid git identifier (branch name, tag name or commit id)")
    caught = unreadable("a/b", "a/b", error, "x")
    assert "a/b has no revision 'x'" in str(caught)
    outer = OSError("could not load")
    outer.__cause__ = RevisionNotFoundError.__new__(RevisionNotFoundError)
    assert "has no revision 'y'" in str(unreadable("a/b", "a/b", outer, "y"))


def test_models_are_called_what_they_are_to_be_called(
    checkpoints: dict[str, Path], backend: Any, small_contrast: Any
) -> None:
    model = ll.load_model(checkpoints["llama"], name="the first", backend=backend)
    assert describe(model).name == "the first"
    found = ll.localize(model, small_contrast, progress=False)
    assert found["resid_post"].provenance.model == "the first"


# -- numbers, devices, quantisation ----------------------------------------------------------------


def test_dtypes_of_torch_and_of_the_checkpoint(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", CONFIGS["llama"]())
    weights = load_file(folder / "model.safetensors")
    half = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    for backend in ("hooked", "bridge", "transformers"):
        model = ll.load_model(folder, dtype="auto", backend=backend)  # type: ignore[arg-type]
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert describe(model).dtype == "bfloat16"
    assert describe(ll.load_model(folder, dtype=torch.float64)).dtype == "float64"
    assert describe(ll.load_model(folder)).dtype == "float32"
    assert describe(ll.load_model(folder, dtype="auto", untrained=True)).dtype == "bfloat16"
    for wrong in (torch.int8, "int8", torch.complex64):
        with pytest.raises(LensLocError, match="There is no dtype"):
            ll.load_model(folder, dtype=wrong)


def test_weights_that_are_spread_stay_where_they_were_put(checkpoints: dict[str, Path]) -> None:
    for given in ("auto", {"": "cpu"}):
        model = ll.load_model(checkpoints["llama"], device_map=given)
        assert describe(model).backend == "transformers"
        assert describe(model).device == "cpu"
    with pytest.raises(LensLocError, match="takes no device_map="):
        ll.load_model(checkpoints["llama"], device_map="auto", backend="hooked")
    with pytest.raises(LensLocError, match="exclude each other"):
        ll.load_model(checkpoints["llama"], device_map="auto", device="cpu")


def test_weights_that_are_offloaded_are_hashed(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    whole = ll.load_model(checkpoints["llama"], backend="transformers")
    spread = {name: "cpu" for name, _ in whole.named_modules() if name.count(".") == 2}
    spread |= {"model.embed_tokens": "cpu", "model.norm": "disk", "lm_head": "cpu"}
    spread |= {"model.rotary_emb": "cpu", "model.layers.1": "disk"}
    model = ll.load_model(checkpoints["llama"], device_map=spread, offload_folder=str(tmp_path))
    assert next(model.model.layers[1].parameters()).is_meta
    assert describe(model).weights_hash == describe(whole).weights_hash
    assert torch.equal(logits_of(model), logits_of(whole))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_devices": 2}, "needs as many GPUs"),
        ({"n_devices": 0}, "a whole number above 0"),
        ({"n_devices": 1, "backend": "bridge"}, "blocks of a HookedTransformer"),
        ({"n_devices": 1, "device_map": "auto"}, "blocks of a HookedTransformer"),
        ({"quantization_config": object(), "backend": "hooked"}, "takes no quantization_config="),
        ({"quantization_config": object(), "untrained": True}, "those of an untrained model"),
        ({"device_map": "auto", "untrained": True}, "those of an untrained model"),
        ({"attn_implementation": "eager", "backend": "hooked"}, "does not heed"),
        ({"attn_implementation": "eager", "backend": "bridge"}, "does not heed"),
        ({"attn_implementation": "nonsense"}, "with attn_implementation='nonsense'"),
        ({"dtyp": "float16"}, "There is no argument 'dtyp'"),
        ({"dtyp": "float16", "untrained": True}, "There is no argument 'dtyp'"),
        ({"revision": "step3"}, "revision='step3' is of a model on the hub"),
        ({"token": "secret"}, "token= is of a model on the hub"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    arguments: dict[str, Any], message: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(LensLocError, match=message) as caught:
        ll.load_model(checkpoints["llama"], **arguments)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_further_keywords_reach_transformers(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], attn_implementation="eager")
    assert describe(model).backend == "transformers"
    assert model.config._attn_implementation == "eager"
    assert ll.load_model(checkpoints["llama"], num_hidden_layers=2).cfg.n_layers == 2


def test_a_subfolder_is_read_with_its_tokenizer(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints["llama"], tmp_path / "m" / "inside")
    (tmp_path / "m" / "config.json").write_bytes(
        (checkpoints["llama"] / "config.json").read_bytes()
    )
    model = ll.load_model(tmp_path / "m", subfolder="inside")
    assert model.tokenizer is not None
    assert (
        describe(model).weights_hash == describe(ll.load_model(checkpoints["llama"])).weights_hash
    )


def test_packed_weights_have_no_gradients(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], backend="transformers")
    assert not is_quantized(model)
    require_gradients(model, "Attribution")
    layer = model.model.layers[0].mlp.up_proj
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    assert is_quantized(model)
    with pytest.raises(LensLocError, match="Attribution needs gradients, which a model with quant"):
        require_gradients(model, "Attribution")
    contrast = ll.Contrast.from_texts(
        {"a": ["the old gardener"], "b": ["vash mopi"]}, target="a", control="b"
    )
    for method in ("grad_x_act", "integrated_gradients"):
        with pytest.raises(LensLocError, match=f"The method {method} needs gradients"):
            ll.attribute(model, contrast, method)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["hooked", "bridge", "transformers"])
def test_shards(backend: Any, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    whole = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    whole.save_pretrained(tmp_path / "m", max_shard_size="30KB")
    train_tokenizer(tmp_path / "m")
    shards = sorted((tmp_path / "m").glob("model-*"))
    assert len(shards) > 2
    model = ll.load_model(tmp_path / "m", backend=backend)
    torch.testing.assert_close(logits_of(model), logits_of(whole), rtol=0, atol=1e-4)
    if backend == "hooked":
        assert describe(model).hashes == describe(ll.load_model(checkpoints["llama"])).hashes
        shards[1].unlink()
        with pytest.raises(LensLocError, match="is not a complete transformers checkpoint"):
            ll.load_model(tmp_path / "m")


def test_a_file_that_is_written_anew_changes_no_loaded_model(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """As a training run does with its last checkpoint; a mapped file would end the process."""
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "m")
    for backend in ("hooked", "transformers"):
        model = ll.load_model(folder, backend=backend)  # type: ignore[arg-type]
        before = logits_of(model)
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(b"")
        assert torch.equal(logits_of(model), before)
        (folder / "model.safetensors").write_bytes(content)


def test_tied_weights_become_two(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", CONFIGS["gpt2"]())
    model = ll.load_model(folder, backend="hooked")
    places = [weight.untyped_storage().data_ptr() for weight in model.parameters()]
    assert len(set(places)) == len(places)
    with torch.no_grad():
        before = model.unembed.W_U.clone()
        model.embed.W_E.zero_()
    assert torch.equal(model.unembed.W_U, before)


def test_a_tokenizer_of_ones_own(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "bare")
    for file in folder.glob("*token*"):
        file.unlink()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    assert ll.load_model(folder, tokenizer=tokenizer).tokenizer is tokenizer
    with pytest.raises(LensLocError, match=r"tokenizer=.*no effect on a model that is already"):
        ll.load_model(ll.load_model(folder), tokenizer=tokenizer)


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_bitsandbytes_packs_on_a_cpu(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    sizes = {**SIZES, "hidden_size": 64, "intermediate_size": 128}  # 4 bits come in blocks of 64
    folder = make_checkpoint(tmp_path / "llama", transformers.LlamaConfig(**sizes))
    packing = transformers.BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)
    model = ll.load_model(folder, backend="transformers", quantization_config=packing)
    assert is_quantized(model)
    assert "bitsandbytes" in describe(model).quantization
    first = logits_of(model)
    assert weights_hashed(model) == weights_hashed(model) == describe(model).weights_hash[5:]
    assert torch.equal(logits_of(model), first)  # what a state_dict of it would not leave so
    expected = logits_of(ll.load_model(folder, backend="transformers"))
    error = (logits_of(model).float() - expected).norm() / expected.norm()
    assert 0 < error < (0.3 if bits == 8 else 0.8)
    contrast = ll.Contrast.from_texts(
        {"a": ["the old gardener", "nobody"], "b": ["vash mopi", "twelve"]}, target="a", control="b"
    )
    found = ll.localize(model, contrast, ["resid_post", "mlp_post", "z"], progress=False)
    intact = logits_of(model)
    for site in found:
        with ll.lesion(model, found[site].top(k=20)) as lesion:
            assert not torch.equal(logits_of(model), intact)
        assert lesion.effect.took_effect
    torch.testing.assert_close(logits_of(model), intact)
    with pytest.raises(LensLocError, match="needs gradients, which a model with quantised weights"):
        ll.attribute(model, contrast, "grad_x_act", "mlp_post", progress=False)
