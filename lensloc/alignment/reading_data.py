"""How long people took to read the words of texts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from lensloc.alignment.tables import (
    Table,
    numbers_of,
    place,
    read_table,
    require_columns,
    texts_of,
)
from lensloc.display import markup
from lensloc.errors import LensLocError, refuse_idle


@dataclass(frozen=True, eq=False)
class ReadingTimes:
    """Words of texts, and how long people took to read them.

    Attributes:
        words: ``story``, ``position`` (whole numbers without a gap within a story), ``word``; in
            order.
        times: ``story``, ``position``, ``time``; and ``subject`` for data of single readers. Empty
            if only the words matter.
        texts: story -> its text as it was shown, with its line ends; words are joined by a space
            for stories that have none.
        name: where they come from.
    """

    words: pd.DataFrame
    times: pd.DataFrame
    texts: Mapping[str, str] = field(default_factory=dict)
    name: str = "the table of reading times"

    @property
    def by_subject(self) -> bool:
        """Whether times are those of single readers."""
        return "subject" in self.times.columns

    def __repr__(self) -> str:
        stories = self.words["story"].nunique()
        what = "times of single readers" if self.by_subject else "times"
        return (
            f"ReadingTimes({len(self.words):,} words of {stories} stories; "
            f"{len(self.times):,} {what})"
        )

    def _repr_html_(self) -> str:
        merged = self.words.merge(self.times, on=["story", "position"], how="left").head(10)
        rows = [
            {str(name): value for name, value in row.items()} for row in merged.to_dict("records")
        ]
        return markup.card(repr(self), markup.table(rows))

    def stories(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield every story's name and words, in order."""
        for name, found in self.words.groupby("story", sort=False):
            yield str(name), found

    @classmethod
    def of(cls, given: "ReadingTimes | Table", **options: object) -> "ReadingTimes":
        """Return reading times as they are, or read a table; see :meth:`from_dataframe`.

        Raises:
            LensLocError: as :meth:`from_dataframe`; options for what was read already.
        """
        if isinstance(given, ReadingTimes):
            reason = "they say how a table is read, and these reading times were read already"
            refuse_idle(reason, **dict.fromkeys(options, True))
            return given
        return cls.from_dataframe(given, **options)  # type: ignore[arg-type]

    @classmethod
    def from_dataframe(
        cls,
        given: Table,
        *,
        time: str | None = "time",
        texts: Mapping[str, str] | None = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "ReadingTimes":
        """Read a table with columns ``story``, ``position``, ``word``, and times.

        One row per word; or, with a column ``subject``, one row per word and reader. All words of a
        story must be there, since they are the model's context; those that were not timed, or were
        skipped, have an empty cell.

        Args:
            given: a table, or a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file.
            time: name of the column of times; None if there are none.
            texts: story -> its text as it was shown.
            sep: what separates cells of a ``.csv`` file; found out if None.
            encoding: of files of text; UTF-8, or what a byte order mark says, if None.

        Raises:
            LensLocError: a missing column or cell, two words in one place, a gap, a time that is
                not above 0; naming the row.
        """
        table, name = read_table(
            given,
            "reading times",
            ("story", "position", "word", "subject", *([time] if time else [])),
            sep=sep,
            encoding=encoding,
        )
        require_columns(table, ["story", "position", "word", *([time] if time else [])], name)
        found = pd.DataFrame(
            {
                "story": texts_of(table, "story", name),
                "position": _whole_numbers(table, name),
                "word": texts_of(table, "word", name),
            }
        )
        split = found["word"].str.contains(r"\s", regex=True)
        if split.any():
            row = int(np.flatnonzero(split)[0])
            raise LensLocError(
                f"{place(name, row)}: the word {found['word'][row]!r} holds white space; give "
                "every word its own row."
            )
        words = _words(found, name)
        times = found[["story", "position"]].copy()
        if time is None:
            times = times.iloc[:0].assign(time=np.zeros(0))
        else:
            times["time"] = numbers_of(table, [time], name, missing=True)[:, 0]
            _require_above_zero(times["time"].to_numpy(), time, name)
            if "subject" in table.columns:
                times["subject"] = texts_of(table, "subject", name)
            _require_one_time(times, name)
            times = times[times["time"].notna()].reset_index(drop=True)
            if times.empty:
                raise LensLocError(f"{name} has no time in the column {time!r}; fill it.")
        unknown = sorted(set(texts or {}) - set(words["story"]))
        if unknown:
            raise LensLocError(f"There is a text of the story {unknown[0]!r}, which has no words.")
        return cls(words, times, dict(texts or {}), name)


def _whole_numbers(table: pd.DataFrame, name: str) -> Int[np.ndarray, " row"]:
    found = numbers_of(table, ["position"], name)[:, 0]
    odd = np.flatnonzero(found != np.round(found))
    if len(odd):
        row = int(odd[0])
        raise LensLocError(
            f"{place(name, row)}: position is {found[row]:g}; count words in whole numbers."
        )
    return found.astype(np.int64)


def _words(found: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return every word once, in order, after checking that all are there."""
    order = {story: number for number, story in enumerate(dict.fromkeys(found["story"]))}
    once = found.drop_duplicates()
    clash = once.duplicated(["story", "position"])
    if clash.any():
        row = int(clash.index[clash.to_numpy().argmax()])
        story, position, word = once.loc[row]
        other = once[(once["story"] == story) & (once["position"] == position)]["word"].iloc[0]
        raise LensLocError(
            f"{place(name, row)}: word {position} of story {story} is {word!r}, but {other!r} "
            "elsewhere; give every place one word."
        )
    once = once.assign(order=once["story"].map(order))
    once = once.sort_values(["order", "position"], kind="stable")
    words: pd.DataFrame = once.drop(columns="order").reset_index(drop=True)
    same = words["story"].eq(words["story"].shift())
    gap = same & (words["position"].diff() != 1)
    if gap.any():
        row = int(gap.to_numpy().argmax())
        before, after = words["position"][row - 1] + 1, words["position"][row] - 1
        which = f"word {before}" if before == after else f"the words {before} to {after}"
        raise LensLocError(
            f"{name} lacks {which} of story {words['story'][row]}; the model reads whole stories, "
            "so give all words (with an empty time)."
        )
    return words


def _require_above_zero(times: Float[np.ndarray, " row"], column: str, name: str) -> None:
    """Check that nothing stands for a time that is none: 0 for a word that was skipped, say."""
    wrong = np.flatnonzero(times <= 0)
    if len(wrong):
        row = int(wrong[0])
        more = f" (and in {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
        raise LensLocError(
            f"{place(name, row)}: {column} is {times[row]:g}{more}, and nobody reads a word in no "
            "time; leave the cell of a word empty that was skipped or not timed."
        )


def _require_one_time(times: pd.DataFrame, name: str) -> None:
    keys = [key for key in ("story", "position", "subject") if key in times.columns]
    doubled = times.duplicated(keys)
    if doubled.any():
        row = int(doubled.to_numpy().argmax())
        which = " and ".join(f"{key} {times[key][row]}" for key in keys)
        raise LensLocError(
            f"{place(name, row)}: {which} has a time already; give one per row, or a "
            "column subject."
        )
