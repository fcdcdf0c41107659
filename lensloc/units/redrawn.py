"""UnitMask -> another one of its kind: as many units at random, or another size of its ranking."""

from typing import TYPE_CHECKING

import torch

from lensloc.errors import LensLocError
from lensloc.units import matching
from lensloc.units.addresses import is_residual
from lensloc.units.algebra import describe
from lensloc.units.matching import Units
from lensloc.units.selection import SelectionRule, count_units, ranked
from lensloc.vocabulary import RANDOM

if TYPE_CHECKING:
    from lensloc.units.mask import UnitMask


def drawn_like(mask: "UnitMask", seed: int, elsewhere: bool) -> "UnitMask":
    """Draw as many units from outside a set; see :meth:`UnitMask.random_like`."""
    units = Units(
        mask.mask.numpy(),
        excluded=None if mask.widths is None else (~mask.units).numpy(),
        residual=is_residual(mask.site),
        elsewhere=elsewhere,
        name=f"the mask {describe(mask)}",
    )
    drawn = torch.from_numpy(matching.draw(units, RANDOM, seed).mask)
    selection = f"random, seed {seed}, as many as and outside of: {mask.provenance.selection}"
    # What speaks against the network does not speak against other units.
    made = mask.provenance.replace(selection=selection, warnings=())
    made = made.seeded("selection", seed)
    rule = SelectionRule("random", seed=seed)
    return type(mask)(
        mask.site, drawn, made, magnitude=mask.magnitude, rule=rule, widths=mask.widths
    )


def resized(mask: "UnitMask", percent: float | None, k: int | None) -> "UnitMask":
    """Return a set of another size by the same ranking; see :meth:`UnitMask.resized`."""
    if mask.score is None:
        raise LensLocError(
            f"The mask {describe(mask)} ({mask.provenance.selection or 'imported'}) carries no "
            "ranking of units, so it has no other size; use one from Selectivity.top(), saved "
            "as .safetensors."
        )
    count, size = count_units(percent, k, mask.n_units, mask.site)
    left = int(torch.isfinite(mask.score).sum())
    if count > left:
        raise LensLocError(
            f"{count} units were asked for but only {left} of {mask.n_units} at "
            f"{mask.site} are ranked; ask for fewer."
        )
    rule, words = _resized_rule(mask, percent, k, size)
    return mask.from_indices(
        mask.site,
        ranked(mask.score)[:count],
        mask.shape,
        mask.provenance.replace(selection=words),
        score=mask.score,
        magnitude=mask.magnitude,
        rule=rule,
        widths=mask.widths,
    )


def _resized_rule(
    mask: "UnitMask", percent: float | None, k: int | None, size: str
) -> tuple[SelectionRule | None, str]:
    """Return the rule for another size, and how the units are chosen in words."""
    if mask.rule is not None and mask.rule.kind in ("top", "bottom"):
        rule = mask.rule.resized(percent=percent, k=k)
        return rule, rule.describe(mask.n_units, mask.site)
    was = mask.provenance.selection
    kind = was.split(" ")[0]
    if kind in ("top", "bottom"):  # of a file that keeps no rule
        return None, f"{kind} {size}"
    return None, f"best {size} of the ranking of: {was or 'imported units'}"
