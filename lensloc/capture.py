"""Model x texts x sites -> Responses, in one ``run_with_cache`` pass a batch."""

import contextlib
import inspect
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.responses import Responses
from lensloc.sites import Site, get_site, hook_names, to_units, upcast
from lensloc.tokens import token_ids

log = logging.getLogger(__name__)

Pooling = Literal["last-token", "word-end", "mean", "sum", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

_WORD = re.compile(r"\S+")
# Large enough that a batch's fixed costs do not show, small enough to stay in a CPU's caches.
_TOKENS_AT_ONCE = {"cpu": 3072, "cuda": 32768, "mps": 8192}
_CACHE_BYTES = {"cpu": 2**30, "cuda": 8 * 2**30, "mps": 2**30}


@dataclass(frozen=True)
class Tokenized:
    """A text's tokens, and which of them are pooled over.

    Attributes:
        ids: token ids, special tokens included.
        word_ends: positions of the last token of every whole word; empty unless asked for.
    """

    ids: tuple[int, ...]
    word_ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Captured:
    """What one capture gave.

    Attributes:
        responses: site name -> pooled activations.
        n_tokens: tokens run through the model, pads not counted.
        seconds: time of tokenizing and of the forward passes.
    """

    responses: Mapping[str, Responses]
    n_tokens: int
    seconds: float


def capture(
    model: Any,
    texts: Sequence[str],
    conditions: Sequence[str],
    sites: Sequence[str] = ("resid_post",),
    *,
    pooling: Pooling = "last-token",
    batch_size: int | Literal["auto"] = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    progress: bool = True,
) -> Captured:
    """Run the texts through the model once and pool the activations at every site.

    A text's response does not depend on the other texts: batches hold texts of similar length,
    padded on the right where a causal model cannot see it, and pads never enter a pool. A model
    that attends in both directions gets batches of equal length.

    Args:
        model: a HookedTransformer or TransformerBridge with a tokenizer.
        texts: the stimuli.
        conditions: the condition of each stimulus.
        sites: names of sites (see :data:`lensloc.sites.SITES`).
        pooling: over which tokens, special tokens included where the tokenizer adds them:
            the last one; the last one of every word (``word-end``: mean over words, where a word
            is a stretch without spaces); the mean, sum or maximum over all.
        batch_size: texts a batch, or ``"auto"`` for as many as a budget of tokens and memory
            allows. Halved, with a note in the log, when memory runs out.
        max_tokens: use only so many tokens of each text, special tokens included.
        truncate: cut texts that are longer than the context window, instead of refusing them.
        progress: show a progress bar.

    Returns:
        One :class:`~lensloc.responses.Responses` a site, values ``[stimulus, layer, unit]``.

    Raises:
        LensLocError: no tokenizer, unknown site or pooling, a site that the model lacks, a text
            without tokens or longer than the context window, or a non-finite activation.
    """
    if pooling not in POOLINGS:
        raise LensLocError(f"There is no pooling {pooling!r}; there are {', '.join(POOLINGS)}.")
    if batch_size != "auto" and batch_size < 1:
        raise LensLocError(f"A batch holds at least one text; {batch_size} does not.")
    chosen = [get_site(name) for name in dict.fromkeys(sites)]
    hooks = {site.name: hook_names(site, model) for site in chosen}
    if truncate:
        max_tokens = min(max_tokens or model.cfg.n_ctx, model.cfg.n_ctx)
    start = time.perf_counter()
    tokenized = tokenize(model, texts, word_ends=pooling == "word-end", max_tokens=max_tokens)
    runner = _Runner(model, chosen, hooks, pooling)
    pooled = runner.run(tokenized, batch_size, progress)
    _require_finite(pooled, texts)
    seconds = time.perf_counter() - start
    return Captured(
        {name: Responses(name, values, tuple(conditions)) for name, values in pooled.items()},
        sum(len(text.ids) for text in tokenized),
        seconds,
    )


# -- tokens ------------------------------------------------------------------------------------


def tokenize(
    model: Any, texts: Sequence[str], *, word_ends: bool = False, max_tokens: int | None = None
) -> list[Tokenized]:
    """Tokenize each text by itself, with the special tokens that the model's settings ask for.

    Args:
        model: a model with a tokenizer.
        texts: the texts.
        word_ends: also find the last token of every word.
        max_tokens: keep only the first tokens, special ones included.

    Raises:
        LensLocError: no tokenizer; a text without tokens; one longer than the context window.
    """
    if model.tokenizer is None:
        raise LensLocError(
            "The model has no tokenizer, so texts cannot be run through it; "
            "load it with one (tokenizer files in its folder)."
        )
    if max_tokens is not None and max_tokens < 1:
        raise LensLocError(f"At least one token of a text must be kept; {max_tokens} keeps none.")
    window = model.cfg.n_ctx
    result = []
    for row, text in enumerate(texts, start=1):
        ids = token_ids(model, text)[:max_tokens]
        if not ids:
            raise LensLocError(f"Text {row} ({shortened(text)}) has no tokens; remove it.")
        if len(ids) > window:
            raise LensLocError(
                f"Text {row} ({shortened(text)}) has {len(ids)} tokens, but the model's context "
                f"window is {window}; shorten it, or say truncate."
            )
        ends = _word_ends(model.tokenizer, text, ids, row) if word_ends else ()
        result.append(Tokenized(tuple(ids), ends))
    return result


def _word_ends(tokenizer: Any, text: str, ids: list[int], row: int) -> tuple[int, ...]:
    if not getattr(tokenizer, "is_fast", False):
        raise LensLocError(
            "Pooling at word ends needs a fast tokenizer, which says where in the text each token "
            "lies, and this model has a slow one; choose another pooling."
        )
    plain = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    shift = _position_of(plain["input_ids"], ids)
    if shift is None:
        raise LensLocError(
            f"The tokens of text {row} ({shortened(text)}) cannot be matched to its words; "
            "choose another pooling."
        )
    ends = []
    for word in _WORD.finditer(text):
        inside = [
            position
            for position, (start, stop) in enumerate(plain["offset_mapping"])
            if start < word.end() and stop > word.start()
        ]
        if inside and inside[-1] + shift < len(ids):
            ends.append(inside[-1] + shift)
    if not ends:
        raise LensLocError(
            f"Text {row} ({shortened(text)}) holds no whole word within its tokens; "
            "keep more tokens or choose another pooling."
        )
    return tuple(dict.fromkeys(ends))


def _position_of(plain: list[int], ids: list[int]) -> int | None:
    # A special token or two may stand in front, and the text may have been cut off behind.
    for shift in range(min(3, len(ids))):
        kept = ids[shift : shift + len(plain)]
        if kept == plain[: len(kept)]:
            return shift
    return None


def shortened(text: str, length: int = 40) -> str:
    """Return a text in quotes, cut off for an error message."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")


# -- batches -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Runner:
    model: Any
    sites: list[Site]
    hooks: dict[str, list[str]]
    pooling: Pooling

    def run(
        self, tokenized: list[Tokenized], batch_size: int | Literal["auto"], progress: bool
    ) -> dict[str, Float[Tensor, "stimulus layer unit"]]:
        budget = self._token_budget() if batch_size == "auto" else None
        rows_at_once = len(tokenized) if batch_size == "auto" else int(batch_size)
        parts: dict[str, list[Tensor]] = {site.name: [] for site in self.sites}
        order: list[int] = []
        pending = self._batches(tokenized, rows_at_once, budget)
        with _bar(progress, len(tokenized)) as advance, _evaluating(self.model), torch.no_grad():
            while pending:
                rows = pending.pop(0)
                pooled = self._try_batch([tokenized[row] for row in rows])
                if pooled is None:
                    log.info("out of memory with %d texts at once; halving", len(rows))
                    half = len(rows) // 2
                    pending[:0] = [rows[:half], rows[half:]]
                    continue
                for name, values in pooled.items():
                    parts[name].append(values)
                order.extend(rows)
                advance(len(rows))
        back = torch.tensor(order).argsort()
        return {
            name: torch.cat(values)[back.to(values[0].device)] for name, values in parts.items()
        }

    def _try_batch(
        self, texts: list[Tokenized]
    ) -> dict[str, Float[Tensor, "row layer unit"]] | None:
        """Run a batch; None if it was too large for the memory and can be halved."""
        try:
            return self._run_batch(texts)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or len(texts) == 1:
                raise
        # Not in the handler above, where the error still holds the batch's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _token_budget(self) -> int:
        cfg = self.model.cfg
        device = torch.device(cfg.device or "cpu")
        # mlp sites are the widest: an upper bound for what a token takes at any site.
        width = max(cfg.d_model, getattr(cfg, "d_mlp", None) or 0)
        itemsize = torch.finfo(cfg.dtype).bits // 8
        bytes_a_token = len(self.sites) * cfg.n_layers * width * itemsize
        memory: int = _CACHE_BYTES.get(device.type, 2**30)
        if device.type == "cuda":
            memory = min(memory, int(torch.cuda.mem_get_info(device)[0]) // 4)
        most = _TOKENS_AT_ONCE.get(device.type, 3072)
        return int(max(1, min(most, memory // max(1, bytes_a_token))))

    def _batches(
        self, tokenized: list[Tokenized], rows_at_once: int, budget: int | None
    ) -> list[list[int]]:
        """Group texts by length: at most so many rows, at most so many tokens with pads."""
        sees_pads = getattr(self.model.cfg, "attention_dir", "causal") != "causal"
        by_length = sorted(range(len(tokenized)), key=lambda row: len(tokenized[row].ids))
        batches: list[list[int]] = []
        for row in by_length:
            length = len(tokenized[row].ids)
            current = batches[-1] if batches else []
            full = (
                not current
                or len(current) >= rows_at_once
                or (budget is not None and (len(current) + 1) * length > budget)
                or (sees_pads and len(tokenized[current[0]].ids) != length)
            )
            if full:
                batches.append([row])
            else:
                current.append(row)
        # Longest first: if memory runs out, it does so at once.
        return batches[::-1]

    def _run_batch(self, texts: list[Tokenized]) -> dict[str, Float[Tensor, "row layer unit"]]:
        longest = max(len(text.ids) for text in texts)
        tokens = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            tokens[row, : len(text.ids)] = torch.tensor(text.ids)
        pooled_over = _pooled_positions(texts, longest, self.pooling)
        names = {name for hooks in self.hooks.values() for name in hooks}
        device = torch.device(self.model.cfg.device or "cpu")
        _, cache = self.model.run_with_cache(
            tokens.to(device),
            names_filter=lambda name: name in names,
            return_cache_object=False,
            return_type=None,
            **_forward_options(self.model),
        )
        n_heads = self.model.cfg.n_heads
        return {
            site.name: torch.stack(
                [
                    pool(to_units(site, cache[name], n_heads), pooled_over, self.pooling)
                    for name in self.hooks[site.name]
                ],
                dim=1,
            )
            for site in self.sites
        }


def _pooled_positions(
    texts: list[Tokenized], longest: int, pooling: Pooling
) -> Bool[Tensor, "row pos"]:
    chosen = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        if pooling == "last-token":
            chosen[row, len(text.ids) - 1] = True
        elif pooling == "word-end":
            chosen[row, list(text.word_ends)] = True
        else:
            chosen[row, : len(text.ids)] = True
    return chosen


def pool(
    activation: Float[Tensor, "row pos unit"],
    pooled_over: Bool[Tensor, "row pos"],
    pooling: Pooling,
) -> Float[Tensor, "row unit"]:
    """Pool an activation over the marked positions of each row; the others do not count.

    Half-precision activations are pooled in float32.
    """
    values, chosen = upcast(activation), pooled_over.to(activation.device)
    if pooling == "last-token":
        last: Int[Tensor, " row"] = chosen.int().argmax(dim=1)
        return values[torch.arange(len(values), device=values.device), last]
    if pooling == "max":
        return values.masked_fill(~chosen[..., None], -torch.inf).amax(dim=1)
    total = einsum(values, chosen.to(values.dtype), "row pos unit, row pos -> row unit")
    return total if pooling == "sum" else total / chosen.sum(dim=1, keepdim=True)


def _forward_options(model: Any) -> dict[str, Any]:
    """Return what keeps a forward pass from doing more than is captured."""
    if hasattr(model, "original_model"):  # TransformerBridge runs the output layer regardless
        parameters = inspect.signature(model.original_model.forward).parameters
        options: dict[str, Any] = {"output_attentions": False}
        return options | ({"logits_to_keep": 1} if "logits_to_keep" in parameters else {})
    # A tokenizer set to pad on the left would make the model look for pads there.
    return {"padding_side": "right"} if model.tokenizer is not None else {}


def _require_finite(pooled: Mapping[str, Tensor], texts: Sequence[str]) -> None:
    for name, values in pooled.items():
        if not torch.isfinite(values).all():
            row, layer, unit = (~torch.isfinite(values)).nonzero()[0].tolist()
            raise LensLocError(
                f"The activation L{layer}.{name}.{unit} is {values[row, layer, unit].item()} for "
                f"text {row + 1} ({shortened(texts[row])}); "
                "load the model in float32 or leave the text out."
            )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


@contextlib.contextmanager
def _bar(shown: bool, total: int) -> Iterator[Any]:
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("stimuli", total=total)
        yield lambda n: progress.advance(task, n)
