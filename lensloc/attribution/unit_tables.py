"""Numbers per unit -> a table with one row per unit."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.units.mask import UnitAddress, UnitMask


def unit_table(
    site: str, values: Mapping[str, Float[Tensor, "layer unit"]], mask: UnitMask | None, model: str
) -> pd.DataFrame:
    """Return one row per unit: address, site, layer, unit, and the values.

    Args:
        site: of the units.
        values: name of a column -> its values; among them ``score``.
        mask: only these units, sorted by score, largest first; all in order if None.
        model: what a mask of another shape is compared with, in the message.

    Raises:
        LensLocError: if the mask is of another site or shape.
    """
    n_layers, width = values["score"].shape
    shape = (n_layers, width)
    if mask is None:
        layers, units = np.indices(shape).reshape(2, -1)
    else:
        if mask.site != site:
            raise LensLocError(f"The mask is of {mask.site}, these effects are of {site}.")
        mask.require_shape(shape, model or "this map")
        layers, units = mask.mask.nonzero().T.numpy()
    table: pd.DataFrame = pd.DataFrame(
        {
            "address": [
                str(UnitAddress(int(layer), site, int(unit)))
                for layer, unit in zip(layers, units, strict=True)
            ],
            "site": site,
            "layer": layers,
            "unit": units,
            **{name: found.numpy()[layers, units] for name, found in values.items()},
        }
    )
    if mask is not None:
        table = table.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    return table
