"""What people were shown, and what their brains did: stimuli and responses to them."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xxhash
from jaxtyping import Float, Int

from lensloc.alignment.tables import Table, numbers_of, place, read_table, texts_of
from lensloc.contrasts.columns import TableForm
from lensloc.display import markup
from lensloc.errors import LensLocError

_OF_STIMULI = ("text", "passage", "position", "group", "onset")
_OF_SAMPLES = ("passage", "position", "run", "time")
_UNNAMED = re.compile(r"Unnamed: \d+")  # what pandas calls a column without a name
_FEWEST_COUNTED = 4  # of rows of which it can be said that a column counts them


@dataclass(frozen=True, eq=False)
class Stimuli:
    """Texts in the order in which people saw them, within passages.

    Attributes:
        texts: the stimuli: sentences, words, or longer.
        passages: the passage, story or run that each belongs to; context grows within it.
        positions: place in the passage; only the order counts.
        groups: what is kept whole when data are split; the passage, unless something larger (a
            topic, a run) is given.
        onsets: seconds from the beginning of the run, for responses that are time series.
        name: where they come from, for messages.
    """

    texts: tuple[str, ...]
    passages: tuple[str, ...]
    positions: Float[np.ndarray, " stimulus"]
    groups: tuple[str, ...]
    onsets: Float[np.ndarray, " stimulus"] | None = None
    name: str = "the table of stimuli"

    def __post_init__(self) -> None:
        seen: dict[tuple[str, float], int] = {}
        of_passage: dict[str, tuple[str, int]] = {}
        for row, (passage, position, group) in enumerate(
            zip(self.passages, self.positions.tolist(), self.groups, strict=True)
        ):
            if (passage, position) in seen:
                raise LensLocError(
                    f"{place(self.name, row)}: passage {passage!r} has the position {position:g} "
                    f"already (row {seen[passage, position] + 1} of the stimuli); number the "
                    "stimuli of a passage apart."
                )
            seen[passage, position] = row
            known, first = of_passage.setdefault(passage, (group, row))
            if known != group:
                raise LensLocError(
                    f"{place(self.name, row)}: passage {passage!r} is in the group {group!r}, but "
                    f"in {known!r} above (row {first + 1} of the stimuli); put a passage in one."
                )

    @classmethod
    def of(
        cls,
        given: "Stimuli | Table | Sequence[str]",
        *,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "Stimuli":
        """Read stimuli: a table with these columns, or texts of which each is its own passage.

        ``text``; ``passage`` (each text is its own without it); ``position`` within the passage
        (order of the rows without it); ``group`` (passages are kept whole without it); ``onset`` in
        seconds, for time series.

        Args:
            given: the stimuli.
            sep: what separates cells of a ``.csv`` file; found out if None.
            encoding: of files of text; UTF-8, or what a byte order mark says, if None.

        Raises:
            LensLocError: a missing column or cell, naming file and row; a position that is taken.
        """
        if isinstance(given, Stimuli):
            TableForm.of(None, sep, encoding).require_unsaid("what was read already")
            return given
        source: Table = (
            given
            if isinstance(given, str | Path | pd.DataFrame) or not isinstance(given, Iterable)
            else pd.DataFrame({"text": list(given)})
        )
        table, name = read_table(source, "stimuli", _OF_STIMULI, sep=sep, encoding=encoding)
        texts = texts_of(table, "text", name)
        columns = set(table.columns)
        passages = (
            texts_of(table, "passage", name)
            if "passage" in columns
            else [str(row) for row in range(1, len(texts) + 1)]
        )
        positions = (
            numbers_of(table, ["position"], name)[:, 0]
            if "position" in columns
            else _order_within(passages)
        )
        groups = texts_of(table, "group", name) if "group" in columns else passages
        onsets = numbers_of(table, ["onset"], name)[:, 0] if "onset" in columns else None
        return cls(tuple(texts), tuple(passages), positions, tuple(groups), onsets, name)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Stimuli({len(self)} in {len(set(self.passages))} passages)"

    def _repr_html_(self) -> str:
        rows = [
            {"passage": passage, "position": float(position), "text": markup.shortened(text, 80)}
            for passage, position, text in zip(
                self.passages[:8], self.positions[:8].tolist(), self.texts[:8], strict=True
            )
        ]
        return markup.card(repr(self), markup.table(rows))

    def place(self, row: int) -> str:
        """Return how a stimulus is called in a message."""
        return f"{place(self.name, row)} ({markup.shortened(self.texts[row], 40)!r})"

    def by_passage(self) -> dict[str, Int[np.ndarray, " row"]]:
        """Return each passage's rows in order of position; passages in order of appearance."""
        rows: dict[str, list[int]] = {}
        for row, passage in enumerate(self.passages):
            rows.setdefault(passage, []).append(row)
        return {
            passage: np.array(sorted(found, key=lambda row: float(self.positions[row])))
            for passage, found in rows.items()
        }

    def ranks(self) -> Float[np.ndarray, " stimulus"]:
        """Return every stimulus' place in its passage, counted from 0."""
        ranks = np.zeros(len(self))
        for rows in self.by_passage().values():
            ranks[rows] = np.arange(len(rows))
        return ranks

    @property
    def hash(self) -> str:
        """Hash of texts, passages and order."""
        digest = xxhash.xxh3_128()
        for passage, rows in sorted(self.by_passage().items()):
            digest.update(f"{passage}\0".encode())
            for row in rows:
                digest.update(f"{self.texts[row]}\0".encode("utf-8", "surrogatepass"))
        return f"xxh3:{digest.hexdigest()}"


