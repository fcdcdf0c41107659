"""HookedTransformer of TransformerLens 3.9 as a surface."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache
from transformer_lens.utilities import apply_softcap, sample_logits

from lensloc.models.ends import FINAL
from lensloc.models.lens import Lens
from lensloc.models.surface import (
    NO_SUCH_POINT,
    Close,
    Decoding,
    Hook,
    Inputs,
    Kind,
    LogitsOf,
    Start,
    Watch,
    picked,
)

# It has no hook point at the output of its final norm; this one is next, and the same value.
_BEHIND_FINAL = "unembed.hook_in"
# Settings by which attention follows from the length of a row.
_BY_LENGTH = ("use_dynamic_ntk_rope", "use_logn_attn")


class Hooked(Lens):
    """The surface of a HookedTransformer."""

    kind: Kind = "hooked"

    @property
    def processing(self) -> str:
        """Whether normalisations were folded into the weights."""
        folded = str(getattr(self.model.cfg, "normalization_type", "") or "").endswith("Pre")
        return "folded LayerNorm" if folded else "as given"

    def _options(self) -> dict[str, Any]:
        # It looks for pads on the left for a tokenizer that is set to pad there, whatever the
        # tokens are.
        return {} if self.model.tokenizer is None else {"padding_side": "right"}

    # -- the final norm ----------------------------------------------------------------------------

    def lacks(self, point: str) -> str | None:
        if point != FINAL:
            return super().lacks(point)
        if self.model.cfg.normalization_type is None:
            return "it has no final norm"
        return None if _BEHIND_FINAL in self.model.hook_dict else NO_SUCH_POINT

    def open(self, point: str, hook: Hook) -> Close:
        return super().open(_BEHIND_FINAL if point == FINAL else point, hook)

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        """Run the model once; to its logits, if what passes the final norm is wanted."""
        own = [_BEHIND_FINAL if point == FINAL else point for point in points]
        found = self._captured(tokens, own, "logits" if FINAL in points else None)
        return {FINAL if name == _BEHIND_FINAL else name: value for name, value in found.items()}

    def blocks(self, tokens: Int[Tensor, "row pos"]) -> None:
        """Run the blocks; to the logits, if a hook is open at the final norm."""
        if self._is_hooked_behind:
            self.logits(tokens)
        else:
            super().blocks(tokens)

    @property
    def _is_hooked_behind(self) -> bool:
        return bool(self.model.unembed.hook_in.fwd_hooks)

    # -- logits ------------------------------------------------------------------------------------

    def keeps_what_it_read(self) -> bool:
        """Say whether keys and values of a beginning can be kept without changing anything."""
        usual = self.model.cfg.positional_embedding_type in ("standard", "rotary")
        return self.is_causal and usual and not self.model.cfg.use_local_attn

    def longest_packed(self) -> int:
        """Positions must be given by a mask; what acts by the length of a row acts too late."""
        cfg = self.model.cfg
        usual = cfg.positional_embedding_type in ("standard", "rotary")
        by_length = any(getattr(cfg, name, False) for name in _BY_LENGTH)
        if not self.is_causal or not usual or by_length:
            return 0
        return min(self.window, int(cfg.window_size)) if cfg.use_local_attn else self.window

    def starts_anywhere(self) -> bool:
        """What the blocks read is the residual stream alone."""
        return self.model.cfg.positional_embedding_type in ("standard", "rotary")

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        start: Start | None = None,
    ) -> tuple[LogitsOf, int]:
        """Run the blocks; the output layer runs on the picked places alone."""
        begin = {} if start is None else {"start_at_layer": start.layer}
        with self._seeing(inputs.sees):
            residual = self.model(
                inputs.tokens if start is None else self._hooked_behind(start).residual,
                **begin,
                stop_at_layer=self.n_layers,
                **self._options(),
                **_positions_as_mask(inputs),
            )
        width = int(self.model.cfg.d_vocab_out)
        if self._is_hooked_behind:  # its hooks see whole texts, as everywhere
            return picked(self._unembedded(residual), rows, positions), width
        # The last layer may lie on another device than the tokens.
        wanted = residual[rows.to(residual.device), positions.to(residual.device)]
        return lambda span: self._unembedded(wanted[None, span])[0], width

    @contextlib.contextmanager
    def _seeing(self, sees: Bool[Tensor, "row query key"] | None) -> Iterator[None]:
        """Let tokens attend to some others only, besides what the model itself rules out."""
        with contextlib.ExitStack() as stack:
            if sees is not None:
                unseen = ~sees[:, None]

                def hide(scores: Tensor, hook: Any) -> Tensor:
                    return scores.masked_fill(unseen.to(scores.device), -torch.inf)

                for layer in range(self.n_layers):
                    point = f"blocks.{layer}.attn.hook_attn_scores"
                    stack.callback(self._add(point, hide, first=True))
            yield

    def _unembedded(
        self, residual: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos vocabulary"]:
        """Return the logits of the last block's outputs."""
        if self.model.cfg.normalization_type is not None:
            residual = self.model.ln_final(residual)
        cap = self.model.cfg.output_logits_soft_cap
        logits: Tensor = apply_softcap(self.model.unembed(residual), cap)
        return logits

    def _cache(self, tokens: Int[Tensor, "row pos"]) -> TransformerLensKeyValueCache:
        return TransformerLensKeyValueCache.init_cache(self.model.cfg, tokens.device, len(tokens))

    # -- writing -----------------------------------------------------------------------------------

    def writes_side_by_side(self) -> bool:
        """Prompts of different lengths are continued without pads."""
        return True

    def write(
        self, prompts: Sequence[Sequence[int]], how: Decoding, watch: Watch
    ) -> list[list[int]]:
        """Write after prompts of any lengths, side by side.

        All begin with as many tokens as the shortest prompt has. From there a longer one reads its
        own next token where a shorter one writes, so that nothing is ever padded.
        """
        rows = [list(ids) for ids in prompts]
        ends = [len(ids) + how.max_new_tokens for ids in prompts]
        open_rows = list(range(len(prompts)))
        reader, end = _Reader(self), self.tokenizer.eos_token_id
        done, length = 0, min(len(ids) for ids in prompts)
        kept = torch.arange(len(prompts))
        while open_rows:
            seen = torch.tensor([rows[row][:length] for row in open_rows], device=self.device)
            logits = reader.next_logits(seen, done, kept)
            writing = [place for place, row in enumerate(open_rows) if len(rows[row]) == length]
            watch(
                logits[writing],
                [open_rows[place] for place in writing],
                [length - len(prompts[open_rows[place]]) for place in writing],
            )
            early = [length < len(prompts[row]) + how.min_new_tokens for row in open_rows]
            chosen = _chosen(logits, seen, [end if soon else None for soon in early], how).tolist()
            done, length = length, length + 1
            for row, token in zip(open_rows, chosen, strict=True):
                if len(rows[row]) < length:
                    rows[row].append(token)
            places = [
                place
                for place, row in enumerate(open_rows)
                if not self._is_over(rows[row], len(prompts[row]), ends[row], how)
            ]
            kept = torch.tensor(places, dtype=torch.long)
            open_rows = [open_rows[place] for place in places]
        return [ids[len(prompt) :] for ids, prompt in zip(rows, prompts, strict=True)]

    def _is_over(self, ids: list[int], n_prompt: int, end: int, how: Decoding) -> bool:
        written = ids[n_prompt:]
        if not written:
            return False
        if len(ids) >= end or written[-1] == self.tokenizer.eos_token_id:
            return True
        text = self.tokenizer.decode(written) if how.stops else ""
        return any(stop in text for stop in how.stops)


