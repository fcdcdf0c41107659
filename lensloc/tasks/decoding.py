"""Decoding: prompts -> what a model writes after them, token by token."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache
from transformer_lens.utilities import sample_logits

from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    device_of,
    is_bridge,
    padding_options,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.forward.sites import upcast
from lensloc.tasks.scoring import keeps_beginnings, place_of, require_choosable, unembedded

_PROMPTS_AT_ONCE = 32


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen, and when writing ends.

    Attributes:
        max_new_tokens: most tokens to write.
        temperature: 0 takes the most probable token every time; above 0 tokens are drawn.
        repetition_penalty: what logits of tokens that are there already are divided by if positive
            and multiplied by if negative (Keskar et al. 2019); 1 for none.
        stops: texts at which writing ends.
        seed: of the draws.
        min_new_tokens: so many tokens are written before an end-of-text token may be.
    """

    max_new_tokens: int
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    stops: tuple[str, ...] = ()
    seed: int = 0
    min_new_tokens: int = 0


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    *,
    places: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    progress: bool = False,
    description: str = "generation",
) -> list[list[int]]:
    """Return the token ids that are written after every prompt.

    Up to and without an end-of-text token, and without the token in which a stop begins.

    Args:
        model: a HookedTransformer or TransformerBridge.
        prompts: token ids of every prompt.
        how: how tokens are chosen.
        places: what the prompts are called in messages; their texts if None.
        batch_size: prompts a batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Raises:
        NotFiniteError: logits of which none is the largest, naming the prompt.
    """
    require_batch_size(batch_size)
    written: list[list[int]] = [[] for _ in prompts]
    device = device_of(model)
    sampled = how.temperature > 0
    write = _write_by_bridge if is_bridge(model) else _write_by_hooked

    def run(rows: list[int]) -> None:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=sampled):
            if sampled:  # one prompt at a time, so that no other changes what it draws
                torch.manual_seed(how.seed + rows[0])
            names = [places[row] if places else place_of(model, "", prompts[row]) for row in rows]
            found = write(model, [list(prompts[row]) for row in rows], how, names)
        for row, ids in zip(rows, found, strict=True):
            written[row] = _without_end(model, ids, how)

    batches = batches_by_length(
        [len(ids) for ids in prompts],
        batch_size=1 if sampled else batch_size,
        budget=_PROMPTS_AT_ONCE * max(len(ids) for ids in prompts),
        # Where the last position of a pass matters, a prompt is read in one.
        equal=is_bridge(model) or sees_pads(model),
    )
    run_batches(model, batches, run, progress=progress, description=description)
    return written


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first stop in it."""
    places = [text.find(stop) for stop in stops]
    return text[: min([place for place in places if place >= 0], default=len(text))]


def _without_end(model: Any, ids: list[int], how: Decoding) -> list[int]:
    end = model.tokenizer.eos_token_id
    ids = ids[: ids.index(end)] if end in ids else ids
    text = model.tokenizer.decode(ids)
    kept = before_stop(text, how.stops)
    if len(kept) == len(text):
        return ids
    lengths = range(len(ids), -1, -1)
    return next(ids[:n] for n in lengths if kept.startswith(model.tokenizer.decode(ids[:n])))


def _write_by_bridge(
    model: Any, prompts: list[list[int]], how: Decoding, places: list[str]
) -> list[list[int]]:
    """Write after prompts of one length."""
    tokens, end = torch.tensor(prompts, device=device_of(model)), model.tokenizer.eos_token_id
    with _watched(model, end, how.min_new_tokens, places):
        written = model.generate(
            tokens,
            max_new_tokens=how.max_new_tokens,
            do_sample=how.temperature > 0,
            temperature=how.temperature or 1.0,
            repetition_penalty=how.repetition_penalty,
            stop_at_eos=end is not None,
            eos_token_id=end,  # not those of the configuration, which HookedTransformer lacks
            return_type="tokens",
            verbose=False,
        )
    found: list[list[int]] = written[:, tokens.shape[1] :].tolist()
    return found


@contextlib.contextmanager
def _watched(model: Any, end: int | None, n_passes: int, places: Sequence[str]) -> Iterator[None]:
    """Look at a TransformerBridge's logits, and forbid an end of text in its first passes."""
    passes = itertools.count()

    def look(logits: Tensor, hook: Any) -> Tensor | None:
        n_written = next(passes)
        require_choosable(model, logits[:, -1], places, [n_written] * len(places))
        if n_written >= n_passes or end is None:
            return None
        logits = logits.clone()
        logits[..., end] = -torch.inf
        return logits

    with model.hooks(fwd_hooks=[("unembed.hook_out", look)]):
        yield


