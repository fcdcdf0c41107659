"""Items: what a task gave one by one, as numbers whose mean is the score or the drop."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lensloc.errors import LensLocError


@dataclass(frozen=True)
class Items:
    """What a task measured on its items, intact or lesioned.

    The score is ``sum(value) / sum(weight)``: a plain mean where all weights are 1, a mean per
    token where they count tokens.

    Attributes:
        value: one number per item.
        weight: what each counts for.
        higher_is_better: whether harm makes the score smaller.
    """

    value: Float[np.ndarray, " item"]
    weight: Float[np.ndarray, " item"]
    higher_is_better: bool = True

    @property
    def score(self) -> float:
        """The weighted mean; NaN without weight."""
        total = float(self.weight.sum())
        return float(self.value.sum()) / total if total > 0 else float("nan")

    @property
    def shares(self) -> Float[np.ndarray, " item"]:
        """One number per item whose mean is the score and whose spread is the score's.

        These are the score plus every item's influence on it, ``(value - score weight) / mean
        weight`` (linearised ratio; Cochran 1977, chapter 6): their variance divided by the number
        of items is the sampling variance of the score, as a bootstrap over items would find it.
        With equal weights they are the values.
        """
        score = self.score
        if not np.isfinite(score):
            return np.full(len(self.value), np.nan)
        shares: Float[np.ndarray, " item"] = (
            score + (self.value - score * self.weight) / self.weight.mean()
        )
        return shares

    def at(self, items: Int[np.ndarray, " some"]) -> "Items":
        """Return some of the items, by position."""
        return Items(self.value[items], self.weight[items], self.higher_is_better)


def item_drops(lesioned: Items, intact: Items) -> Float[np.ndarray, " item"]:
    """Return one number per item whose mean is the drop, positive for harm.

    Two lesions' item drops are paired: item ``i`` is the same text in both, and what it did in the
    intact model cancels in their difference.

    Raises:
        LensLocError: if the two were measured on different numbers of items.

    Example:
        >>> intact = Items(np.array([1.0, 1.0, 0.0, 1.0]), np.ones(4))
        >>> lesioned = Items(np.array([0.0, 1.0, 0.0, 0.0]), np.ones(4))
        >>> item_drops(lesioned, intact).tolist()
        [1.0, 0.0, 0.0, 1.0]
    """
    if len(lesioned.value) != len(intact.value):
        raise LensLocError(
            f"A drop compares the same items, but the lesioned model has {len(lesioned.value)} and "
            f"the intact one {len(intact.value)}; measure both with one task."
        )
    difference: Float[np.ndarray, " item"] = intact.shares - lesioned.shares
    return difference if intact.higher_is_better else -difference
