"""References of lesions: responses that say what a unit is replaced by; and hashes for keys."""

from collections.abc import Mapping, Sequence

import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from lensloc.arguments import require_a
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import capture
from lensloc.lesions.modes import MODES
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.units.mask import UnitMask
from lensloc.units.responses import Responses

Reference = Contrast | Responses | Sequence[Responses] | Mapping[str, Responses]


def reference_site(site: str, mode: str) -> str:
    """Return the site whose reference responses a mode needs for the units of a site."""
    return "z" if site == "head" and MODES[mode].whole_heads else site


def reference_responses(
    model: Model, reference: Reference, sites: set[str], batch_size: BatchSize = "auto"
) -> Mapping[str, Responses]:
    """Return the responses of a reference by site; those of a contrast are captured.

    Raises:
        LensLocError: if the reference lacks a site, or holds no stimulus there.
    """
    if isinstance(reference, Contrast):
        captured = capture(
            model,
            reference.texts,
            reference.labels,
            sorted(sites),
            pooling="mean",
            batch_size=batch_size,
            truncate=surface(model).takes_tokens,
            progress=False,
        )
        return captured.responses
    if isinstance(reference, Responses):
        reference = (reference,)
    given = list(reference.values() if isinstance(reference, Mapping) else reference)
    for found in given:
        require_a((Contrast, Responses), found, "reference")
    by_site = {found.site: found for found in given}
    missing = sites - set(by_site)
    if missing:
        raise LensLocError(
            f"The reference holds responses at {', '.join(by_site) or 'no site'}, but this lesion "
            f"needs them at {', '.join(sorted(missing))}; capture them there, or give a contrast."
        )
    empty = [site for site in sites if len(by_site[site].values) == 0]
    if empty:
        raise LensLocError(f"The reference responses at {empty[0]} hold no stimulus; give some.")
    return {site: by_site[site] for site in sites}


def responses_hash(responses: Responses) -> str:
    """Return a hash of responses: dtype, shape and values."""
    values = responses.values.detach().cpu().contiguous()
    digest = xxhash.xxh3_128(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def values_hash(values: Float[Tensor, "layer unit"], mask: UnitMask) -> str:
    """Return a hash of the values of the masked units."""
    chosen = values.cpu().double()[mask.mask]
    return xxhash.xxh3_128_hexdigest(chosen.contiguous().numpy().data)


def mask_hash(mask: UnitMask) -> str:
    """Return a hash of a mask's site and units, whatever their provenance."""
    padded = "" if mask.widths is None else f" {mask.widths}"
    digest = xxhash.xxh3_128(f"{mask.site} {mask.shape}{padded}".encode())
    digest.update(mask.mask.contiguous().numpy().data)
    return digest.hexdigest()
