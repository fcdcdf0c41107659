"""What a lesion does to a unit: one table of modes, with arguments, rules and words.

A mode is a row of :data:`MODES`; its name also stands in :mod:`lensloc.vocabulary`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import einops
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.forward.sites import upcast
from lensloc.vocabulary import OF_PAIRS


class Passing(NamedTuple):
    """What passes a hook point in a layer, and what may take a unit's place.

    Attributes:
        old: ``[batch, pos, unit]``; of heads ``[batch, pos, head, d_head]``.
        values: one per unit (of heads: one per head of ``clamp``, else one per dimension), if the
            mode has any.
        factor: of ``scale``.
        block_input: ``[batch, pos, unit]``, for modes that need it.
        corrupted: as ``old``, with the masked units' values in the corrupted run; for ``corrupt``.
    """

    old: Tensor
    values: Tensor | None
    factor: float
    block_input: Tensor | None
    corrupted: Tensor | None = None


Rule = Callable[[Passing], Tensor | float]
Summary = Callable[[Float[np.ndarray, "stimulus value"], int, float | None], np.ndarray]


@dataclass(frozen=True)
class LesionMode:
    """One thing that a lesion may do.

    Attributes:
        name: of the mode.
        does: what a unit becomes, in words.
        rule: what takes the place of what passes.
        rule_of_heads: the same for whole heads; as ``rule`` if None.
        takes: arguments of :func:`lensloc.lesion` that it knows.
        needs: those of them that must be given, with an example.
        summary: how responses of a reference ``[stimulus, value]`` become one value per unit, with
            a seed and a quantile.
        whole_heads: whether heads are replaced dimension by dimension, by responses at ``z``.
        sites: the only sites where it is defined; everywhere if None.
        needs_block_input: whether the rule reads it.
        of_pairs: whether its reference is pairs, and it is defined for their clean texts only.
    """

    name: str
    does: str
    rule: Rule
    rule_of_heads: Rule | None = None
    takes: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    summary: Summary | None = None
    whole_heads: bool = False
    sites: tuple[str, ...] | None = None
    needs_block_input: bool = False
    of_pairs: bool = False

    @property
    def needs_reference(self) -> bool:
        """Whether a reference must be given."""
        return any(name == "reference" for name, _ in self.needs)


def _zero(passing: Passing) -> float:
    return 0.0


def _values(passing: Passing) -> Tensor:
    assert passing.values is not None
    return passing.values


def _dimensions_of_heads(passing: Passing) -> Tensor:
    heads = passing.old.shape[2]
    return einops.rearrange(_values(passing), "(head d_head) -> head d_head", head=heads)


def _scaled(passing: Passing) -> Tensor:
    return passing.old * passing.factor


def _norms(passing: Passing) -> Tensor:
    """Give every head a norm, and leave it its direction; a head of zeros has none."""
    norms = torch.linalg.vector_norm(upcast(passing.old), dim=-1, keepdim=True)
    target = _values(passing).to(norms.dtype)[:, None]
    return (passing.old * torch.where(norms > 0, target / norms, 0.0)).to(passing.old.dtype)


def _block_input(passing: Passing) -> Tensor:
    assert passing.block_input is not None
    return passing.block_input


def _corrupted(passing: Passing) -> Tensor:
    assert passing.corrupted is not None
    return passing.corrupted


def _mean(values: np.ndarray, seed: int, quantile: float | None) -> np.ndarray:
    found: np.ndarray = values.mean(axis=0)
    return found


def _one_stimulus(values: np.ndarray, seed: int, quantile: float | None) -> np.ndarray:
    found: np.ndarray = values[int(np.random.default_rng(seed).integers(len(values)))]
    return found


def _quantile(values: np.ndarray, seed: int, quantile: float | None) -> np.ndarray:
    assert quantile is not None
    found: np.ndarray = np.quantile(values, quantile, axis=0)
    return found


_REFERENCE = ("reference", "a contrast, or responses of the units' site")

MODES: dict[str, LesionMode] = {
    mode.name: mode
    for mode in (
        LesionMode("zero", "0 (the published ablation)", _zero),
        LesionMode(
            "mean",
            "its mean over a reference",
            _values,
            _dimensions_of_heads,
            takes=("reference",),
            needs=(_REFERENCE,),
            summary=_mean,
            whole_heads=True,
        ),
        LesionMode(
            "resample",
            "its response to one stimulus of a reference",
            _values,
            _dimensions_of_heads,
            takes=("reference",),
            needs=(_REFERENCE,),
            summary=_one_stimulus,
            whole_heads=True,
        ),
        LesionMode(
            "scale",
            "itself times a factor",
            _scaled,
            takes=("scale",),
            needs=(("scale", "the factor, e.g. scale=0.5"),),
        ),
        LesionMode(
            "clamp",
            "a value, or a quantile of its responses to a reference",
            _values,
            _norms,
            takes=("value", "quantile", "reference"),
            summary=_quantile,
        ),
        LesionMode(
            "write",
            "what it was before the block",
            _block_input,
            sites=("resid_mid", "resid_post"),
            needs_block_input=True,
        ),
        LesionMode(
            OF_PAIRS,
            "its value at each position of the corrupted text of the same pair",
            _corrupted,
            takes=("reference",),
            needs=(("reference", "pairs, e.g. ll.Pairs.from_file(path)"),),
            of_pairs=True,
        ),
    )
}


def get_mode(name: str) -> LesionMode:
    """Return the mode of that name.

    Raises:
        LensLocError: if there is none; the known ones are listed.
    """
    if name not in MODES:
        raise LensLocError(f"There is no mode {name!r}; there are {', '.join(MODES)}.")
    return MODES[name]


def require_site(mode: LesionMode, site: str) -> None:
    """Check that a mode is defined at a site.

    Raises:
        LensLocError: if it is not.
    """
    if mode.sites is not None and site not in mode.sites:
        raise LensLocError(
            f"mode={mode.name!r} removes what a block adds to the residual stream, so it is "
            f"defined at {' and '.join(mode.sites)}, not at {site}; choose another mode."
        )
