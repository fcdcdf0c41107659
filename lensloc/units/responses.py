"""Responses: pooled activations of every stimulus at one site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from lensloc.arguments import listed
from lensloc.display.apart import require_apart
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.units import ragged
from lensloc.units.addresses import UnitAddress
from lensloc.units.pairing import paired_rows
from lensloc.units.provenance import Provenance


@dataclass(frozen=True, eq=False)
class Responses(Savable, ragged.Layered):
    """Pooled activations of every stimulus at one site.

    Attributes:
        site: name of the site.
        values: ``[stimulus, layer, unit]``, signed, in the order of ``conditions``.
        conditions: the condition that each stimulus belongs to.
        items: the item that each stimulus belongs to; stimuli of one item are a pair. None if
            stimuli have none.
        provenance: model, stimuli and procedure that they were made with; statistics of them
            follow its procedure (absolute or signed, which test) unless told otherwise. None if
            not known.
        widths: units of every layer, where layers differ in width; None where they do not. Values
            beyond a layer's width are NaN.
    """

    site: str
    values: Float[Tensor, "stimulus layer unit"]
    conditions: tuple[str, ...]
    items: tuple[str, ...] | None = None
    provenance: Provenance | None = None
    widths: ragged.Widths = None

    def __post_init__(self) -> None:
        if len(self.conditions) != len(self.values):
            raise LensLocError(
                f"There are {len(self.values)} responses but {len(self.conditions)} condition "
                "labels; give one label per stimulus."
            )
        if self.items is not None and len(self.items) != len(self.values):
            raise LensLocError(
                f"There are {len(self.values)} responses but {len(self.items)} items; give one "
                "item per stimulus."
            )
        object.__setattr__(self, "widths", ragged.checked(self.widths, self.shape))

    def of(self, conditions: tuple[str, ...]) -> Float[Tensor, "selected layer unit"]:
        """Return the responses to the stimuli of some conditions."""
        wanted = listed(conditions, str)
        rows = [row for row, label in enumerate(self.conditions) if label in wanted]
        return self._at(rows)

    def pairs(
        self, target: Sequence[str], control: Sequence[str]
    ) -> tuple[Float[Tensor, "pair layer unit"], Float[Tensor, "pair layer unit"]]:
        """Return the responses to target and control, pair by pair: by item, or by position.

        Raises:
            LensLocError: an item that has not just one stimulus on either side; or, without items,
                unequal numbers.
        """
        a, b = paired_rows(self.conditions, self.items, target, control)
        return self._at(a), self._at(b)

    def at(self, rows: Sequence[int]) -> "Responses":
        """Return the responses to some stimuli, by their positions."""
        return Responses(
            self.site,
            self._at(rows),
            tuple(self.conditions[row] for row in rows),
            None if self.items is None else tuple(self.items[row] for row in rows),
            self.provenance,
            self.widths,
        )

    @classmethod
    def _joined(cls, several: "Sequence[Responses]") -> "Responses":
        first = several[0]
        for each in several[1:]:
            if (each.site, each.shape, each.widths) != (first.site, first.shape, first.widths):
                raise LensLocError(
                    f"The responses are at {first.site} ({first.size_in_words}) and at {each.site} "
                    f"({each.size_in_words}); join those of the same units to other stimuli."
                )
            known, more = (found.provenance or Provenance() for found in (first, each))
            if known.differing(more.model_hashes) or known.pooling != more.pooling:
                raise LensLocError(
                    "The responses are of several models, or pooled in other ways; join those of "
                    "one model, pooled alike."
                )
        require_apart(map(_held, several), "stimulus", "leave it out of one of them")
        items = [each.items for each in several]
        return cls(
            first.site,
            torch.cat([each.values.to(first.values.device) for each in several]),
            tuple(name for each in several for name in each.conditions),
            None if None in items else tuple(item for each in items for item in each or ()),
            first.provenance,
            first.widths,
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per stimulus: condition, item if there are some, and a column per unit."""
        layers, units = self.units.nonzero().T.tolist()
        pairs = zip(layers, units, strict=True)
        names = [str(UnitAddress(layer, self.site, unit)) for layer, unit in pairs]
        known = {"condition": list(self.conditions)}
        if self.items is not None:
            known["item"] = list(self.items)
        values = self.values[:, layers, units].cpu().float().numpy()
        table: pd.DataFrame = pd.concat(
            [pd.DataFrame(known), pd.DataFrame(values, columns=names)], axis=1
        )
        return table

    def _at(self, rows: Sequence[int]) -> Float[Tensor, "selected layer unit"]:
        return self.values[torch.tensor(rows, dtype=torch.long, device=self.values.device)]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units of the widest layer."""
        _, n_layers, n_units = self.values.shape
        return n_layers, n_units

    @property
    def absolute(self) -> bool:
        """Whether statistics are of absolute responses, unless told otherwise."""
        return self.provenance is None or self.provenance.absolute

    @property
    def test(self) -> str:
        """Which test statistics are of, unless told otherwise."""
        return "welch" if self.provenance is None else self.provenance.test


def _held(found: Responses) -> Iterator[tuple[str, bytes]]:
    """Yield what each stimulus is known by: its condition, and a hash of all responses to it."""
    for name, row in zip(found.conditions, found.values, strict=True):
        values = row.detach().cpu().double().contiguous().numpy()
        yield name, xxhash.xxh3_128_digest(values.tobytes())
