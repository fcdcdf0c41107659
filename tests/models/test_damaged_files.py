"""Damaged and impossible files of models: one sentence, in bounded time."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from more_checkpoints import write_gguf
from task_files import refused

import lensloc as ll
from lensloc import LensLocError
from lensloc.models.gguf_files import read_gguf
from lensloc.models.possible import require_possible
from lensloc.models.tokenizer_files import read_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    return Path(shutil.copytree(checkpoints["llama"], tmp_path / "model"))


NUMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads = 0"),
    "a billion layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000"),
    "negative layers": ({"num_hidden_layers": -1}, "num_hidden_layers = -1"),
    "half a layer": ({"num_hidden_layers": 1.5}, "num_hidden_layers = 1.5"),
    "a text": ({"hidden_size": "48"}, "hidden_size = 48"),
    "true": ({"vocab_size": True}, "vocab_size = True"),
    "a width of 10^12": ({"hidden_size": 10**12}, "hidden_size = 1000000000000"),
    "more heads than width": (
        {"num_attention_heads": 10**6, "head_dim": None},
        "1000000",
    ),
}


@pytest.mark.parametrize("untrained", [False, True])
@pytest.mark.parametrize("what", list(NUMBERS))
def test_impossible_numbers_are_refused_at_once(folder: Path, what: str, untrained: bool) -> None:
    change, told = NUMBERS[what]
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    options: dict[str, Any] = {"untrained": True, "seed": 0} if untrained else {}
    start = time.process_time()
    with pytest.raises(LensLocError) as caught:
        ll.load_model(folder, backend="transformers", **options)
    assert time.process_time() - start < 20
    assert "\n" not in str(caught.value)
    if what != "more heads than width":
        assert told in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"vocab_size": ' + "9" * 5000 + "}", "[]", "{", "", '"x"', "\x00"]
)
def test_configurations_that_are_none_are_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(lambda: ll.load_model(folder), "config.json")


def test_a_model_beyond_the_memory_is_not_made_anew(folder: Path) -> None:
    path = folder / "config.json"
    large = {"hidden_size": 10**6, "intermediate_size": 10**7, "num_hidden_layers": 99}
    path.write_text(json.dumps(json.loads(path.read_text()) | large))
    refused(lambda: ll.load_model(folder, untrained=True, seed=0), "GB of memory")


def test_numbers_in_parts_of_a_configuration() -> None:
    require_possible({"text_config": {"num_hidden_layers": 2, "n_inner": None}}, "x")
    require_possible({"num_key_value_heads": [1, 2], "n_inner": 0}, "x")
    refused(lambda: require_possible({"text_config": {"n_layer": 0}}, "x"), "x says n_layer = 0")
    refused(lambda: require_possible({"n_head": [2, 0]}, "x"), "n_head = 0")


# -- tokenizers ------------------------------------------------------------------------------------


def mangled(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Tokenizers that are JSON and no tokenizer."""
    model = tokenizer["model"]
    return {
        "no model": {**tokenizer, "model": None},
        "unknown model": {**tokenizer, "model": {"type": "Nonsense"}},
        "vocabulary of texts": {**tokenizer, "model": {**model, "vocab": {"a": "b"}}},
        "merges of nothing": {**tokenizer, "model": {**model, "merges": [["zq", "qz"]]}},
        "a bad expression": {
            **tokenizer,
            "pre_tokenizer": {
                "type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False,
            },
        },
        "a list": [tokenizer],
        "added tokens": {**tokenizer, "added_tokens": [{"id": -1}]},
        "nothing": {},
    }  # fmt: skip


def test_damaged_tokenizers_are_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    whole = path.read_text()
    texts = {name: json.dumps(found) for name, found in mangled(json.loads(whole)).items()}
    texts |= {"cut": whole[: len(whole) // 2], "brackets": "[" * 100_000, "empty": "", "nul": "\0"}
    for name, text in texts.items():
        path.write_text(text)
        with pytest.raises(LensLocError, match=r"tokenizer of .* cannot be read") as caught:
            read_tokenizer(str(folder))
        assert "\n" not in str(caught.value), name


def test_panics_are_failures_and_interrupts_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panic = type("PanicException", (BaseException,), {})
    for error in (panic("called `Option::unwrap()` on a `None` value"), Exception(), MemoryError()):

        def fail(*_: Any, error: BaseException = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr("lensloc.models.tokenizer_files.AutoTokenizer.from_pretrained", fail)
        refused(lambda: read_tokenizer(str(folder)), "cannot be read")
        monkeypatch.setattr("lensloc.models.reading.AutoConfig.from_pretrained", fail)
        refused(lambda: ll.load_model(folder), "is not a checkpoint that transformers can read")
    for stop in (KeyboardInterrupt, SystemExit):

        def end(*_: Any, stop: type[BaseException] = stop, **__: Any) -> Any:
            raise stop

        monkeypatch.setattr("lensloc.models.tokenizer_files.AutoTokenizer.from_pretrained", end)
        with pytest.raises(stop):
            read_tokenizer(str(folder))


# -- GGUF ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path]) -> bytes:
    path = write_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", checkpoints["llama"])
    return path.read_bytes()


def place_of(content: bytes, key: str) -> int:
    """Return where the value of a setting begins."""
    name = key.encode()
    return content.index(len(name).to_bytes(8, "little") + name) + 8 + len(name) + 4


def with_number(content: bytes, key: str, number: int) -> bytes:
    place = place_of(content, key)
    return content[:place] + number.to_bytes(4, "little") + content[place + 4 :]


@pytest.mark.parametrize("number", [0, 100, 2**31, 2**32 - 1])
@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.head_count"])
def test_impossible_numbers_of_gguf_files(
    packed: bytes, tmp_path: Path, key: str, number: int
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(with_number(packed, f"llama.{key}", number))
    start = time.process_time()
    with pytest.raises(LensLocError, match=r"m\.gguf"):
        read_gguf(path, torch.float32)
    assert time.process_time() - start < 20


def lengths(content: bytes) -> dict[str, Callable[[], bytes]]:
    """Files that say that they hold more than they do."""
    huge = (2**40).to_bytes(8, "little")
    array = place_of(content, "tokenizer.ggml.tokens") + 4
    return {
        "tensors": lambda: content[:8] + huge + content[16:],
        "settings": lambda: content[:16] + huge + content[24:],
        "an array": lambda: content[:array] + huge + content[array + 8 :],
        "a name": lambda: content[:24] + huge + content[32:],
        "cut in the settings": lambda: content[:200],
        "cut in the weights": lambda: content[:-100],
        "nothing": lambda: b"",
        "a magic": lambda: b"GGUF",
    }


def test_gguf_files_that_say_more_than_they_hold(packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for name, make in lengths(packed).items():
        path.write_bytes(make())
        start = time.process_time()
        with pytest.raises(LensLocError, match="cannot be read as a GGUF checkpoint"):
            read_gguf(path, torch.float32)
        assert time.process_time() - start < 20, name


def test_mutated_headers_of_gguf_files_are_read_or_refused(packed: bytes, tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "m.gguf"
    end = gguf_header(packed, tmp_path)
    told = 0
    path.write_bytes(packed)
    assert read_gguf(path, torch.float32).hf_model.config.num_hidden_layers == 3
    for _ in range(25):
        changed = bytearray(packed)
        changed[random.integers(end)] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            read_gguf(path, torch.float32)
        except LensLocError as error:
            told += str(path) in str(error)
    assert told


def gguf_header(content: bytes, folder: Path) -> int:
    path = folder / "whole.gguf"
    path.write_bytes(content)
    return int(gguf.GGUFReader(path).data_offset)
