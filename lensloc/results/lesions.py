"""LesionStudy: what every lesion cost, with intervals over items and over control draws."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.falls import falls_sentences
from lensloc.errors import noted
from lensloc.results.joining import rows_joined, same_in_all, told_apart, warnings_of
from lensloc.results.lesion_cases import NETWORK as NETWORK
from lensloc.results.lesion_cases import PLACE, balance_of, lesion_summary, lesion_warnings
from lensloc.results.lesion_groups import falls_of, groups_of

_PLACE = list(PLACE)
_COMPARED = (
    *("n_compared", "network_drop", "control_drop"),
    *("difference", "difference_low", "difference_high", "p_more", "p_less", "min_p"),
)
_WHOLE = ("seed", "n_outliers", "dimensions_shared", "units_shared", "n_compared")


@dataclass(frozen=True)
class Scores:
    """One model's values on the items of a task, ready to be resampled.

    Attributes:
        value: one number per item.
        weight: what each counts for; the mean is ``sum(value) / sum(weight)``.
        higher_is_better: whether harm makes the mean smaller.
    """

    value: Float[np.ndarray, " item"]
    weight: Float[np.ndarray, " item"]
    higher_is_better: bool = True

    @property
    def mean(self) -> float:
        """Weighted mean; NaN without weight, or where a number is missing."""
        weight = float(self.weight.sum())
        return float(self.value.sum()) / weight if weight > 0 else float("nan")


@dataclass(frozen=True)
class LesionStudy(Savable):
    """What :func:`lensloc.lesion_study` measured.

    Attributes:
        table: one row per lesion and task:

            - ``model``, ``network``, ``site``, ``mode``, ``percent``, ``kind`` (``network``, or how
              the control was drawn), ``seed`` of the draw, ``n_units``, ``magnitude`` (mean
              absolute response of the lesioned units, where known), ``log_magnitude`` (mean
              natural log of it) and ``n_outliers`` among them;
            - of a control beside its network: ``smd`` (standardised difference of log magnitude),
              ``layers_apart`` (0 if spread alike over layers, 1 if in others),
              ``dimensions_shared`` (of the residual stream, in whatever layer), ``units_shared``,
              and ``alike``, the share of its units that a draw has in common with another draw;
            - ``task``, ``measure``, ``n_items``, ``score``, ``intact``, ``chance``; ``n_ties``, how
              many items are ties, whose credit is shared; ``finite``, whether the lesioned model
              gave a number to every item: where it did not, all that follows is NaN. A draw of a
              control may have been measured on a part of the items: ``n_items`` says how many, and
              ``intact`` is the intact model's score on the same;
            - ``drop``: how much worse than intact, positive for harm: share of items for an
              accuracy, nats per token for a perplexity (difference of log perplexities), otherwise
              units of the score; ``drop_low``, ``drop_high``: its paired bootstrap interval over
              items;
            - ``cohen_h`` (accuracies): ``2 asin sqrt(intact) - 2 asin sqrt(score)``;
            - on rows of a control, ``difference``: ``network_drop`` minus ``control_drop``, the
              mean of all draws of this control, on the ``n_compared`` items that all of them were
              measured on, with ``difference_low``, ``difference_high``: an interval over draws and
              items (see :mod:`lensloc.results.draws`); of a control that was not drawn, a paired
              bootstrap interval over items. Draws without a number are left out; if that leaves
              fewer than two there is no interval;
            - ``p_more``: of the rank test over draws that the network does more harm than a draw,
              one-sided; ``p_less``, that it does less; ``min_p``, the smallest that so many draws
              can give. NaN of a control that was not drawn;
            - ``took_effect``: whether the lesion's hooks fired, changed an activation and moved a
              logit; ``moved``: the largest change of a logit of the probe.
        confidence: of the intervals.
        warnings: what a reader of the table should know, in sentences: those that were given, and
            what the table itself says (lesions without effect, controls that do as much harm).
        call: what made the study, as code; empty if it was put together by hand.
        items: one row per lesion, task and item: ``network``, ``mode``, ``percent``, ``kind``,
            ``seed``, ``task``, ``item``, ``group``, ``phenomenon`` (of tasks that have some),
            ``intact`` and ``value``, what the item gave intact and lesioned, with their weights,
            and ``higher_is_better``. Empty if the study was put together by hand.
    """

    table: pd.DataFrame
    confidence: float = 0.95
    warnings: tuple[str, ...] = ()
    call: str = ""
    items: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    def __post_init__(self) -> None:
        told = dict.fromkeys([*self.warnings, *lesion_warnings(self.table, self.confidence)])
        object.__setattr__(self, "warnings", tuple(told))

    def summary(self, percent: float | None = None) -> list[str]:
        """Say what the lesions of every network do to every task, and what of it falls first.

        Args:
            percent: at which size; of every network the nearest one that it has; 1 if None.
        """
        size = 1.0 if percent is None else percent
        falls = falls_of(told_apart(self.items), size, self.confidence)
        return [
            *lesion_summary(self.table, percent, self.confidence),
            *(sentence for found in falls for sentence in falls_sentences(found)),
        ]

    def by_group(self, column: str = "group", *, network: str | None = None) -> pd.DataFrame:
        """Return what every group of items lost: which paradigms or phenomena fall first?

        Args:
            column: ``"group"`` (paradigms of pairs, kinds of questions), or ``"phenomenon"``.
            network: of one network only; of several models that were joined, called ``"network
                (model)"``.

        Returns:
            One row per network, mode, size, task, kind of control (or ``network``) and group:
            ``n_items``, ``draws``, ``intact`` and ``lesioned`` (means over items; of controls over
            draws too), ``drop`` (positive for harm); of networks also ``p`` (exact sign test that
            more items lose than gain), ``q`` (false discovery rate over all groups of the task) and
            ``falls_at``, the smallest size from which on ``q`` is at most 1 - confidence; NaN if
            there is none. At every size the group that falls first comes first.

        Raises:
            LensLocError: if the study holds no items, there is no such network, or no task has such
                groups.
        """
        return groups_of(told_apart(self.items), column, network, self.confidence)

    @property
    def balance(self) -> pd.DataFrame:
        """One row per network, size and kind of control: how alike the two are.

        Means over draws: ``log_magnitude`` of network and control, ``smd``, ``outliers``,
        ``layers_apart``, ``dimensions_shared``, ``alike``, and ``poor``, whether magnitudes do not
        compare (``|smd| > 0.25``, or fewer than half as many outliers).
        """
        return balance_of(self.table)

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per network, size, task and kind of control: drops and their difference.

        ``draws`` are those of the control that were made, of which ``draws_lost`` gave no number
        and count for nothing. All drops are on the ``n_compared`` items that all were measured on.
        """
        networks = self.table[self.table["kind"] == NETWORK].set_index(_PLACE)["drop"]
        rows = []
        controls = self.table[self.table["kind"] != NETWORK]
        for key, found in controls.groupby([*_PLACE, "kind"], sort=False, dropna=False):
            first = found.iloc[0]
            rows.append(
                {
                    **dict(zip([*_PLACE, "kind"], key, strict=True)),
                    "draws": len(found),
                    "draws_lost": int(found["drop"].isna().sum()),
                    **{name: first[name] for name in _COMPARED},
                    # A table that was put together by hand may not have them.
                    "network_drop": _known(first["network_drop"], networks.loc[tuple(key[:-1])]),
                    "control_drop": _known(first["control_drop"], mean_drop(found["drop"])),
                }
            )
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    @classmethod
    def _joined(cls, several: Sequence["LesionStudy"]) -> "LesionStudy":
        same_in_all(several, "confidence")
        keys = [*_PLACE, "kind", "seed"]
        table = rows_joined([each.table for each in several], keys, "lesion", named=True)
        items = [each._items_of_model() for each in several]
        return cls(
            table,
            several[0].confidence,
            warnings_of(several),
            items=pd.concat([found for found in items if len(found)], ignore_index=True)
            if any(map(len, items))
            else pd.DataFrame(),
        )

    def _named(self, name: str) -> "LesionStudy":
        items = self.items.assign(model=name) if len(self.items) else self.items
        return replace(self, table=self.table.assign(model=name), items=items)

    def _items_of_model(self) -> pd.DataFrame:
        if "model" in self.items or self.items.empty:
            return self.items
        items: pd.DataFrame = self.items.assign(model=str(self.table["model"].iloc[0]))
        return items

    def _repr_html_(self) -> str:
        compared = self.comparisons
        if compared.empty:
            columns = ["network", "mode", "percent", "task", "score", "intact", "drop", "drop_low",
                       "drop_high", "took_effect"]  # fmt: skip
            found = self.table
        else:
            columns = ["network", "mode", "percent", "task", "kind", "network_drop", "control_drop",
                       "difference", "difference_low", "difference_high", "p_more"]  # fmt: skip
            found = compared
        rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()}
            for row in found[columns].to_dict("records")
        ]
        drops = told_apart(self.table).pivot_table(
            index=["percent", "network", "mode", "kind"], columns="task", values="drop", sort=False
        )
        # Tasks are measured in different units, so each is drawn relative to its largest drop.
        relative = (drops / drops.abs().max().replace(0, 1)).iloc[::-1]
        picture = markup.heatmap(relative.to_numpy().tolist(), label="drops", cell=(28, 8))
        return markup.card(
            self._line(),
            markup.table(rows),
            markup.captioned(picture, "drop by lesion (as in the table) x task; orange: harm"),
            markup.paragraphs(self.summary()),
            warnings=self.warnings,
        )

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        networks = ", ".join(map(str, self.table["network"].unique()))
        tasks = ", ".join(map(str, self.table["task"].unique()))
        return f"LesionStudy({len(self.table)} lesions x tasks; networks {networks}; tasks {tasks})"


