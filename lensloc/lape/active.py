"""Corpus -> the values of some neurons at every token, and what to clamp them to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.contrasts.columns import TableForm
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.forward.batches import evaluating
from lensloc.forward.sites import get_site, hook_names, to_units
from lensloc.lape.corpora import open_corpus, window_length, windows
from lensloc.models.adapting import surface
from lensloc.models.surface import Hook, Model, opened
from lensloc.models.tokens import Bos
from lensloc.units.mask import UnitMask


@dataclass(frozen=True, eq=False)
class Activity(Savable):
    """The values of some units at every token of a corpus.

    Attributes:
        mask: the units.
        values: ``[token, masked]``, in activation units, the masked units by layer, then unit.
    """

    mask: UnitMask
    values: Float[Tensor, "token masked"]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per token, and a column per unit, by its address."""
        table: pd.DataFrame = pd.DataFrame(self.values.numpy(), columns=self.mask.addresses)
        return table

    def mean(self) -> Float[Tensor, "layer unit"]:
        """Return each unit's mean over tokens; 0 for units outside the mask."""
        return self._spread(self.values.double().mean(dim=0))

    def quantile(self, q: float) -> Float[Tensor, "layer unit"]:
        """Return each unit's quantile over tokens, linearly interpolated; 0 outside the mask.

        Raises:
            LensLocError: unless q lies between 0 and 1.
        """
        if not 0 <= q <= 1:
            raise LensLocError(f"A quantile lies between 0 and 1; {q:g} does not.")
        return self._spread(torch.from_numpy(np.quantile(self.values.double().numpy(), q, axis=0)))

    def _spread(self, per_unit: Float[Tensor, " masked"]) -> Float[Tensor, "layer unit"]:
        levels = torch.zeros(self.mask.shape, dtype=torch.float64)
        levels[self.mask.mask] = per_unit
        return levels


def activity(
    model: Model,
    corpus: Any,
    mask: UnitMask,
    *,
    max_tokens: int = 10_000,
    window: int | None = None,
    bos: Bos = "model",
    form: TableForm | None = None,
) -> Activity:
    """Read a corpus and keep the values of the masked units at every token.

    Args:
        model: a loaded model of any kind.
        corpus: what :func:`lensloc.lape.record` takes for a language.
        mask: the units.
        max_tokens: read so many tokens at most; ``4 * tokens * units`` bytes are kept.
        window: tokens per window; the model's context, at most 1024, if None.
        bos: whether a beginning-of-text token stands before every document.
        form: how files are written, and what the column of texts is called.

    Raises:
        LensLocError: an empty mask, or one of another model; a corpus that cannot be read, or
            without text; a number out of range.
    """
    if len(mask) == 0:
        raise LensLocError("The mask holds no unit whose activity could be read; select some.")
    if max_tokens < 1:
        raise LensLocError(f"max_tokens is at least 1; {max_tokens} is not.")
    seen, length = surface(model), window_length(model, window)
    site = get_site(mask.site)
    names = hook_names(site, model)
    if len(names) != mask.shape[0]:
        raise LensLocError(
            f"The mask is of {mask.shape[0]} layers, but the model has {len(names)}; identify the "
            "neurons of this model."
        )
    parts: list[Tensor] = []
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook(activation: Tensor) -> None:
            units = to_units(site, activation, seen.n_heads)[0]
            if units.shape[-1] != mask.shape[1]:
                raise LensLocError(
                    f"The mask is of {mask.shape[1]} units per layer at {site.name}, but the model "
                    f"has {units.shape[-1]}; identify the neurons of this model."
                )
            found[layer] = units[:, mask.mask[layer].to(units.device)].float()

        return hook

    layers = [layer for layer in range(len(names)) if mask.mask[layer].any()]
    hooks = [(names[layer], keep(layer)) for layer in layers]
    name = mask.provenance.target[0] if mask.provenance.target else "the language"
    with evaluating(model), torch.no_grad(), opened(seen, hooks):
        for each in windows(open_corpus(name, corpus, form), model, length, bos, max_tokens):
            ids = torch.from_numpy(np.array(each.ids))[None].to(seen.device)
            seen.blocks(ids)
            parts.append(torch.cat([found[layer].cpu() for layer in layers], dim=1))
    if not parts:
        raise LensLocError(f"The corpus of {name!r} holds no text; give it some.")
    return Activity(mask, torch.cat(parts))
