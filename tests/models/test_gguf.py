"""A .gguf file: its numbers, and the plain checkpoint that is made of it once."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from more_checkpoints import tiny_bundled, write_gguf
from tiny_models import CONFIGS, make_checkpoint
from transformers.utils import quantization_config

import lensloc as ll
from lensloc import LensLocError
from lensloc.models import describe, fetch, gguf_kept
from lensloc.models.gguf_parts import unpacked

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def packed(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """A .gguf file whose matrices are stored in some way."""
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    own = gguf.GGUFWriter.add_tensor

    def write(kind: str) -> Path:
        quantised = gguf.GGMLQuantizationType[kind]

        def add(self: Any, name: str, tensor: Any, **options: Any) -> None:
            if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and kind != "F32":
                options["raw_dtype"] = quantised
                tensor = gguf.quantize(tensor, quantised)
            own(self, name, tensor, **options)

        with monkeypatch.context() as patch:
            patch.setattr(gguf.GGUFWriter, "add_tensor", add)
            return write_gguf(tmp_path / f"{kind}.gguf", checkpoints["llama"])

    return write


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16", "F32"])
def test_weights_of_a_gguf_file_are_transformers_own(
    kind: str, packed: Callable[[str], Path]
) -> None:
    path = packed(kind)
    settings = getattr(quantization_config, "GgufConfig", None)
    options = {} if settings is None else {"quantization_config": settings(dequantize=True)}
    expected = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, **options
    ).state_dict()
    for _ in range(2):  # the second time from what was kept
        found = ll.load_model(path, backend="transformers").state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_unpacking_in_large_steps_changes_no_number() -> None:
    draws = np.random.default_rng(0)
    for kind in ("Q4_K", "Q6_K", "Q5_0", "IQ4_NL", "F16"):
        quantised = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[quantised]
        for rows, blocks in ((3, 1), (40, 2), (515, 33)):
            data = draws.integers(0, 60, (rows, blocks * size), dtype=np.uint8)
            found, expected = unpacked(data, quantised), gguf.dequantize(data, quantised)
            assert found.shape == expected.shape == (rows, blocks * block)
            assert np.array_equal(found, expected, equal_nan=True)


def test_a_gguf_file_is_converted_once(
    packed: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, checkpoints: dict[str, Path],
) -> None:  # fmt: skip
    calls: list[Path] = []

    def counted(path: Path, *arguments: Any, **options: Any) -> Any:
        calls.append(path)
        return own(path, *arguments, **options)

    own = gguf_kept.read_gguf
    monkeypatch.setattr(gguf_kept, "read_gguf", counted)
    path = packed("Q8_0")
    first = describe(ll.load_model(path))
    again = describe(ll.load_model(path))
    assert len(calls) == 1
    assert first.hashes == again.hashes
    assert first.quantization == again.quantization == "Q8_0, dequantised to float32"
    assert first.name == again.name == "Q8_0"
    kept = [file for file in (tmp_path / "cache" / "gguf").rglob("*.safetensors")]
    assert len(kept) == 1
    # A bit that changed in what was kept is noticed.
    content = bytearray(kept[0].read_bytes())
    content[-100] ^= 1
    kept[0].write_bytes(content)
    assert describe(ll.load_model(path)).hashes == first.hashes
    assert len(calls) == 2
    assert "is damaged, and made again" in caplog.text
    kept[0].unlink()
    assert describe(ll.load_model(path)).hashes == first.hashes
    assert len(calls) == 3
    # Another file at its place is another model, and what was kept of the old one goes.
    write_gguf(path, make_checkpoint(tmp_path / "other", CONFIGS["llama"](), seed=5))
    assert describe(ll.load_model(path)).weights_hash != first.weights_hash
    assert len(calls) == 4
    assert len(list((tmp_path / "cache" / "gguf").rglob("lensloc.json"))) == 1


@pytest.mark.parametrize("trouble", ["a file in its place", "full", "half full"])
def test_a_cache_that_cannot_keep_a_gguf_file_is_told(
    trouble: str, packed: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = packed("Q8_0")
    expected = describe(ll.load_model(path)).hashes
    shutil.rmtree(tmp_path / "cache")
    if trouble == "a file in its place":
        (tmp_path / "cache").write_text("")
    elif trouble == "full":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    else:

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", fail)
    assert describe(ll.load_model(path)).hashes == expected
    assert "is not kept as a plain checkpoint" in caplog.text
    if trouble != "a file in its place":
        assert not list((tmp_path / "cache").rglob("*.safetensors"))
    with pytest.raises(LensLocError, match=r"needs .* as a plain checkpoint"):
        ll.load_model(path, device_map="auto")


def test_the_bundled_model_is_kept_once(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    model, _ = tiny_bundled(downloads, checkpoints["llama"])
    fetch(model, progress=False)
    assert not (tmp_path / "cache" / "gguf").exists()
