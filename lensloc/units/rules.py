"""SelectionRule: how units were chosen, as data that can be kept, told and applied again."""

import dataclasses
import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from lensloc.arguments import is_number, is_whole, require_seed
from lensloc.errors import LensLocError, LensLocWarning

if TYPE_CHECKING:  # a protocol holds a rule, and is known before any library is loaded
    from jaxtyping import Bool
    from torch import Tensor

Kind = Literal["top", "bottom", "between", "significant", "outliers", "random", "given"]
KINDS: tuple[str, ...] = get_args(Kind)
Direction = Literal["target", "control", "both"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)

_OF_A_MAP = ("top", "bottom", "between", "significant", "outliers")


@dataclass(frozen=True, eq=False)
class SelectionRule:
    """How units are chosen from the statistics of one site.

    :meth:`lensloc.Selectivity.select` applies a rule; a mask carries the one that made it, so that
    other stimuli can choose units in the same way.

    Attributes:
        kind: ``"top"`` or ``"bottom"`` (largest, smallest statistic), ``"between"`` (drawn between
            two percentiles of it), ``"significant"`` (false discovery rate below ``q``),
            ``"outliers"`` (large whatever the stimulus), ``"random"`` (drawn from outside another
            set), ``"given"`` (these ``units``).
        percent: how many units, in per cent of the site's; of ``top`` and ``bottom``.
        k: how many units; a rule with neither says how units are chosen, but not how many.
        low: lower percentile of ``between``.
        high: upper percentile of ``between``.
        seed: of a draw.
        q: bound of ``significant``.
        direction: of ``significant``: ``"target"``, ``"control"`` or ``"both"``.
        ratio: of ``outliers``: how many times their layer's median units are in size.
        unique_dims: whether a dimension of the residual stream is taken once.
        statistic: what units are ranked by; ``"t"``, or in words what cannot be computed again.
        excluding: rules for units that are not taken.
        units: ``[layer, unit]`` of ``given``.

    Example:
        >>> rule = SelectionRule("bottom", percent=1)
        >>> rule.describe(17280, "resid_post"), rule.can_be_reapplied
        ('bottom 1 % (172 units)', True)
    """

    kind: Kind
    percent: float | None = None
    k: int | None = None
    low: float | None = None
    high: float | None = None
    seed: int | None = None
    q: float | None = None
    direction: Direction | None = None
    ratio: float | None = None
    unique_dims: bool = False
    statistic: str = "t"
    excluding: tuple["SelectionRule", ...] = ()
    units: "Bool[Tensor, 'layer unit'] | None" = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LensLocError(
                f"There is no kind of selection {self.kind!r}; there are {', '.join(KINDS)}."
            )
        for name in ("k", "seed"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _whole(name, value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SelectionRule) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple[Any, ...]:
        given = self.units
        units = None if given is None else (tuple(given.shape), given.numpy().tobytes())
        plain = (getattr(self, name) for name in _PLAIN)
        return (*plain, self.excluding, units)

    @property
    def can_be_reapplied(self) -> bool:
        """Whether the statistics of other stimuli are all that is needed to choose again."""
        return self.kind in _OF_A_MAP and self.statistic == "t"

    def resized(self, *, percent: float | None = None, k: int | None = None) -> "SelectionRule":
        """Return the rule for another number of units."""
        return dataclasses.replace(self, percent=percent, k=k)

    def same_way(self, other: "SelectionRule") -> bool:
        """Say whether the other rule chooses in the same way, however many units."""
        return self.resized() == other.resized()

    def describe(self, total: int, site: str) -> str:
        """Say in a few words how units are chosen, of ``total`` at a site.

        Raises:
            LensLocError: if so many units cannot be had.
        """
        words = self._describe(total, site)
        if self.statistic != "t" and self.kind in ("top", "bottom"):
            words += f" by {self.statistic}"
        if self.unique_dims:
            words += ", every dimension once"
        without = [
            f"({rule.describe(total, site)})"
            if rule.units is None
            else _counted(int(rule.units.sum()), "given")
            for rule in self.excluding
        ]
        return f"{words}, without {' and '.join(without)}" if without else words

    def _describe(self, total: int, site: str) -> str:
        if self.kind == "between":
            span = f"percentiles {self.low:g}-{self.high:g}"
            return f"random {_counted(self.k or 0)} of {span}, seed {self.seed}"
        if self.kind == "significant":
            return (
                f"{'q' if self.statistic == 't' else self.statistic} < {self.q:g}, {self.direction}"
            )
        if self.kind == "outliers":
            return f"mean size above {self.ratio:g} x the layer's median"
        if self.kind == "random":
            return f"random, seed {self.seed}"
        if self.kind == "given":
            return "given units"
        if self.percent is None and self.k is None:
            return self.kind
        return f"{self.kind} {size_in_words(self.percent, self.k, total, site)}"

    # -- on disk -------------------------------------------------------------------------------

    def to_record(self, tensors: "dict[str, Tensor]") -> dict[str, Any]:
        """Return plain data; what is an array goes into ``tensors``, under a name of its own."""
        record = {name: getattr(self, name) for name in _PLAIN}
        record = {name: value for name, value in record.items() if value is not None}
        record["excluding"] = [rule.to_record(tensors) for rule in self.excluding]
        if self.units is not None:
            record["units"] = f"rule.{len(tensors)}"
            tensors[record["units"]] = self.units.byte()
        return record

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], tensors: "Mapping[str, Tensor]"
    ) -> "SelectionRule":
        """Read what :meth:`to_record` wrote; fields of other versions are ignored.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        known = {name: record[name] for name in _PLAIN if name in record}
        excluding = tuple(cls.from_record(rule, tensors) for rule in record.get("excluding", ()))
        units = tensors[record["units"]].bool() if "units" in record else None
        return cls(**known, excluding=excluding, units=units)


_PLAIN = tuple(
    field.name
    for field in dataclasses.fields(SelectionRule)
    if field.name not in ("excluding", "units")
)


def _counted(n: int, kind: str = "") -> str:
    return " ".join(part for part in (str(n), kind, "unit" if n == 1 else "units") if part)


def _whole(name: str, value: Any) -> int:
    if name == "seed":
        require_seed(value)
    elif not is_whole(value):
        raise LensLocError(f"{name} is a whole number; {value!r} is not.")
    return operator.index(value)


# -- how many units --------------------------------------------------------------------------------


def count_units(percent: float | None, k: int | None, total: int, site: str) -> tuple[int, str]:
    """Return how many of ``total`` units ``percent`` or ``k`` asks for, and that in words.

    A percentage that is less than one unit gives one, with a warning that names the site.

    Raises:
        LensLocError: unless just one of the two is given and as many units exist.
    """
    words = size_in_words(percent, k, total, site)
    if percent is None:
        assert k is not None
        return k, words
    note = least_note(percent, total, site)
    if note is not None:
        warnings.warn(note, LensLocWarning, stacklevel=3)
    return count_from_percent(percent, total), words


def size_in_words(percent: float | None, k: int | None, total: int, site: str) -> str:
    """Say how many of ``total`` units ``percent`` or ``k`` asks for: ``1 % (172 units)``.

    Raises:
        LensLocError: unless just one of the two is given and as many units exist.
    """
    if (percent is None) == (k is None):
        raise LensLocError("Give either percent or k, to say how many units to select.")
    if percent is not None:
        count = count_from_percent(percent, total)
        return f"{percent:g} % ({_counted(count)})"
    assert k is not None
    if not is_whole(k):
        raise LensLocError(f"k is a whole number of units; {k!r} is not.")
    if not 1 <= k <= total:
        raise LensLocError(
            f"{k} units were asked for; {site} has {total}, so ask for 1 to {total}."
        )
    return _counted(k)


def count_from_percent(percent: float, n_units: int) -> int:
    """Return how many units ``percent`` per cent of ``n_units`` are, truncated as published.

    Where truncation leaves none, it is one; :func:`least_note` says so.

    Raises:
        LensLocError: unless 0 < percent <= 100.

    Example:
        >>> count_from_percent(1, 30 * 576), count_from_percent(1, 48)
        (172, 1)
    """
    return max(1, _truncated(percent, n_units))


def least_note(percent: float, n_units: int, site: str) -> str | None:
    """Return a sentence if ``percent`` per cent of a site's units are less than one unit.

    Raises:
        LensLocError: unless 0 < percent <= 100.
    """
    if _truncated(percent, n_units):
        return None
    return (
        f"{percent:g} % of the {n_units} units at {site} is less than one unit, so one is taken; "
        "ask for a larger percentage."
    )


def require_percent(percent: Any) -> None:
    """Check a percentage of units.

    Raises:
        LensLocError: unless it is a number with 0 < percent <= 100.
    """
    if not is_number(percent):
        raise LensLocError(f"percent is a number above 0 and at most 100; {percent!r} is not.")
    if not 0 < percent <= 100:
        raise LensLocError(
            f"A percentage of units must be above 0 and at most 100; {percent:g} is not."
        )


def _truncated(percent: float, n_units: int) -> int:
    require_percent(percent)
    # The published code's own expression, so that floating point rounds the same way.
    return int((percent / 100) * n_units)
