"""What units were in the corrupted run of the pair that is being read, for ``mode="corrupt"``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lensloc.contrasts.aligning import Ids, align
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.errors import LensLocError
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    padded_right,
    run_batches,
    sees_pads,
)
from lensloc.forward.memory import Budget, pass_bytes, tokens_at_once
from lensloc.forward.sites import get_site
from lensloc.models.adapting import surface
from lensloc.models.surface import Model, opened
from lensloc.models.tokens import n_shared, shortened
from lensloc.units.mask import UnitMask

Key = tuple[str, int]
"""A site and a layer."""

_TOKENS_ON_CPU = 2048
_BUDGET = Budget(on_cpu=2**62, share=0.25)


@dataclass(frozen=True)
class _Text:
    """A clean text of a pair, and its corrupted one; as many tokens."""

    clean: Ids
    corrupted: Ids
    place: str


class CorruptedRun:
    """The values of masked units in the corrupted texts of pairs, found by the clean texts' tokens.

    Attributes:
        probe: tokens of a clean text, with which it is tried whether a lesion does anything.
    """

    def __init__(
        self,
        model: Model,
        pairs: Pairs,
        masks: Sequence[UnitMask],
        batch_size: BatchSize = "auto",
    ) -> None:
        aligned = align(model, pairs.pairs)
        self._texts = [
            _Text(side.clean, side.corrupted, pair.place)
            for pair in aligned
            for side, _ in pair.sides
        ]
        self._pads = {0, getattr(surface(model).tokenizer, "pad_token_id", None) or 0}
        self._name = pairs.name
        self._tokenizer = surface(model).tokenizer
        self._kept: dict[Key, list[Float[Tensor, "pos value"]]] = {}
        self._now: list[tuple[int, int]] | None = None
        self._units = {
            (mask.site, layer): units.nonzero().squeeze(1)
            for mask in masks
            for layer, units in enumerate(mask.mask)
            if units.any()
        }
        self._capture(model, batch_size)
        self.probe = list(aligned[0].right.clean[:-1])

    @property
    def n_texts(self) -> int:
        """How many texts are known."""
        return len(self._texts)

    # -- the corrupted run -----------------------------------------------------------------------

    def _capture(self, model: Model, batch_size: BatchSize) -> None:
        seen = surface(model)
        ids = [text.corrupted for text in self._texts]
        for key in self._units:
            self._kept[key] = [torch.zeros(0)] * len(ids)

        def run(rows: list[int]) -> None:
            found: dict[Key, Tensor] = {}

            def keep(key: Key, units: Int[Tensor, " unit"]) -> tuple[str, Any]:
                def hook(activation: Tensor) -> None:
                    parts = _parts(activation.detach(), key[0], seen.n_heads)
                    found[key] = parts[:, :, units.to(parts.device)].flatten(2)

                return get_site(key[0]).hook_name(key[1]), hook

            with opened(seen, [keep(key, units) for key, units in self._units.items()]):
                seen.blocks(padded_right([ids[row] for row in rows], seen.device))
            for key, there in found.items():
                values = there.cpu()
                for place, row in enumerate(rows):
                    self._kept[key][row] = values[place, : len(ids[row])].clone()

        lengths = [len(row) for row in ids]
        batches = batches_by_length(
            lengths,
            batch_size=batch_size,
            budget=tokens_at_once(
                model,
                on_cpu=_TOKENS_ON_CPU,
                bytes_a_token=1,
                budget=_BUDGET,
                elsewhere=pass_bytes(model, max(lengths)),
            ),
            equal=sees_pads(model, max(lengths)),
        )
        run_batches(model, batches, run, progress=False, description="corrupted texts")

    # -- what is being read ----------------------------------------------------------------------

    def look(self, tokens: Tensor) -> None:
        """Note which texts are about to be read.

        Raises:
            LensLocError: for a row that is no clean text of the pairs, nor the beginning of one.
        """
        self._now = None
        if tokens.ndim != 2 or tokens.is_floating_point():
            return  # told when a unit is to be replaced
        self._now = [self._known(tuple(row)) for row in tokens.tolist()]

    def _known(self, row: Ids) -> tuple[int, int]:
        """Return which text a row is, and how much of it is there."""
        best: list[int] = []
        length = 0
        for number, text in enumerate(self._texts):
            n = n_shared(row, text.clean)
            behind = row[n:]
            whole = n == len(row) or (n == len(text.clean) and self._are_pads(behind))
            # A prompt alone, with pads behind it.
            whole = whole or (n > 0 and self._are_pads(behind))
            if whole and n > length:
                best, length = [number], n
            elif whole and n == length and n > 0:
                best.append(number)
        if not best:
            raise LensLocError(
                f"The text {self._shown(row)} is no clean text of the pairs {self._name!r}, so "
                "units have no corrupted value there; run the clean texts of the pairs from their "
                "first token on, without a cache of keys and values, or use another mode."
            )
        corrupted = {self._texts[number].corrupted[:length] for number in best}
        if len(corrupted) > 1:
            raise LensLocError(
                f"The text {self._shown(row)} is the beginning of several pairs of {self._name!r} "
                "whose corrupted texts differ; lesion with those that are meant, pairs.keep(rows)."
            )
        return best[0], length

    def _are_pads(self, tokens: Ids) -> bool:
        return len(set(tokens)) <= 1 and set(tokens) <= self._pads

    def _shown(self, row: Ids) -> str:
        if self._tokenizer is None:
            return str(row[:8])
        return shortened(str(self._tokenizer.decode(list(row))))

    def replaced(
        self, activation: Tensor, key: Key, n_heads: int
    ) -> Float[Tensor, "batch pos unit part"]:
        """Return an activation with corrupted values in the place of the masked units.

        Raises:
            LensLocError: if what is read was not seen as tokens, or was cut after that.
        """
        parts = _parts(activation, key[0], n_heads).clone()
        rows = self._now
        if rows is None or len(rows) != len(parts) or max(n for _, n in rows) > parts.shape[1]:
            raise LensLocError(
                "What the model reads was not given as tokens of the pairs' clean texts, all at "
                "once, so mode='corrupt' does not know which pair it is; run it on token ids, or "
                "use another mode."
            )
        units = self._units[key].to(parts.device)
        kept = [self._kept[key][number][:length] for number, length in rows]
        values = pad_sequence(kept, batch_first=True).to(parts)  # moved once, and not row by row
        lengths = torch.tensor([length for _, length in rows])
        longest = values.shape[1]
        read = (torch.arange(longest) < lengths[:, None]).to(parts.device)[..., None, None]
        old = parts[:, :longest, units]
        parts[:, :longest, units] = torch.where(read, values.reshape(old.shape), old)
        return parts


def _parts(activation: Tensor, site: str, n_heads: int) -> Float[Tensor, "batch pos unit part"]:
    """Return what each unit consists of: one number, or the dimensions of a head."""
    rows, positions = activation.shape[:2]
    units = n_heads if get_site(site).axes == "head_norm" else -1
    if units == -1:
        return activation.reshape(rows, positions, -1, 1)
    return activation.reshape(rows, positions, units, -1)


def require_pairs(mode: str, of_pairs: bool, given: Mapping[str, Any]) -> None:
    """Check that a mode has pairs for a reference if, and only if, it is for pairs.

    Raises:
        LensLocError: if it has not.
    """
    reference = given["reference"]
    if reference is None or isinstance(reference, Pairs) == of_pairs:
        return
    if of_pairs:
        raise LensLocError(
            f"mode={mode!r} needs pairs for its reference, e.g. ll.Pairs.from_file(path); "
            f"something of type {type(reference).__name__} is none."
        )
    raise LensLocError(
        f"Pairs are the reference of mode='corrupt' only; give mode={mode!r} a contrast or "
        "responses."
    )
