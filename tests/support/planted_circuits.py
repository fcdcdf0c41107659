"""A checkpoint in which a few neurons, and nothing else, tell clean from corrupted texts.

Attention writes nothing; a token's embedding has one dimension that says whether it is of the first
or the second kind, and what the planted neurons make of it decides between two answers.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import SIZES
from tokenizers import Tokenizer, models, pre_tokenizers

import lensloc as ll

WIDTH = 32
PLANTED = {(1, 7): 1.0, (1, 30): 0.7, (1, 41): 0.5}
"""Layer and neuron -> how much of the difference it carries."""
FIRST = "ant bee cat dog eel fox".split()
SECOND = "oak elm fir ash yew box".split()
ANSWERS = ("animal", "plant")


def circuit(folder: Path) -> tuple[Any, ll.Pairs, list[str]]:
    """Return a model, pairs, and the addresses of the neurons that carry the difference."""
    words = ["<|end|>", "<|?|>", *FIRST, *SECOND, *ANSWERS, "a", "the"]
    tokenizer = _tokenizer(folder, words)
    config = transformers.LlamaConfig(
        **{**SIZES, "hidden_size": WIDTH, "vocab_size": len(words)}, num_key_value_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    ids = dict(zip(words, tokenizer(" ".join(words))["input_ids"], strict=True))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = torch.randn(len(words), WIDTH, generator=generator)
        embedding[:, :4] = 0
        embedding[[ids[word] for word in FIRST], 0] = 4.0
        embedding[[ids[word] for word in SECOND], 0] = -4.0
        model.model.embed_tokens.weight.copy_(embedding)
        # Other words may be told by anything; the two answers by what the neurons write.
        model.lm_head.weight.normal_(generator=generator)
        model.lm_head.weight[[ids[answer] for answer in ANSWERS]] = 0
        for place, answer in enumerate(ANSWERS):
            model.lm_head.weight[ids[answer], 1] = 1.0 - 2.0 * place
        for (layer, neuron), strength in PLANTED.items():
            mlp = model.model.layers[layer].mlp
            mlp.gate_proj.weight[neuron].zero_()
            mlp.up_proj.weight[neuron].zero_()
            mlp.gate_proj.weight[neuron, 0] = 1.0
            mlp.up_proj.weight[neuron, 0] = 1.0
            mlp.down_proj.weight[1, neuron] = strength
    model.save_pretrained(folder)
    pairs = ll.Pairs.from_texts(
        [f"{article} {word}" for word in FIRST for article in ("a", "the")],
        [f"{article} {word}" for word in SECOND for article in ("a", "the")],
        [ANSWERS[0]] * 12,
        [ANSWERS[1]] * 12,
        name="kinds",
    )
    loaded = ll.load_model(folder, dtype="float64")
    addresses = [f"L{layer}.mlp_post.{neuron}" for layer, neuron in PLANTED]
    return loaded, pairs, addresses


def _tokenizer(folder: Path, words: list[str]) -> Any:
    vocabulary = {word: number for number, word in enumerate(words)}
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
