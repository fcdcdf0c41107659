"""Items, answers and files of tasks, and the plain model that scores them."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers
from torch import Tensor

from lensloc import LensLocError
from lensloc.tasks.pairs import Pair

PAIRS = tuple(
    Pair(good, bad, paradigm, place=f"pairs.csv, row {number}")
    for number, (good, bad, paradigm) in enumerate(
        [
            ("the old gardener watered every plant", "the old gardener water every plant", "b"),
            ("twelve plus nineteen is thirty one", "twelve plus nineteen thirty is one", "a"),
            ("nobody remembered", "somebody remembered who had built the stone bridge", "a"),
            ("the sun came up", "the sun came up up up", "b"),  # the good one begins the bad one
            ("the village was still there", "the village was", "a"),  # and the other way around
            ("glorbix fendal mopi", "Glorbix fendal mopi", "c"),  # nothing shared
            ("ça va, 🙂 the sun", "ça va, 🙃 the sun", "b"),
            ("who built the bridge? nobody", "who the bridge built? nobody", "c"),
            ("the plant", "the plants", "b"),
            ("nothing else at all", "nothing else at al", "a"),
        ],
        start=1,
    )
)


TEXTS = (
    "the old gardener watered every plant before the sun came up",
    "vash",
    "twelve plus nineteen is thirty one\nand nothing else",
    "ça va 🙂",
    "nobody in the village remembered who had built",
)


PROMPTS = (
    "the old gardener",
    "nobody in the village remembered",
    "twelve plus",
    "glorbix fendal mopi strane",
    "who had built the stone bridge",
    "the sun came up",
    "the old bridge",
)


def plain_model(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


def plain_log_probs(original: Any, ids: Sequence[int]) -> Tensor:
    """log p of every token but the first, from the whole softmax of one unpadded text."""
    with torch.no_grad():
        logits = original(torch.tensor([list(ids)])).logits[0, :-1]
    return logits.double().log_softmax(-1)[torch.arange(len(ids) - 1), list(ids[1:])]


@contextmanager
def shapes_of_passes(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Rows and positions of every forward pass, from the first block's input."""
    shapes: list[tuple[int, ...]] = []

    def look(activation: Tensor, hook: Any) -> None:
        shapes.append(tuple(activation.shape[:2]))

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", look)]):
        yield shapes


def write_jsonl(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_csv(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    pd.DataFrame(records).to_csv(path, index=False)
    return path


def ids_of(tokenizer: Any, text: str, *, bos: bool = False) -> list[int]:
    return [0] * bos + list(tokenizer(text)["input_ids"])


QUESTIONS: list[dict[str, Any]] = [
    {"prompt": "the old gardener", "choices": ["watered", "built every bridge"], "answer": 0},
    {"prompt": "the old ", "choices": ["gardener", "sun", "thirty one"], "answer": "sun"},
    {"prompt": "twelve plus\n", "choices": [" nineteen", "nine", "ça va 🙂"], "answer": 2},
    {"prompt": "vash:", "choices": [" the", "\nthe", "then"], "answer": "\nthe", "kind": "b"},
    {"prompt": "x", "choices": ["nobody in the village", "one"], "answer": 1, "item": "last"},
]


def n_common(a: Sequence[int], b: Sequence[int]) -> int:
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))


def refused(make: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(LensLocError) as caught:
        make()
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    assert "\n" not in message
    assert message.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", message), message
