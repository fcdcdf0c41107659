"""TokenResponses: what units did at every token of every stimulus, and the tokens themselves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.display import markup
from lensloc.display.apart import require_apart
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.units.addresses import UnitAddress
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.responses import Responses

How = Literal["last-token", "mean", "sum", "max"]
_SHOWN_STIMULI = 4


@dataclass(frozen=True, eq=False)
class TokenResponses(Savable):
    """Activations of some units of one site at every token, stimulus after stimulus.

    Stimuli differ in length, so that rows are tokens; ``starts`` says where each stimulus begins.

    Attributes:
        mask: the units, of which the columns are in order of layer and unit.
        values: ``[token, masked]``, signed, in activation units.
        tokens: text of every token.
        starts: first row of every stimulus, and behind the last one the number of rows.
        conditions: condition of every stimulus.
        provenance: model and procedure.
    """

    mask: UnitMask
    values: Float[Tensor, "token masked"]
    tokens: tuple[str, ...]
    starts: Int[np.ndarray, " boundary"]
    conditions: tuple[str, ...]
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n = len(self.tokens)
        if self.values.shape != (n, len(self.mask)):
            raise LensLocError(
                f"There are {n} tokens and {len(self.mask)} units, but values of shape "
                f"{'x'.join(map(str, self.values.shape))}; give one row per token, "
                "one column per unit."
            )
        fits = len(self.starts) == len(self.conditions) + 1 and self.starts[-1] == n
        if not fits or self.starts[0] != 0 or (np.diff(self.starts) < 1).any():
            raise LensLocError(
                f"starts says where each of {len(self.conditions)} stimuli begins among {n} tokens "
                "and where the last one ends; give one number more than stimuli, ascending from 0."
            )

    @property
    def site(self) -> str:
        """Where the units are."""
        return self.mask.site

    def __len__(self) -> int:
        """Number of stimuli."""
        return len(self.conditions)

    def rows(self, stimulus: int) -> slice:
        """Return the rows of a stimulus.

        Raises:
            LensLocError: if there is none of that number.
        """
        if not -len(self) <= stimulus < len(self):
            raise LensLocError(f"There are {len(self)} stimuli, and none of number {stimulus}.")
        at = stimulus % len(self)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    def of(self, stimulus: int) -> Float[Tensor, "token masked"]:
        """Return the responses to one stimulus, token by token.

        Raises:
            LensLocError: if there is none of that number.
        """
        return self.values[self.rows(stimulus)]

    def tokens_of(self, stimulus: int) -> tuple[str, ...]:
        """Return the tokens of one stimulus.

        Raises:
            LensLocError: if there is none of that number.
        """
        return self.tokens[self.rows(stimulus)]

    def unit(self, address: str | UnitAddress) -> Float[Tensor, " token"]:
        """Return one unit's responses to all tokens.

        Raises:
            LensLocError: if it is not among the units.
        """
        unit = UnitAddress.parse(address) if isinstance(address, str) else address
        if unit not in self.mask:
            first = ", ".join(self.mask.addresses[:3])
            raise LensLocError(
                f"{unit} is not among the {len(self.mask)} units whose responses were kept "
                f"({first} ...); name one of them."
            )
        number = int(self.mask.mask.flatten()[: unit.layer * self.mask.shape[1] + unit.unit].sum())
        return self.values[:, number]

    def pooled(self, how: How = "mean") -> Responses:
        """Pool the tokens of every stimulus, as localizing does; other units have no response.

        Args:
            how: ``"last-token"``, ``"mean"``, ``"sum"`` or ``"max"``.

        Returns:
            Responses of all units of the site; NaN for those that were not kept.

        Raises:
            LensLocError: for another way.
        """
        ways = {
            "last-token": lambda part: part[-1],
            "mean": lambda part: part.mean(dim=0),
            "sum": lambda part: part.sum(dim=0),
            "max": lambda part: part.amax(dim=0),
        }
        if how not in ways:
            raise LensLocError(f"There is no pooling {how!r}; there are {', '.join(ways)}.")
        values = torch.full((len(self), *self.mask.shape), torch.nan, dtype=self.values.dtype)
        found = torch.stack([ways[how](self.of(at)) for at in range(len(self))])
        values[:, self.mask.mask] = found
        made = self.provenance.replace(pooling=how, site=self.site)
        return Responses(self.site, values, self.conditions, None, made, self.mask.widths)

    @classmethod
    def _joined(cls, several: "Sequence[TokenResponses]") -> "TokenResponses":
        first = several[0]
        made = first.provenance
        for each in several[1:]:
            alike = each.site == first.site and each.mask.shape == first.mask.shape
            if not alike or not torch.equal(each.mask.mask, first.mask.mask):
                raise LensLocError(
                    "The responses are of other units; join those of the same units to other "
                    "stimuli."
                )
            if made.differing(each.provenance.model_hashes):
                raise LensLocError("The responses are of several models; join those of one.")
        held = [[each._held(at) for at in range(len(each))] for each in several]
        require_apart(held, "stimulus", "leave it out of one of them")
        lengths = np.concatenate([np.diff(each.starts) for each in several])
        return cls(
            first.mask,
            torch.cat([each.values.to(first.values.device) for each in several]),
            tuple(token for each in several for token in each.tokens),
            np.concatenate([[0], np.cumsum(lengths)]).astype(first.starts.dtype),
            tuple(name for each in several for name in each.conditions),
            made,
        )

    def _held(self, stimulus: int) -> tuple[str, tuple[str, ...]]:
        return self.conditions[stimulus], self.tokens_of(stimulus)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per token: stimulus, position, condition, token, and a column per unit."""
        lengths = np.diff(self.starts)
        stimulus = np.repeat(np.arange(len(self)), lengths)
        known = pd.DataFrame(
            {
                "stimulus": stimulus,
                "position": np.arange(len(self.tokens)) - self.starts[stimulus],
                "condition": [self.conditions[at] for at in stimulus],
                "token": list(self.tokens),
            }
        )
        values = pd.DataFrame(self.values.cpu().float().numpy(), columns=self.mask.addresses)
        table: pd.DataFrame = pd.concat([known, values], axis=1)
        return table

    # -- looking -------------------------------------------------------------------------------

    def coloured(
        self, unit: str | UnitAddress | None = None, stimuli: Sequence[int] | None = None
    ) -> str:
        """Return texts as HTML, every token with the colour of a response to it.

        Args:
            unit: whose; the mean over all units, each in its own standard deviations, if None.
            stimuli: which, by number; those with the strongest response to a token if None.

        Raises:
            LensLocError: a unit that was not kept, or a stimulus that there is not.
        """
        values = self._standardised() if unit is None else self.unit(unit)
        shown = values.cpu().double().numpy()
        largest = float(np.abs(shown).max()) or 1.0
        chosen = self._strongest(shown) if stimuli is None else list(stimuli)
        title = f"mean of {len(self.mask)} units (z)" if unit is None else str(unit)
        parts = [
            markup.coloured_text(
                self.conditions[at % len(self)],
                self.tokens_of(at),
                (shown[self.rows(at)] / largest).tolist(),
                shown[self.rows(at)].tolist(),
            )
            for at in chosen
        ]
        return str(markup.card(f"{title}: -{largest:.3g} to {largest:.3g}", *parts))

    def _standardised(self) -> Float[Tensor, " token"]:
        values = self.values.double()
        spread = values.std(dim=0, correction=0)
        return ((values - values.mean(dim=0)) / torch.where(spread > 0, spread, 1.0)).mean(dim=1)

    def _strongest(self, shown: Float[np.ndarray, " token"]) -> list[int]:
        peaks = np.maximum.reduceat(np.abs(shown), self.starts[:-1])
        return np.argsort(-peaks, kind="stable")[:_SHOWN_STIMULI].tolist()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        made = re.sub(r"\s+", " ", self.provenance.model) or "unknown model"
        return (
            f"TokenResponses({len(self.mask)} units at {self.site}; {len(self.tokens):,} tokens of "
            f"{len(self):,} stimuli; {made})"
        )

    def _repr_html_(self) -> str:
        return self.coloured()
