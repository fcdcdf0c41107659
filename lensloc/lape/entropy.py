"""Activation probabilities -> entropies, and the order statistics of the published rule."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.errors import LensLocError

# Entropies that are equal on paper differ in their last digits, by the order of a sum or by the
# logarithm of a processor; those that agree to so many decimals count as equal.
_DECIMALS = 12


def entropies(probabilities: Float[Tensor, "*neuron language"]) -> Float[Tensor, "*neuron"]:
    """Return the entropy of each neuron's activation probabilities, normalised to sum 1, in nats.

    LAPE of arXiv 2402.16438, ``0 log 0 = 0``: 0 for a neuron that is active in one language only,
    the logarithm of their number for one that is equally active in all. To 12 decimals.

    A neuron that is never active has none, and gets infinity. (The published code gives it 0 and
    then dismisses it, since its probabilities exceed nothing.)
    """
    total = probabilities.sum(dim=-1, keepdim=True)
    normalised = probabilities / torch.where(total > 0, total, 1.0)
    entropy = torch.special.entr(normalised).sum(dim=-1)
    return torch.where(total.squeeze(-1) > 0, entropy.round(decimals=_DECIMALS), torch.inf)


def percentile(
    values: Float[Tensor, "*row value"], rate: float, name: str
) -> Float[Tensor, "*row"]:
    """Return the ``round(rate * n)``-th smallest of each row's n values, as the published code.

    ``round`` is Python's: halves go to the even neighbour.

    Args:
        values: the values.
        rate: share of the values, 0 to 1.
        name: of the argument that gave the rate, for errors.

    Raises:
        LensLocError: unless the rate gives at least the first value and at most the last.
    """
    n = values.shape[-1]
    k = round(n * rate) if 0 < rate <= 1 else 0
    if k < 1:
        raise LensLocError(
            f"{name} is above 0 and at most 1, and marks at least one of {n} values; "
            f"{rate:g} does not."
        )
    return values.kthvalue(k, dim=-1).values


def kept_by_filter(
    probabilities: Float[Tensor, "*row unit language"], bar: Float[Tensor, "*row"]
) -> Bool[Tensor, "*row unit"]:
    """Return which neurons are not dismissed: some language's probability exceeds ``bar``."""
    return (probabilities > bar[..., None, None]).any(dim=-1)
