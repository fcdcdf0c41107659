"""Contrast: named conditions, each a list of texts; which are target and which control."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensloc.contrasts import reading
from lensloc.contrasts.as_table import AsTable
from lensloc.contrasts.balance import (
    Balance,
    Matching,
    Measure,
    Method,
    matched_texts,
    measure_balance,
)
from lensloc.contrasts.card import card
from lensloc.contrasts.from_media import FromMedia, Names
from lensloc.contrasts.halves import halves
from lensloc.contrasts.protocols import Protocol
from lensloc.contrasts.texts import repeated, require_whole
from lensloc.display.frozen import FrozenMapping
from lensloc.units.pairing import paired_rows
from lensloc.units.text_sets import TextSet
from lensloc.units.verbatim import is_verbatim

if TYPE_CHECKING:
    import pandas as pd

    from lensloc.models.surface import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contrast(AsTable, FromMedia):
    """Named conditions, and which of them are the target and which the control.

    Attributes:
        name: what the contrast localizes, e.g. ``"language"``.
        conditions: condition name -> texts, in order.
        target: conditions in which selective units respond more.
        control: conditions that they are compared with.
        source: where the texts come from, in words.
        items: condition name -> item of each text; texts of one item (a pair, say) belong
            together. None if texts of different conditions are unrelated.
        protocol: how the published localizer with this contrast proceeds; None for stimuli of
            your own. What is made of the contrast (halves, other roles) keeps it.
    """

    name: str
    conditions: Mapping[str, tuple[str, ...]]
    target: tuple[str, ...]
    control: tuple[str, ...]
    source: str = "texts given in Python"
    items: Mapping[str, tuple[str, ...]] | None = None
    protocol: Protocol | None = None

    def __post_init__(self) -> None:
        require_whole(self.name, "a contrast")
        conditions = reading.checked_conditions(self.conditions, self.source)
        object.__setattr__(self, "conditions", FrozenMapping(conditions))
        if self.items is not None:
            items = reading.checked_items(self.items, conditions, self.source)
            object.__setattr__(self, "items", FrozenMapping(items))
        object.__setattr__(self, "target", reading.names(self.target))
        object.__setattr__(self, "control", reading.names(self.control))
        reading.require_roles(self.target, self.control, self.conditions, self.source)

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def from_texts(
        cls,
        conditions: Mapping[Any, Sequence[str]],
        *,
        target: Names,
        control: Names,
        name: str = "custom",
    ) -> "Contrast":
        """Make a contrast from lists of texts.

        Args:
            conditions: condition name, a text or a whole number -> texts.
            target: one condition or several.
            control: one condition or several.
            name: what the contrast is called in results.

        Raises:
            LensLocError: for an unknown, empty, or doubly used condition, or an empty text.

        Example:
            >>> import lensloc as ll
            >>> texts = {"hot": ["hot tea", "a hot day"], "cold": ["iced tea", "a cold day"]}
            >>> ll.Contrast.from_texts(texts, target="hot", control="cold", name="heat")
            Contrast(heat: hot > cold; hot 2, cold 2)
        """
        checked = reading.checked_conditions(conditions, "texts given in Python")
        return cls(name, checked, reading.names(target), reading.names(control))

    @classmethod
    def from_dataframe(
        cls,
        table: "pd.DataFrame",
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str = "custom",
    ) -> "Contrast":
        """Make a contrast from a table with one row per text.

        Args:
            table: the texts.
            target: one value of the condition column, or several.
            control: one value of the condition column, or several.
            text: name of the column with the texts. Here as for the others, small and capital
                letters and blanks around a name do not matter if one column only fits.
            condition: name of the column that says which condition a row belongs to. White space
                around the names of conditions does not count.
            item: name of a column that says which rows of different conditions belong together
                (a pair, say), so that splits and matching keep them together.
            name: what the contrast is called in results.

        Raises:
            LensLocError: if a column, a condition or a text is missing, a text is no text (a
                number, say), or two conditions differ in nothing but capital letters; the row is
                named.
        """
        columns = reading.Columns(text, condition, item)
        return cls._of(reading.from_table(table, columns), target, control, name)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str | None = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "Contrast":
        """Read a contrast from a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file.

        Args:
            path: the file; all but Parquet may be compressed (``.csv.gz``).
            target: as in :meth:`from_dataframe`.
            control: as there.
            text: as there.
            condition: as there.
            item: as there.
            name: what the contrast is called in results; as the file if None.
            sep: what separates cells; if None, what divides the header into the columns that are
                asked for: usually a tab in a ``.tsv`` and a comma in a ``.csv``.
            encoding: of the file; UTF-8, or what its byte order mark says, if None.

        Raises:
            LensLocError: if the file, a column, a condition or a text is missing, or something is
                wrong with one of them; file and row are named.
        """
        columns = reading.Columns(text, condition, item, sep, encoding)
        return cls._of(reading.from_file(path, columns), target, control, name)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str | None = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "Contrast":
        """Read a contrast from a CSV with a header, whatever its suffix; see :meth:`from_file`.

        Raises:
            LensLocError: as there.
        """
        columns = reading.Columns(text, condition, item, sep, encoding)
        return cls._of(reading.from_file(path, columns, ".csv"), target, control, name)

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str | None = None,
        encoding: str | None = None,
    ) -> "Contrast":
        """Read a contrast from JSON lines, one object per text; see :meth:`from_file`.

        Raises:
            LensLocError: as there.
        """
        columns = reading.Columns(text, condition, item, encoding=encoding)
        return cls._of(reading.from_file(path, columns, ".jsonl"), target, control, name)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str | None = None,
    ) -> "Contrast":
        """Read a contrast from a Parquet file; see :meth:`from_file`.

        Raises:
            LensLocError: as there.
        """
        columns = reading.Columns(text, condition, item)
        return cls._of(reading.from_file(path, columns, ".parquet"), target, control, name)

    @classmethod
    def from_huggingface(
        cls,
        dataset: str,
        split: str = "train",
        *,
        target: Names,
        control: Names,
        text: str = "text",
        condition: str = "condition",
        item: str | None = None,
        name: str | None = None,
    ) -> "Contrast":
        """Read a contrast from a data set of the Hugging Face hub; see :meth:`from_dataframe`.

        Class labels are used by their names where the data set has names for them.

        Raises:
            LensLocError: if it cannot be had (offline, say), or a column is missing.
        """
        columns = reading.Columns(text, condition, item)
        return cls._of(reading.from_hub(dataset, split, columns), target, control, name)

    @classmethod
    def _of(
        cls, found: reading.Read, target: Names, control: Names, name: str | None
    ) -> "Contrast":
        return cls(
            name or found.name,
            found.conditions,
            reading.names(target),
            reading.names(control),
            source=found.source,
            items=found.items,
        )

    def with_roles(self, *, target: Names, control: Names) -> "Contrast":
        """Return the same conditions with another target and control.

        Raises:
            LensLocError: for an unknown or doubly used condition.
        """
        return dataclasses.replace(
            self, target=reading.names(target), control=reading.names(control)
        )

    def with_template(
        self, model: "Model", system: str | None = None, *, add_generation_prompt: bool = False
    ) -> "Contrast":
        """Return the same contrast with every text as a user's turn in a model's chat template.

        The tokens are exactly those of ``tokenizer.apply_chat_template(turns, tokenize=True)``:
        nothing is added to what the template writes. That texts stand in a template is part of the
        contrast's name, and so of all that comes of it. A table holds no more than the letters:
        write the contrast as it was, and put it into the template again after reading.

        Args:
            model: a model whose tokenizer has a chat template.
            system: what stands in the system's turn; none if None.
            add_generation_prompt: also write the beginning of the answer, as before generating.

        Raises:
            LensLocError: if the tokenizer has no template, or the template does not take the turns.
        """
        from lensloc.models.templates import chat_writer, described_template  # load torch

        write = chat_writer(model, system, add_generation_prompt=add_generation_prompt)
        conditions = {
            name: tuple(write(text) for text in texts) for name, texts in self.conditions.items()
        }
        parts = ["chat template"]
        if system is not None:
            parts.append("system prompt")
        if add_generation_prompt:
            parts.append("generation prompt")
        return dataclasses.replace(
            self,
            name=f"{self.name} ({', '.join(parts)})",
            conditions=conditions,
            source=f"{self.source}, in the chat template of {described_template(model)}"
            + ("" if system is None else f" with the system prompt {system!r}"),
        )

    def keep(self, rows: Mapping[str, Sequence[int]]) -> "Contrast":
        """Return the contrast with only some texts: condition -> positions to keep.

        Raises:
            LensLocError: if a condition would be empty.
        """
        return dataclasses.replace(
            self,
            conditions={n: tuple(self.conditions[n][i] for i in kept) for n, kept in rows.items()},
            items=None
            if self.items is None
            else {n: tuple(self.items[n][i] for i in kept) for n, kept in rows.items()},
        )

    def split(self, seed: int) -> tuple["Contrast", "Contrast"]:
        """Split at random into two halves, to select on one and measure on the other.

        Texts of one item stay together. Without items, conditions of equal size are halved at the
        same positions, so that texts that belong together by position stay so; others are halved
        each by itself.

        Args:
            seed: the same seed gives the same halves everywhere.

        Raises:
            LensLocError: if a condition has fewer than two texts to divide.

        Example:
            >>> import lensloc as ll
            >>> picked_on, measured_on = ll.contrasts.language().split(seed=0)
            >>> len(picked_on.conditions["sentences"]), len(measured_on.conditions["sentences"])
            (120, 120)
        """
        first, second = self.split_rows(seed)
        return self.keep(first), self.keep(second)

    def split_rows(self, seed: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Return the positions of the texts of either half of :meth:`split`, by condition.

        Raises:
            LensLocError: if a condition has fewer than two texts to divide.
        """
        return halves(self.conditions, self.items, seed)

    def require_pairs(self) -> None:
        """Check that target and control can be compared pair by pair: by item, or by position.

        Raises:
            LensLocError: naming the item that lacks its partner, or what is unequal.
        """
        paired_rows(self.labels, self.item_labels, self.target, self.control)

    # -- lengths -------------------------------------------------------------------------------

    def balance(self, model: "Model | None" = None) -> Balance:
        """Measure words, characters and, given a model, tokens per text in every condition.

        A standardised difference between target and control above 0.5 is warned about in the log:
        a difference in length can pass for selectivity.
        """
        found = measure_balance(self.conditions, self.target, self.control, model)
        for warning in found.warnings:
            log.warning("%s: %s", self.name, warning)
        return found

    def matched(
        self,
        model: "Model | None" = None,
        *,
        on: Measure = "tokens",
        tolerance: int = 0,
        method: Method = "auto",
    ) -> "Contrast":
        """Return the contrast with target and control equally long.

        ``subset`` keeps the largest number of texts such that every text of the target has a
        partner in the control whose length differs by at most ``tolerance``. ``cut`` pairs texts
        (by item, or by position) and cuts both at the end of a word, as late as lengths allow that
        differ by at most ``tolerance``. ``auto`` is ``subset`` if that keeps half of the smaller
        side, or no fewer than ``cut``, and otherwise ``cut``. Conditions of one side take turns, so
        that none is used up before the others. Without items, partners become items of the result,
        so that splits keep them together; with items, the texts keep theirs.

        Args:
            model: counts tokens, special ones included.
            on: what is made equal: tokens, characters or words.
            tolerance: largest difference within a pair.
            method: how.

        Raises:
            LensLocError: if tokens are to be counted without a model, or no pair can be made.

        Example:
            >>> import lensloc as ll
            >>> texts = {"long": ["one two three", "one two"], "short": ["one two", "one"]}
            >>> contrast = ll.Contrast.from_texts(texts, target="long", control="short")
            >>> equal = contrast.matched(on="words")
            >>> equal.texts
            ('one two', 'one two')
        """
        texts, items = matched_texts(
            self.conditions,
            self.items,
            self.target,
            self.control,
            Matching(on, model, tolerance, method),
        )
        return Contrast(
            self.name,
            texts,
            tuple(name for name in self.target if name in texts),
            tuple(name for name in self.control if name in texts),
            source=f"{self.source}, matched in {on}",
            items=items,
            protocol=self.protocol,
        )

    # -- looking -------------------------------------------------------------------------------

    def duplicates(self) -> list[str]:
        """Return a sentence for every text that occurs more than once, and where.

        Example:
            >>> import lensloc as ll
            >>> texts = {"hot": ["a day", "the sun"], "cold": ["a day"]}
            >>> ll.Contrast.from_texts(texts, target="hot", control="cold").duplicates()
            ["'a day' occurs 2 times: hot 1, cold 1"]
        """
        return repeated(self.conditions)

    @property
    def labels(self) -> tuple[str, ...]:
        """The condition of every text of :attr:`texts`."""
        return tuple(name for name in self._used() for _ in self.conditions[name])

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the target's and the control's conditions, in order."""
        return tuple(text for name in self._used() for text in self.conditions[name])

    @property
    def item_labels(self) -> tuple[str, ...] | None:
        """The item of every text of :attr:`texts`; None without items."""
        if self.items is None:
            return None
        return tuple(item for name in self._used() for item in self.items[name])

    @property
    def text_set(self) -> TextSet:
        """The texts of all conditions, with a role or not, as a set that tells overlap."""
        return TextSet.of(text for texts in self.conditions.values() for text in texts)

    def _used(self) -> list[str]:
        return [name for name in self.conditions if name in self.target + self.control]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the used texts, their conditions and roles; equal content, equal hash."""
        content: dict[str, Any] = {
            "target": [list(self.conditions[name]) for name in self.target],
            "control": [list(self.conditions[name]) for name in self.control],
            "names": [list(self.target), list(self.control)],
        }
        if any(map(is_verbatim, self.texts)):  # the same letters, but other tokens
            content["verbatim"] = [
                [is_verbatim(text) for text in self.conditions[name]]
                for name in self.target + self.control
            ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def _repr_html_(self) -> str:
        return card(self.name, self._sides(), self.conditions, self.target, self.control)

    def _sides(self) -> str:
        return f"{' + '.join(self.target)} > {' + '.join(self.control)}"

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(texts)}" for name, texts in self.conditions.items())
        return f"Contrast({self.name}: {self._sides()}; {sizes})"
