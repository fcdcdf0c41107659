"""Statistics of your own: what a statistic is, and how a function of two arrays becomes one."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.display.plugins import gist
from lensloc.errors import LensLocError
from lensloc.selectivity.maps import Selectivity
from lensloc.selectivity.moments import as_float64
from lensloc.selectivity.t_tests import TESTS, benjamini_hochberg, groups, paired, welch
from lensloc.units import ragged
from lensloc.units.addresses import UnitAddress
from lensloc.units.provenance import Provenance
from lensloc.units.responses import Responses


@runtime_checkable
class Statistic(Protocol):
    """What every unit is tested by: ``statistic(responses, target, control, ...)``.

    :func:`lensloc.welch` and :func:`lensloc.paired` are two; :func:`lensloc.statistic` makes one of
    a function of two arrays, and :func:`lensloc.adjusted_for` one that regresses nuisances out.
    ``lensloc.localize(..., test=statistic)`` takes any.

    A statistic may have ``name``, as it stands in provenance (its ``__name__`` otherwise), and
    ``settings``, everything that it depends on beside the responses, as plain data; only with
    settings is what it finds kept in a store.
    """

    def __call__(
        self,
        responses: Responses,
        target: tuple[str, ...],
        control: tuple[str, ...],
        *,
        absolute: bool | None = None,
        provenance: Provenance | None = None,
    ) -> Selectivity:
        """Return the statistics of every unit."""
        ...


_BY_NAME: dict[str, Statistic] = {"welch": welch, "paired": paired}

Function = Callable[[Any, Any], Any]
"""Responses to target and control, float64 ``[stimulus, layer, unit]`` -> one number per unit, or a
pair of that and p."""


@dataclass(frozen=True)
class OfFunction:
    """A statistic that a function of two arrays computes.

    Attributes:
        function: responses to target and control -> statistic, or statistic and p.
        name: as it stands in provenance.
        settings: what it depends on; None if that is not known.
    """

    function: Function
    name: str
    settings: Mapping[str, Any] | None = field(default=None)

    def __call__(
        self,
        responses: Responses,
        target: tuple[str, ...],
        control: tuple[str, ...],
        *,
        absolute: bool | None = None,
        provenance: Provenance | None = None,
    ) -> Selectivity:
        """Compute the statistic, and means and effect sizes as Welch's test has them.

        Raises:
            LensLocError: if the function fails, or gives something else than a number per unit.
        """
        absolute = responses.absolute if absolute is None else absolute
        known = welch(responses, target, control, absolute=absolute, provenance=provenance)
        sides = [as_float64(part, absolute) for part in groups(responses, target, control)]
        try:
            found = self.function(*sides)
        except LensLocError:
            raise
        except Exception as error:  # of a function of anyone
            raise LensLocError(f"The statistic {self.name!r} failed ({gist(error)}).") from error
        t, p = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        t = _numbers(self.name, t, responses)
        if p is None:
            p = torch.full_like(t, torch.nan)
            q = p.clone()
        else:
            p = _numbers(self.name, p, responses)
            units = ragged.valid(known.shape, responses.widths)
            if not bool(((p[units] >= 0) & (p[units] <= 1)).all()):
                raise LensLocError(
                    f"The statistic {self.name!r} gives p that do not lie between 0 and 1; return "
                    "(statistic, p), or the statistic alone."
                )
            q = benjamini_hochberg(p, units)
        made = known.provenance.replace(test=self.name)
        df = torch.full_like(t, torch.nan)
        return dataclasses.replace(known, t=t, df=df, p=p, q=q, provenance=made)


def statistic(
    function: Function,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> OfFunction:
    """Make a statistic of your own, for ``lensloc.localize(..., test=...)``.

    Args:
        function: takes the responses to the target and to the control, float64 tensors
            ``[stimulus, layer, unit]`` (absolute ones where the protocol says so), and returns one
            number per unit, ``[layer, unit]``, large where the unit prefers the target; or a pair
            of that and of two-sided p. Without p no unit counts as significant.
        name: as it stands in provenance; the function's name if None.
        settings: what the function depends on, as plain data, so that a store may keep what it
            finds; nothing is kept if None.

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> medians = ll.statistic(lambda a, b: a.median(0).values - b.median(0).values, name="m")
        >>> values = torch.tensor([5.0, 6, 9, 1, 2, 3]).reshape(6, 1, 1)
        >>> responses = ll.Responses("head", values, ("a",) * 3 + ("b",) * 3)
        >>> medians(responses, ("a",), ("b",)).t.item()
        4.0
    """
    if not callable(function):
        raise LensLocError(
            f"A statistic is made of a function of two arrays; {type(function).__name__} is none."
        )
    called = name or getattr(function, "__name__", "") or type(function).__name__
    return OfFunction(function, called, settings)


def name_of(test: str | Statistic) -> str:
    """Return what a statistic is called."""
    if isinstance(test, str):
        return test
    return str(getattr(test, "name", "") or getattr(test, "__name__", "") or type(test).__name__)


def known_test(test: Any) -> str | Statistic:
    """Return a test that units can be tested by; lensloc's own by its name, however it was given.

    Raises:
        LensLocError: an unknown name; what is no statistic, or called as one of lensloc's is.
    """
    if isinstance(test, str):
        if test not in TESTS:
            raise LensLocError(f"There is no test {test!r}; there are {', '.join(TESTS)}.")
        return test
    for name, own in _BY_NAME.items():
        if test is own:
            return name
    if not isinstance(test, Statistic):
        raise LensLocError(f"A test is a name or a statistic; {type(test).__name__} is neither.")
    name = name_of(test)
    try:
        inspect.signature(test).bind(None, (), (), absolute=None, provenance=None)
    except TypeError as error:
        raise LensLocError(
            f"{name!r} is no statistic of (responses, target, control, absolute=, provenance=) "
            f"({error}); of a function of two arrays ll.statistic makes one."
        ) from error
    except ValueError:  # it does not say what it takes
        pass
    if name in TESTS:
        raise LensLocError(
            f"A statistic of yours is called {name!r}, as one of lensloc's is; give it another "
            "name."
        )
    return test


def settings_of(test: str | Statistic) -> Mapping[str, Any] | None:
    """Return what a statistic depends on beside the responses; None if it does not say."""
    if isinstance(test, str):
        return {}
    found: Mapping[str, Any] | None = getattr(test, "settings", None)
    return found


def require_map(found: Any, test: Statistic, responses: Responses) -> None:
    """Check that a statistic returned what it should: a map of the units that it was given.

    Raises:
        LensLocError: if it is something else.
    """
    if not isinstance(found, Selectivity) or found.shape != responses.shape:
        raise LensLocError(
            f"The statistic {name_of(test)!r} returns something of type {type(found).__name__}, "
            f"and not a Selectivity of {'x'.join(map(str, responses.shape))} units; return one, as "
            "ll.welch does, or let ll.statistic make one of a function of two arrays."
        )


def _numbers(name: str, found: Any, responses: Responses) -> Float[Tensor, "layer unit"]:
    """Return what a function gave as an array of one number per unit."""
    try:
        array = torch.as_tensor(np.asarray(found.detach().cpu() if hasattr(found, "detach")
                                           else found)).double()  # fmt: skip
    except (TypeError, ValueError, RuntimeError) as error:
        raise LensLocError(
            f"The statistic {name!r} gives {type(found).__name__}, and not one number per unit."
        ) from error
    if tuple(array.shape) != responses.shape:
        raise LensLocError(
            f"The statistic {name!r} gives an array of shape {tuple(array.shape)}, and not one "
            f"number for each of {'x'.join(map(str, responses.shape))} units; reduce the first "
            "axis, the stimuli, alone."
        )
    units = ragged.valid(responses.shape, responses.widths)
    if not bool(array[units].isfinite().all()):
        layer, unit = (~array.isfinite() & units).nonzero()[0].tolist()
        raise LensLocError(
            f"The statistic {name!r} gives no number for the unit "
            f"{UnitAddress(layer, responses.site, unit)} ({float(array[layer, unit])}); "
            "return 0 where there is nothing to tell."
        )
    return array