def _known(value: Any, otherwise: Any) -> float:
    return float(otherwise if pd.isna(value) else value)


def mean_drop(drops: Iterable[float]) -> float:
    """Return the mean drop of those draws of a control that gave a number; NaN if none did."""
    known = [float(value) for value in drops if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def drop(lesioned: Scores, intact: Scores) -> float:
    """Return how much worse the mean is than intact; positive for harm."""
    difference = intact.mean - lesioned.mean
    return difference if intact.higher_is_better else -difference


def cohen_h(intact: float, lesioned: float) -> float:
    """Return Cohen's h of two proportions, ``2 asin sqrt(p1) - 2 asin sqrt(p2)`` (Cohen 1988).

    Example:
        >>> round(cohen_h(0.9, 0.5), 2)
        0.93
    """
    return float(2 * np.arcsin(np.sqrt(intact)) - 2 * np.arcsin(np.sqrt(lesioned)))


@dataclass(frozen=True)
class Intervals:
    """Percentile bootstrap intervals of drops (Efron and Tibshirani 1993).

    Items are drawn with replacement, the same for every lesion of a task, so that differences are
    paired; a comparison with controls also draws the controls with replacement.

    Attributes:
        counts: ``[resample, item]``, how often each item was drawn.
        confidence: of the intervals.
        seed: of the draws.
    """

    counts: Float[np.ndarray, "resample item"]
    confidence: float
    seed: int

    @classmethod
    def over(cls, n_items: int, *, n_resamples: int, confidence: float, seed: int) -> "Intervals":
        """Draw ``n_resamples`` samples of ``n_items`` items."""
        draws = np.random.default_rng(seed).multinomial(
            n_items, np.full(n_items, 1 / n_items), size=n_resamples
        )
        return cls(draws.astype(np.float64), confidence, seed)

    def of_drop(self, lesioned: Scores, intact: Scores) -> tuple[float, float]:
        """Return the interval of a drop, over items."""
        return self._interval(self._drops(lesioned, intact))

    def of_difference(
        self, network: Scores, controls: Sequence[Scores], intact: Scores
    ) -> tuple[float, float]:
        """Return the interval of the network's drop minus the controls', over items and draws.

        It says how these very sets of units differ, not whether the network differs from what
        could have been drawn; for that see :mod:`lensloc.results.draws`. Draws without a number are
        left out; if fewer than two are left of more, there is none.
        """
        known = [control for control in controls if np.isfinite(control.mean)]
        if not known or len(known) == 1 < len(controls):
            return float("nan"), float("nan")
        of_controls = np.stack([self._drops(control, intact) for control in known])
        draws = np.random.default_rng([self.seed, len(known)]).integers(
            len(known), size=of_controls.shape
        )
        resampled = np.take_along_axis(of_controls, draws, axis=0).mean(axis=0)
        return self._interval(self._drops(network, intact) - resampled)

    def _drops(self, lesioned: Scores, intact: Scores) -> Float[np.ndarray, " resample"]:
        sign = 1.0 if intact.higher_is_better else -1.0
        drops: Float[np.ndarray, " resample"] = sign * (self._means(intact) - self._means(lesioned))
        return drops

    def _means(self, scores: Scores) -> Float[np.ndarray, " resample"]:
        with np.errstate(invalid="ignore", divide="ignore"):
            totals, weights = self.counts @ scores.value, self.counts @ scores.weight
            means: Float[np.ndarray, " resample"] = np.divide(totals, weights)
        return means

    def _interval(self, sample: Float[np.ndarray, " resample"]) -> tuple[float, float]:
        tail = (1 - self.confidence) / 2
        known = sample[np.isfinite(sample)]
        # Where more of the sample than lies outside has no number, the ends may be anything.
        if self.counts.shape[1] < 2 or len(sample) - len(known) > tail * len(sample):
            return float("nan"), float("nan")
        low, high = np.quantile(known, [tail, 1 - tail])
        return float(low), float(high)


def scores_of(items: pd.DataFrame, *, higher_is_better: bool) -> Scores:
    """Return a task result's items as arrays."""
    return Scores(
        items["value"].to_numpy(dtype=np.float64),
        items["weight"].to_numpy(dtype=np.float64),
        higher_is_better,
    )


def tabulate(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns in the order of :class:`LesionStudy`."""
    columns = [
        *("model", "network", "site", "mode", "percent", "kind", "seed", "n_units", "magnitude"),
        *("log_magnitude", "n_outliers"),
        *("smd", "layers_apart", "dimensions_shared", "units_shared", "alike"),
        *("task", "measure", "n_items", "score", "intact", "chance", "n_ties", "finite"),
        *("drop", "drop_low", "drop_high", "cohen_h"),
        *_COMPARED,
        *("took_effect", "moved"),
    ]
    table: pd.DataFrame = pd.DataFrame(list(rows), columns=columns)
    typed: pd.DataFrame = table.astype(dict.fromkeys(_WHOLE, "Int64"))
    return typed
