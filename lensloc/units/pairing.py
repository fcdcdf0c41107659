"""Which stimuli of the target and of the control belong together."""

from collections.abc import Sequence

from lensloc.errors import LensLocError


def paired_rows(
    conditions: Sequence[str],
    items: Sequence[str] | None,
    target: Sequence[str],
    control: Sequence[str],
) -> tuple[list[int], list[int]]:
    """Pair every stimulus of the target with one of the control.

    With items, the two of an item are a pair, wherever they stand. Without, the n-th stimulus of a
    target condition and the n-th of the control condition that is named in the same place are one.

    Args:
        conditions: of every stimulus.
        items: of every stimulus; None if stimuli have none.
        target: conditions of the target, in order.
        control: conditions of the control, in order.

    Returns:
        Rows of the target's stimuli, and of their partners, in one order.

    Raises:
        LensLocError: an item that has not just one stimulus on either side; or, without items,
            unequal numbers.
    """
    sides = [[_rows(conditions, name) for name in names] for names in (target, control)]
    if items is not None:
        return _by_item(items, sides, (target, control))
    return _by_position(sides, (target, control))


def _rows(conditions: Sequence[str], name: str) -> list[int]:
    return [row for row, label in enumerate(conditions) if label == name]


def _by_item(
    items: Sequence[str], sides: list[list[list[int]]], names: tuple[Sequence[str], Sequence[str]]
) -> tuple[list[int], list[int]]:
    found: list[dict[str, list[int]]] = []
    for side in sides:
        rows: dict[str, list[int]] = {}
        for row in sorted(row for condition in side for row in condition):
            rows.setdefault(items[row], []).append(row)
        found.append(rows)
    words = [f"{role} ({', '.join(n)})" for role, n in zip(_ROLES, names, strict=True)]
    for item in dict.fromkeys([*found[0], *found[1]]):
        counts = [len(side.get(item, ())) for side in found]
        if counts != [1, 1]:
            raise LensLocError(
                f"The item {item!r} has {_texts(counts[0])} in the {words[0]} and {counts[1]} in "
                f"the {words[1]}, but a paired test needs one in each; remove the others, name "
                "other conditions, or use test='welch'."
            )
    return [rows[0] for rows in found[0].values()], [found[1][item][0] for item in found[0]]


def _by_position(
    sides: list[list[list[int]]], names: tuple[Sequence[str], Sequence[str]]
) -> tuple[list[int], list[int]]:
    totals = [sum(map(len, side)) for side in sides]
    if totals[0] != totals[1]:
        raise LensLocError(
            f"The target has {totals[0]} stimuli and the control {totals[1]}; a paired test needs "
            "one control stimulus for every target stimulus, in the same order."
        )
    if len(sides[0]) != len(sides[1]):
        raise LensLocError(
            f"The target is {_counted(len(sides[0]))} and the control {_counted(len(sides[1]))}; "
            "without items, a paired test takes as many of each, in the same order."
        )
    for a, b, first, second in zip(*sides, *names, strict=True):
        if len(a) != len(b):
            raise LensLocError(
                f"{first!r} has {len(a)} stimuli and {second!r} {len(b)}; without items, a paired "
                "test pairs these conditions by position, so they need equal numbers."
            )
    a, b = ([row for condition in side for row in condition] for side in sides)
    return a, b


def _texts(n: int) -> str:
    return "1 text" if n == 1 else f"{n} texts"


def _counted(n: int) -> str:
    return "one condition" if n == 1 else f"{n} conditions"


_ROLES = ("target", "control")
