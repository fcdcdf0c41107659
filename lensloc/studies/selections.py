"""What units are ranked by: one table of selections, and where what they read comes from.

A selection is a row of :data:`SELECTIONS`; its name also stands in :mod:`lensloc.vocabulary`. A new
one is one row: which choices it makes use of, and how it chooses units. What costs passes through
the model is asked of a :class:`Source`, which does it once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from lensloc.attribution.attributing import attribute
from lensloc.attribution.pair_effects import PairEffects
from lensloc.attribution.patching import localize_pairs, require_patchable
from lensloc.attribution.result import Attribution
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError, unwarned
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import Pooling
from lensloc.forward.sites import get_site, hook_names
from lensloc.models.surface import Model
from lensloc.selectivity import Selectivity, Test
from lensloc.studies.localizing_ways import View, localize_ways
from lensloc.studies.specifications import Specification
from lensloc.studies.store import Store
from lensloc.units.mask import UnitMask
from lensloc.units.rules import count_units
from lensloc.units.selection import SelectionRule, ranked
from lensloc.vocabulary import Bos

T = TypeVar("T")
PAIRS = "pairs"
NO_PAIRS = (
    "A selection by pairs needs them; give some, e.g. pairs=ll.Pairs.bundled('agreement'), or "
    "leave the selection out."
)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The units of a specification.

    Attributes:
        mask: the units, with what they were ranked by.
        noise: whether none of them differs between target and control (q < 0.05).
        warnings: what stands against the stimuli and the map.
    """

    mask: UnitMask
    noise: bool = False
    warnings: tuple[str, ...] = ()


class Source:
    """Maps and effects of all sites, each of which takes one pass over the stimuli.

    Attributes:
        passes: how many passes were made, or found to be needless since a store knew the result.
    """

    def __init__(
        self,
        model: Model,
        contrast: Contrast,
        specifications: Sequence[Specification],
        *,
        pairs: Pairs | None = None,
        truncate: bool = False,
        batch_size: BatchSize = "auto",
        store: Store | None = None,
        progress: bool = True,
    ) -> None:
        self.model = model
        self.contrast = contrast
        self.pairs = pairs
        self.passes = 0
        self._all = tuple(specifications)
        self._truncate = truncate
        self._batch_size = batch_size
        self._store = store
        self._progress = progress
        # Of the last view only: what is not needed any more makes room.
        self._known: dict[Any, Any] = {}

    def map(self, one: Specification) -> Selectivity:
        """Return the map of a specification's site; the first of a view brings all of them.

        Raises:
            LensLocError: what :func:`lensloc.localize` refuses.
        """
        same = [
            each
            for each in self._all
            if _view(each) == _view(one) and "pooling" not in _unused(each)
        ]
        ways = list(dict.fromkeys(map(_way, same)))
        if not _can_pair(self.contrast):
            ways = [way for way in ways if way[1] != "paired"]
        sites = self._sites(same)

        def made() -> Any:
            pooling, max_tokens, bos = _view(one)
            view = View(
                cast(Pooling, pooling), max_tokens, cast(Bos, bos), self._truncate, self._batch_size
            )
            return localize_ways(
                self.model, self.contrast, sites, ways, view,
                store=self._store, progress=self._progress,
            )  # fmt: skip

        if one.test == "paired":
            self.contrast.require_pairs()
        hook_names(get_site(one.site), self.model)
        found: Selectivity = self._once(("map", *_view(one)), made)[_way(one)][one.site]
        return found

    def effects(self, one: Specification) -> Attribution:
        """Return the effects at a specification's site by gradients, all sites in one pass.

        Raises:
            LensLocError: what :func:`lensloc.attribute` refuses.
        """
        same = [each for each in self._all if _effect(each) == _effect(one)]
        hook_names(get_site(one.site), self.model)
        if get_site(one.site).is_summary:  # refused, without the others
            attribute(self.model, self.contrast, site=one.site, progress=False)
        sites = [name for name in self._sites(same) if not get_site(name).is_summary]

        def made() -> Any:
            return attribute(
                self.model, self.contrast, site=sites, max_tokens=one.max_tokens,
                truncate=self._truncate, bos=cast(Bos, one.bos), batch_size=self._batch_size,
                progress=self._progress,
            )  # fmt: skip

        found: Attribution = self._once(("effects", *_effect(one)), made)[one.site]
        return found

    def pair_effects(self, one: Specification) -> PairEffects:
        """Return the effects of clean for corrupted texts at a site, all sites in one look.

        Raises:
            LensLocError: no pairs, or what :func:`lensloc.localize_pairs` refuses.
        """
        pairs = self.pairs
        if pairs is None:
            raise LensLocError(NO_PAIRS)
        require_patchable(self.model, one.site)  # refused, without the others
        same = [each for each in self._all if each.selection == one.selection]

        def made() -> Any:
            sites = [name for name in self._sites(same) if self._patchable(name)]
            return localize_pairs(
                self.model, pairs, sites, batch_size=self._batch_size,
                progress=self._progress,
            )  # fmt: skip

        found: PairEffects = self._once(("pairs",), made)[one.site]
        return found

    def _patchable(self, site: str) -> bool:
        try:
            require_patchable(self.model, site)
        except LensLocError:
            return False
        return True

    def _sites(self, specifications: Sequence[Specification]) -> list[str]:
        """Return the sites that the model has."""
        found = []
        for name in dict.fromkeys(each.site for each in specifications):
            try:
                hook_names(get_site(name), self.model)
            except LensLocError:
                continue
            found.append(name)
        return found

    def _once(self, key: Any, made: Callable[[], T]) -> T:
        """Return what was made, or raise what went wrong then."""
        if key not in self._known:
            self._known.clear()
            self.passes += 1
            try:
                self._known[key] = made()
            except LensLocError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, LensLocError):
            raise found
        return cast(T, found)


