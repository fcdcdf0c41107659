"""What lesions of language neurons do: to perplexities, to answers, and to the language of answers.

Three tables with names; made by :mod:`lensloc.lape`, drawn by :mod:`lensloc.plot`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted
from lensloc.results.joining import rows_joined, same_in_all, warnings_of
from lensloc.results.lesion_cases import NETWORK


@dataclass(frozen=True)
class LanguageMatrix(Savable):
    """How lesions of every language's units change how well every language is predicted.

    Attributes:
        table: one row per lesion and tested language:

            - ``model``, ``lesioned`` (the language whose units, or as many as whose, are lesioned),
              ``kind`` (``network``, or how a control was drawn), ``seed`` of the draw,
              ``n_units``;
            - ``tested``, ``n_texts``; ``log_perplexity`` and, without a lesion,
              ``intact``, both in nats per token;
            - ``change``: their difference, positive for harm; ``change_low``, ``change_high``: its
              paired bootstrap interval over texts;
            - ``difference``: on rows of a control, the change by the language's own units minus the
              mean change of all draws, with ``difference_low``, ``difference_high``: over draws and
              texts; ``p_more``, ``p_less``: of the rank test over draws;
            - ``took_effect``, ``moved``, ``finite``: as in
              :class:`~lensloc.results.lesions.LesionStudy`.
        confidence: of the intervals.
        warnings: what a reader of the table should know, in sentences.
    """

    table: pd.DataFrame
    confidence: float = 0.95
    warnings: tuple[str, ...] = ()

    @classmethod
    def _joined(cls, several: Sequence["LanguageMatrix"]) -> "LanguageMatrix":
        same_in_all(several, "confidence")
        keys = ["model", "lesioned", "kind", "seed", "tested"]
        table = rows_joined([each.table for each in several], keys, "lesion")
        if "model" in table and table["model"].nunique() > 1:
            raise LensLocError(
                "The matrices are of several models, and one matrix holds one; join their tables, "
                "[found.table for found in ...]."
            )
        return cls(table, several[0].confidence, warnings_of(several))

    @property
    def kinds(self) -> tuple[str, ...]:
        """``network``, then the kinds of control."""
        return tuple(map(str, self.table["kind"].unique()))

    def matrix(self, kind: str = NETWORK, value: str = "change") -> pd.DataFrame:
        """Return one value, lesioned language (rows) x tested language (columns).

        Args:
            kind: ``network``, or a kind of control, whose draws are averaged.
            value: a column of numbers of the table.

        Raises:
            LensLocError: if there is no such kind or column.
        """
        if kind not in self.kinds:
            raise LensLocError(f"There is no {kind!r} here; there are {', '.join(self.kinds)}.")
        if value not in self.table or not pd.api.types.is_numeric_dtype(self.table[value]):
            raise LensLocError(f"The table has no column of numbers {value!r}; see its columns.")
        rows = self.table[self.table["kind"] == kind]
        found: pd.DataFrame = (
            rows.groupby(["lesioned", "tested"], sort=False)[value].mean().unstack()
        )
        ordered: pd.DataFrame = found.reindex(
            index=list(rows["lesioned"].unique()), columns=list(rows["tested"].unique())
        )
        return ordered

    def __repr__(self) -> str:
        lesioned, tested = (
            ", ".join(map(str, self.table[name].unique())) for name in ("lesioned", "tested")
        )
        line = f"LanguageMatrix(lesioned {lesioned}; tested {tested}; {', '.join(self.kinds)})"
        return noted(line, self.warnings)

    def _repr_html_(self) -> str:
        rows = self.matrix().reset_index().to_dict("records")
        return markup.card(
            "Change of log perplexity (nats per token; positive: harm) by language lesioned and "
            "tested",
            markup.table([{str(name): value for name, value in row.items()} for row in rows]),
            warnings=self.warnings,
        )


@dataclass(frozen=True)
class Answers(Savable):
    """What a model answers in every language while the units of one are switched off.

    Attributes:
        table: one row per lesion and language of the prompts:

            - ``lesioned`` (``none`` for the intact model), ``asked`` (language of the prompts),
              ``n_units``, ``n`` (prompts);
            - ``tokens``, ``words``: mean length of an answer;
            - ``stop_words``: share of all words that are stop words of the language asked in;
            - ``language``: what most answers were identified as (ISO 639-1; ``und`` where the
              identifier is less than half sure, ``zxx`` for no language), ``language_share``: how
              many of them; ``in_language``: how many are in the language asked in;
            - ``language_recall``, ``in_language_recall``: how much of reference text in that
              language, as short as these answers, is identified; NaN where there is no reference.
              A share does not compare with one of a language of another recall;
            - ``repeats``: share of answers that repeat the question;
            - ``distinct_2``: mean share of different pairs of words;
            - ``fluency``: mean log-probability per token that the intact model gives to the
              answers;
            - ``changed``: share of answers that differ from the intact model's, and
              ``took_effect``: whether any does; ``finite``: whether the lesioned model gave numbers
              at all, without which all measures are missing.
        answers: one row per answer: ``lesioned``, ``asked``, ``item``, ``prompt``, ``text``, and
            the same measures.
        warnings: what a reader of the table should know, in sentences.
    """

    table: pd.DataFrame
    answers: pd.DataFrame
    warnings: tuple[str, ...] = ()

    @classmethod
    def _joined(cls, several: Sequence["Answers"]) -> "Answers":
        table = rows_joined([each.table for each in several], ["lesioned", "asked"], "answers")
        answers = pd.concat([each.answers for each in several], ignore_index=True)
        return cls(table, answers, warnings_of(several))

    def __repr__(self) -> str:
        lesioned = ", ".join(map(str, self.table["lesioned"].unique()))
        asked = ", ".join(map(str, self.table["asked"].unique()))
        line = f"Answers({len(self.answers)} answers; lesioned {lesioned}; asked in {asked})"
        return noted(line, self.warnings)

    def _repr_html_(self) -> str:
        columns = ["lesioned", "asked", "n", "words", "language", "in_language", "stop_words",
                   "fluency", "changed", "took_effect"]  # fmt: skip
        return markup.card(
            f"{len(self.answers):,} answers",
            markup.table(_rows(self.table, columns)),
            warnings=self.warnings,
        )


@dataclass(frozen=True)
class Steering(Savable):
    """Whether driving one language's units makes the model answer in it.

    Attributes:
        table: one row per way of steering:

            - ``asked`` (language of the prompts), ``toward`` (the language steered to);
            - ``level``: what the units of ``toward`` are clamped to (``mean``, ``q0.95``...; ``-``
              where they are left alone), ``deactivated``: whether the units of ``asked`` are zero;
            - ``kind`` (``network``, or how a control was drawn in place of the units of
              ``toward``), ``seed`` of the draw, ``n_units``, ``n`` (prompts);
            - ``in_toward``, ``in_asked``: shares of answers in either language, with
              ``in_toward_recall`` and ``in_asked_recall``, as in :class:`Answers`; ``switched``:
              share of answers in ``toward`` whose counterpart without steering was not;
            - ``stop_words``: share of all words that are stop words of ``toward``; ``tokens``,
              ``distinct_2``, ``fluency`` (of the intact model), ``changed``, ``took_effect``,
              ``finite``: as in :class:`Answers`.
        answers: one row per answer.
        warnings: what a reader of the table should know, in sentences.
    """

    table: pd.DataFrame
    answers: pd.DataFrame
    warnings: tuple[str, ...] = ()

    @classmethod
    def _joined(cls, several: Sequence["Steering"]) -> "Steering":
        keys = ["asked", "toward", "level", "deactivated", "kind", "seed"]
        table = rows_joined([each.table for each in several], keys, "answers")
        answers = pd.concat([each.answers for each in several], ignore_index=True)
        return cls(table, answers, warnings_of(several))

    def __repr__(self) -> str:
        asked = ", ".join(map(str, self.table["asked"].unique()))
        toward = ", ".join(map(str, self.table["toward"].unique()))
        line = f"Steering({len(self.answers)} answers; asked in {asked}; steered to {toward})"
        return noted(line, self.warnings)

    def _repr_html_(self) -> str:
        columns = ["asked", "toward", "level", "deactivated", "kind", "in_toward", "in_asked",
                   "switched", "fluency", "distinct_2", "took_effect"]  # fmt: skip
        return markup.card(
            f"{len(self.answers):,} answers",
            markup.table(_rows(self.table, columns)),
            warnings=self.warnings,
        )


def _rows(table: pd.DataFrame, columns: list[str]) -> list[dict[str, object]]:
    """Return columns of a table as rows that a card shows."""
    return [
        {str(name): value for name, value in row.items()}
        for row in table[columns].to_dict("records")
    ]
