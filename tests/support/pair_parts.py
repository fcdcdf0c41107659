"""Pairs for tiny models, and models of which it is known which units carry the difference."""

from typing import Any

import torch
from torch import Tensor

import lensloc as ll

# In the vocabulary of tiny checkpoints, words of one length in tokens by construction of the text.
CLEAN = ["the old gardener watered", "nobody in the village", "twelve plus nineteen is", "the sun"]
CORRUPTED = ["the old village watered", "nobody in the bridge", "twelve plus twelve is", "the sea"]
RIGHT = ["every plant", "remembered", "thirty one", "came"]
WRONG = ["who", "nothing else", "built", "up the stone"]


def given() -> ll.Pairs:
    """Pairs of unequal length among them, with continuations of one token and of several."""
    return ll.Pairs.from_texts(CLEAN, CORRUPTED, RIGHT, WRONG, name="small")


def letters(n: int = 6) -> ll.Pairs:
    """Pairs that every tokenizer aligns: single letters are exchanged."""
    swaps = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i", "j"), ("k", "l")][:n]
    longer = ["", "x y ", "q ", "x y z ", "w ", ""]
    return ll.Pairs.from_texts(
        [f"{more}{one} 1" for (one, _), more in zip(swaps, longer, strict=False)],
        [f"{more}{other} 1" for (_, other), more in zip(swaps, longer, strict=False)],
        ["Q", "R S", "T", "U", "V W", "X"][:n],
        ["q", "r", "t u", "v", "w x", "y"][:n],
        name="letters",
    )


def metric_of(logits_of: Any, prompt: list[int], right: list[int], wrong: list[int]) -> Tensor:
    """log P(right) - log P(wrong) after a prompt, token by token, by hand."""
    total = torch.zeros((), dtype=torch.float64)
    for sign, more in ((1, right), (-1, wrong)):
        ids = prompt + more
        by_position = logits_of(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
        at = torch.arange(len(prompt) - 1, len(ids) - 1)
        total = total + sign * by_position[at, torch.tensor(more)].sum()
    return total
