"""Outliers: units that are large whatever the stimulus."""

from jaxtyping import Bool, Float
from torch import Tensor

OUTLIER_RATIO = 5.0


def outliers(
    magnitude: Float[Tensor, "layer unit"], ratio: float = OUTLIER_RATIO
) -> Bool[Tensor, "layer unit"]:
    """Mark the units whose mean absolute response is above ``ratio`` times their layer's median.

    A few dimensions of the residual stream are larger than all others in nearly every text
    (outlier features, Dettmers et al. 2022; massive activations, Sun et al. 2024). Those papers
    put thresholds on single activations; this one is on the mean over stimuli.

    Example:
        >>> import torch
        >>> outliers(torch.tensor([[1.0, 2.0, 1.0, 90.0], [8.0, 9.0, 8.0, 9.0]])).tolist()
        [[False, False, False, True], [False, False, False, False]]
    """
    median = magnitude.nanmedian(dim=1, keepdim=True).values  # NaN: no unit is there
    return magnitude > ratio * median