def _chosen(
    logits: Float[Tensor, "row vocabulary"],
    seen: Int[Tensor, "row pos"],
    forbidden: Sequence[int | None],
    how: Decoding,
) -> Int[Tensor, " row"]:
    """Return the next token of every row; ``forbidden`` names one that a row must not take."""
    logits = upcast(logits)  # so that neither penalty nor temperature overflows
    rows = [row for row, token in enumerate(forbidden) if token is not None]
    if rows:
        logits = logits.clone()
        logits[rows, [token for token in forbidden if token is not None]] = -torch.inf
    chosen: Int[Tensor, " row"] = sample_logits(
        logits,
        temperature=how.temperature,
        repetition_penalty=how.repetition_penalty,
        tokens=seen,
    )
    return chosen


# -- HookedTransformer -----------------------------------------------------------------------------


def _write_by_hooked(
    model: Any, prompts: list[list[int]], how: Decoding, places: list[str]
) -> list[list[int]]:
    """Write after prompts of any lengths, side by side.

    All begin with as many tokens as the shortest prompt has. From there a longer one reads its own
    next token where a shorter one writes, so that nothing is ever padded.
    """
    rows = [list(ids) for ids in prompts]
    ends = [len(ids) + how.max_new_tokens for ids in prompts]
    open_rows = list(range(len(prompts)))
    next_logits, end = _Reader(model).next_logits, model.tokenizer.eos_token_id
    done, length = 0, min(len(ids) for ids in prompts)
    kept = torch.arange(len(prompts))
    while open_rows:
        seen = torch.tensor([rows[row][:length] for row in open_rows], device=device_of(model))
        logits = next_logits(seen, done, kept)
        writing = [place for place, row in enumerate(open_rows) if len(rows[row]) == length]
        require_choosable(
            model,
            logits[writing],
            [places[open_rows[place]] for place in writing],
            [length - len(prompts[open_rows[place]]) for place in writing],
        )
        early = [length < len(prompts[row]) + how.min_new_tokens for row in open_rows]
        chosen = _chosen(logits, seen, [end if soon else None for soon in early], how).tolist()
        done, length = length, length + 1
        for row, token in zip(open_rows, chosen, strict=True):
            if len(rows[row]) < length:
                rows[row].append(token)
        going_on = [
            place
            for place, row in enumerate(open_rows)
            if not _is_over(model, rows[row], len(prompts[row]), ends[row], how)
        ]
        kept = torch.tensor(going_on, dtype=torch.long)
        open_rows = [open_rows[place] for place in going_on]
    return [ids[len(prompt) :] for ids, prompt in zip(rows, prompts, strict=True)]


def _is_over(model: Any, ids: list[int], n_prompt: int, end: int, how: Decoding) -> bool:
    written = ids[n_prompt:]
    if not written:
        return False
    if len(ids) >= end or written[-1] == model.tokenizer.eos_token_id:
        return True
    text = model.tokenizer.decode(written) if how.stops else ""
    return any(stop in text for stop in how.stops)


class _Reader:
    """Reads sequences that grow, with a key-value cache where the model allows one."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: TransformerLensKeyValueCache | None = None

    def next_logits(
        self, ids: Int[Tensor, "row pos"], done: int, kept: Int[Tensor, " row"]
    ) -> Float[Tensor, "row vocabulary"]:
        """Return the logits behind sequences.

        Args:
            ids: the sequences, whole.
            done: how many of their tokens were read in the call before.
            kept: which rows of the call before they are.
        """
        options: dict[str, Any] = {
            "stop_at_layer": self._model.cfg.n_layers,
            **padding_options(self._model),
        }
        if not keeps_beginnings(self._model):
            return unembedded(self._model, self._model(ids, **options)[:, -1])
        if self._cache is None:
            self._cache = TransformerLensKeyValueCache.init_cache(
                self._model.cfg, ids.device, len(ids)
            )
        elif len(kept) < len(self._cache.previous_attention_mask):
            for entry in self._cache.entries:
                own = kept.to(entry.past_keys.device)
                entry.past_keys, entry.past_values = entry.past_keys[own], entry.past_values[own]
            self._cache.previous_attention_mask = self._cache.previous_attention_mask[
                kept.to(self._cache.previous_attention_mask.device)
            ]
        # Every token counts; without masks the model would look for pads.
        mask = torch.ones_like(ids[:, done:])
        residual = self._model(
            ids[:, done:], past_kv_cache=self._cache, attention_mask=mask, **options
        )
        return unembedded(self._model, residual[:, -1])
