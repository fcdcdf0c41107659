"""What a lesion is given: masks, mode and numbers, checked before anything is opened."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lensloc.arguments import require_a
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.sites import hook_names, n_layers, shape, site_of, widths
from lensloc.lesions.corrupted import require_pairs
from lensloc.lesions.modes import get_mode
from lensloc.lesions.references import Reference
from lensloc.models.adapting import surface
from lensloc.models.identity import card_of
from lensloc.models.surface import Model
from lensloc.units.addresses import UnitAddress, is_address
from lensloc.units.mask import UnitMask, describe
from lensloc.vocabulary import POSITIONS


def masks_of(model: Model, given: Any) -> tuple[UnitMask, ...]:
    """Return one or several sets of units, of masks and addresses.

    Args:
        model: in which addresses are looked up.
        given: a mask, a unit's address (``"L12.resid_post.507"``), or several of these; addresses
            of one site are one set.

    Raises:
        LensLocError: for something else, or a unit that the model does not have.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | Mapping | UnitMask)
    found: dict[Any, UnitMask] = {}
    by_site: dict[str, list[str]] = {}
    for number, each in enumerate(given if several else (given,)):
        if not isinstance(each, str):
            require_a(UnitMask, each, "masks")
            found[number] = each
            continue
        if not is_address(each):
            raise LensLocError(
                f"{each!r} is not a unit address (write one like L12.resid_post.507), nor a mask; "
                "read a mask's file with ll.UnitMask.load."
            )
        site = site_of(UnitAddress.parse(each).site, model).name
        known = by_site.setdefault(site, [])
        known.append(each)
        found.setdefault(site, None)  # type: ignore[arg-type]
    for site, addresses in by_site.items():
        found[site] = _of_addresses(model, site, addresses)
    return tuple(found.values())


def _of_addresses(model: Model, site: str, addresses: Sequence[str]) -> UnitMask:
    place = site_of(site, model)
    hook_names(place, model)
    known = shape(place, model)
    if known is None:
        raise LensLocError(
            f"How many units there are at {site} is known only once the model has been run; make "
            "a mask, ll.UnitMask.from_addresses(addresses, shape=...)."
        )
    return UnitMask.from_addresses(addresses, known, widths=widths(place, model))


def require_masks(model: Model, masks: Sequence[UnitMask]) -> None:
    """Check that masks can be lesioned in a model; warn of those made on another one.

    Raises:
        LensLocError: no mask, an empty one, one of another shape, or of units that cannot be set.
    """
    if not masks:
        raise LensLocError("No mask was given; give at least one.")
    card = card_of(model)
    name = card.name if card is not None else "the model"
    for mask in masks:
        site = site_of(mask.site, model)
        hook_names(site, model)
        if site.is_summary:
            raise LensLocError(
                f"Units at {site.name} say where heads attend and cannot be set; lesion the heads "
                'themselves, UnitMask("head", mask.mask).'
            )
        known = shape(site, model)
        layers = n_layers(site, model)
        if known is not None or mask.shape[0] != layers:
            own = widths(site, model) if known else mask.widths if mask.shape[0] == layers else None
            mask.require_shape(known or (layers, mask.shape[1]), name, own)
        if len(mask) == 0:
            raise LensLocError(
                f"The mask {describe(mask)} holds no unit, so there is nothing to lesion; "
                "select some."
            )
        made = mask.provenance
        parts = [] if card is None else made.differing(card.hashes)
        place = surface(model).own_sites.get(site.name, "")
        if made.place and place and made.place != place:
            warnings.warn(
                f"The units of the mask {describe(mask)} are each a {made.place}, and here a "
                f"{place}, though the sites have one name; they may mean nothing here.",
                LensLocWarning,
                stacklevel=3,
            )
        if parts:
            trained = ", untrained" if made.untrained else ""
            differ = "differ" if len(parts) > 1 or parts == ["weights"] else "differs"
            warnings.warn(
                f"The mask {describe(mask)} was made on another model than {name} "
                f"({made.model}{trained}: its {' and '.join(parts)} {differ}); its units may mean "
                "nothing here.",
                LensLocWarning,
                stacklevel=3,
            )


def require_arguments(
    mode: str,
    positions: str,
    *,
    scale: float | None,
    value: float | Float[Tensor, "layer unit"] | None,
    quantile: float | None,
    reference: Reference | Pairs | None,
) -> None:
    """Check the arguments of a lesion against its mode.

    Raises:
        LensLocError: an unknown mode, an argument that it does not take, lacks, or that is none.
    """
    known = get_mode(mode)
    if positions not in POSITIONS:
        raise LensLocError(f"positions is 'all' or 'last'; {positions!r} is neither.")
    given = {"scale": scale, "value": value, "quantile": quantile, "reference": reference}
    for name, argument in given.items():
        if argument is not None and name not in known.takes:
            raise LensLocError(f"mode={mode!r} takes no {name}; leave it out, or change the mode.")
        if isinstance(argument, float | int) and not math.isfinite(argument):
            raise LensLocError(f"{name} must be a number; {argument} is not.")
    for name, example in known.needs:
        if given[name] is None:
            raise LensLocError(f"mode={mode!r} needs {name}: {example}.")
    require_pairs(mode, known.of_pairs, given)
    if mode == "clamp":
        if (value is None) == (quantile is None):
            raise LensLocError("mode='clamp' needs either value, or quantile with reference.")
        if (quantile is None) != (reference is None):
            raise LensLocError("quantile and reference belong together; give both or neither.")
        if quantile is not None and not 0 <= quantile <= 1:
            raise LensLocError(f"quantile lies between 0 and 1; {quantile:g} does not.")


def require_values(values: Float[Tensor, "layer unit"], masks: Sequence[UnitMask]) -> None:
    """Check that there is a number for every masked unit."""
    if len(masks) != 1 or tuple(values.shape) != masks[0].shape:
        shapes = " and ".join(f"{n}x{m}" for n, m in (mask.shape for mask in masks))
        raise LensLocError(
            f"value has the shape {'x'.join(map(str, values.shape))}, but the mask {shapes}; give "
            "one number, or one for every unit of one mask."
        )
    wrong = (masks[0].mask & ~values.cpu().isfinite()).nonzero()
    if len(wrong):
        layer, unit = wrong[0].tolist()
        raise LensLocError(
            f"value must be numbers; that of the unit {UnitAddress(layer, masks[0].site, unit)} is "
            f"{float(values[layer, unit])}."
        )
