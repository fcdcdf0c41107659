"""Null data: a network that is one more draw of its control, measured on items right or wrong."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Shape = Literal["normal", "skewed"]


@dataclass(frozen=True)
class Population:
    """Control draws of one kind.

    Attributes:
        sd: of what draws truly cost, over items without end.
        mean: of that.
        intact: the intact model's accuracy.
        rho: how much items differ in easiness: correlation of two lesions on the same item.
        shape: of the draws' costs; "skewed" is a shifted exponential, most draws mild, few drastic.
    """

    sd: float
    mean: float = 0.25
    intact: float = 0.88
    rho: float = 0.5
    shape: Shape = "normal"

    def costs(self, rng: np.random.Generator, repeats: int, lesions: int) -> np.ndarray:
        """[repeat, lesion]: what lesions truly cost."""
        if self.shape == "normal":
            return rng.normal(self.mean, self.sd, (repeats, lesions))
        return self.mean + self.sd * (rng.exponential(size=(repeats, lesions)) - 1)

    def item_drops(self, rng: np.random.Generator, costs: np.ndarray, items: int) -> np.ndarray:
        """[repeat, lesion, item], -1, 0 or 1: what each item lost; items are shared by lesions."""
        repeats, lesions = costs.shape
        accuracy = np.clip(self.intact - costs, 0.02, 0.98)
        bar = stats.norm.ppf(np.concatenate([np.full((repeats, 1), self.intact), accuracy], axis=1))
        easy = rng.standard_normal((repeats, 1, items), dtype=np.float32)
        own = rng.standard_normal((repeats, lesions + 1, items), dtype=np.float32)
        hard = np.sqrt(self.rho) * easy + np.sqrt(1 - self.rho) * own
        right = (hard < bar[..., None]).astype(np.float64)
        return right[:, :1] - right[:, 1:]

    def draw(self, rng: np.random.Generator, repeats: int, lesions: int, items: int) -> np.ndarray:
        """[repeat, lesion, item]: item drops of lesions that are all of one kind."""
        return self.item_drops(rng, self.costs(rng, repeats, lesions), items)
