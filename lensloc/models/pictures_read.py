"""A picture -> the tensor that a model of pictures takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """Makes of a picture what a model takes: its largest square in the middle, resized, scaled.

    Attributes:
        size: height and width in pixels that it is resized to (bicubic).
        mean: of each colour, which is subtracted (colours are 0 to 1).
        std: of each colour, by which is divided.

    Example:
        >>> from PIL import Image
        >>> white = Image.new("L", (6, 4), 255)
        >>> made = Prepared(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(white)
        >>> made.shape, made.min().item()
        (torch.Size([3, 8, 8]), 1.0)
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Any) -> Float[Tensor, "3 height width"]:
        """Return a PIL image as a tensor."""
        from PIL import Image

        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.convert("RGB").resize(
            (self.size, self.size), Image.Resampling.BICUBIC,
            box=(left, top, left + side, top + side),
        )  # fmt: skip
        pixels = torch.from_numpy(np.array(square, dtype=np.float32) / 255).permute(2, 0, 1)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels - mean) / std
