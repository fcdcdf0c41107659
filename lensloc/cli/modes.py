"""Modes of lesions as they are written on the command line."""

import math
from typing import Any

from lensloc.cli.options import require_one_of
from lensloc.errors import LensLocError
from lensloc.vocabulary import TASK_MODES, THROUGHOUT

NEED_REFERENCE = ("mean", "resample")
# What may stand behind a mode's name, and an example of it.
_BEHIND = {
    "scale": ("scale", "a factor, e.g. scale:0.5"),
    "clamp": ("value", "a value, e.g. clamp:3"),
}


def mode_arguments(
    mode: str,
    *,
    scale: float | None = None,
    value: float | None = None,
    quantile: float | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    """Return the numbers that a mode is given; the reference is read elsewhere.

    Raises:
        LensLocError: an unknown mode, or an option that it lacks or does not take.
    """
    from lensloc.lesions.modes import get_mode

    require_one_of("mode", mode, TASK_MODES)
    numbers = {"scale": scale, "value": value, "quantile": quantile}
    given: dict[str, Any] = {**numbers, "reference": reference}
    for name, argument in given.items():
        if argument is not None and name not in get_mode(mode).takes:
            raise LensLocError(f"--mode {mode} takes no --{name}; leave it out.")
        if isinstance(argument, float) and not math.isfinite(argument):
            raise LensLocError(f"--{name} must be a number; {argument} is not.")
    if mode == "scale" and scale is None:
        raise LensLocError("--mode scale needs --scale, the factor, e.g. --scale 0.5.")
    if mode in NEED_REFERENCE:
        require_reference(mode, reference)
    if mode == "clamp":
        _require_clamp(value, quantile, reference)
    return {name: number for name, number in numbers.items() if number is not None}


def parse_modes(
    texts: list[str], reference: str | None, *, of_contrast: bool = False
) -> list[dict[str, Any]]:
    """Read modes with what stands behind them, e.g. ``scale:0.5``; each once.

    Args:
        texts: what was given.
        reference: of the modes that need one.
        of_contrast: whether the contrast itself is the reference, so that none is asked for.

    Raises:
        LensLocError: an unknown mode; a number that is missing, unwanted or none; a reference that
            is missing or that no mode takes.
    """
    modes: list[dict[str, Any]] = []
    for text in texts:
        mode = _parse_mode(text, "the contrast" if of_contrast else reference)
        if mode not in modes:
            modes.append(mode)
    from lensloc.studies.lesion_modes import needs_reference

    if reference is not None and not any(needs_reference(mode) for mode in modes):
        raise LensLocError(
            f"--reference is for --mode {' and '.join(NEED_REFERENCE)}, which were not asked for; "
            "leave it out."
        )
    return modes


def _parse_mode(text: str, reference: str | None) -> dict[str, Any]:
    named, colon, number = text.partition(":")
    mode = named.removeprefix(THROUGHOUT)
    require_one_of("mode", mode, TASK_MODES)
    if mode in NEED_REFERENCE:
        require_reference(named, reference)
    if mode not in _BEHIND:
        if colon:
            raise LensLocError(
                f"--mode {named} takes no number; write it without {colon + number}."
            )
        return {"mode": named}
    name, example = _BEHIND[mode]
    try:
        parsed = float(number)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise LensLocError(f"--mode {text} needs {example}.")
    return {"mode": named, name: parsed}


def require_reference(mode: str, reference: str | None) -> None:
    """Refuse a mode that takes its values from a contrast, if none was given."""
    if reference is None:
        raise LensLocError(
            f"--mode {mode} needs --reference, a contrast, e.g. --reference language."
        )


def _require_clamp(value: float | None, quantile: float | None, reference: str | None) -> None:
    if (value is None) == (quantile is None):
        raise LensLocError(
            "--mode clamp needs either --value, or --quantile with --reference; give one of them."
        )
    if (quantile is None) != (reference is None):
        raise LensLocError("--quantile and --reference belong together; give both or neither.")
    if quantile is not None and not 0 <= quantile <= 1:
        raise LensLocError(f"--quantile lies between 0 and 1; {quantile:g} does not.")
