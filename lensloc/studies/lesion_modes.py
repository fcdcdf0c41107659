"""Modes of lesions as a study is given them -> arguments of :func:`lensloc.lesion`, and a label."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xxhash

from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.lesions.lesioning import lesion
from lensloc.lesions.modes import MODES
from lensloc.lesions.references import Reference
from lensloc.units.mask import UnitMask
from lensloc.vocabulary import THROUGHOUT, Positions

Mode = str | Mapping[str, Any]
SIDE_BY_SIDE = ("zero", "mean", "resample", "dims-mean")
"""What a study compares: nothing, the mean, another stimulus' response, the mean for good."""

_TAKEN = tuple(
    name for name in inspect.signature(lesion).parameters if name not in ("model", "masks")
)


@dataclass(frozen=True, eq=False)
class PlannedMode:
    """What happens to units in a study.

    Attributes:
        mode: one of the modes of :func:`lensloc.lesion`.
        label: how it is called in tables; no two modes of a study have the same.
        arguments: of lesion, beside units and mode.
        needs: whether it uses the study's own reference.
        throughout: whether it acts on the network's dimensions in every layer.
    """

    mode: str
    label: str
    arguments: Mapping[str, Any]
    needs: bool = False
    throughout: bool = False

    def units(self, network: UnitMask) -> UnitMask:
        """Return the units that are lesioned.

        Raises:
            LensLocError: if they are to be dimensions in every layer, and the site has none.
        """
        return network.throughout() if self.throughout else network

    def with_reference(self, reference: Reference) -> "PlannedMode":
        """Return the mode with another reference, if it uses the study's."""
        if not self.needs:
            return self
        return dataclasses.replace(self, arguments={**self.arguments, "reference": reference})

    def with_batches(self, batch_size: BatchSize) -> "PlannedMode":
        """Return the mode with so many texts per batch, where it says nothing of them."""
        arguments = {"batch_size": batch_size, **self.arguments}
        return dataclasses.replace(self, arguments=arguments)


def planned_modes(
    modes: Sequence[Mode], reference: Reference | None, positions: Positions, seed: int
) -> tuple[PlannedMode, ...]:
    """Read the modes of a study.

    Args:
        modes: names of modes, or arguments of :func:`lensloc.lesion` with a name among them; before
            a name, ``dims-`` for the network's dimensions of the residual stream in every layer.
        reference: for the modes that need one and have none of their own.
        positions: for the modes that say nothing of positions.
        seed: likewise.

    Raises:
        LensLocError: no mode, one that there is not, two that are the same, an argument that lesion
            does not take, or a reference that no mode uses.
    """
    several = (modes,) if isinstance(modes, str | Mapping) else tuple(modes)
    if not several:
        raise LensLocError("modes is empty; give at least one mode, e.g. zero.")
    planned = [_planned(given, reference, positions, seed) for given in several]
    if reference is not None and not any(mode.needs for mode in planned):
        raise LensLocError(
            "reference is for the modes mean and resample and for quantiles, none of which uses "
            f"it here ({', '.join(mode.label for mode in planned)}); leave it out."
        )
    labels = _labels(several, planned)
    for label in labels:
        if labels.count(label) > 1:
            raise LensLocError(f"The mode {label!r} is given twice; give it once.")
    return tuple(
        dataclasses.replace(mode, label=label) for mode, label in zip(planned, labels, strict=True)
    )


def _labels(given: Sequence[Mode], planned: Sequence[PlannedMode]) -> list[str]:
    """Return a label for every mode; a reference stands in it where nothing else differs."""
    short = [mode.label for mode in planned]
    return [
        f"{label} reference={_in_words(mode['reference'])}"
        if short.count(label) > 1 and isinstance(mode, Mapping) and "reference" in mode
        else label
        for label, mode in zip(short, given, strict=True)
    ]


def _planned(
    given: Mode, reference: Reference | None, positions: Positions, seed: int
) -> PlannedMode:
    named = str(given) if isinstance(given, str) else str(given.get("mode", "zero"))
    mode = named.removeprefix(THROUGHOUT)
    if mode not in MODES:
        raise LensLocError(
            f"There is no mode {named!r}; there are {', '.join(MODES)}, and at the residual stream "
            f"{THROUGHOUT}mean and the like, of a network's dimensions in every layer."
        )
    if MODES[mode].of_pairs:
        raise LensLocError(
            f"The mode {named!r} sets units to their value in the corrupted text of a pair, and "
            "texts of tasks are in no pair; use another mode, or ll.faithfulness with the pairs."
        )
    extra = {} if isinstance(given, str) else {k: _plain(v) for k, v in given.items()}
    extra.pop("mode", None)
    for name in extra:
        if name not in _TAKEN:
            raise LensLocError(
                f"A lesion takes no {name!r} (mode {mode!r}); it takes {', '.join(_TAKEN)}."
            )
    needs = needs_reference(given)
    arguments = {
        "positions": positions,
        "seed": seed,
        **({"reference": reference} if needs else {}),
        **extra,
    }
    told = {name: value for name, value in extra.items() if name != "reference"}
    label = " ".join([named, *(f"{name}={_in_words(value)}" for name, value in told.items())])
    return PlannedMode(mode, label, arguments, needs, named != mode)


def needs_reference(given: Mode) -> bool:
    """Say whether a mode, as a study is given it, takes the study's own reference."""
    if isinstance(given, str):
        given = {"mode": given}
    known = MODES.get(str(given.get("mode", "zero")).removeprefix(THROUGHOUT))
    needed = (known is not None and known.needs_reference) or "quantile" in given
    return needed and "reference" not in given


def _plain(value: Any) -> Any:
    """Return one number as such, and an array as a tensor."""
    if isinstance(value, np.ndarray) and value.ndim:
        return torch.from_numpy(value)
    single = isinstance(value, np.generic | np.ndarray | torch.Tensor) and not value.ndim
    return value.item() if single else value


def _in_words(value: Any) -> str:
    """Write an argument so that different ones look different."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().double().contiguous().numpy().tobytes()
        shape = "x".join(map(str, value.shape))
        return f"[{shape}, {xxhash.xxh3_64_hexdigest(content)[:6]}]"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:g}"
    if isinstance(value, str | bool | None):
        return str(value)
    name = getattr(value, "name", None) or getattr(value, "site", None)
    return str(name or type(value).__name__)
