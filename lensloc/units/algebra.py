"""What becomes of two sets of units that are combined: members, ranking, magnitudes, provenance."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.errors import LensLocError, LensLocWarning
from lensloc.units import ragged
from lensloc.units.provenance import Provenance

if TYPE_CHECKING:
    from lensloc.units.mask import UnitMask

Sign = Literal["&", "|", "-"]


@dataclass(frozen=True)
class Combined:
    """The parts of a combined set; see :class:`lensloc.UnitMask`."""

    mask: Bool[Tensor, "layer unit"]
    provenance: Provenance
    score: Float[Tensor, "layer unit"] | None
    magnitude: Float[Tensor, "layer unit"] | None


def combined(mine: "UnitMask", theirs: "UnitMask", sign: Sign) -> Combined:
    """Combine two sets of one site and shape.

    Masks of models with different weights are combined by position, which is warned about.

    Raises:
        LensLocError: for sets of other sites or shapes.
    """
    if not mine.covers(theirs):
        raise LensLocError(
            f"These masks cover different units ({describe(mine)} against {describe(theirs)}); "
            "combine masks of one model and one site."
        )
    one, other = mine.provenance, theirs.provenance
    if one.differs_in_weights(other):
        warnings.warn(
            f"The masks {describe(mine)} and {describe(theirs)} are of models with different "
            "weights, so unit by unit they are combined by position only.",
            LensLocWarning,
            stacklevel=4,
        )
    selection = f"({one.selection}) {sign} ({other.selection})"
    magnitude, dropped = _shared_magnitude(mine, theirs)
    if dropped:
        selection += ", magnitudes dropped as they are of different stimuli"
    told = tuple(dict.fromkeys([*one.warnings, *other.warnings]))
    made = one.merged(other, sign).replace(selection=selection, warnings=told)
    return Combined(_members(mine, theirs, sign), made, _ranking(mine, theirs, sign), magnitude)


def describe(mask: "UnitMask") -> str:
    """Say in a few words which model and site a mask belongs to."""
    return f"({mask.provenance.model or 'unknown model'}, {mask.site}, {mask.size_in_words})"


def _members(mine: "UnitMask", theirs: "UnitMask", sign: Sign) -> Bool[Tensor, "layer unit"]:
    if sign == "&":
        return mine.mask & theirs.mask
    return mine.mask | theirs.mask if sign == "|" else mine.mask & ~theirs.mask


def _ranking(
    mine: "UnitMask", theirs: "UnitMask", sign: Sign
) -> Float[Tensor, "layer unit"] | None:
    """Return what the units of the combined set are ranked by, where one ranking holds for all."""
    if sign == "-":
        return _within(mine, ~theirs.mask)
    same = (
        mine.score is not None
        and theirs.score is not None
        and torch.equal(mine.score, theirs.score)
    )
    if same:
        return mine.score
    if sign == "|":
        return None
    if theirs.score is None:
        return _within(mine, theirs.mask)
    return _within(theirs, mine.mask) if mine.score is None else None


def _within(
    mask: "UnitMask", units: Bool[Tensor, "layer unit"]
) -> Float[Tensor, "layer unit"] | None:
    """Return a set's ranking of these units alone."""
    return None if mask.score is None else mask.score.masked_fill(~units, -torch.inf)


def _shared_magnitude(
    mine: "UnitMask", theirs: "UnitMask"
) -> tuple[Float[Tensor, "layer unit"] | None, bool]:
    """Return the units' magnitudes if the masks agree on them, and whether some were dropped."""
    known = [mask.magnitude for mask in (mine, theirs) if mask.magnitude is not None]
    if not known:
        return None, False
    one, other = mine.provenance, theirs.provenance
    if len(known) == 1:
        return (None, True) if one.differs_in_weights(other) else (known[0], False)
    if ragged.same(*known) or one.measured_like(other):
        return known[0], False
    return None, True
