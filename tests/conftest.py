"""Shared fixtures: tiny random checkpoints of three architectures, and the pretrained model.

Models are session-wide and read-only: a test that changes one makes its own.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
# Tests compare with values computed on the CPU; `make test-gpu` makes a GPU visible on purpose.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import lensloc as ll
from lensloc.models import BUNDLED, cache_folder, fetch

CORPUS = [
    "the old gardener watered every plant before the sun came up",
    "nobody in the village remembered who had built the stone bridge",
    "twelve plus nineteen is thirty one and nothing else at all",
    "glorbix fendal mopi strane wuggle trisket plonder vash",
]
SIZES: dict[str, Any] = dict(
    vocab_size=320,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=96,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=0,
)
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, num_key_value_heads=2),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=320,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=96,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "neox": lambda: transformers.GPTNeoXConfig(**SIZES),
}


def train_tokenizer(
    folder: Path, *, adds_bos: bool = False
) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which most words are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = (
        processors.TemplateProcessing("<|end|> $A", special_tokens=[("<|end|>", 0)])
        if adds_bos
        else processors.ByteLevel(trim_offsets=True)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|end|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        add_bos_token=adds_bos,
    )
    fast.save_pretrained(folder)
    return fast


def make_checkpoint(folder: Path, config: Any, *, adds_bos: bool = False, seed: int = 0) -> Path:
    """Write a random checkpoint whose activations are not all nearly zero."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    model.save_pretrained(folder)
    train_tokenizer(folder, adds_bos=adds_bos)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: make_checkpoint(root / f"my-{name}", make()) for name, make in CONFIGS.items()}


@pytest.fixture(scope="session", params=["hooked", "bridge"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session", params=list(CONFIGS))
def tiny_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tiny(checkpoints: dict[str, Path], tiny_name: str, backend: str) -> Any:
    """A tiny random model of every architecture in both classes."""
    return ll.load_model(checkpoints[tiny_name], backend=backend)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny_llama(checkpoints: dict[str, Path]) -> Any:
    return ll.load_model(checkpoints["llama"])


@pytest.fixture(scope="session")
def small_contrast() -> ll.Contrast:
    return ll.Contrast.from_texts(
        {
            "sentences": [
                "the old gardener watered every plant",
                "nobody remembered who had built the bridge",
                "twelve plus nineteen",
                "before the sun came up the village was still",
                "all",
            ],
            "nonwords": [
                "glorbix fendal mopi strane",
                "wuggle trisket plonder vash glorbix mopi trine",
                "vash",
                "mopi fendal strane wuggle trisket",
            ],
        },
        target="sentences",
        control="nonwords",
        name="small",
    )


@pytest.fixture(scope="session")
def pretrained_folder() -> Path:
    """The bundled model's checkpoint, fetched the first time."""
    return fetch(BUNDLED["smollm2-135m"], progress=False)


@pytest.fixture(scope="session")
def pretrained(pretrained_folder: Path) -> Any:
    return ll.load_model("smollm2-135m", progress=False)


@pytest.fixture
def fresh_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained_folder: Path
) -> Iterator[Path]:
    """An empty cache for results, in which the bundled model is already there."""
    fresh = tmp_path / "cache"
    fresh.mkdir()
    (fresh / "models").symlink_to(cache_folder() / "models")
    monkeypatch.setenv("LENSLOC_CACHE", str(fresh))
    return fresh
