"""Sweep: what the cells of a plan say, over models: tables, and what was published beside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences import sweeps as words
from lensloc.errors import noted
from lensloc.results.joining import warnings_of
from lensloc.results.sweeps_joined import joined_tables

CELLS = (
    "cell", "kind", "model", "contrast", "site", "protocol", "lesion", "state", "seconds", "made",
    "reason",
)  # fmt: skip
PLACE = ("model", "contrast", "site", "protocol")
LOCALIZATIONS = (
    *PLACE, "percent", "n_layers", "width", "n_parameters", "n_units", "largest_t", "significant",
    "depth", "n_outliers", "backend", "dtype", "commit", "weights_hash",
)  # fmt: skip
LESIONS = (
    *PLACE, "lesion", "mode", "percent", "task", "measure", "n_items", "score", "intact", "chance",
    "took_effect", "network_drop", "drop_low", "drop_high", "kind", "draws", "n_compared",
    "control_drop", "difference", "difference_low", "difference_high", "p_more", "p_less", "min_p",
    "verdict",
)  # fmt: skip
SPECIFICITY = (
    "model", "site", "protocol", "kind", "network", "index", "control_index", "draws",
    "without_number", "difference", "difference_low", "difference_high", "standardised", "p",
    "min_p", "p_double", "crossed",
)  # fmt: skip
SHARES = (
    "model", "site", "protocol", "network", "task", "own", "kind", "drop", "share",
    "control_share", "p_more",
)  # fmt: skip
LAYERS = (*PLACE, "layer", "relative_depth", "share")
PUBLISHED = (*PLACE, "task", "percent", "quantity", "published", "measured", "source")
_SIZES = ("n_layers", "width")


def tabulated(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table with these columns, in this order; other keys are left out."""
    table: pd.DataFrame = pd.DataFrame(list(rows), columns=list(columns))
    return table