class _Reader:
    """Reads sequences that grow, with a key-value cache where the model allows one."""

    def __init__(self, surface: Hooked) -> None:
        self._surface = surface
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
        surface = self._surface
        options: dict[str, Any] = {"stop_at_layer": surface.n_layers, **surface._options()}
        if not surface.keeps_what_it_read():
            return surface._unembedded(surface.model(ids, **options)[:, -1:])[:, 0]
        if self._cache is None:
            self._cache = surface._cache(ids)
        elif len(kept) < len(self._cache.previous_attention_mask):
            _keep_rows(self._cache, kept)
        # Every token counts; without masks the model would look for pads.
        mask = torch.ones_like(ids[:, done:])
        residual = surface.model(
            ids[:, done:], past_kv_cache=self._cache, attention_mask=mask, **options
        )
        return surface._unembedded(residual[:, -1:])[:, 0]


def _positions_as_mask(inputs: Inputs) -> dict[str, Any]:
    """Return the attention mask whose running sum the model takes for positions plus 1.

    Every entry is different from 0, and so no pad: neighbours' positions differ.
    """
    if inputs.positions is None:
        return {}
    return {
        "attention_mask": torch.diff(
            inputs.positions + 1, dim=1, prepend=torch.zeros_like(inputs.positions[:, :1])
        )
    }


def _keep_rows(cache: TransformerLensKeyValueCache, rows: Int[Tensor, " row"]) -> None:
    """Keep, or repeat, rows of a key-value cache, in place."""
    for entry in cache.entries:
        own = rows.to(entry.past_keys.device)
        entry.past_keys, entry.past_values = entry.past_keys[own], entry.past_values[own]
    mask = cache.previous_attention_mask
    cache.previous_attention_mask = mask[rows.to(mask.device)]


def _chosen(
    logits: Float[Tensor, "row vocabulary"],
    seen: Int[Tensor, "row pos"],
    forbidden: Sequence[int | None],
    how: Decoding,
) -> Int[Tensor, " row"]:
    """Return the next token of every row; ``forbidden`` names one that a row must not take."""
    # So that neither penalty nor temperature overflows.
    logits = logits if logits.dtype == torch.float64 else logits.float()
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
