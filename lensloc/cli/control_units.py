"""Reading which controls to hold beside a network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lensloc.cli.options import whole_number
from lensloc.errors import LensLocError
from lensloc.vocabulary import LEAST_SELECTIVE, MATCHES, WITHOUT_OUTLIERS, Match

if TYPE_CHECKING:
    from lensloc.units.matching import Controls

SEEDS = 5


def parse_controls(texts: Sequence[str], option: str = "--control") -> "list[Controls]":
    """Read ``--control``, or an option of another name.

    Raises:
        LensLocError: a control that there is not, one given twice, or draws that are no number.
    """
    from lensloc.units.matching import controls

    found: dict[str, Controls] = {}
    for text in texts:
        kind, colon, number = text.partition(":")
        if kind in found:
            raise LensLocError(f"{option} {kind} is given twice; give it once.")
        if kind in MATCHES:
            draws = whole_number(number) if colon else SEEDS
            if draws is None:
                raise LensLocError(
                    f"{option} {text} has no number of draws behind the colon; write e.g. "
                    f"{kind}:{SEEDS}."
                )
            found[kind] = controls(cast(Match, kind), seeds=range(draws))
        elif kind not in (LEAST_SELECTIVE, WITHOUT_OUTLIERS):
            known = ", ".join((*MATCHES, LEAST_SELECTIVE, WITHOUT_OUTLIERS))
            raise LensLocError(f"There is no control {kind!r}; there are {known}.")
        elif colon:
            raise LensLocError(f"{option} {kind} draws nothing; write it without :{number}.")
        else:
            found[kind] = controls(
                (),
                least_selective=kind == LEAST_SELECTIVE,
                without_outliers=kind == WITHOUT_OUTLIERS,
            )
    return list(found.values())