def _by_t(source: Source, one: Specification) -> Chosen:
    found = source.map(one)
    with unwarned():  # told by the result
        mask = found.top(percent=one.percent)
    return _chosen(found, mask)


def _by_d(source: Source, one: Specification) -> Chosen:
    found = source.map(one)
    with unwarned():
        count, _ = count_units(one.percent, None, found.d.numel(), one.site)
    rule = SelectionRule("top", percent=one.percent, statistic="d")
    made = found.provenance.replace(selection=rule.describe(found.d.numel(), one.site))
    mask = UnitMask.from_indices(
        one.site, ranked(found.d)[:count], found.shape, made,
        score=found.d, magnitude=found.magnitude, rule=rule,
    )  # fmt: skip
    return _chosen(found, mask)


def _by_gradient(source: Source, one: Specification) -> Chosen:
    found = source.effects(one)
    with unwarned():
        mask = found.top(percent=one.percent)
    return Chosen(mask)


def _by_pairs(source: Source, one: Specification) -> Chosen:
    found = source.pair_effects(one)
    with unwarned():
        mask = found.top(percent=one.percent)
    return Chosen(mask, warnings=found.warnings)


def _chosen(found: Selectivity, mask: UnitMask) -> Chosen:
    return Chosen(mask, not bool((found.q[mask.mask] < 0.05).any()), found.warnings)


@dataclass(frozen=True)
class Selection:
    """One way to choose units.

    Attributes:
        name: of the selection.
        does: what units are ranked by, in words.
        unused: choices that play no part in it.
        choose: the units of a specification.
    """

    name: str
    does: str
    unused: tuple[str, ...]
    choose: Callable[[Source, Specification], Chosen]


SELECTIONS: Mapping[str, Selection] = {
    found.name: found
    for found in (
        Selection("t", "t, target against control", (), _by_t),
        Selection("d", "Cohen's d, pooled standard deviation", ("test",), _by_d),
        Selection(
            "gradient",
            "the effect on the target's texts less that on the control's, activation x gradient",
            ("activations", "test", "pooling"),
            _by_gradient,
        ),
        Selection(
            PAIRS,
            "the effect of clean for corrupted texts, attribution patching",
            ("activations", "test", "pooling", "max_tokens", "bos"),
            _by_pairs,
        ),
    )
}


def order(one: Specification) -> tuple[Any, ...]:
    """Return what to sort specifications by, so that every view is asked for once."""
    return ("pooling" in _unused(one), one.pooling, one.max_tokens or 0, one.bos)


def _unused(one: Specification) -> tuple[str, ...]:
    return SELECTIONS[one.selection].unused


def _view(one: Specification) -> tuple[str, int | None, str]:
    return one.pooling, one.max_tokens, one.bos


def _effect(one: Specification) -> tuple[int | None, str]:
    return one.max_tokens, one.bos


def _way(one: Specification) -> tuple[bool, Test]:
    return one.activations == "absolute", cast(Test, one.test)


def _can_pair(contrast: Contrast) -> bool:
    try:
        contrast.require_pairs()
    except LensLocError:
        return False
    return True