@dataclass(frozen=True, eq=False)
class BrainResponses:
    """What was recorded: one column per voxel, electrode or region.

    Attributes:
        values: float64 ``[sample, response]``: a sample is a stimulus, or a moment of a series.
        names: of the responses.
        regions: region of every response; the same for all if not known.
        ceilings: the largest correlation that any model can reach, one per response; NaN where it
            is not known. None without.
        runs: run of every sample, for time series.
        times: seconds from the beginning of the run, for time series.
        passages: passage of the stimulus of every sample, to be compared with the stimuli's.
        positions: its position in the passage, likewise.
        name: where they come from, for messages.
    """

    values: Float[np.ndarray, "sample response"]
    names: tuple[str, ...]
    regions: tuple[str, ...]
    ceilings: Float[np.ndarray, " response"] | None = None
    runs: tuple[str, ...] | None = None
    times: Float[np.ndarray, " sample"] | None = None
    passages: tuple[str, ...] | None = None
    positions: Float[np.ndarray, " sample"] | None = None
    name: str = "the table of responses"

    def __post_init__(self) -> None:
        wrong = np.argwhere(~np.isfinite(self.values))
        if len(wrong):
            row, column = (int(at) for at in wrong[0])
            raise LensLocError(
                f"{place(self.name, row)}: the response {self.names[column]!r} is "
                f"{self.values[row, column]}; leave the response out, or the stimulus."
            )
        spread = np.ptp(self.values, axis=0)
        if (spread == 0).any():
            constant = np.flatnonzero(spread == 0)
            named = ", ".join(repr(self.names[at]) for at in constant[:3])
            more = f" and {len(constant) - 3} more" if len(constant) > 3 else ""
            raise LensLocError(
                f"{self.name}: the responses {named}{more} are constant over all "
                f"{len(self.values)} samples, so nothing can explain them; leave them out."
            )
        if (self.runs is None) != (self.times is None):
            raise LensLocError(
                f"{self.name} has {'times' if self.runs is None else 'runs'} only; a time series "
                "needs both columns, run and time."
            )

    @property
    def is_series(self) -> bool:
        """Whether samples are moments of time series."""
        return self.runs is not None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        samples = "moments" if self.is_series else "stimuli"
        return f"BrainResponses({len(self)} {samples} x {len(self.names)} responses)"

    def _repr_html_(self) -> str:
        regions = pd.Series(self.regions).value_counts()
        known = {f"responses in {name}": int(count) for name, count in regions.items()}
        if self.ceilings is not None:
            known["mean ceiling (r)"] = float(np.nanmean(self.ceilings))  # type: ignore[assignment]
        return markup.card(repr(self), markup.facts(known))

    @classmethod
    def of(
        cls,
        given: "BrainResponses | Table | Float[np.ndarray, '...']",
        *,
        ceilings: "Table | Mapping[str, float] | None" = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "BrainResponses":
        """Read responses: an array, or a wide table with one column per response.

        Rows are stimuli, in the order of the table of stimuli. Columns ``passage`` and ``position``
        may say which (they are then compared with the stimuli's). For time series, columns ``run``
        and ``time`` (seconds) say which moment a row is.

        Args:
            given: the responses.
            ceilings: the largest correlation that a model can reach: name of a response -> value;
                or a table with columns ``response``, ``ceiling`` and, if known, ``region``.
            sep: what separates cells of ``.csv`` files, of ceilings too; found out if None.
            encoding: of files of text; UTF-8, or what a byte order mark says, if None.

        Raises:
            LensLocError: a cell that is no number, naming file and row; a constant response; a
                column that has no name, or counts the rows.
        """
        form, of_ceilings = TableForm.of(None, sep, encoding), TableForm.of(None, None, None)
        if isinstance(ceilings, str | Path):
            of_ceilings = form.fitted(Path(ceilings))
            if not isinstance(given, str | Path):  # then it is said of the ceilings alone
                sep = encoding = None
                form = TableForm.of(None, None, None)
        if isinstance(given, BrainResponses):
            form.require_unsaid("what was read already")
            if ceilings is None:
                return given
            return given.with_ceilings(ceilings, **of_ceilings.said)
        source: Table
        if not isinstance(given, np.ndarray):
            source = given
        else:
            array = given[:, None] if given.ndim == 1 else given
            if array.ndim != 2:
                raise LensLocError(
                    f"Responses have shape {given.shape}; give [stimulus, response]."
                )
            columns = [f"response {number + 1}" for number in range(array.shape[1])]
            source = pd.DataFrame(array, columns=columns)
        table, name = read_table(source, "responses", _OF_SAMPLES, sep=sep, encoding=encoding)
        keys = [key for key in _OF_SAMPLES if key in table.columns]
        names = [column for column in table.columns if column not in keys]
        if not names:
            raise LensLocError(f"{name} has no column of responses, only {', '.join(keys)}.")
        for column in names:
            if not column.strip() or _UNNAMED.fullmatch(column):
                raise LensLocError(
                    f"{name} has a column without a name, as pandas writes its index; remove it "
                    "(in pandas, to_csv(..., index=False)), or name it if it is a response."
                )
        values = numbers_of(table, names, name)
        if source is given:
            _require_no_counts(values, names, name)
        runs = tuple(texts_of(table, "run", name)) if "run" in keys else None
        times = numbers_of(table, ["time"], name)[:, 0] if "time" in keys else None
        made = cls(
            values,
            tuple(names),
            ("all",) * len(names),
            runs=runs,
            times=times,
            passages=tuple(texts_of(table, "passage", name)) if "passage" in keys else None,
            positions=numbers_of(table, ["position"], name)[:, 0] if "position" in keys else None,
            name=name,
        )
        return made if ceilings is None else made.with_ceilings(ceilings, **of_ceilings.said)

    def with_ceilings(
        self,
        ceilings: "Table | Mapping[str, float]",
        *,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "BrainResponses":
        """Return the responses with their ceilings, and regions where the table has them.

        Args:
            ceilings: name of a response -> the largest correlation that a model can reach; or a
                table with columns ``response``, ``ceiling`` and, if known, ``region``.
            sep: what separates cells of a ``.csv`` file; found out if None.
            encoding: of a file of text; UTF-8, or what a byte order mark says, if None.

        Raises:
            LensLocError: a ceiling of no response, or above 1; a response without.
        """
        regions: dict[str, str] = {}
        if isinstance(ceilings, Mapping):
            TableForm.of(None, sep, encoding).require_unsaid("a table in memory")
            known = {str(name): float(value) for name, value in ceilings.items()}
            where = "The ceilings"
        else:
            columns = ("response", "ceiling", "region")
            table, where = read_table(ceilings, "ceilings", columns, sep=sep, encoding=encoding)
            labels = texts_of(table, "response", where)
            values = numbers_of(table, ["ceiling"], where, missing=True)[:, 0]
            known = dict(zip(labels, values.tolist(), strict=True))
            if "region" in table.columns:
                regions = dict(zip(labels, texts_of(table, "region", where), strict=True))
        for name in known:
            if name not in self.names:
                raise LensLocError(f"{where} name a response {name!r} that the data do not have.")
        for name in self.names:
            if name not in known:
                raise LensLocError(f"{where} have none for the response {name!r}; add it.")
        found = np.array([known[name] for name in self.names], dtype=np.float64)
        if np.nanmax(found, initial=0.0) > 1:
            raise LensLocError(
                f"{where} hold {np.nanmax(found):g}, but a ceiling is a correlation, at most 1."
            )
        own = zip(self.names, self.regions, strict=True)
        return dataclasses.replace(
            self,
            ceilings=found,
            regions=tuple(regions.get(name, region) for name, region in own),
        )


class Dataset(NamedTuple):
    """Stimuli and responses, as the readers of published data return them."""

    stimuli: Stimuli
    responses: BrainResponses


def _require_no_counts(
    values: Float[np.ndarray, "sample response"], names: Sequence[str], name: str
) -> None:
    """Check that no column beside others numbers the rows, as an index, a trial or a volume does.

    Whatever drifts predicts such a column well, and the mean over responses with it.
    """
    counts = (np.diff(values, axis=0) == 1).all(axis=0)
    if len(values) < _FEWEST_COUNTED or counts.all():
        return
    for at in np.flatnonzero(counts).tolist():
        raise LensLocError(
            f"{name}: the column {names[at]!r} counts the rows ({values[0, at]:g}, "
            f"{values[1, at]:g}, {values[2, at]:g} ...) and is no response; leave it out."
        )


def _order_within(passages: Sequence[str]) -> Float[np.ndarray, " stimulus"]:
    seen: dict[str, int] = {}
    order = []
    for passage in passages:
        seen[passage] = seen.get(passage, 0) + 1
        order.append(seen[passage])
    return np.array(order, dtype=np.float64)
