"""Reading which controls to hold beside a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lensloc as ll
from lensloc.cli.networks import OWN_MASK
from lensloc.errors import LensLocError
from lensloc.vocabulary import CONTROL_KINDS, DRAWS, UNSEEDED, WITHOUT_OUTLIERS

if TYPE_CHECKING:
    from lensloc.units.control_sets import Controls


CONTROLS_HELP = (
    f"{', '.join(kind for kind in CONTROL_KINDS if kind not in UNSEEDED)}, each with :N for N "
    f"draws (default {DRAWS}), matches joined by +, e.g. magnitude+outliers; "
    f"{', '.join(UNSEEDED)}; {WITHOUT_OUTLIERS}; {OWN_MASK}=FILE, a mask of your own"
)


Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Measure all draws of controls on all items, however clear the case."
    ),
]
Anywhere = Annotated[
    bool,
    typer.Option(
        "--anywhere",
        help="Let controls use the network's dimensions of the residual stream in other layers, as "
        "published random controls do.",
    ),
]


def parse_controls(
    texts: Sequence[str],
    option: str = "--control-units",
    *,
    elsewhere: bool = True,
    draws: int = DRAWS,
) -> "list[Controls]":
    """Read ``--control-units``, or an option of another name.

    Args:
        texts: what was given.
        option: its name.
        elsewhere: whether controls avoid the network's dimensions of the residual stream.
        draws: of a control that says nothing of them.

    Raises:
        LensLocError: a control that there is not, one given twice, draws that are no number, or a
            mask that cannot be read.
    """

    from lensloc.units.control_sets import draws_in
    from lensloc.units.matching import check_kind

    found: dict[str, Controls] = {}
    for text in texts:
        kind, colon, number = text.partition(":")
        if text.startswith(f"{OWN_MASK}="):
            kind, colon = text, ""
        if kind in found:
            raise LensLocError(f"{option} {kind} is given twice; give it once.")
        if kind.startswith(f"{OWN_MASK}="):
            path = Path(kind.removeprefix(f"{OWN_MASK}="))
            found[kind] = ll.controls(
                (), masks={path.stem: ll.UnitMask.load(path)}, elsewhere=elsewhere
            )
        elif kind == WITHOUT_OUTLIERS or kind in UNSEEDED:
            if colon:
                raise LensLocError(f"{option} {kind} draws nothing; write it without :{number}.")
            found[kind] = (
                ll.controls((), without_outliers=True, elsewhere=elsewhere)
                if kind == WITHOUT_OUTLIERS
                else ll.controls(kind, elsewhere=elsewhere)
            )
        else:
            check_kind(kind)
            n = draws_in(number) if colon else draws
            if n is None:
                raise LensLocError(
                    f"{option} {text} has no number of draws behind the colon; write e.g. "
                    f"{kind}:{DRAWS}."
                )
            found[kind] = ll.controls(kind, seeds=range(n), elsewhere=elsewhere)
    return list(found.values())
