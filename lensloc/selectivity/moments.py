"""Moments: what a t-test needs of many responses, without keeping the responses."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor

_ELEMENTS_AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of each unit's responses to some stimuli, in float64, on the device of the responses.

    Two of them add up, so responses can be summarised batch by batch (Chan et al. 1979; third and
    fourth moments after Pebay 2008).

    Attributes:
        n: number of stimuli.
        mean: ``[layer, unit]``.
        m2: sum of squared deviations from the mean.
        m3: sum of cubed deviations.
        m4: sum of deviations to the fourth power.
        low: smallest response.
        high: largest response.
        magnitude: mean absolute response.
        eps: relative precision that the responses came in.
    """

    n: int
    mean: Float[Tensor, "layer unit"]
    m2: Float[Tensor, "layer unit"]
    m3: Float[Tensor, "layer unit"]
    m4: Float[Tensor, "layer unit"]
    low: Float[Tensor, "layer unit"]
    high: Float[Tensor, "layer unit"]
    magnitude: Float[Tensor, "layer unit"]
    eps: float

    @classmethod
    def of(
        cls,
        values: Float[Tensor, "stimulus layer unit"],
        *,
        absolute: bool,
        eps: float | None = None,
    ) -> "Moments":
        """Summarise responses, or their absolute values; of at least one stimulus.

        ``eps`` is the precision that they came in, if not that of ``values``.
        """
        chunks = list(layer_chunks(values))
        # Written over and over: what is freed of large arrays, an allocator may not give again.
        device = "cpu" if values.device.type == "mps" else values.device
        room = torch.empty((2, chunks[0].numel()), dtype=torch.float64, device=device)
        parts = [_arrays(chunk, absolute, room[:, : chunk.numel()]) for chunk in chunks]
        arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return cls(len(values), **arrays, eps=eps or precision(values))

    def __add__(self, other: "Moments") -> "Moments":
        a, b, n = self.n, other.n, self.n + other.n
        delta = other.mean - self.mean
        return Moments(
            n,
            mean=self.mean + delta * (b / n),
            m2=self.m2 + other.m2 + delta**2 * (a * b / n),
            m3=self.m3
            + other.m3
            + delta**3 * (a * b * (a - b) / n**2)
            + 3 * delta * (a * other.m2 - b * self.m2) / n,
            m4=self.m4
            + other.m4
            + delta**4 * (a * b * (a * a - a * b + b * b) / n**3)
            + 6 * delta**2 * (a * a * other.m2 + b * b * self.m2) / n**2
            + 4 * delta * (a * other.m3 - b * self.m3) / n,
            low=torch.minimum(self.low, other.low),
            high=torch.maximum(self.high, other.high),
            magnitude=self.magnitude + (other.magnitude - self.magnitude) * (b / n),
            eps=max(self.eps, other.eps),
        )

    @property
    def variance(self) -> Float[Tensor, "layer unit"]:
        """Unbiased variance; NaN of one stimulus."""
        return self.m2 / (self.n - 1) if self.n > 1 else torch.full_like(self.m2, math.nan)

    @property
    def constant(self) -> Bool[Tensor, "layer unit"]:
        """Which units gave every stimulus the same response."""
        return self.low == self.high

    @property
    def kurtosis(self) -> Float[Tensor, "layer unit"]:
        """Excess kurtosis, 0 for a normal distribution and for a constant unit.

        ``n m4 / m2^2 - 3``, as ``scipy.stats.kurtosis`` gives it.
        """
        flat = self.constant | (self.m2 == 0)
        return torch.where(flat, 0.0, self.n * self.m4 / self.m2.masked_fill(flat, 1.0) ** 2 - 3)

    def cpu(self) -> "Moments":
        """Return the moments on the CPU."""
        arrays = {
            name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return Moments(self.n, **arrays, eps=self.eps)

    @property
    def least_variance(self) -> Float[Tensor, "layer unit"]:
        """The square of four units in the last place of the unit's largest response."""
        return (4 * self.eps * torch.maximum(self.low.abs(), self.high.abs())) ** 2


def total(moments: Sequence[Moments]) -> Moments:
    """Return the moments of all stimuli together; of at least one."""
    result, *others = moments
    for other in others:
        result = result + other
    return result


def precision(values: Tensor) -> float:
    """Return the relative precision of responses; those in half precision were pooled in single."""
    return torch.finfo(torch.float64 if values.dtype == torch.float64 else torch.float32).eps


def layer_chunks(values: Float[Tensor, "stimulus layer unit"]) -> Iterator[Tensor]:
    """Cut responses into runs of layers whose float64 copies stay small."""
    width = max(1, values.shape[0] * values.shape[2])
    yield from values.split(max(1, _ELEMENTS_AT_ONCE // width), dim=1)


def as_float64(values: Tensor, absolute: bool) -> Float[Tensor, "..."]:
    """Return responses, or their absolute values, in float64."""
    if values.device.type == "mps":  # has no float64
        values = values.cpu()
    values = values.to(torch.float64)
    return values.abs() if absolute else values


def _arrays(
    responses: Float[Tensor, "stimulus layer unit"], absolute: bool, room: Float[Tensor, "2 number"]
) -> dict[str, Tensor]:
    """Return the sums over stimuli; ``room`` is written over."""
    values, other = (part.view(responses.shape) for part in room)
    values.copy_(responses)
    sizes = torch.abs(values, out=other)
    found = {"magnitude": _over_stimuli(sizes, "mean")}
    if absolute:
        values.copy_(sizes)
    found["mean"] = _over_stimuli(values, "mean")
    found["low"], found["high"] = _over_stimuli(values, "min"), _over_stimuli(values, "max")
    deviations = values.sub_(found["mean"])
    squares = torch.mul(deviations, deviations, out=other)
    found["m2"] = _over_stimuli(squares, "sum")
    found["m3"] = _over_stimuli(deviations.mul_(squares), "sum")
    found["m4"] = _over_stimuli(squares.mul_(squares), "sum")
    return found


def _over_stimuli(values: Tensor, how: str) -> Float[Tensor, "layer unit"]:
    return reduce(values, "stimulus layer unit -> layer unit", how)
