"""Many texts side by side in one row of tokens: what they begin with in common stands there once.

Every token has its own position and sees the tokens before it in its own texts, and no others. So a
row computes what its texts alone would, with fewer tokens and hardly any pads.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool

from lensloc.models.surface import Inputs
from lensloc.models.tokens import n_shared

_START = -1
_FEW = 16


@dataclass(frozen=True)
class Row:
    """Texts that are run in one row.

    Attributes:
        tokens: what is run.
        positions: the position of every token in its texts.
        parents: the place in the row of the token before it; -1 if none is.
        places: text -> where in the row each of its tokens stands.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    parents: tuple[int, ...]
    places: dict[int, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def of(cls, number: int, ids: tuple[int, ...]) -> "Row":
        """Return the row of a single text."""
        places = tuple(range(len(ids)))
        return cls(ids, places, tuple(range(_START, len(ids) - 1)), {number: places})

    def named(self, numbers: Sequence[int]) -> "Row":
        """Return the row with other numbers of its texts: those at their place in a list."""
        return dataclasses.replace(self, places={numbers[n]: p for n, p in self.places.items()})


class _Growing:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.parents: list[int] = []
        self.places: dict[int, tuple[int, ...]] = {}
        self.last: tuple[int, ...] = ()

    def put(self, token: int, position: int, parent: int) -> int:
        self.tokens.append(token)
        self.positions.append(position)
        self.parents.append(parent)
        return len(self.tokens) - 1

    def row(self) -> Row:
        return Row(tuple(self.tokens), tuple(self.positions), tuple(self.parents), self.places)


def packed(
    texts: Sequence[tuple[int, ...]], *, most_tokens: int, most_texts: int | None = None
) -> list[Row]:
    """Put texts into rows, those that begin alike next to each other.

    The positions of neighbours in a row are never equal; where two would be, a token that nothing
    sees stands between them. (TransformerLens is told positions by their differences, and takes
    a difference of 0 for a pad.)

    Args:
        texts: token ids, none of them longer than ``most_tokens``.
        most_tokens: of a row.
        most_texts: of a row; any number if None.

    Returns:
        Rows; every text is in exactly one.

    Example:
        >>> (row,) = packed([(5, 6, 7, 8), (5, 6, 9)], most_tokens=16)
        >>> row.tokens, row.positions
        ((5, 6, 7, 8, 9), (0, 1, 2, 3, 2))
    """
    rows: list[Row] = []
    growing = _Growing()
    # In the order of their tokens, a text has most in common with the one before it.
    for number in sorted(range(len(texts)), key=lambda number: texts[number]):
        ids = texts[number]
        shared = n_shared(growing.last, ids)
        filler = bool(growing.tokens) and shared < len(ids) and growing.positions[-1] == shared
        full = len(growing.tokens) + filler + len(ids) - shared > most_tokens
        if growing.tokens and (full or len(growing.places) == most_texts):
            rows.append(growing.row())
            growing, shared, filler = _Growing(), 0, False
        if filler:
            growing.put(0, _beside(shared), _START)
        own = list(growing.places[next(reversed(growing.places))][:shared]) if shared else []
        for position in range(shared, len(ids)):
            own.append(growing.put(ids[position], position, own[-1] if own else _START))
        growing.places[number] = tuple(own)
        growing.last = ids
    return [*rows, growing.row()] if growing.tokens else rows


def packed_evenly(
    texts: Sequence[tuple[int, ...]], *, most_tokens: int, most_texts: int | None = None
) -> list[Row]:
    """Do what :func:`packed` does, and make few rows about equally long, so that pads are few.

    Example:
        >>> texts = [(n, *range(9)) for n in range(5)]
        >>> [len(row) for row in packed(texts, most_tokens=44)]
        [40, 10]
        >>> [len(row) for row in packed_evenly(texts, most_tokens=44)]
        [30, 20]
    """
    found = packed(texts, most_tokens=most_tokens, most_texts=most_texts)
    if not 2 <= len(found) <= _FEW:  # of many rows the last one hardly counts
        return found
    low = max(max(map(len, texts)), -(-sum(map(len, found)) // len(found)))
    high = max(map(len, found))
    while low < high:
        limit = (low + high) // 2
        tried = packed(texts, most_tokens=limit, most_texts=most_texts)
        if len(tried) > len(found):
            low = limit + 1
        else:
            found, high = tried, max(map(len, tried))
    return found


def _beside(position: int) -> int:
    return position - 1 if position else 1


def inputs_of(rows: Sequence[Row], device: torch.device) -> Inputs:
    """Return rows as a model runs them; shorter ones are filled with tokens that nothing sees."""
    longest = max(map(len, rows))
    tokens = np.zeros((len(rows), longest), dtype=np.int64)
    positions = np.zeros((len(rows), longest), dtype=np.int64)
    sees = np.zeros((len(rows), longest, longest), dtype=bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row.tokens
        positions[number, : len(row)] = row.positions
        for place in range(len(row), longest):
            positions[number, place] = _beside(int(positions[number, place - 1]))
        sees[number] = _ancestors(row, longest)
    return Inputs(
        torch.from_numpy(tokens).to(device),
        torch.from_numpy(positions).to(device),
        torch.from_numpy(sees).to(device),
    )


def _ancestors(row: Row, length: int) -> Bool[np.ndarray, "query key"]:
    found = np.eye(length, dtype=bool)
    for place, parent in enumerate(row.parents):
        if parent != _START:
            found[place] |= found[parent]
    return found
