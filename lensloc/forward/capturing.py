"""Model x texts x sites -> Responses or Moments, in one forward pass per batch."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lensloc.contrasts.texts import require_texts
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    padded_right,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.forward.memory import Budget, pass_bytes, tokens_at_once
from lensloc.forward.module_runs import ModuleRunner
from lensloc.forward.sites import (
    Site,
    activation_width,
    get_site,
    hook_names,
    names_of,
    to_units,
    upcast,
    widths,
)
from lensloc.forward.tokenizing import Tokenized, tokenize
from lensloc.models.adapting import crew_of, surface
from lensloc.models.surface import Model
from lensloc.models.tokens import shortened
from lensloc.selectivity import Moments
from lensloc.selectivity.moments import total
from lensloc.units.addresses import UnitAddress
from lensloc.units.ragged import Widths, stacked, valid
from lensloc.units.responses import Responses
from lensloc.vocabulary import POOLINGS as POOLINGS
from lensloc.vocabulary import Bos, PlacePooling
from lensloc.vocabulary import Pooling as Pooling

# Large enough that a batch's fixed costs do not show, small enough to stay in a CPU's caches.
_TOKENS_ON_CPU = 1024
# Of what a batch's forward pass captures and takes.
_BUDGET = Budget(on_cpu=2**30, share=0.5)


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


@dataclass(frozen=True)
class Summarised:
    """What one capture gave, where no response was kept.

    Attributes:
        moments: site name -> condition -> moments of the pooled activations.
        n_tokens: tokens run through the model, pads not counted.
        seconds: time of tokenizing, of the forward passes and of summing up.
        widths: site name -> units of every layer, where layers differ in width.
    """

    moments: Mapping[str, Mapping[str, Moments]]
    n_tokens: int
    seconds: float
    widths: Mapping[str, Widths] = field(default_factory=dict)


def capture(
    model: Model,
    texts: Sequence[str],
    conditions: Sequence[str],
    sites: Sequence[str] = ("resid_post",),
    *,
    pooling: Pooling | PlacePooling | None = None,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    bos: Bos = "model",
    progress: bool = True,
) -> Captured:
    """Run the texts through the model once and pool the activations at every site.

    A text's response does not depend on the other texts: batches hold texts of similar length,
    padded on the right where a causal model cannot see it, and pads never enter a pool. A model
    that attends in both directions gets batches of equal length.

    Args:
        model: a loaded model with a tokenizer, or a wrapped module (:func:`lensloc.wrap`).
        texts: the stimuli, in a list; for a wrapped module, of whatever it takes.
        conditions: the condition of each stimulus.
        sites: name of a site, or a list of names (see :func:`lensloc.forward.sites.get_site`).
        pooling: over which tokens, special tokens included where the tokenizer adds them:
            the last one; the last one of every word (``word-end``: mean over words, where a word
            is a stretch without spaces); the mean, sum or maximum over all. The last token if None;
            of a wrapped module, as its sites say (there are also ``centre`` and ``class-token``).
        batch_size: texts per batch, or ``"auto"`` for as many as a budget of tokens and memory
            allows. Halved, with a note in the log, when memory runs out.
        max_tokens: use only so many tokens of each text, special tokens included.
        truncate: cut texts that are longer than the context window, instead of refusing them.
        bos: whether a beginning-of-text token stands before every text; see
            :func:`lensloc.models.tokens.token_ids`.
        progress: show a progress bar.

    Returns:
        One :class:`~lensloc.units.responses.Responses` per site, values ``[stimulus, layer,
        unit]``.

    Raises:
        LensLocError: no tokenizer, unknown site or pooling, a site that the model lacks, a text
            without tokens or longer than the context window, or a non-finite activation.
    """
    runner = _runner(model, sites, pooling, truncate, max_tokens, bos)
    crew = crew_of(model)
    texts = _checked_texts(texts, conditions)
    start = time.perf_counter()
    parts: dict[str, list[Tensor]] = {site.name: [] for site in runner.sites}
    order: list[int] = []

    def keep(rows: list[int], pooled: Mapping[str, Tensor]) -> None:
        for name, values in pooled.items():
            parts[name].append(values)
        order.extend(rows)

    def run() -> tuple[int, list[int], dict[str, list[Tensor]]]:
        n_tokens = _run(runner, texts, keep, batch_size, progress)
        if crew.size == 1:
            return n_tokens, order, parts
        return n_tokens, order, {name: [v.cpu() for v in vs] for name, vs in parts.items()}

    shares = crew.together(run)
    back = torch.tensor([row for _, rows, _ in shares for row in rows]).argsort()
    responses: dict[str, Responses] = {}
    for name in parts:
        values = torch.cat([part for _, _, found in shares for part in found[name]])
        responses[name] = Responses(
            name, values[back.to(values.device)], tuple(conditions), widths=runner.widths(name)
        )
    n_tokens = shares[0][0]
    return Captured(responses, n_tokens, time.perf_counter() - start)


def capture_moments(
    model: Model,
    texts: Sequence[str],
    conditions: Sequence[str],
    sites: Sequence[str] = ("resid_post",),
    *,
    absolute: bool = True,
    pooling: Pooling | PlacePooling | None = None,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    bos: Bos = "model",
    progress: bool = True,
) -> Summarised:
    """Run the texts as :func:`capture` does, and keep no response but their moments.

    So memory does not grow with the number of texts. The arguments are those of :func:`capture`,
    and ``absolute``: summarise absolute responses.

    Returns:
        Moments of every unit's responses, by site and condition, float64.

    Raises:
        LensLocError: as :func:`capture`.
    """
    runner = _runner(model, sites, pooling, truncate, max_tokens, bos)
    crew = crew_of(model)
    texts = _checked_texts(texts, conditions)
    start = time.perf_counter()
    moments: dict[str, dict[str, Moments]] = {site.name: {} for site in runner.sites}

    def add(rows: list[int], pooled: Mapping[str, Tensor]) -> None:
        labels = [conditions[row] for row in rows]
        for name, values in pooled.items():
            for label in dict.fromkeys(labels):
                chosen = [place for place, other in enumerate(labels) if other == label]
                found = Moments.of(values[chosen], absolute=absolute)
                known = moments[name].get(label)
                moments[name][label] = found if known is None else known + found

    def run() -> tuple[int, dict[str, dict[str, Moments]]]:
        n_tokens = _run(runner, texts, add, batch_size, progress)
        if crew.size == 1:
            return n_tokens, moments
        return n_tokens, {name: {k: m.cpu() for k, m in of.items()} for name, of in moments.items()}

    shares = crew.together(run)
    n_tokens, moments = shares[0]
    if len(shares) > 1:
        moments = {
            name: {
                label: total([of[name][label] for _, of in shares if label in of[name]])
                for label in dict.fromkeys(conditions)
            }
            for name in moments
        }
    widths = {name: runner.widths(name) for name in moments}
    return Summarised(moments, n_tokens, time.perf_counter() - start, widths)


def _runner(
    model: Model,
    sites: Sequence[str],
    pooling: Pooling | PlacePooling | None,
    truncate: bool,
    max_tokens: int | None,
    bos: Bos,
) -> "_Runner | ModuleRunner":
    if surface(model).takes_tokens:
        return _Runner.of(model, sites, pooling or "last-token", truncate, max_tokens, bos)
    refuse_idle(
        "a wrapped module is run on stimuli as they are, not on tokens; leave it out",
        truncate=truncate,
        max_tokens=max_tokens is not None,
        bos=bos != "model",
    )
    return ModuleRunner.of(model, sites, pooling)


def _run(
    runner: "_Runner | ModuleRunner",
    texts: Sequence[str],
    take: Callable[[list[int], Mapping[str, Tensor]], None],
    batch_size: BatchSize,
    progress: bool,
) -> int:
    """Run all stimuli; return how many tokens they have."""
    if isinstance(runner, ModuleRunner):
        runner.run(texts, take, batch_size, progress)
        return 0
    tokenized = runner.tokenize(texts)
    runner.run(tokenized, texts, take, batch_size, progress)
    return sum(len(text.ids) for text in tokenized)


def _checked_texts(texts: Sequence[str], conditions: Sequence[str]) -> list[str]:
    found = require_texts(texts)
    if isinstance(conditions, str) or len(conditions) != len(found):
        n = "one" if isinstance(conditions, str) else len(conditions)
        raise LensLocError(
            f"{len(found)} texts were given, but {n} as the condition of each; give as many."
        )
    return found


# -- batches -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Runner:
    model: Model
    sites: tuple[Site, ...]
    hooks: Mapping[str, Sequence[str]]
    pooling: Pooling
    max_tokens: int | None
    bos: Bos

    @classmethod
    def of(
        cls,
        model: Model,
        sites: Sequence[str],
        pooling: str,
        truncate: bool,
        max_tokens: int | None,
        bos: Bos,
    ) -> "_Runner":
        if pooling not in POOLINGS:
            raise LensLocError(f"There is no pooling {pooling!r}; there are {', '.join(POOLINGS)}.")
        window = surface(model).window
        chosen = {name: get_site(name) for name in names_of(sites)}
        hooks = {name: hook_names(site, model) for name, site in chosen.items()}
        if truncate:
            max_tokens = min(max_tokens or window, window)
        return cls(model, tuple(chosen.values()), hooks, cast(Pooling, pooling), max_tokens, bos)

    def widths(self, site: str) -> Widths:
        """Return the units of every layer of a site, where layers differ."""
        return widths(get_site(site), self.model)

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        word_ends = self.pooling == "word-end"
        return tokenize(
            self.model, texts, word_ends=word_ends, max_tokens=self.max_tokens, bos=self.bos
        )

    def run(
        self,
        tokenized: list[Tokenized],
        texts: Sequence[str],
        take: Callable[[list[int], Mapping[str, Tensor]], None],
        batch_size: BatchSize,
        progress: bool,
    ) -> None:
        """Run all texts; ``take`` gets the rows of each batch and what was pooled of them."""
        require_batch_size(batch_size)
        lengths = [len(text.ids) for text in tokenized]

        def run_batch(rows: list[int]) -> None:
            pooled = self._run_batch([tokenized[row] for row in rows])
            _require_finite(pooled, self.widths, rows, texts)
            take(rows, pooled)

        own = crew_of(self.model).mine(self.batches(lengths, batch_size))
        run_batches(self.model, own, run_batch, progress=progress, description="stimuli")

    def batches(self, lengths: Sequence[int], batch_size: BatchSize) -> list[list[int]]:
        """Return the batches of texts of these lengths, the same in every rank."""
        longest = max(lengths, default=0)
        return batches_by_length(
            lengths,
            batch_size=batch_size,
            budget=self._token_budget(max(1, longest)),
            equal=sees_pads(self.model, longest),
        )

    def _token_budget(self, longest: int) -> int:
        seen = surface(self.model)
        by_hook = {site.hook: activation_width(site, self.model, longest) for site in self.sites}
        return tokens_at_once(
            self.model,
            on_cpu=_TOKENS_ON_CPU,
            bytes_a_token=sum(by_hook.values()) * seen.n_layers * seen.dtype.itemsize,
            budget=_BUDGET,
            elsewhere=pass_bytes(self.model, longest),
        )

    def _run_batch(self, texts: list[Tokenized]) -> dict[str, Float[Tensor, "row layer unit"]]:
        longest = max(len(text.ids) for text in texts)
        pooled_over = _pooled_positions(texts, longest, self.pooling)
        seen = surface(self.model)
        at: dict[str, list[Site]] = {}
        for site in self.sites:
            for name in self.hooks[site.name]:
                at.setdefault(name, []).append(site)

        def reduce(name: str, activation: Tensor) -> dict[str, Float[Tensor, "row unit"]]:
            found = {}
            for site in at[name]:
                _require_units(site, name, tuple(activation.shape), (len(texts), longest))
                units = to_units(site, activation, seen.n_heads)
                # Layers may lie on different devices.
                found[site.name] = pool(units, pooled_over, self.pooling).to(seen.device)
            return found

        tokens = padded_right([text.ids for text in texts], seen.device)
        passed = seen.reduced(tokens, list(at), reduce)
        for name, sites in at.items():
            _require_reached(sites[0], name, passed)
        return {
            site.name: stacked([passed[name][site.name] for name in self.hooks[site.name]])
            for site in self.sites
        }


def _require_units(site: Site, name: str, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if not site.is_summary and (shape[:2] != size or len(shape) not in (3, 4)):
        raise LensLocError(
            f"The hook point {name!r} holds an array of shape {shape} for {size[0]} texts of "
            f"{size[1]} tokens, not one vector per token, so it has no units; choose another site."
        )


def _require_reached(site: Site, name: str, passed: Collection[str]) -> None:
    if name not in passed:
        raise LensLocError(
            f"The hook point {name!r} is never reached in this model (some need a setting of it), "
            f"so nothing can be captured at the site {site.name!r}; choose another."
        )


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


def _require_finite(
    pooled: Mapping[str, Tensor],
    widths_of: Callable[[str], Widths],
    rows: Sequence[int],
    texts: Sequence[str],
) -> None:
    for name, values in pooled.items():
        if not torch.isfinite(values).all():
            _, n_layers, n_units = values.shape
            units = valid((n_layers, n_units), widths_of(name)).to(values.device)
            found = (~torch.isfinite(values) & units).nonzero().tolist()
            if not found:
                continue
            place, layer, unit = min(found, key=lambda at: (rows[at[0]], *at[1:]))
            row = rows[place]
            raise LensLocError(
                f"The activation {UnitAddress(layer, name, unit)} is "
                f"{values[place, layer, unit].item()} for "
                f"text {row + 1} ({shortened(texts[row])}); "
                "load the model in float32 or leave the text out."
            )
