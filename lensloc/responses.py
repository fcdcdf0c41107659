"""Responses: pooled activations of every stimulus at one site."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.arguments import listed
from lensloc.errors import LensLocError


@dataclass(frozen=True, eq=False)
class Responses:
    """Pooled activations of every stimulus at one site.

    Attributes:
        site: name of the site.
        values: ``[stimulus, layer, unit]``, signed, in the order of ``conditions``.
        conditions: the condition that each stimulus belongs to.
    """

    site: str
    values: Float[Tensor, "stimulus layer unit"]
    conditions: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.conditions) != len(self.values):
            raise LensLocError(
                f"There are {len(self.values)} responses but {len(self.conditions)} condition "
                "labels; give one label a stimulus."
            )

    def of(self, conditions: tuple[str, ...]) -> Float[Tensor, "selected layer unit"]:
        """Return the responses to the stimuli of some conditions."""
        wanted = listed(conditions, str)
        rows = [row for row, label in enumerate(self.conditions) if label in wanted]
        return self.values[torch.tensor(rows, dtype=torch.long, device=self.values.device)]
