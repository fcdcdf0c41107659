"""Layers of different width in one array: padded on the right, and no padded place is a unit.

An array ``[layer, unit]`` of such a site is as wide as its widest layer. Padded places hold NaN
(False in masks), so that a sum that forgets them is no number rather than a wrong one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lensloc.errors import LensLocError

Widths = tuple[int, ...] | None
"""Units of every layer; None where all layers are as wide as the array."""


class Layered:
    """What has units in layers, which may differ in width."""

    widths: Widths

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units of the widest layer."""
        raise NotImplementedError

    @property
    def units(self) -> Bool[Tensor, "layer unit"]:
        """Which places of the arrays are units; all, where layers do not differ in width."""
        return valid(self.shape, self.widths)

    @property
    def n_units(self) -> int:
        """Number of units of the site."""
        return count(self.shape, self.widths)

    @property
    def size_in_words(self) -> str:
        """Layers and units per layer, ``30x576``."""
        return in_words(self.shape, self.widths)


def checked(widths: Sequence[int] | None, shape: tuple[int, int]) -> Widths:
    """Return the widths of an array's layers; None if none of them is padded.

    Raises:
        LensLocError: if they are not one number per layer, from 0 to the array's width.

    Example:
        >>> checked([3, 3], (2, 3)), checked([1, 3], (2, 3))
        (None, (1, 3))
    """
    if widths is None:
        return None
    found = tuple(int(width) for width in widths)
    if len(found) != shape[0] or any(not 0 <= width <= shape[1] for width in found):
        raise LensLocError(
            f"widths says how many units each of {shape[0]} layers has, at most {shape[1]}; "
            f"{found} does not."
        )
    return None if all(width == shape[1] for width in found) else found


def of_all(shape: tuple[int, int], widths: Widths) -> tuple[int, ...]:
    """Return how many units every layer has.

    Example:
        >>> of_all((2, 3), None), of_all((2, 3), (1, 3))
        ((3, 3), (1, 3))
    """
    return (shape[1],) * shape[0] if widths is None else widths


def valid(shape: tuple[int, int], widths: Widths) -> Bool[Tensor, "layer unit"]:
    """Mark the places of an array that are units.

    Example:
        >>> valid((2, 3), (1, 3)).tolist()
        [[True, False, False], [True, True, True]]
    """
    places = torch.arange(shape[1])
    return places < sizes(shape, widths)[:, None]


def sizes(shape: tuple[int, int], widths: Widths) -> Int[Tensor, " layer"]:
    """Return how many units every layer has, as an array."""
    return torch.tensor(of_all(shape, widths), dtype=torch.long)


def count(shape: tuple[int, int], widths: Widths) -> int:
    """Return the number of units of all layers.

    Example:
        >>> count((2, 3), None), count((2, 3), (1, 3))
        (6, 4)
    """
    return sum(of_all(shape, widths))


def padded(values: Tensor, widths: Widths, fill: float) -> Tensor:
    """Return ``[layer, unit]`` with ``fill`` where no unit is."""
    if widths is None:
        return values
    n_layers, n_units = values.shape
    return values.masked_fill(~valid((n_layers, n_units), widths).to(values.device), fill)


def stacked(layers: Sequence[Tensor]) -> Tensor:
    """Put layers ``[row, unit]`` of any widths into one array ``[row, layer, unit]``."""
    widest = max(layer.shape[1] for layer in layers)
    return torch.stack(
        [
            torch.nn.functional.pad(layer, (0, widest - layer.shape[1]), value=torch.nan)
            for layer in layers
        ],
        dim=1,
    )


def same(one: Tensor, other: Tensor) -> bool:
    """Say whether two arrays are equal, where padded places are equal to each other."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def in_words(shape: tuple[int, int], widths: Widths) -> str:
    """Return layers and units per layer in a few words.

    Example:
        >>> in_words((2, 3), None), in_words((2, 3), (1, 3))
        ('2x3', '2x(1 to 3)')
    """
    if widths is None:
        return f"{shape[0]}x{shape[1]}"
    return f"{shape[0]}x({min(widths)} to {max(widths)})"


def to_text(widths: Widths) -> str:
    """Return widths for a file."""
    return "" if widths is None else ",".join(map(str, widths))


def from_text(text: Any) -> Widths:
    """Read what :func:`to_text` wrote.

    Raises:
        ValueError: if it is something else.
    """
    return tuple(int(part) for part in str(text).split(",")) if text else None
