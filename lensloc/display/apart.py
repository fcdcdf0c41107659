"""What is joined is told apart, so that nothing counts twice."""

from collections.abc import Hashable, Iterable

from lensloc.errors import LensLocError


def require_apart(several: Iterable[Iterable[Hashable]], what: str, advice: str) -> None:
    """Check that no two of several results hold the same.

    Args:
        several: what each of them holds; what one holds twice may stand.
        what: what is held, in words: "pair".
        advice: what to do where two hold the same.

    Raises:
        LensLocError: if two do.

    Example:
        >>> require_apart([["a", "a"], ["b"]], "letter", "leave one out")
        >>> require_apart([["a"], ["b", "a"]], "letter", "leave one out")
        Traceback (most recent call last):
        lensloc.errors.LensLocError: Two of what is joined hold the same letter, which would count \
twice; leave one out.
    """
    known: set[Hashable] = set()
    for held in map(set, several):
        if known & held:
            raise LensLocError(
                f"Two of what is joined hold the same {what}, which would count twice; {advice}."
            )
        known |= held
