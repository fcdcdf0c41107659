"""Study: one contrast looked at from all sides, as a report shows it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import torch
from markupsafe import Markup

from lensloc.arguments import listed, require_a, require_numbers
from lensloc.contrasts.balance import Balance, measure_balance
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.protocols import Protocol, resolved
from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.lesions import NO_CONTROLS
from lensloc.display.sentences.selection import Halves, halves_notes
from lensloc.errors import LensLocError, noted, refuse_idle, unwarned
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import Pooling, capture
from lensloc.forward.sites import shape, site_of, sites_of, widths
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesions import NETWORK, LesionStudy, tabulate
from lensloc.results.profiles import ResponseProfile
from lensloc.selectivity import Reliability, Selectivity, Test, split_half
from lensloc.studies.calls import written_call
from lensloc.studies.granularities import halves_of
from lensloc.studies.lesion_modes import SIDE_BY_SIDE, Mode, needs_reference
from lensloc.studies.lesions import lesion_study, shared_texts
from lensloc.studies.localization import Localization, localize
from lensloc.studies.response_profiles import profile_of
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task
from lensloc.tasks.of_functions import TaskLike, as_tasks
from lensloc.units.control_sets import Controls
from lensloc.units.mask import UnitMask, is_residual
from lensloc.units.ragged import count
from lensloc.units.responses import Responses
from lensloc.units.selection import count_from_percent, least_note
from lensloc.vocabulary import THROUGHOUT, PlacePooling

T = TypeVar("T")


@dataclass(frozen=True)
class Study(Savable):
    """What one study of one contrast found; :func:`lensloc.report` makes a page of it.

    Attributes:
        found: the localization, at one site or several.
        site: the site that is described, profiled and lesioned.
        percent: per cent of its units that make the network.
        balance: lengths of the stimuli; in tokens too, where a model was at hand.
        reliability: how well halves of the stimuli agree at the site; None if not measured.
        profile: how strongly the network responds in every condition; None if not measured.
        lesions: what it costs to switch it off, beside controls; None if not measured.
        modes: what that costs in other ways of switching off, side by side; None if not measured.
        notes: what a reader should know beyond the warnings of these, in sentences.
        call: what made the study, as code or as a command; empty if it was put together by hand.
        seed: of halves, intervals and lesions; None if it was put together by hand.
    """

    found: Localization
    site: str
    percent: float = 1.0
    balance: Balance | None = None
    reliability: Reliability | None = None
    profile: ResponseProfile | None = None
    lesions: LesionStudy | None = None
    modes: LesionStudy | None = None
    notes: tuple[str, ...] = ()
    call: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        count_from_percent(self.percent, self.selectivity.n_units)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that a reader should know before believing the figures, in sentences."""
        # Of stimuli that are no texts the localization tells what they differ in.
        texts = self.balance is not None and self.balance.of == "text"
        balance = self.balance.warnings if texts and self.balance is not None else []
        sentences = [
            *self.found.warnings,
            # Tokens are told by the localization, as it used them.
            *(sentence for sentence in balance if " in tokens " not in sentence),
            *self.network.warnings,
            *(halves_notes(self.halves) if self.halves is not None else []),
            *(self.profile.warnings if self.profile is not None else ()),
            *self.notes,
            *(self.lesions.warnings if self.lesions is not None else ()),
            *(self.modes.warnings if self.modes is not None else ()),
        ]
        return tuple(dict.fromkeys(sentences))

    @property
    def halves(self) -> Halves | None:
        """How well halves of the stimuli agree, in numbers; None if that was not measured."""
        found = self.reliability
        if found is None:
            return None
        d = float(self.selectivity.d[self.network.mask].mean())
        return Halves(found.dice, found.dice_chance, found.t, found.d_held_out, d)

    @property
    def contrast(self) -> Contrast:
        """The stimuli."""
        return self.found.contrast

    @property
    def selectivity(self) -> Selectivity:
        """The statistics at the site."""
        return self.found[self.site]

    @property
    def network(self) -> UnitMask:
        """The most selective units of the site."""
        with unwarned():  # the study holds its warnings
            return self.selectivity.top(percent=self.percent)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit of the network, with its statistics, largest t first."""
        return self.selectivity.to_dataframe(self.network)

    def __repr__(self) -> str:
        more = [name for name in ("reliability", "profile", "lesions") if getattr(self, name)]
        made = ", ".join(more) or "localization only"
        return noted(f"Study({self.network.line()}; {made})", self.warnings)

    def _repr_html_(self) -> str:
        parts = [self.found._repr_html_(), self.network._repr_html_()]
        if self.profile is not None:
            parts.append(self.profile._repr_html_())
        if self.lesions is not None:
            parts.append(self.lesions._repr_html_())
        if self.modes is not None:
            parts.append(self.modes._repr_html_())
        told = {*self.found.warnings, *self.network.warnings}
        told |= set(self.profile.warnings if self.profile is not None else ())
        told |= set(self.lesions.warnings if self.lesions is not None else ())
        told |= set(self.modes.warnings if self.modes is not None else ())
        own = markup.notes([sentence for sentence in self.warnings if sentence not in told])
        return markup.stacked(map(Markup, [*parts, own] if own else parts))


def study(
    model: Model,
    contrast: Contrast,
    sites: Sequence[str] | None = None,
    *,
    percent: float = 1.0,
    tasks: Sequence[TaskLike] = (),
    controls: Controls | Sequence[Controls] = (),
    percents: Sequence[float] | None = None,
    modes: Sequence[Mode] | None = None,
    exact: bool = False,
    pooling: Pooling | PlacePooling | None = None,
    protocol: str | Protocol = "lensloc",
    absolute: bool | None = None,
    test: Test | None = None,
    n_splits: int = 10,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    store: StoreLike = None,
    progress: bool = True,
) -> Study:
    """Localize a contrast, profile the network that it gives, and lesion it beside controls.

    Args:
        model: a loaded model.
        contrast: the stimuli.
        sites: where units live; the first is the one that is profiled and lesioned. The
            protocol's, block outputs, if None.
        percent: per cent of its units that make the network.
        tasks: what to measure under lesions; none for no lesions.
        controls: what to hold beside the network, e.g. ``ll.controls("layer")`` (refused without
            tasks).
        percents: sizes of the lesions; ``percent`` alone if None (as ``controls``).
        modes: what units become, as in :func:`lensloc.lesion_study`; the first is held beside
            controls at every size, all are held beside each other at ``percent``, with the contrast
            as reference. Zero, mean, resample and, at the residual stream, dims-mean if None; one
            alone for no such comparison (refused without tasks).
        exact: measure all control draws on all items (refused without controls).
        pooling: as in :func:`lensloc.localize`.
        protocol: as there.
        absolute: as there.
        test: as there.
        n_splits: of the stimuli into halves, for the reliability; 0 for none.
        seed: of halves, intervals and lesions.
        batch_size: texts per batch.
        max_tokens: as in :func:`lensloc.localize`.
        truncate: as there.
        store: where the scores under lesions are kept and looked up, so that an interrupted study
            goes on where it stopped.
        progress: show progress bars.

    Raises:
        LensLocError: what localizing, profiling and lesioning refuse; a size that cannot be had,
            before the model is run.
    """
    given = dict(locals())
    require_numbers(seed=seed, n_splits=n_splits)
    surface(model)
    require_a(Contrast, contrast, "contrast")
    if sites is None:
        # The first of a wrapped module's own.
        sites = list(surface(model).own_sites)[:1] or resolved(protocol, contrast.protocol).sites
    sites = [found.name for found in sites_of(sites, model)]
    tasks = as_tasks(tasks)
    percents = None if percents is None else listed(percents)
    store = Store.of(store)
    if n_splits < 0:
        raise LensLocError(f"n_splits is at least 0; {n_splits} is not.")
    if not tasks:
        refuse_idle(
            "without tasks nothing is lesioned; leave it out, or give tasks",
            controls=isinstance(controls, Controls) or bool(controls),
            percents=percents is not None,
            modes=modes is not None,
            exact=exact,
        )
    elif not controls:
        refuse_idle("without controls there are no draws; leave it out", exact=exact)
    site = sites[0]
    chosen = site_of(site, model)
    known = shape(chosen, model)
    if known is not None:
        for size in (percent, *(percents or ())):
            count_from_percent(size, count(known, widths(chosen, model)))
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "truncate": truncate,
        "progress": progress,
    }
    found = localize(
        model, contrast, sites, pooling=pooling, protocol=protocol, absolute=absolute, test=test,
        keep_responses=True, max_tokens=max_tokens, **options,
    )  # fmt: skip
    with unwarned():  # the study says it
        network = found[site].top(percent=percent)
    responses, made = found.responses[site], found[site].provenance
    alike = {"pooling": made.pooling, "max_tokens": made.max_tokens}
    every = _to_every_text(model, contrast, responses, {**options, **alike})
    least = (least_note(percent, each.n_units, name) for name, each in found.items())
    notes: list[str] = [note for note in least if note is not None]
    profile = _unless_too_few(
        "The response profile", notes, lambda: profile_of(every, network, contrast, seed=seed)
    )
    reliability = None
    if n_splits:
        reliability = _unless_too_few(
            "The agreement of halves of the stimuli",
            notes,
            lambda: split_half(
                responses,
                contrast.target,
                contrast.control,
                [halves_of(contrast, seed + split) for split in range(n_splits)],
                k=len(network),
            ),
        )
    lesions = beside = None
    if tasks:
        first, *others = _modes(modes, site)
        networks = {contrast.name: found[site]}
        settings: dict[str, Any] = {
            "seed": seed, "batch_size": batch_size, "store": store, "progress": progress,
        }  # fmt: skip
        lesions = lesion_study(
            model, networks, tasks, controls, percents or (percent,), [first],
            reference=contrast if needs_reference(first) else None, exact=exact, **settings,
        )  # fmt: skip
        if others:
            beside = _side_by_side(
                model, networks, tasks, percent, [first, *others], lesions, contrast, settings
            )
    balance = measure_balance(contrast.conditions, contrast.target, contrast.control, model)
    notes += shared_texts(contrast.name, network.selected_on, tasks)
    call = written_call("ll.study", study, given)
    return Study(
        found,
        site,
        percent,
        balance,
        reliability,
        profile,
        lesions,
        beside,
        tuple(notes),
        call,
        seed,
    )


def _modes(modes: Sequence[Mode] | None, site: str) -> list[Mode]:
    """Return what units become: what was asked for, or the usual ways that the site has."""
    if modes is None:
        return [each for each in SIDE_BY_SIDE if is_residual(site) or THROUGHOUT not in each]
    given: list[Mode] = [modes] if isinstance(modes, str | Mapping) else list(modes)
    if not given:
        raise LensLocError("modes is empty; give at least one mode, e.g. zero.")
    return given


def _side_by_side(
    model: Model,
    networks: Mapping[str, Selectivity],
    tasks: Sequence[Task],
    percent: float,
    modes: Sequence[Mode],
    known: LesionStudy,
    contrast: Contrast,
    settings: Mapping[str, Any],
) -> LesionStudy:
    """Lesion the network alone in all modes, of which the first may have been measured."""
    kept = [
        found[(found["kind"] == NETWORK) & (found["percent"] == percent)]
        for found in (known.table, known.items)
    ]
    missing = modes[1:] if len(kept[0]) else modes
    reference = contrast if any(map(needs_reference, missing)) else None
    with unwarned():  # the study says it
        found = lesion_study(
            model, networks, tasks, (), (percent,), missing, reference=reference, **settings
        )
    table, items = (
        pd.concat([first, more], ignore_index=True) if len(first) else more
        for first, more in zip(kept, (found.table, found.items), strict=True)
    )
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    study = dataclasses.replace(found, table=tabulate(rows), items=items)
    # Controls stand beside the first mode.
    object.__setattr__(study, "warnings", tuple(w for w in study.warnings if w != NO_CONTROLS))
    return study


def _unless_too_few(what: str, notes: list[str], measure: Callable[[], T]) -> T | None:
    """Measure what needs halves of the stimuli; if there are too few, say so in a note."""
    try:
        return measure()
    except LensLocError as reason:
        notes.append(f"{what} was not measured: {reason}")
        return None


def _to_every_text(
    model: Model, contrast: Contrast, known: Responses, options: dict[str, Any]
) -> Responses:
    """Return responses to the texts of all conditions, of which some are known."""
    others = {n: texts for n, texts in contrast.conditions.items() if n not in known.conditions}
    if not others:
        return known
    texts = [text for found in others.values() for text in found]
    labels = [name for name, found in others.items() for _ in found]
    captured = capture(model, texts, labels, [known.site], **options).responses[known.site]
    parts = [
        (known if name in known.conditions else captured).of((name,))
        for name in contrast.conditions
    ]
    names = tuple(name for name, found in contrast.conditions.items() for _ in found)
    # Pairs are told by the contrast.
    return dataclasses.replace(known, values=torch.cat(parts), conditions=names, items=None)
