"""Minimal pairs: is the good sentence more probable than the bad one?"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensloc.errors import LensLocError
from lensloc.running import BatchSize, sees_pads
from lensloc.stimuli.bundled import bundled_folder
from lensloc.stimuli.lines import files_in, kind_of, stem_of
from lensloc.stimuli.tables import TABLE_KINDS, TableForm, read_rows, require_text
from lensloc.tasks.base import TaskResult, content_hash, require_fits, require_scored
from lensloc.tasks.scoring import Scored, n_shared, token_log_probs
from lensloc.tokens import Bos, prepends_bos, require_tokenizer, token_ids

_GOOD, _BAD, _GROUP = "sentence_good", "sentence_bad", "UID"
_OPTIONAL = (_GROUP, "linguistics_term", "field")


@dataclass(frozen=True)
class Pair:
    """A grammatical sentence and an ungrammatical one.

    Attributes:
        good: the sentence that should be more probable.
        bad: the other.
        paradigm: BLiMP's ``UID``.
        phenomenon: BLiMP's ``linguistics_term``.
        field: BLiMP's ``field``: syntax, morphology, semantics ...
        place: file and row that it was read from.
    """

    good: str
    bad: str
    paradigm: str
    phenomenon: str = ""
    field: str = ""
    place: str = ""


@dataclass(frozen=True)
class MinimalPairs:
    """The task of :func:`minimal_pairs`."""

    pairs: tuple[Pair, ...]
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "minimal-pairs"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        pairs = [[pair.good, pair.bad, pair.paradigm] for pair in self.pairs]
        return {"task": "minimal_pairs", "pairs": content_hash(pairs), "bos": self.bos}

    @property
    def texts(self) -> frozenset[str]:
        """All sentences."""
        return frozenset(text for pair in self.pairs for text in (pair.good, pair.bad))

    def without(self, texts: Collection[str]) -> "MinimalPairs":
        """Return the task without the pairs that hold one of these texts.

        Raises:
            LensLocError: if none is left.
        """
        kept = tuple(p for p in self.pairs if p.good not in texts and p.bad not in texts)
        if not kept:
            raise LensLocError(f"No pair of the task {self.name!r} is left; give it other pairs.")
        return dataclasses.replace(self, pairs=kept)

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        """Score every pair.

        Returns:
            Accuracy; items with the summed natural log-probabilities ``good`` and ``bad``.

        Raises:
            LensLocError: a sentence of one token, or longer than the context window.
        """
        require_tokenizer(model)
        sequences = [scored for pair in self.pairs for scored in self._tokenized(model, pair)]
        found = token_log_probs(
            model,
            sequences,
            groups=[number // 2 for number in range(len(sequences))],
            batch_size=self.batch_size,
            progress=progress,
            description=self.name,
        )
        items = pd.DataFrame(
            {
                "item": [str(number) for number in range(1, len(self.pairs) + 1)],
                "group": [pair.paradigm for pair in self.pairs],
                "phenomenon": [pair.phenomenon for pair in self.pairs],
                "field": [pair.field for pair in self.pairs],
                "sentence_good": [pair.good for pair in self.pairs],
                "sentence_bad": [pair.bad for pair in self.pairs],
            }
        )
        good, bad = found[0::2], found[1::2]
        # What the two sentences share is scored once, in the good one.
        shared = [b.first - a.first for a, b in zip(sequences[0::2], sequences[1::2], strict=True)]
        items["good"] = [float(a.sum()) for a in good]
        items["bad"] = [
            float(a[:n].sum() + b.sum()) for a, b, n in zip(good, bad, shared, strict=True)
        ]
        items["value"] = (items["good"] > items["bad"]).astype(float)
        items["weight"] = 1.0
        settings = {**self.settings, "prepends_bos": prepends_bos(model, self.bos)}
        return TaskResult(self.name, "accuracy", items, chance=0.5, settings=settings)

    def _tokenized(self, model: Any, pair: Pair) -> Iterator[Scored]:
        ids = [token_ids(model, text, self.bos) for text in (pair.good, pair.bad)]
        for text, tokens in zip((pair.good, pair.bad), ids, strict=True):
            require_scored(len(tokens) - 1, pair.place, text)
            require_fits(model, len(tokens), pair.place, text)
        yield Scored(tuple(ids[0]), 1)
        # Scored once, unless what stands behind these tokens changes them.
        shared = 0 if sees_pads(model) else n_shared(*ids)
        yield Scored(tuple(ids[1]), max(1, shared))


def minimal_pairs(
    path: str | Path | None = None,
    *,
    good: str = _GOOD,
    bad: str = _BAD,
    group: str = _GROUP,
    limit: int | None = None,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str = "minimal-pairs",
    sep: str | None = None,
    encoding: str | None = None,
) -> MinimalPairs:
    """Return a task of minimal pairs, scored by summed log-probability (Warstadt et al. 2020).

    A pair counts as correct if the good sentence's summed log-probability is above the bad one's.

    Args:
        path: a ``.jsonl`` file in BLiMP's form (``sentence_good``, ``sentence_bad``, and where
            there are ``UID``, ``linguistics_term``, ``field``), a ``.csv``, ``.tsv`` or
            ``.parquet`` with these columns, or a folder of such files; the bundled pairs if None.
        good: the column or field of the good sentence.
        bad: that of the bad one.
        group: that of the paradigm; one other than ``UID`` must be there. A file without it is one
            paradigm, named after the file.
        limit: use only so many pairs of every paradigm, the first ones.
        bos: whether a beginning-of-text token stands before every sentence: ``"model"`` as the
            model's settings say, ``"add"``, ``"none"``. Without one, a sentence's first token has
            nothing before it and is not scored.
        batch_size: sentences a batch; does not change the result.
        name: of the task, in tables.
        sep: what separates cells; see :meth:`lensloc.Contrast.from_file`.
        encoding: of the files; as there.

    Raises:
        LensLocError: a file that is missing, empty or malformed, naming file and row.
    """
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 pair a paradigm; {limit} is not.")
    form = TableForm.of({_GOOD: good, _BAD: bad, _GROUP: group}, sep, encoding)
    if path is None:
        form.require_unsaid("the bundled set of pairs")
    source = bundled_folder() / "minimal_pairs.csv" if path is None else Path(path)
    pairs: list[Pair] = []
    files = files_in(source, TABLE_KINDS) if source.is_dir() else [source]
    form.require_fits(*files)
    for file in files:
        found = list(_read(file, form.fitted(file)))
        if not found:
            raise LensLocError(f"{file} holds no pair; check the file.")
        pairs.extend(found)
    return MinimalPairs(tuple(_limited(pairs, limit)), bos, batch_size, name)


def _read(file: Path, form: TableForm) -> Iterator[Pair]:
    if kind_of(file) not in TABLE_KINDS:
        raise LensLocError(
            f"{file} must end in {', '.join(TABLE_KINDS)} to be read as minimal pairs."
        )
    titles = [form.columns.get(name, name) for name in (_GOOD, _BAD)]
    for row in read_rows(file, (_GOOD, _BAD), _OPTIONAL, form=form):
        place, record = f"{file}, row {row.number}", row.cells
        good, bad = (
            require_text(record[name], place, title)
            for name, title in zip((_GOOD, _BAD), titles, strict=True)
        )
        if good == bad:
            raise LensLocError(f"{place}: the two sentences are the same; one must differ.")
        yield Pair(
            good,
            bad,
            paradigm=str(record.get("UID") or stem_of(file)),
            phenomenon=str(record.get("linguistics_term") or ""),
            field=str(record.get("field") or ""),
            place=place,
        )


def _limited(pairs: Sequence[Pair], limit: int | None) -> Iterator[Pair]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.paradigm] = counts.get(pair.paradigm, 0) + 1
        if limit is None or counts[pair.paradigm] <= limit:
            yield pair
