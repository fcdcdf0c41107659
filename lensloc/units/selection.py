"""Which units a rule takes: by rank, or drawn."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.units.rules import DIRECTIONS as DIRECTIONS
from lensloc.units.rules import KINDS as KINDS
from lensloc.units.rules import Direction as Direction
from lensloc.units.rules import Kind as Kind
from lensloc.units.rules import SelectionRule as SelectionRule
from lensloc.units.rules import count_from_percent as count_from_percent
from lensloc.units.rules import count_units as count_units
from lensloc.units.rules import least_note as least_note
from lensloc.units.rules import size_in_words as size_in_words


def ranked(score: Float[Tensor, "layer unit"], *, descending: bool = True) -> Int[Tensor, " all"]:
    """Return the flat indices of all units by score; ties by layer, then unit."""
    return torch.sort(score.flatten(), descending=descending, stable=True).indices


def draw(
    candidates: Int[Tensor, " candidate"], k: int, seed: int, where: str
) -> Int[Tensor, " drawn"]:
    """Draw ``k`` of the candidates without replacement, the same for a seed everywhere.

    Raises:
        LensLocError: if there are fewer than ``k``; ``where`` says in words what was drawn from.
    """
    if k > len(candidates):
        raise LensLocError(
            f"{k} units were asked for but only {len(candidates)} lie {where}; ask for fewer."
        )
    chosen = np.random.default_rng(seed).choice(candidates.cpu().numpy(), size=k, replace=False)
    return torch.from_numpy(np.sort(chosen))
