"""The units, lesions and controls of every specification of a multiverse."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError
from lensloc.lesions.references import (
    reference_responses,
    reference_site,
)
from lensloc.models.surface import Model
from lensloc.studies.lesion_modes import PlannedMode
from lensloc.studies.measuring import PlannedLesion
from lensloc.studies.selections import SELECTIONS, Chosen, Source, order
from lensloc.studies.specification_grid import IMPOSSIBLE, Grid, LeftOut, common
from lensloc.studies.specifications import Specification
from lensloc.units.control_sets import ControlSet, controls
from lensloc.units.mask import UnitMask
from lensloc.vocabulary import WITHOUT_OUTLIERS


@dataclass(frozen=True, eq=False)
class Prepared:
    """The specifications that can be made, with their units, lesions and controls.

    Attributes:
        grid: of the choices.
        chosen: specification -> its units.
        modes: label -> mode, with the responses of its reference.
        beside: specification -> its controls.
        left_out: what is no specification of its own.
    """

    grid: Grid
    chosen: Mapping[Specification, Chosen]
    modes: Mapping[str, PlannedMode]
    beside: Mapping[Specification, Sequence[ControlSet]]
    left_out: tuple[LeftOut, ...]

    def lesion(self, one: Specification, mask: UnitMask) -> PlannedLesion:
        """Return the lesion of some units under a specification."""
        mode = self.modes[one.mode]
        return PlannedLesion(mask, {"mode": mode.mode, **mode.arguments})

    def network(self, one: Specification) -> UnitMask:
        """Return the units that are lesioned."""
        return self.modes[one.mode].units(self.chosen[one].mask)


class _Impossible:
    """Specifications that cannot be made, by what is in the way."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._known: dict[Any, tuple[str, list[Specification]]] = {}

    def add(self, key: Any, one: Specification, error: LensLocError) -> None:
        """Note one; the first of a kind says why.

        Raises:
            LensLocError: if it is the reference specification.
        """
        reason = str(error)
        if one == self._grid.reference:
            raise LensLocError(
                f"The reference specification cannot be made: {reason} Name another, with "
                "reference_specification."
            ) from error
        self._known.setdefault(key, (reason, []))[1].append(one)

    def told(self) -> Iterator[LeftOut]:
        """Return what is left out."""
        for reason, several in self._known.values():
            yield LeftOut(IMPOSSIBLE, common(several, self._grid.varied), len(several), reason)


def prepared_for(model: Model, grid: Grid, source: Source, draws: int) -> Prepared:
    """Choose units and draw controls for every specification that can be made.

    Raises:
        LensLocError: if the reference specification cannot be made.
    """
    impossible = _Impossible(grid)
    chosen = _chosen(grid, source, impossible)
    modes = _with_references(model, grid, chosen, impossible)
    beside: dict[Specification, Sequence[ControlSet]] = {}
    known: dict[Any, list[ControlSet]] = {}
    for one in grid.specifications:
        if one not in chosen:
            continue
        mode = modes[one.mode]
        try:
            network = mode.units(chosen[one].mask)
            PlannedLesion(network, {"mode": mode.mode, **mode.arguments}).on(model, check=False)
        except LensLocError as error:
            impossible.add(("lesion", one.site, str(error)), one, error)
            continue
        place = (one.same_units(), one.control, mode.throughout)
        try:
            if place not in known:
                known[place] = _controls(one.control, network, draws)
        except LensLocError as error:
            impossible.add(("control", one.site, one.control, mode.throughout), one, error)
            continue
        beside[one] = known[place]
    return Prepared(
        grid,
        {one: chosen[one] for one in beside},
        modes,
        beside,
        (*grid.left_out, *impossible.told()),
    )


def _chosen(grid: Grid, source: Source, impossible: _Impossible) -> dict[Specification, Chosen]:
    """Choose the units of every specification, those of one view of the stimuli in turn."""
    known: dict[Specification, Chosen | LensLocError] = {}
    found = {}
    for one in sorted(grid.specifications, key=order):
        units = one.same_units()
        if units not in known:
            try:
                known[units] = SELECTIONS[one.selection].choose(source, one)
            except LensLocError as error:
                known[units] = error
        result = known[units]
        if isinstance(result, LensLocError):
            impossible.add(("units", str(result)), one, result)
        else:
            found[one] = result
    return {one: found[one] for one in grid.specifications if one in found}


def _with_references(
    model: Model,
    grid: Grid,
    chosen: Mapping[Specification, Chosen],
    impossible: _Impossible,
) -> dict[str, PlannedMode]:
    """Capture the references of modes once, not once per lesion."""
    modes = dict(grid.modes)
    held: dict[int, Mapping[str, Any]] = {}
    for label, mode in grid.modes.items():
        given = mode.arguments.get("reference")
        if not isinstance(given, Contrast):
            continue
        if id(given) not in held:
            sites = {
                reference_site(one.site, other.mode)
                for one in chosen
                for other in grid.modes.values()
                if other.arguments.get("reference") is given
            }
            held[id(given)] = reference_responses(model, given, sites)
        arguments = {**mode.arguments, "reference": held[id(given)]}
        modes[label] = dataclasses.replace(mode, arguments=arguments)
    return modes


def _controls(kind: str, network: UnitMask, draws: int) -> list[ControlSet]:
    if kind == WITHOUT_OUTLIERS:
        return list(controls((), without_outliers=True)(network))
    return list(controls(kind, seeds=range(draws))(network))
