"""Figures drawn in a browser: nothing lies over anything else, nothing is cut."""

from collections.abc import Iterator

import pytest
from drawing import CHROMIUM, Board, drawing_board
from figure_cases import FIGURES, cases

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium or Chrome; `make browser` installs Debian's"
)


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    with drawing_board() as found:
        yield found


@pytest.mark.parametrize("kind", FIGURES)
def test_no_word_lies_over_another_or_over_a_panel(board: Board, kind: str) -> None:
    """With the fewest layers, networks and letters, and with the most."""
    found = list(cases(kind))
    for case in (found[0], found[-1]):
        assert board.draw(FIGURES[kind](case)) == [], str(case)
