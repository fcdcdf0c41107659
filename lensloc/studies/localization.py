"""Localize: one forward pass over the stimuli, one t-test per unit."""

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from lensloc.arguments import require_a
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.protocols import PROTOCOLS, Protocol, resolved
from lensloc.contrasts.roles import with_others
from lensloc.display import markup
from lensloc.display.frozen import FrozenMapping
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted, refuse_idle, unwarned
from lensloc.forward.capturing import POOLINGS, Pooling, capture, capture_moments
from lensloc.forward.module_runs import place_pooling
from lensloc.forward.sites import hook_names, sites_of
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.module import OfModule
from lensloc.models.surface import Model, Surface
from lensloc.results.joining import same_in_all, warnings_of
from lensloc.selectivity import (
    Direction,
    MaxT,
    Selectivity,
    Test,
    max_t,
    paired,
    summarised,
    welch,
    welch_of_moments,
)
from lensloc.selectivity.statistics import Statistic, known_test, name_of, require_map, settings_of
from lensloc.studies.calls import written_call
from lensloc.studies.kept_maps import (
    as_told,
    cut_at_window,
    key_of,
    looked_up,
    provenance_for,
    usable,
    with_bos,
    with_lengths,
    with_warnings,
)
from lensloc.studies.measured_nuisances import INSTEAD, tested_by
from lensloc.studies.stimulus_warnings import (
    kind_of_stimuli,
    lengths_in_tokens,
    map_warnings,
    stimulus_warnings,
)
from lensloc.studies.store import Store, StoreLike
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.ragged import in_words
from lensloc.units.responses import Responses
from lensloc.vocabulary import Bos, PlacePooling

log = logging.getLogger(__name__)

__all__ = ["PROTOCOLS", "Localization", "Seconds", "localize"]


@dataclass(frozen=True)
class Seconds:
    """How long the parts of a localization took, in seconds."""

    forward: float = 0.0
    statistics: float = 0.0


