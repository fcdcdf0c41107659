"""Tiny random checkpoints of three architectures, and the tokenizer that comes with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

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
