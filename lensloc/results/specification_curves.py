"""Multiverse: what a lesion costs beside its controls, under every analyst's choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences import specifications as sentences
from lensloc.display.sentences.words import counted
from lensloc.errors import noted
from lensloc.results.specification_counts import by_value_of, claims_of, filled, matters_of

CHOICES = (
    *("selection", "activations", "test", "pooling", "max_tokens", "bos", "site", "percent"),
    *("mode", "control"),
)
"""Columns of choices, in the order in which an analyst makes them."""


@dataclass(frozen=True)
class Multiverse(Savable):
    """What :func:`lensloc.multiverse` measured.

    Attributes:
        table: one row per specification and task:

            - ``specification``, its number; ``reference``, whether it is the one that others are
              compared with; a column per choice, in words: ``selection``, ``activations``,
              ``test``, ``pooling``, ``max_tokens`` (``"whole"``, or how many), ``bos``, ``site``,
              ``percent``, ``mode``, ``control``; empty where the choice plays no part;
            - ``n_units``; ``unit_set``, a number that specifications with the same units share;
              ``overlap``, the Dice coefficient with the units of the reference specification, NaN
              at another site; ``noise``, whether none of the units differs between the conditions
              (q < 0.05);
            - ``task``, ``measure``, ``n_items``, ``intact``, ``score``, ``drop``: how much worse
              than intact, positive for harm (as in :class:`lensloc.LesionStudy`);
            - ``draws`` of the control that were made, ``n_compared`` items that all of them were
              measured on; ``network_drop`` and ``control_drop`` on these; ``difference`` of the two
              with ``difference_low``, ``difference_high``: an interval over draws and items;
              ``p_more`` of the rank test over draws that the chosen units do more harm, ``p_less``,
              ``min_p``; NaN of a control that is not drawn, whose interval is over items;
            - ``smd``, the standardised difference of log magnitude of control and chosen units;
              ``poor``, whether they are no match in magnitude;
            - ``verdict``: ``holds`` (more harm than control units), ``not told apart``,
              ``reversed`` (less), ``no harm`` (less bad than control units, but no harm), ``open``
              (nothing can be concluded); ``took_effect``, whether the lesion did anything.
        left_out: one row per reason for which combinations are no specification of their own:
            ``kind`` (``cannot be made``, ``the same as another``), ``n``, ``choices`` that they
            have in common, ``reason``.
        combinations: how many combinations of choices there are.
        confidence: of intervals and test.
        planned_draws: of every control that is drawn; 0 if none is.
        warnings: what a reader should know, in sentences.
        call: what made it, as code; empty if it was put together by hand.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    combinations: int = 0
    confidence: float = 0.95
    planned_draws: int = 0
    warnings: tuple[str, ...] = ()
    call: str = ""

    def __post_init__(self) -> None:
        told = dict.fromkeys([*self.warnings, *self._warnings()])
        object.__setattr__(self, "warnings", tuple(told))

    @property
    def varied(self) -> tuple[str, ...]:
        """Choices that have several values."""
        return tuple(name for name in CHOICES if len(_values(self.table, name)) > 1)

    @property
    def n_specifications(self) -> int:
        """How many specifications there are."""
        return int(self.table["specification"].nunique())

    def by_value(self, task: str | None = None) -> pd.DataFrame:
        """Return what specifications with each value of every choice say.

        Args:
            task: of this task only.

        Returns:
            One row per task, choice and value: ``specifications``, ``holds`` (in how many the claim
            holds), ``share``, and the median ``difference``.

        Raises:
            LensLocError: if there is no such task.
        """
        return by_value_of(self.table, self.varied, task)

    def matters(self, task: str | None = None) -> pd.DataFrame:
        """Return how much every choice matters, the one that matters most first.

        Every two specifications that differ in one choice only are compared with each other.

        Args:
            task: of this task only.

        Returns:
            One row per task and choice: ``pairs``; ``change``, their mean absolute change of the
            difference from control units; ``verdicts``, the share whose verdicts differ.

        Raises:
            LensLocError: if there is no such task.
        """
        return matters_of(self.table, self.varied, task)

    def summary(self) -> list[str]:
        """Say in how many specifications the claim holds on every task, and what decides."""
        found = claims_of(self.table, self.varied, self.planned_draws, 1 - self.confidence)
        told = [sentence for claims in found for sentence in sentences.claim_sentences(claims)]
        told += sentences.left_out(sentences.SAME, self.combinations, self._reasons("the same"))
        sets = int(self.table["unit_set"].nunique())
        first = (
            f"{counted(self.n_specifications, 'specification')} choose "
            f"{counted(sets, 'set')} of units."
        )
        if self.n_specifications > 1 and any(claims.concluded for claims in found):
            told.append(sentences.DEPENDENT)
        return [first, *told]

    def _reasons(self, kind: str) -> list[tuple[int, str]]:
        if self.left_out.empty:
            return []
        chosen = self.left_out[self.left_out["kind"].str.startswith(kind)]
        return [
            (int(row["n"]), f"{row['reason'].rstrip('.')}{_place(row['choices'])}")
            for row in chosen.to_dict("records")
        ]

    def _warnings(self) -> Sequence[str]:
        one = self.table.drop_duplicates("specification")
        told = sentences.few_draws(self.planned_draws, 1 - self.confidence)
        told += sentences.left_out(
            sentences.LEFT_OUT, self.combinations, self._reasons("cannot be made")
        )
        idle = self.table.groupby("specification")["took_effect"].all()
        told += sentences.specification_notes(
            len(one), noise=int(one["noise"].sum()), idle=int((~idle).sum()),
            poor=int(one["poor"].sum()),
        )  # fmt: skip
        for name in self.varied:
            values = _values(self.table, name)
            if name not in ("mode", "control") and _same_units(one, name):
                told.append(sentences.unchanged_choice(name, values))
        return told

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        tasks = ", ".join(map(str, self.table["task"].unique()))
        left = int(self.left_out["n"].sum()) if len(self.left_out) else 0
        more = f"; {left:,} of {self.combinations:,} combinations left out" if left else ""
        return (
            f"Multiverse({counted(self.n_specifications, 'specification')} of "
            f"{', '.join(self.varied) or 'no choice'}; tasks {tasks}{more})"
        )

    def _repr_html_(self) -> str:
        curve = self.table.sort_values("difference")
        marks = [
            (low, middle, high)
            for low, middle, high in curve[
                ["difference_low", "difference", "difference_high"]
            ].itertuples(index=False)
        ]
        rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()}
            for row in self.by_value().to_dict("records")
        ]
        return markup.card(
            self._line(),
            markup.table(rows),
            markup.captioned(
                markup.intervals(marks, label="differences from control units", row=3),
                "difference from control units of every specification, sorted, with intervals",
            ),
            markup.paragraphs(self.summary()),
            warnings=self.warnings,
        )


def _values(table: pd.DataFrame, name: str) -> list[str]:
    """Return the values of a choice, in words; where it plays no part it has none."""
    return [shown(value) for value in table[name].unique() if value != ""]


def shown(value: Any) -> str:
    """Return a value of a choice in words."""
    return f"{value:g} %" if isinstance(value, float) else str(value)


def _same_units(one: pd.DataFrame, name: str) -> bool:
    """Say whether a choice never changes the units, all else equal."""
    others = [each for each in CHOICES if each not in (name, "mode", "control")]
    used = filled(one[one[name] != ""], one, others)
    groups = used.groupby(others, dropna=False)
    several = groups[name].nunique() > 1
    return bool(several.any()) and bool((groups["unit_set"].nunique()[several] == 1).all())


def _place(choices: Mapping[str, Any]) -> str:
    words = ", ".join(f"{name} {shown(value)}" for name, value in choices.items())
    return f" ({words})" if words else ""
