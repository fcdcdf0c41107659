"""Checkpoints whose answers are known: each token decides the next one, and neurons which of two.

Attention writes nothing. A token's embedding points to its successor; a word of another language is
the successor instead while that language's neuron is on.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import SIZES
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

WIDTH = 64
NEURON = {"en": (1, 5), "de": (1, 9)}
"""Language -> layer and neuron that is on after its words, and lets them follow."""
WORDS = {
    "en": "the old man who lives here was the first that could not be there".split(),
    "de": "der alte Mann und seine Frau haben nicht mehr viel Zeit für uns".split(),
}
ASKED = {"en": "where does everybody go", "de": "wohin gehen jetzt alle"}


def _silent(config: Any) -> Any:
    """A model whose blocks write nothing."""
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
    return model


def _directions(n: int, width: int, seed: int = 0) -> Tensor:
    """Return unit vectors that are nearly orthogonal."""
    found = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(found, dim=1)


def chained(folder: Path, tokenizer: Any, tokens: Sequence[int]) -> Path:
    """Write a checkpoint that writes these tokens, all different, one after the other."""
    assert len(set(tokens)) == len(tokens)
    model = _silent(transformers.LlamaConfig(**{**SIZES, "hidden_size": WIDTH}))
    with torch.no_grad():
        embedding = _directions(SIZES["vocab_size"], WIDTH)
        model.model.embed_tokens.weight.copy_(embedding)
        for token, successor in itertools.pairwise(tokens):
            model.lm_head.weight[successor] = embedding[token]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bilingual(folder: Path) -> Path:
    """Write a checkpoint that answers in the language that it is asked in, thanks to one neuron."""
    tokenizer = _tokenizer_of_words(folder)
    ids = {
        name: tokenizer(" ".join([ASKED[name].split()[-1], *dict.fromkeys(words)]))["input_ids"]
        for name, words in WORDS.items()
    }
    size = len(tokenizer)
    config = {**SIZES, "hidden_size": WIDTH, "vocab_size": size}
    model = _silent(transformers.LlamaConfig(**config))
    names = list(WORDS)
    with torch.no_grad():
        # The first two dimensions say of which language a token is, the next two what to write.
        embedding = torch.zeros(size, WIDTH)
        embedding[:, 4:] = _directions(size, WIDTH - 4)
        for place, name in enumerate(names):
            own = tokenizer(" ".join([ASKED[name], *WORDS[name]]))["input_ids"]
            embedding[own, place] = 0.5
        model.model.embed_tokens.weight.copy_(embedding)
        for place, name in enumerate(names):
            layer, neuron = NEURON[name]
            mlp = model.model.layers[layer].mlp
            mlp.gate_proj.weight[neuron].zero_()
            mlp.up_proj.weight[neuron].zero_()
            mlp.gate_proj.weight[neuron, place] = 2.0
            mlp.up_proj.weight[neuron, place] = 1.0
            mlp.down_proj.weight[2 + place, neuron] = 0.2
        for step in range(min(map(len, ids.values())) - 1):
            before = sum(embedding[ids[name][step], 4:] for name in names)
            for place, name in enumerate(names):
                successor = model.lm_head.weight[ids[name][step + 1]]
                successor[4:] = before * (1.0 - 0.1 * place)
                successor[2 + place] = 1.0
    model.save_pretrained(folder)
    return folder


def answer(name: str, n: int) -> str:
    """Return the first words of a language's answer."""
    return " ".join(list(dict.fromkeys(WORDS[name]))[:n])


def _tokenizer_of_words(folder: Path) -> Any:
    words: Mapping[str, None] = dict.fromkeys(
        word for name in WORDS for word in [*ASKED[name].split(), *WORDS[name]]
    )
    vocabulary = {word: number for number, word in enumerate(["<|end|>", "<|?|>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|?|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|end|>",
        eos_token="<|end|>",
        unk_token="<|?|>",
        pad_token="<|end|>",
        add_bos_token=False,
    )
    fast.save_pretrained(folder)
    return fast