@dataclass(frozen=True)
class Localization(Savable, Mapping[str, Selectivity]):
    """What :func:`localize` found: site name -> :class:`~lensloc.selectivity.Selectivity`.

    With one site, its methods (``top``, ``bottom``, ``between``, ``significant``) can be called
    here too.

    Attributes:
        contrast: the stimuli.
        selectivity: site name -> statistics of every unit.
        n_tokens: tokens of the stimuli, pads not counted.
        seconds: of the forward passes and of the statistics; 0 for what came from a store.
        from_store: sites whose statistics came from a store.
        warnings: what a reader of the result should know, in sentences; of the stimuli, the model
            and all sites. A site's map, and what is selected from it, carries its own.
        responses: site name -> pooled activations of every stimulus, if they were to be kept.
        call: what made it, as code.
    """

    contrast: Contrast
    selectivity: Mapping[str, Selectivity]
    n_tokens: int
    seconds: Seconds
    from_store: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    responses: Mapping[str, Responses] = field(default_factory=dict)
    call: str = ""

    def __post_init__(self) -> None:
        for name in ("selectivity", "responses"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))

    def __getitem__(self, site: str) -> Selectivity:
        if site not in self.selectivity:
            raise LensLocError(
                f"The site {site!r} was not localized; these were: {', '.join(self.selectivity)}."
            )
        return self.selectivity[site]

    def __contains__(self, site: object) -> bool:
        return site in self.selectivity

    def __iter__(self) -> Iterator[str]:
        return iter(self.selectivity)

    def __len__(self) -> int:
        return len(self.selectivity)

    def __repr__(self) -> str:
        maps = ", ".join(found.line() for found in self.selectivity.values())
        return noted(f"Localization({maps})", self.warnings)

    def _repr_html_(self) -> str:
        rows, shares = [], []
        for site, found in self.selectivity.items():
            with unwarned():  # it is below the table
                network = found.top(k=max(1, found.n_units // 100))
            shares.append(network.percent_per_layer().tolist())
            rows.append(
                {
                    "site": site,
                    "units": in_words(found.shape, found.widths).replace("x", " x "),
                    "largest t": found.range_of_t[1],
                    "% with q < 0.05": 100 * int((found.q < 0.05).sum()) / found.n_units,
                    "top 1 %": len(network),
                    "of these outliers": len(network & found.outliers()),
                }
            )
        # Sites of models may differ in layers only where a site leaves some out.
        layers = [[found[i] if i < len(found) else np.nan for found in shares]
                  for i in range(max(map(len, shares), default=0))]  # fmt: skip
        picture = markup.heatmap(
            layers, label="share of every layer's units in the top 1 %", cell=(28, 5)
        )
        sides = f"{' + '.join(self.contrast.target)} > {' + '.join(self.contrast.control)}"
        return markup.card(
            f"Localization of {self.contrast.name}: {sides}",
            markup.table(rows),
            markup.captioned(
                picture, "share of units in the top 1 %, layer (0 at the bottom) by site"
            ),
            warnings=self.warnings,
        )

    def _only(self) -> Selectivity:
        if len(self) != 1:
            raise LensLocError(
                f"{len(self)} sites were localized; say which, e.g. "
                f"found[{next(iter(self))!r}].top(percent=1)."
            )
        return next(iter(self.selectivity.values()))

    def top(
        self, *, percent: float | None = None, k: int | None = None, unique_dims: bool = False
    ) -> UnitMask:
        """Return the units of largest t of the only site; see :meth:`Selectivity.top`."""
        return self._only().top(percent=percent, k=k, unique_dims=unique_dims)

    def bottom(
        self, *, percent: float | None = None, k: int | None = None, unique_dims: bool = False
    ) -> UnitMask:
        """Return the units of smallest t of the only site; see :meth:`Selectivity.bottom`."""
        return self._only().bottom(percent=percent, k=k, unique_dims=unique_dims)

    def between(self, lo: float, hi: float, k: int, seed: int) -> UnitMask:
        """Draw units between percentiles of t of the only site; see :meth:`Selectivity.between`."""
        return self._only().between(lo, hi, k, seed)

    def significant(self, q: float = 0.05, direction: Direction = "target") -> UnitMask:
        """Return the significant units of the only site; see :meth:`Selectivity.significant`."""
        return self._only().significant(q, direction)

    def max_t(self, site: str | None = None, **options: Any) -> MaxT:
        """Test every unit of a site by permutation, as it was localized; see :func:`lensloc.max_t`.

        Conditions, absolute or signed responses, test and pairs are those of the localization.

        Args:
            site: where; may be left out if only one was localized.
            options: of :func:`lensloc.max_t`, e.g. ``n_permutations=1000, seed=0``.

        Raises:
            LensLocError: if the responses were not kept, or what max_t refuses.
        """
        chosen = self._only().site if site is None else self[site].site
        if chosen not in self.responses:
            raise LensLocError(
                f"A permutation test needs the responses to single stimuli, and those at {chosen} "
                "were not kept; localize with keep_responses=True."
            )
        return max_t(self.responses[chosen], **options)

    @classmethod
    def _joined(cls, several: Sequence["Localization"]) -> "Localization":
        same_in_all(several, "contrast")
        sites = [site for each in several for site in each]
        twice = [site for site in dict.fromkeys(sites) if sites.count(site) > 1]
        if twice:
            raise LensLocError(
                f"The site {twice[0]} is in two of the localizations; join those of other sites. "
                "Several models stand in one figure as {name: found[site]}."
            )
        first = several[0]
        for each in several[1:]:
            hashes = next(iter(first.values())).provenance.model_hashes
            if next(iter(each.values())).provenance.differing(hashes):
                raise LensLocError(
                    "The localizations are of several models; join those of one. Several models "
                    "stand in one figure as {name: found[site]}."
                )
        return cls(
            first.contrast,
            {site: found for each in several for site, found in each.items()},
            max(each.n_tokens for each in several),
            Seconds(
                sum(each.seconds.forward for each in several),
                sum(each.seconds.statistics for each in several),
            ),
            tuple(site for each in several for site in each.from_store),
            warnings_of(several),
            {site: found for each in several for site, found in each.responses.items()},
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit of every site."""
        tables = [found.to_dataframe() for found in self.selectivity.values()]
        return pd.concat(tables, ignore_index=True)


def localize(
    model: Model,
    contrast: Contrast,
    sites: Sequence[str] | None = None,
    *,
    pooling: Pooling | PlacePooling | None = None,
    protocol: str | Protocol = "lensloc",
    absolute: bool | None = None,
    test: Test | Statistic | None = None,
    nuisance: Sequence[str] | pd.DataFrame | None = None,
    keep_responses: bool | Literal["all"] = False,
    batch_size: int | Literal["auto"] = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    bos: Bos = "model",
    progress: bool = True,
    store: StoreLike = None,
    recompute: bool = False,
) -> Localization:
    """Find how selective every unit is: one forward pass over the stimuli, one t-test per unit.

    Follows AlKhamissi et al. (arXiv 2411.02280): block outputs, Welch's t on the absolute pooled
    activations, target against control. ``protocol="lensloc"`` pools the last token of whole
    stimuli. ``protocol="alkhamissi2024"`` does what was published for the contrast
    (:attr:`lensloc.Contrast.protocol`). Language is cut off after 12 tokens. Theory of mind and
    multiple demand are pooled over all tokens. Stimuli of your own are used whole, and their last
    token is pooled. What you give for ``sites``, ``pooling``, ``absolute``, ``test`` and
    ``max_tokens`` overrides the protocol, and is recorded.

    Args:
        model: a loaded model (:func:`lensloc.load_model`, or a HookedTransformer of your own), or
            a wrapped module (:func:`lensloc.wrap`).
        contrast: the stimuli.
        sites: where units live, one name or several; all are captured in the same pass. The
            protocol's, block outputs, if None; all sites of a wrapped module.
        pooling: over which tokens of a stimulus; see :func:`lensloc.forward.capturing.capture`. The
            protocol's if None, as the next ones; of a wrapped module, as its sites say.
        protocol: ``"lensloc"``, ``"alkhamissi2024"``, or a :class:`lensloc.Protocol`.
        absolute: test absolute values.
        test: ``"welch"``, or ``"paired"`` where stimuli of target and control belong together: by
            item where the contrast has items, otherwise by position; or a statistic of your own
            (:func:`lensloc.statistic`).
        nuisance: what is regressed out of every unit's responses before target and control are
            compared (:func:`lensloc.adjusted_for`): names (``"tokens"``, ``"surprisal"``,
            ``"frequency"``, see :func:`lensloc.nuisances`), or a table with one row per stimulus of
            ``contrast.texts``. Takes the place of a test.
        keep_responses: also return every stimulus' responses, which permutation tests, intervals
            and profiles of single units need. This takes memory in proportion to the stimuli, and
            does not use what a store holds. ``"all"`` also keeps those to conditions that are
            neither target nor control, which change no statistic.
        batch_size: texts per batch; does not change the result.
        max_tokens: cut stimuli off after so many tokens.
        truncate: cut stimuli that are longer than the context window, instead of refusing them.
        bos: whether a beginning-of-text token stands before every stimulus: as the model is set
            (``"model"``), always (``"add"``), never (``"none"``).
        progress: show a progress bar.
        store: look here for what was computed before, and keep results here: a folder.
        recompute: do not look, only keep; refused without a store.

    Returns:
        The statistics of every unit, by site.

    Raises:
        LensLocError: unknown site, pooling or protocol; a site that the model lacks; stimuli that
            the model cannot take, or that a paired test cannot pair.
    """
    given = dict(locals())
    seen = surface(model)
    require_a(Contrast, contrast, "contrast")
    if store is None:
        refuse_idle("there is no store to look in; leave it out", recompute=recompute)
    kept = Store.of(store)
    procedure = resolved(protocol, contrast.protocol)
    if pooling is None and seen.takes_tokens:
        pooling = cast(Pooling, procedure.pooling)
    absolute = procedure.absolute if absolute is None else absolute
    if isinstance(seen, OfModule):
        refuse_idle(
            "a wrapped module is run on stimuli as they are, not on tokens; leave it out",
            truncate=truncate,
            max_tokens=max_tokens is not None,
            bos=bos != "model",
        )
        sites = list(seen.own_sites) if sites is None else sites
        seen.model.reader.require_one_size(contrast.texts)
        seen.learn_from(contrast.texts)
    else:
        max_tokens = procedure.max_tokens if max_tokens is None else max_tokens
        sites = procedure.sites if sites is None else sites
    refuse_idle(INSTEAD, test=nuisance is not None and test is not None)
    if truncate and nuisance is not None:  # which is measured of what is read
        max_tokens = cut_at_window(model, contrast, max_tokens)
    cut: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    cut |= {} if isinstance(seen, OfModule) else {"bos": bos, "max_tokens": max_tokens}
    by = known_test(procedure.test if test is None else test)
    by = tested_by(by, nuisance, model, contrast, cut)
    sites = _checked(model, sites, pooling)
    if by == "paired":
        contrast.require_pairs()
    lesions = open_lesions(model)
    card = describe(model)
    made = provenance_for(
        card, contrast, pooling or "", procedure.name, absolute, max_tokens
    ).replace(test=name_of(by), lesion="; ".join(found.description for found in lesions))
    made = with_bos(made, model, bos)
    places = {site: _of_place(made, seen, site, pooling) for site in dict.fromkeys(sites)}
    items = None if by == "welch" else contrast.item_labels  # which another test may pair by
    own = settings_of(by)
    window = seen.window if truncate else None
    keys = {site: key_of(of, items, lesions, site, window, own) for site, of in places.items()}
    kept = usable(kept, model, own)
    look = not recompute and not keep_responses
    responses: Mapping[str, Responses] = {}
    with looked_up(kept, keys, model, {site: site for site in keys}, look=look) as known:
        missing = [site for site in keys if site not in known]
        if truncate:
            hits = [hit for hit, _ in known.values()]
            max_tokens = cut_at_window(model, contrast, max_tokens, hits)
            made = made.replace(max_tokens=max_tokens)
            places = {site: of.replace(max_tokens=max_tokens) for site, of in places.items()}
        seconds, n_tokens = Seconds(), max((tokens for _, tokens in known.values()), default=0)
        found = {site: as_told(hit[0], places[site]) for site, hit in known.items()}
        if missing:
            options: dict[str, Any] = {
                "pooling": pooling,
                "batch_size": batch_size,
                "max_tokens": max_tokens,
                "truncate": truncate,
                "bos": bos,
                "progress": progress,
            }
            if keep_responses or by != "welch":
                computed, responses, n_tokens, seconds = _by_stimulus(
                    model, contrast, missing, made, by, keep_responses == "all", options
                )
            else:
                computed, n_tokens, seconds = _by_moments(model, contrast, missing, made, options)
            found |= {site: _at_place(map_, places[site]) for site, map_ in computed.items()}
            responses = {
                site: dataclasses.replace(each, provenance=places[site].replace(site=site))
                for site, each in responses.items()
            }
        lengths = lengths_in_tokens(model, contrast, max_tokens, found.values())
        found |= {site: with_lengths(found[site], lengths) for site in found}
        if kept is not None:
            for site in missing:
                kept.save(keys[site], found[site], n_tokens)
    general = (*card.warnings, *stimulus_warnings(model, contrast, made, lengths))
    of = kind_of_stimuli(contrast)
    told = {site: (*general, *map_warnings(found[site], of)) for site in keys}
    return Localization(
        contrast,
        {site: with_warnings(found[site], told[site]) for site in keys},
        n_tokens,
        seconds,
        tuple(known),
        tuple(dict.fromkeys(sentence for site in keys for sentence in told[site])),
        responses if keep_responses else {},
        written_call("ll.localize", localize, given),
    )


def _of_place(made: Provenance, seen: Surface, site: str, pooling: str | None) -> Provenance:
    """Return provenance that says where a site of a wrapped module is, and how it is pooled."""
    if not isinstance(seen, OfModule):
        return made
    own = seen.model.sites[site]
    pooled = "" if own.unit == "element" else pooling or own.pooling
    return made.replace(place=own.in_words, pooling=pooled)


def _at_place(found: Selectivity, made: Provenance) -> Selectivity:
    now = found.provenance.replace(place=made.place, pooling=made.pooling, test=made.test)
    return dataclasses.replace(found, provenance=now)


def _checked(model: Model, sites: str | Sequence[str], pooling: str | None) -> list[str]:
    """Return the sites' own names."""
    if not surface(model).takes_tokens:
        place_pooling(pooling)
    elif pooling not in POOLINGS:
        raise LensLocError(f"There is no pooling {pooling!r}; there are {', '.join(POOLINGS)}.")
    chosen = sites_of(sites, model)
    for site in chosen:
        hook_names(site, model)
    return [site.name for site in chosen]


def _by_stimulus(
    model: Model,
    contrast: Contrast,
    sites: Sequence[str],
    made: Provenance,
    by: str | Statistic,
    every: bool,
    options: Mapping[str, Any],
) -> tuple[dict[str, Selectivity], Mapping[str, Responses], int, Seconds]:
    shown = with_others(contrast) if every else contrast
    captured = capture(model, shown.texts, shown.labels, sites, **options)
    start = time.perf_counter()
    named: Statistic = paired if by == "paired" else welch
    test = named if isinstance(by, str) else by
    responses = {
        site: dataclasses.replace(
            found, items=shown.item_labels, provenance=made.replace(site=site)
        )
        for site, found in captured.responses.items()
    }
    roles = {*contrast.target, *contrast.control}
    used = [row for row, name in enumerate(shown.labels) if name in roles]
    tested: dict[str, Selectivity] = {}
    for site, found in responses.items():
        chosen = found.at(used) if every else found
        tested[site] = test(chosen, contrast.target, contrast.control, provenance=made)
        require_map(tested[site], test, chosen)
    seconds = Seconds(captured.seconds, time.perf_counter() - start)
    return tested, responses, captured.n_tokens, seconds


def _by_moments(
    model: Model,
    contrast: Contrast,
    sites: Sequence[str],
    made: Provenance,
    options: Mapping[str, Any],
) -> tuple[dict[str, Selectivity], int, Seconds]:
    captured = capture_moments(
        model, contrast.texts, contrast.labels, sites, absolute=made.absolute, **options
    )
    start = time.perf_counter()
    found = {
        site: welch_of_moments(
            site,
            summarised(moments, contrast.target, "target"),
            summarised(moments, contrast.control, "control"),
            made,
            captured.widths.get(site),
        )
        for site, moments in captured.moments.items()
    }
    return found, captured.n_tokens, Seconds(captured.seconds, time.perf_counter() - start)