_TABLES = (
    "cells", "localizations", "lesions", "specificity", "shares", "layers", "published",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sweep(Savable):
    """What :func:`lensloc.sweep` measured, as far as it is done.

    Attributes:
        name: of the plan.
        cells: one row per cell: ``cell`` (its short name), ``kind``, ``model``, ``contrast``,
            ``site``, ``protocol``, ``lesion``, ``state`` (``done``, ``failed`` or ``waiting``),
            ``seconds``, ``made``, and ``reason`` of a failure.
        localizations: one row per model, contrast, site and protocol: ``percent``, ``n_layers``,
            ``width`` (units per layer), ``n_parameters``, ``n_units`` (selected), ``largest_t``,
            ``significant`` (share of all units that prefer the target, q < 0.05), ``depth`` (mean
            relative depth of the selected units), ``n_outliers`` among these, and ``backend``,
            ``dtype``, ``commit``, ``weights_hash`` of the model.
        lesions: one row per lesion, size, task and kind of control: scores and drops as in
            :class:`~lensloc.results.lesions.LesionStudy`, and ``verdict`` as in
            :class:`~lensloc.results.specification_curves.Multiverse`. Without controls, ``kind``
            and what depends on it are missing.
        specificity: one row per model, site, protocol, kind of control and network: indices as in
            :class:`~lensloc.results.specificities.Specificity`.
        shares: of the same, one row per network and task: share of the room to fall that is lost.
        layers: one row per localization and layer: ``relative_depth`` (0 to 1) and ``share``, per
            cent of the layer's units that are selected.
        published: one row per published number: beside it what is measured, or nothing.
        warnings: what a reader should know, in sentences.
        call: what made it, as code.
        about: what the plan is, in words.
    """

    name: str
    cells: pd.DataFrame
    localizations: pd.DataFrame = field(
        default_factory=lambda: tabulated((), LOCALIZATIONS), repr=False
    )
    lesions: pd.DataFrame = field(default_factory=partial(tabulated, (), LESIONS), repr=False)
    specificity: pd.DataFrame = field(
        default_factory=lambda: tabulated((), SPECIFICITY), repr=False
    )
    shares: pd.DataFrame = field(default_factory=partial(tabulated, (), SHARES), repr=False)
    layers: pd.DataFrame = field(default_factory=partial(tabulated, (), LAYERS), repr=False)
    published: pd.DataFrame = field(default_factory=partial(tabulated, (), PUBLISHED), repr=False)
    warnings: tuple[str, ...] = ()
    call: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        told = dict.fromkeys([*self.warnings, *self._notes()])
        object.__setattr__(self, "warnings", tuple(told))

    @property
    def counts(self) -> dict[str, int]:
        """How many cells are ``done``, ``failed`` and ``waiting``."""
        states = self.cells["state"]
        return {state: int((states == state).sum()) for state in ("done", "failed", "waiting")}

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the plan."""
        return tuple(dict.fromkeys(map(str, self.cells["model"])))

    @property
    def table(self) -> pd.DataFrame:
        """One table: every localization, with every lesion and control of it.

        The columns of :attr:`localizations` and :attr:`lesions`; ``percent`` and ``n_units`` are
        the localization's, ``lesion_percent`` the lesion's. A localization without lesions is one
        row.
        """
        lesions = self.lesions.rename(columns={"percent": "lesion_percent"})
        table: pd.DataFrame = self.localizations.merge(lesions, on=list(PLACE), how="left")
        return table

    def summary(self) -> list[str]:
        """Say how far the sweep is, where networks lie, and in how many models lesions do harm."""
        told = [words.progress_sentence(**self.counts)]
        told += [words.depth_sentence(found) for found in self._depths()]
        harms = list(self._harms())
        told += [words.harm_sentence(found) for found in harms]
        if harms:
            told.append(words.UNCORRECTED)
        return told

    def failures(self) -> list[str]:
        """Say which cells failed, and why; those of one reason together."""
        failed: dict[str, list[str]] = {}
        for row in self.cells[self.cells["state"] == "failed"].to_dict("records"):
            of = row["contrast"] or "specificity"
            cell = f"{of} at {row['site']} of {row['model']}"
            failed.setdefault(str(row["reason"]), []).append(cell)
        return words.failed_sentences(failed)

    # -- several -----------------------------------------------------------------------------------

    @classmethod
    def _joined(cls, several: Sequence["Sweep"]) -> "Sweep":
        found = joined_tables([{name: getattr(each, name) for name in _TABLES} for each in several])
        own = {sentence for each in several for sentence in each._notes()}  # made anew of all
        calls = [each.call for each in several]
        abouts = [each.about for each in several]
        return cls(
            " + ".join(dict.fromkeys(each.name for each in several)),
            **found,
            warnings=tuple(each for each in warnings_of(several) if each not in own),
            call=f"ll.concat([{', '.join(calls)}])" if all(calls) else "",
            about=" ".join(dict.fromkeys(filter(None, abouts))),
        )

    def _named(self, name: str) -> "Sweep":
        one = len(self.models) < 2

        def named(table: pd.DataFrame) -> pd.DataFrame:
            if "model" not in table:
                return table
            models = table["model"].map(lambda model: name if one else f"{model} ({name})")
            renamed: pd.DataFrame = table.assign(model=models)
            return renamed

        own = set(self._notes())  # which call models as they were called
        warnings = tuple(each for each in self.warnings if each not in own)
        tables: dict[str, Any] = {each: named(getattr(self, each)) for each in _TABLES}
        return replace(self, **tables, warnings=warnings)

    # -- cases -------------------------------------------------------------------------------------

    def _depths(self) -> Iterator[words.Depths]:
        columns = ["contrast", "site", "protocol", "percent"]
        for key, rows in self.localizations.groupby(columns, sort=False):
            depth = dict(zip(map(str, rows["model"]), map(float, rows["depth"]), strict=True))
            yield words.Depths(str(key[0]), str(key[1]), str(key[2]), float(str(key[3])), depth)

    def _harms(self) -> Iterator[words.Harms]:
        columns = ["contrast", "site", "protocol", "lesion", "percent", "task", "kind"]
        for key, rows in self.lesions.groupby(columns, sort=False):  # those without are left out
            contrast, site, protocol, lesion, percent, task, kind = key
            yield words.Harms(
                str(contrast), str(lesion), float(str(percent)), str(task), str(kind),
                f"{site}, {protocol}",
                dict(zip(map(str, rows["model"]), map(str, rows["verdict"]), strict=True)),
            )  # fmt: skip

    def _notes(self) -> Iterator[str]:
        yield from self.failures()
        for row in self.published.to_dict("records"):
            if row["quantity"] in _SIZES and not pd.isna(row["measured"]):
                published, measured = float(row["published"]), float(row["measured"])
                if published != measured:
                    yield words.another_model(
                        str(row["model"]), str(row["quantity"]), published, measured
                    )

    # -- showing -----------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        shown = self.localizations[["model", "contrast", "site", "protocol", "n_units", "largest_t",
                                    "significant", "depth"]]  # fmt: skip
        rows: list[Mapping[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in shown.to_dict("records")
        ]
        return markup.card(
            self._line(),
            *([markup.table(rows)] if rows else []),
            markup.paragraphs(self.summary()),
            warnings=self.warnings,
        )

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"Sweep({self.name}; {len(self.models)} models; cells: {counts})"
