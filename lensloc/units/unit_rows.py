"""Numbers per unit -> a table with one row per unit."""

from collections.abc import Mapping

import pandas as pd
from jaxtyping import Bool, Shaped
from torch import Tensor

from lensloc.units.addresses import UnitAddress


def table_of(
    site: str,
    values: Mapping[str, Shaped[Tensor, "layer unit"]],
    units: Bool[Tensor, "layer unit"],
) -> pd.DataFrame:
    """Return one row per unit: address, site, layer, unit, and the values.

    Args:
        site: of the units; empty if that is not known, and then they have no address.
        values: name of a column -> its values.
        units: which units.
    """
    layers, numbers = units.nonzero().T.numpy()
    known: dict[str, object] = {}
    if site:
        known["address"] = [
            str(UnitAddress(int(layer), site, int(unit)))
            for layer, unit in zip(layers, numbers, strict=True)
        ]
        known["site"] = site
    table: pd.DataFrame = pd.DataFrame(
        {
            **known,
            "layer": layers,
            "unit": numbers,
            **{name: found.numpy()[layers, numbers] for name, found in values.items()},
        }
    )
    return table
