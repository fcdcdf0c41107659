"""Pairs: clean and corrupted prompts, each with a right and a wrong continuation."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lensloc.arguments import require_numbers
from lensloc.contrasts import readers
from lensloc.contrasts.balance import Balance, measure_balance
from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.lines import printable, stem_of
from lensloc.contrasts.texts import as_name, require_text, require_texts
from lensloc.display import markup
from lensloc.display.apart import require_apart
from lensloc.display.places import path_of
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import BUNDLED_PAIRS

if TYPE_CHECKING:
    import pandas as pd

    from lensloc.models.surface import Model

CLEAN, CORRUPTED = "clean", "corrupted"
_FIELDS = (CLEAN, CORRUPTED, "right", "wrong")
_GROUP = "group"


@dataclass(frozen=True)
class Pair:
    """A clean and a corrupted prompt, and two continuations of both.

    Attributes:
        clean: prompt after which the right continuation is the right one.
        corrupted: prompt that differs from it in what decides between the two.
        right: right continuation of the clean prompt, as it stands behind it, one token or more.
        wrong: the other one, usually the right continuation of the corrupted prompt.
        group: kind of pair.
        place: where it was read from, in words.
    """

    clean: str
    corrupted: str
    right: str
    wrong: str
    group: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        for one, other in ((CLEAN, CORRUPTED), ("right", "wrong")):
            if getattr(self, one) == getattr(self, other):
                raise LensLocError(
                    f"{self.place or 'A pair'}: {one} and {other} are the same text "
                    f"({markup.shortened(getattr(self, one), 40)!r}); correct or remove the pair."
                )

    @property
    def prompts(self) -> tuple[str, str]:
        """The clean prompt and the corrupted one."""
        return self.clean, self.corrupted

    @property
    def continuations(self) -> tuple[str, str]:
        """The right continuation and the wrong one."""
        return self.right, self.wrong


@dataclass(frozen=True)
class Pairs(Savable):
    """Pairs of clean and corrupted prompts: which units carry what the two differ in?

    The metric of a pair is log P(right) - log P(wrong), the natural log-probabilities of the two
    continuations, summed over their tokens: high after the clean prompt, low after the corrupted
    one, if the model knows what the prompts differ in.

    Attributes:
        name: what the pairs are about, e.g. ``"agreement"``.
        pairs: the pairs.
        source: where they come from, in words.
        warnings: what a reader should know of them, in sentences.

    Example:
        >>> import lensloc as ll
        >>> ll.Pairs.from_texts(
        ...     clean=["The dog", "The cats"],
        ...     corrupted=["The dogs", "The cat"],
        ...     right=["barks", "meow"],
        ...     wrong=["bark", "meows"],
        ...     name="number",
        ... )
        Pairs(number: 2 pairs; 'The dog' > 'The dogs': ' barks' > ' bark')
    """

    name: str
    pairs: tuple[Pair, ...]
    source: str = "texts given in Python"
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.pairs:
            raise LensLocError(f"{self.source} holds no pair; give at least one.")

    def __len__(self) -> int:
        return len(self.pairs)

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def from_texts(
        cls,
        clean: Sequence[str],
        corrupted: Sequence[str],
        right: Sequence[str],
        wrong: Sequence[str],
        *,
        group: Sequence[str] | None = None,
        separator: str = " ",
        name: str = "custom",
    ) -> "Pairs":
        """Make pairs from lists of texts, the first of every list together, and so on.

        Args:
            clean: clean prompts.
            corrupted: corrupted prompts.
            right: right continuations of the clean prompts.
            wrong: wrong ones.
            group: kind of every pair.
            separator: what is put between prompt and continuation; white space is left out where
                one of them has it there already. ``""`` for languages written without spaces.
            name: what the pairs are called in results.

        Raises:
            LensLocError: lists of different lengths, or none; a text that is none; a pair of
                prompts, or of continuations, that are the same.
        """
        given = dict(zip(_FIELDS, (clean, corrupted, right, wrong), strict=True))
        lists = {key: require_texts(texts, of=f"'{key}'") for key, texts in given.items()}
        if group is not None:
            lists[_GROUP] = require_texts(group, "Group")
        lengths = {key: len(texts) for key, texts in lists.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{n} {key}" for key, n in lengths.items())
            raise LensLocError(f"Pairs need as many texts of every kind; there are {told}.")
        rows = (
            readers.Row(number, dict(zip(lists, cells, strict=True)))
            for number, cells in enumerate(zip(*lists.values(), strict=True), start=1)
        )
        found = _read(rows, "Pair {}", TableForm(), separator)
        return cls(name, found)

    @classmethod
    def from_dataframe(
        cls,
        table: "pd.DataFrame",
        *,
        clean: str = CLEAN,
        corrupted: str = CORRUPTED,
        right: str = "right",
        wrong: str = "wrong",
        group: str = _GROUP,
        separator: str = " ",
        name: str = "custom",
    ) -> "Pairs":
        """Make pairs from a table with one row per pair.

        Args:
            table: the texts.
            clean: name of the column with clean prompts. Here as for the others, small and capital
                letters and blanks around a name do not matter if one column only fits.
            corrupted: that of corrupted prompts.
            right: that of right continuations.
            wrong: that of wrong ones.
            group: that of kinds of pairs; one other than ``group`` must be there.
            separator: as in :meth:`from_texts`.
            name: what the pairs are called in results.

        Raises:
            LensLocError: a column that is missing, a text that is none, a pair of the same texts;
                the row is named.
        """
        form = _form(clean, corrupted, right, wrong, group)
        asked = [*_FIELDS, *([_GROUP] if _has_group(table, form) else [])]
        rows = readers.from_dataframe(table, asked, form=form)
        return cls(name, _read(rows, "The table, row {}", form, separator), "the table")

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        clean: str = CLEAN,
        corrupted: str = CORRUPTED,
        right: str = "right",
        wrong: str = "wrong",
        group: str = _GROUP,
        separator: str = " ",
        name: str | None = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "Pairs":
        """Read pairs from a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file, one row per pair.

        Args:
            path: the file; all but Parquet may be compressed (``.csv.gz``).
            clean: as in :meth:`from_dataframe`.
            corrupted: as there.
            right: as there.
            wrong: as there.
            group: as there.
            separator: as in :meth:`from_texts`.
            name: what the pairs are called in results; as the file if None.
            sep: what separates cells; see :meth:`lensloc.Contrast.from_file`.
            encoding: of the file; as there.

        Raises:
            LensLocError: as :meth:`from_dataframe`, or a file that is missing, empty or malformed;
                file and row are named.
        """
        path = path_of(path)
        form = _form(clean, corrupted, right, wrong, group, sep, encoding)
        required = [*_FIELDS, *([_GROUP] if group != _GROUP else [])]
        rows = readers.read_rows(path, required, [_GROUP], form=form)
        source = printable(str(path))
        found = _read(
            rows, source.replace("{", "{{").replace("}", "}}") + ", row {}", form, separator
        )
        return cls(name or stem_of(path), found, source)

    @classmethod
    def bundled(cls, name: str) -> "Pairs":
        """Return bundled pairs.

        - ``"agreement"``: 80 beginnings of minimal pairs, in which a subject or determiner is in
          the other number (*The manager* ..., *The managers* ...: *wears*, *wear*);
        - ``"belief"``: 40 stories in which somebody does not see that an object is moved, or does
          (false and true belief): where does the person think that it is?
        - ``"sums"``: 49 additions, one operand changed.

        Pairs whose prompts a model's tokenizer breaks into different numbers of tokens are left out
        by :meth:`aligned`.

        Raises:
            LensLocError: for another name.
        """
        if name not in BUNDLED_PAIRS:
            raise LensLocError(
                f"There are no bundled pairs {name!r}; there are {', '.join(BUNDLED_PAIRS)}. Read "
                "a file with Pairs.from_file."
            )
        path = bundled_folder() / "pairs" / f"{name}.csv"
        where, form = f"Bundled pairs {name!r}, row {{}}", TableForm()
        rows = readers.read_rows(path, [*_FIELDS, _GROUP], form=form)
        return cls(name, _read(rows, where, form, " "), "the bundled pairs")

    def keep(self, rows: Iterable[int]) -> "Pairs":
        """Return some of the pairs, by position.

        Raises:
            LensLocError: if there would be none.
        """
        return dataclasses.replace(self, pairs=tuple(self.pairs[row] for row in rows))

    def limited(self, limit: int) -> "Pairs":
        """Return the first pairs of every group, at most ``limit`` of each.

        Raises:
            LensLocError: unless ``limit`` is at least 1.
        """
        if limit < 1:
            raise LensLocError(f"limit is at least 1 pair per group; {limit} is not.")
        counts: dict[str, int] = {}
        kept = []
        for row, pair in enumerate(self.pairs):
            counts[pair.group] = counts.get(pair.group, 0) + 1
            if counts[pair.group] <= limit:
                kept.append(row)
        return self.keep(kept)

    def split(self, seed: int) -> tuple["Pairs", "Pairs"]:
        """Split at random into two halves, to find units on one and measure them on the other.

        Every group is halved by itself; the same seed gives the same halves everywhere.

        Raises:
            LensLocError: with fewer than two pairs.
        """
        require_numbers(seed=seed)
        rng = np.random.default_rng(seed)
        groups: dict[str, list[int]] = {}
        for row, pair in enumerate(self.pairs):
            groups.setdefault(pair.group, []).append(row)
        halves: tuple[list[int], list[int]] = ([], [])
        for rows in groups.values():
            for row in rng.permutation(rows).tolist():
                halves[len(halves[0]) > len(halves[1])].append(row)
        if not halves[1]:
            raise LensLocError(f"{len(self)} pair of {self.source} cannot be split; give more.")
        return self.keep(sorted(halves[0])), self.keep(sorted(halves[1]))

    def aligned(self, model: "Model") -> "Pairs":
        """Return the pairs whose prompts have equally many tokens, as patching needs them.

        A warning says which pairs are left out.

        Args:
            model: a model with a tokenizer.

        Raises:
            LensLocError: if no pair is left.
        """
        from lensloc.contrasts.aligning import aligned_rows  # which loads torch

        kept, reasons = aligned_rows(model, self.pairs)
        if not kept:
            raise LensLocError(f"No pair of {self.source} can be aligned: {reasons[0]}")
        if not reasons:
            return self
        n = len(reasons)
        told = (
            f"{n} of {len(self)} pairs of {self.name} {'was' if n == 1 else 'were'} left out, as "
            "the model's tokenizer does not align clean and corrupted texts; the first: "
            f"{reasons[0]}"
        )
        return dataclasses.replace(self.keep(kept), warnings=(*self.warnings, told))

    # -- looking -------------------------------------------------------------------------------

    @property
    def groups(self) -> dict[str, int]:
        """How many pairs every group has, in order of appearance."""
        counts: dict[str, int] = {}
        for pair in self.pairs:
            counts[pair.group] = counts.get(pair.group, 0) + 1
        return counts

    @property
    def texts(self) -> tuple[str, ...]:
        """All prompts with all continuations."""
        return tuple(
            prompt + continuation
            for pair in self.pairs
            for prompt in pair.prompts
            for continuation in pair.continuations
        )

    @property
    def text_set(self) -> TextSet:
        """All prompts, alone and with their continuations, as a set that tells overlap."""
        prompts = (prompt for pair in self.pairs for prompt in pair.prompts)
        return TextSet.of((*prompts, *self.texts))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the texts; equal content, equal hash."""
        content = [[*pair.prompts, *pair.continuations] for pair in self.pairs]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def balance(self, model: "Model | None" = None) -> Balance:
        """Compare lengths of clean and corrupted prompts, and of continuations.

        Args:
            model: counts tokens, special ones included; without, only words and characters.
        """
        fields = {name: [getattr(pair, name) for pair in self.pairs] for name in _FIELDS}
        return measure_balance(fields, [CLEAN], [CORRUPTED], model)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per pair: group, clean, corrupted, right, wrong."""
        import pandas as pd  # takes long to load, and pairs are read without it

        table: pd.DataFrame = pd.DataFrame(
            [{name: getattr(pair, name) for name in (_GROUP, *_FIELDS)} for pair in self.pairs]
        )
        return table

    @classmethod
    def _joined(cls, several: "Sequence[Pairs]") -> "Pairs":
        held = (
            [(*pair.prompts, pair.right, pair.wrong) for pair in each.pairs] for each in several
        )
        require_apart(held, "pair", "leave it out of one of them")
        told = dict.fromkeys(sentence for each in several for sentence in each.warnings)
        names = [" + ".join(dict.fromkeys(getattr(each, n) for each in several))
                 for n in ("name", "source")]  # fmt: skip
        pairs = [pair for each in several for pair in each.pairs]
        return cls(names[0], tuple(pairs), names[1], tuple(told))

    def __repr__(self) -> str:
        first = self.pairs[0]
        n = f"{len(self)} pair{'' if len(self) == 1 else 's'}"
        a, b = (markup.shortened(text, 30) for text in first.prompts)
        head = f"Pairs({self.name}: {n}; {a!r} > {b!r}: {first.right!r} > {first.wrong!r})"
        return noted(head, self.warnings)

    def _repr_html_(self) -> str:
        rows = [
            {name: markup.shortened(getattr(pair, name), 60) for name in (_GROUP, *_FIELDS)}
            for pair in self.pairs
        ]
        title = f"Pairs {self.name}: {len(self)} clean and corrupted prompts"
        return markup.card(title, markup.table(rows, most=8), warnings=self.warnings)


def _form(
    clean: str,
    corrupted: str,
    right: str,
    wrong: str,
    group: str,
    sep: str | None = None,
    encoding: str | None = None,
) -> TableForm:
    named = dict(zip((*_FIELDS, _GROUP), (clean, corrupted, right, wrong, group), strict=True))
    return TableForm.of(named, sep, encoding)


def _has_group(table: Any, form: TableForm) -> bool:
    titles = [str(name) for name in getattr(table, "columns", ())]
    return _GROUP in form.columns or _GROUP in form.places(titles, (), [_GROUP], where="the table")


def _read(
    rows: Iterable[readers.Row], place: str, form: TableForm, separator: str
) -> tuple[Pair, ...]:
    if not isinstance(separator, str):
        raise LensLocError(f"separator is a text, '' for none; {separator!r} is not.")
    found = []
    for row in rows:
        where = place.format(row.number)
        clean, corrupted, right, wrong = (
            require_text(row.cells[name], where, form.columns.get(name, name)) for name in _FIELDS
        )
        # One rule for both prompts, which end alike.
        right, wrong = (_separated((clean, corrupted), text, separator) for text in (right, wrong))
        group = as_name(row.cells.get(_GROUP))
        found.append(
            Pair(clean, corrupted, right, wrong, "" if group is None else str(group), where)
        )
    return tuple(found)


def _separated(prompts: Sequence[str], continuation: str, separator: str) -> str:
    there = continuation[0].isspace() or any(prompt[-1].isspace() for prompt in prompts)
    return continuation if separator.isspace() and there else separator + continuation
