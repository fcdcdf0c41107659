"""Which control units are held beside networks."""

from collections.abc import Sequence

from lensloc.units.control_sets import Controls


def each_of(controls: Controls | Sequence[Controls] | None) -> tuple[Controls, ...]:
    """Return what is drawn, one after the other."""
    if controls is None:
        return ()
    return (controls,) if isinstance(controls, Controls) else tuple(controls)
