"""Masks whose controls are drawn."""

import torch

from lensloc import UnitMask

SHAPE = (6, 200)


def made(k: int = 60, *, seed: int = 0, magnitude: torch.Tensor | None = None) -> UnitMask:
    """A network whose units are large: score and magnitude correlate."""
    draw = torch.Generator().manual_seed(seed)
    if magnitude is None:
        magnitude = torch.randn(SHAPE, generator=draw, dtype=torch.float64).exp()
    score = magnitude.log() + torch.randn(SHAPE, generator=draw, dtype=torch.float64)
    best = score.flatten().argsort(descending=True, stable=True)[:k]
    return UnitMask.from_indices("resid_post", best, SHAPE, score=score, magnitude=magnitude)
