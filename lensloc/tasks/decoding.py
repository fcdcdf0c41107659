"""Decoding: prompts -> what a model writes after them, token by token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.forward.memory import Budget, cache_bytes, rows_at_once
from lensloc.models.adapting import surface
from lensloc.models.surface import Decoding, Model
from lensloc.tasks.scoring import place_of, require_choosable

__all__ = ["Decoding", "before_stop", "decode"]

_PROMPTS_ON_CPU = 32
_BUDGET = Budget(on_cpu=2**62, share=0.25)


def decode(
    model: Model,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    *,
    places: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    progress: bool = False,
    description: str = "generation",
) -> list[list[int]]:
    """Return the token ids with which every prompt is continued.

    Up to and without an end-of-text token, and without the token in which a stop begins.

    Args:
        model: a loaded model of any kind.
        prompts: token ids of every prompt.
        how: how tokens are chosen.
        places: what the prompts are called in messages; their texts if None.
        batch_size: prompts per batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Raises:
        NotFiniteError: logits of which none is the largest, naming the prompt.
    """
    require_batch_size(batch_size)
    written: list[list[int]] = [[] for _ in prompts]
    seen = surface(model)
    device, sampled = seen.device, how.temperature > 0

    def run(rows: list[int]) -> None:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=sampled):
            if sampled:  # one prompt at a time, so that no other changes what it draws
                torch.manual_seed(how.seed + rows[0])
            names = [places[row] if places else place_of(model, "", prompts[row]) for row in rows]

            def watch(logits: Tensor, which: Sequence[int], n_written: Sequence[int]) -> None:
                require_choosable(model, logits, [names[row] for row in which], n_written)

            found = seen.write([list(prompts[row]) for row in rows], how, watch)
        for row, ids in zip(rows, found, strict=True):
            written[row] = _without_end(model, ids, how)

    batches = batches_by_length(
        [len(ids) for ids in prompts],
        batch_size=1 if sampled else batch_size,
        budget=_prompts_at_once(model, prompts, how) * max(len(ids) for ids in prompts),
        # Where the last position of a pass matters, a prompt is read in one.
        equal=not seen.writes_side_by_side() or sees_pads(model),
    )
    run_batches(model, batches, run, progress=progress, description=description)
    return written


def _prompts_at_once(model: Model, prompts: Sequence[Sequence[int]], how: Decoding) -> int:
    seen = surface(model)
    length = max(len(ids) for ids in prompts) + how.max_new_tokens
    # Keys and values of all that is read and written, twice while they grow; logits in float32.
    a_row = 2 * length * cache_bytes(model) + 16 * seen.vocabulary
    return rows_at_once(model, on_cpu=_PROMPTS_ON_CPU, bytes_a_row=a_row, budget=_BUDGET)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first stop in it."""
    places = [text.find(stop) for stop in stops]
    return text[: min([place for place in places if place >= 0], default=len(text))]


def _without_end(model: Model, ids: list[int], how: Decoding) -> list[int]:
    tokenizer = surface(model).tokenizer
    end = tokenizer.eos_token_id
    ids = ids[: ids.index(end)] if end in ids else ids
    text = tokenizer.decode(ids)
    kept = before_stop(text, how.stops)
    if len(kept) == len(text):
        return ids
    lengths = range(len(ids), -1, -1)
    return next(ids[:n] for n in lengths if kept.startswith(tokenizer.decode(ids[:n])))
