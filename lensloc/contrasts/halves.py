"""Which texts of a contrast go into which of two random halves."""

from collections.abc import Mapping, Sequence

import numpy as np

from lensloc.arguments import require_numbers
from lensloc.errors import LensLocError

Rows = dict[str, list[int]]


def halves(
    conditions: Mapping[str, Sequence[str]], items: Mapping[str, Sequence[str]] | None, seed: int
) -> tuple[Rows, Rows]:
    """Return the positions of the texts of either half, by condition; see :meth:`Contrast.split`.

    Args:
        conditions: condition -> texts.
        items: condition -> item of each text, where there are items.
        seed: of the draw.

    Raises:
        LensLocError: if a condition has fewer than two texts to divide.
    """
    require_numbers(seed=seed)
    rng = np.random.default_rng(seed)
    first: Rows = {name: [] for name in conditions}
    second: Rows = {name: [] for name in conditions}
    for group in _groups(conditions, items):
        known = list(dict.fromkeys(item for _, _, item in group))
        chosen = set(rng.permutation(len(known))[: (len(known) + 1) // 2].tolist())
        in_first = {item for i, item in enumerate(known) if i in chosen}
        for name, row, item in group:
            (first if item in in_first else second)[name].append(row)
    for name, texts in conditions.items():
        if not first[name] or not second[name]:
            raise LensLocError(
                f"The condition {name!r} cannot be split in two: it has "
                f"{len(texts)} texts of too few items; add more."
            )
    return first, second


def _groups(
    conditions: Mapping[str, Sequence[str]], items: Mapping[str, Sequence[str]] | None
) -> list[list[tuple[str, int, str]]]:
    """Texts as (condition, row, item), in groups that are halved each by itself."""
    if items is not None:
        return [[(name, row, item) for name, of in items.items() for row, item in enumerate(of)]]
    of_size: dict[int, list[tuple[str, int, str]]] = {}
    for name, texts in conditions.items():
        of_size.setdefault(len(texts), []).extend(
            (name, row, str(row)) for row in range(len(texts))
        )
    return [*of_size.values()]
