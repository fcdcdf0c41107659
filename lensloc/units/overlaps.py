"""Networks beside each other: how many units do they share, and how many would by chance?"""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd
from scipy.stats import hypergeom

from lensloc.arguments import require_named
from lensloc.errors import LensLocError
from lensloc.units.mask import UnitMask, describe
from lensloc.units.ragged import sizes


def overlap(masks: Mapping[str, UnitMask]) -> pd.DataFrame:
    """Count the units that every two networks share, beside what chance would give.

    Units are compared by position: layer and index. So masks of different models of one shape (a
    trained and an untrained one, say) can be compared too; whether unit 507 of one is anything
    like unit 507 of the other is for the reader to judge.

    Two chances stand side by side. In the first, the second network's units are drawn from all
    units of the site. In the other, they are drawn from the layers that they are in, layer by
    layer. Networks that merely live in the same layers share more than the first expects, but not
    more than the other.

    Args:
        masks: name -> network, at least two, all ``[layer, unit]`` of one site and shape.

    Returns:
        One row per pair, in the order of the masks:

        - ``first``, ``second``: the names; ``site``; ``n_units`` of that site, ``N``;
        - ``n_first``, ``n_second``, ``n_both``: units of either network and of both;
        - ``dice``: ``2 n_both / (n_first + n_second)`` (Dice 1945); ``jaccard``: ``n_both`` as a
          share of the units in either;
        - ``n_expected``: ``n_first n_second / N``, units shared by chance; ``dice_expected``: the
          Dice coefficient of so many; ``ratio``: ``n_both / n_expected``;
        - ``p``: probability that chance shares ``n_both`` units or more (hypergeometric);
        - ``n_expected_by_layer``: the sum over layers of the same product in each layer;
          ``ratio_by_layer``: ``n_both`` divided by that, NaN if the networks share no layer.

    Raises:
        LensLocError: with fewer than two masks, an empty one, or two of different sites or shapes.

    Example:
        >>> import lensloc as ll
        >>> language = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
        >>> sums = ll.UnitMask.from_addresses(["L2.head.7", "L2.head.8"], shape=(3, 9))
        >>> shared = ll.overlap({"language": language, "sums": sums})
        >>> shared[["first", "second", "n_both", "dice", "ratio"]].round(2)
              first second  n_both  dice  ratio
        0  language   sums       1   0.5   6.75
    """
    require_named(UnitMask, masks, "Networks", like="{name: mask}")
    if len(masks) < 2:
        raise LensLocError(
            f"An overlap is between networks, and {len(masks) or 'none'} was given; give at least "
            "two masks."
        )
    for name, mask in masks.items():
        if len(mask) == 0:
            raise LensLocError(
                f"The network {name!r} has no unit, so it overlaps with nothing; leave it out or "
                "select more units."
            )
    rows = [_row(*pair) for pair in combinations(masks.items(), 2)]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _row(first: tuple[str, UnitMask], second: tuple[str, UnitMask]) -> dict[str, object]:
    (name_1, mask_1), (name_2, mask_2) = first, second
    of = [(mask.site, mask.shape, mask.widths) for mask in (mask_1, mask_2)]
    if of[0] != of[1]:
        raise LensLocError(
            f"The networks {name_1!r} {describe(mask_1)} and {name_2!r} {describe(mask_2)} are "
            "sets of different units; compare masks of one site and one shape."
        )
    n_units, n_1, n_2 = mask_1.n_units, len(mask_1), len(mask_2)
    both = int((mask_1.mask & mask_2.mask).sum())
    expected = n_1 * n_2 / n_units
    width = sizes(mask_1.shape, mask_1.widths).clamp_min(1)  # no unit lies in an empty layer
    by_layer = float((mask_1.per_layer() * mask_2.per_layer() / width.double()).sum())
    return {
        "first": name_1,
        "second": name_2,
        "site": mask_1.site,
        "n_units": n_units,
        "n_first": n_1,
        "n_second": n_2,
        "n_both": both,
        "dice": 2 * both / (n_1 + n_2),
        "jaccard": both / (n_1 + n_2 - both),
        "n_expected": expected,
        "dice_expected": 2 * expected / (n_1 + n_2),
        "ratio": both / expected,
        "p": float(hypergeom.sf(both - 1, n_units, n_1, n_2)),
        "n_expected_by_layer": by_layer,
        "ratio_by_layer": both / by_layer if by_layer else float("nan"),
    }
