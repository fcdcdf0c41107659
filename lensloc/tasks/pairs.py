"""Minimal pairs: is the good sentence more probable than the bad one?"""

import dataclasses
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.lines import files_in, kind_of, printable, remedy_of, stem_of
from lensloc.contrasts.readers import TABLE_KINDS, TableForm, read_rows, require_text
from lensloc.display.places import is_folder, path_of
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize, sees_pads
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, prepends_bos, require_tokenizer, token_ids
from lensloc.tasks.base import (
    TaskResult,
    content_hash,
    is_tie,
    reading_told,
    require_fits,
    require_scored,
    ties_told,
    told,
)
from lensloc.tasks.pseudo import pseudo_log_likelihoods
from lensloc.tasks.scoring import Scored, n_shared, token_log_probs
from lensloc.vocabulary import PAIR_SCORINGS, PairScoring

# BLiMP's own names.
_GOOD, _BAD, _GROUP = "sentence_good", "sentence_bad", "UID"
_OPTIONAL = ("linguistics_term", "field")
_MASKED = "use scoring='pseudo-log-likelihood', with which tokens are masked in turn"
# So many rows of a file are named in a warning.
_NAMED = 10


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
    warnings: tuple[str, ...] = ()
    scoring: PairScoring = "log-likelihood"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        masked = {} if self.scoring == "log-likelihood" else {"scoring": self.scoring}
        pairs = [[pair.good, pair.bad, pair.paradigm] for pair in self.pairs]
        # They stand in the result, so that one of other labels is another.
        labels = [[pair.phenomenon, pair.field] for pair in self.pairs]
        labelled = any(map(any, labels))
        return {
            "task": "minimal_pairs",
            "pairs": content_hash(pairs),
            "bos": self.bos,
            "ties": "count half",
            **masked,
            **({"labels": content_hash(labels)} if labelled else {}),
        }

    @property
    def texts(self) -> frozenset[str]:
        """All sentences."""
        return frozenset(text for pair in self.pairs for text in (pair.good, pair.bad))

    def without(self, texts: Container[str]) -> "MinimalPairs":
        """Return the task without the pairs that hold one of these texts.

        Raises:
            LensLocError: if none is left.
        """
        kept = tuple(p for p in self.pairs if p.good not in texts and p.bad not in texts)
        if not kept:
            raise LensLocError(f"No pair of the task {self.name!r} is left; give it other pairs.")
        return dataclasses.replace(self, pairs=kept)

    def at(self, items: Sequence[int]) -> "MinimalPairs":
        """Return the task with some of its pairs, by position."""
        return dataclasses.replace(self, pairs=tuple(self.pairs[item] for item in items))

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Score every pair.

        Returns:
            Accuracy, in which a tie counts half; items with the summed natural log-probabilities
            ``good`` and ``bad`` (pseudo-log-likelihoods, if these are asked for), and ``tie``,
            whether they differ by no more than rounding.

        Raises:
            LensLocError: a sentence of one token, longer than the context window, or to a token of
                which the model gives no number.
        """
        require_tokenizer(model)
        # Scored once, unless what stands behind the tokens in common changes them.
        sharing = not sees_pads(model)
        sequences = [
            scored for pair in self.pairs for scored in self._tokenized(model, pair, sharing)
        ]
        masked = self.scoring == "pseudo-log-likelihood"
        how: dict[str, Any] = {
            "batch_size": self.batch_size, "progress": progress, "description": self.name,
        }  # fmt: skip
        if masked:
            found = pseudo_log_likelihoods(model, sequences, **how)
        else:
            found = token_log_probs(model, sequences, **how)
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
            float((0 if masked else a[:n].sum()) + b.sum())
            for a, b, n in zip(good, bad, shared, strict=True)
        ]
        items["tie"] = [
            is_tie(good, bad) for good, bad in zip(items["good"], items["bad"], strict=True)
        ]
        items["value"] = (items["good"] > items["bad"]).astype(float).where(~items["tie"], 0.5)
        items["weight"] = 1.0
        settings = {**self.settings, "prepends_bos": prepends_bos(model, self.bos)}
        ties = ties_told(items, self.name, "each counts half")
        ahead = () if masked else reading_told(model, self.name, _MASKED)
        result = TaskResult(
            self.name,
            "accuracy",
            items,
            chance=0.5,
            settings=settings,
            warnings=(*self.warnings, *ahead, *ties),
        )
        return told(result, self.warnings)

    def _tokenized(self, model: Model, pair: Pair, sharing: bool) -> Iterator[Scored]:
        ids = [token_ids(model, text, self.bos) for text in (pair.good, pair.bad)]
        for text, tokens in zip((pair.good, pair.bad), ids, strict=True):
            require_scored(len(tokens) - 1, pair.place, text)
            require_fits(model, len(tokens), pair.place, text)
        yield Scored(tuple(ids[0]), 1, pair.place)
        shared = n_shared(*ids) if sharing else 0
        yield Scored(tuple(ids[1]), max(1, shared), pair.place)


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
    scoring: PairScoring = "log-likelihood",
) -> MinimalPairs:
    """Return a task of minimal pairs, scored by summed log-probability (Warstadt et al. 2020).

    A pair counts as correct if the good sentence's summed log-probability is above the bad one's,
    and half if they are equal. Pairs whose sentences are the same text are left out, with a
    warning: BLiMP has seven.

    Args:
        path: a ``.jsonl`` file in BLiMP's form (``sentence_good``, ``sentence_bad``, and where
            there are ``UID``, ``linguistics_term``, ``field``), a ``.csv``, ``.tsv`` or
            ``.parquet`` with these columns, or a folder of such files, like BLiMP's 67; the
            bundled pairs if None.
        good: the column or field of the good sentence.
        bad: that of the bad one.
        group: that of the paradigm; one other than ``UID`` must be there. A file without it is one
            paradigm, named after the file.
        limit: use only so many pairs of every paradigm, the first ones.
        bos: whether a beginning-of-text token stands before every sentence: ``"model"`` as the
            model's settings say, ``"add"``, ``"none"``. Without one, a sentence's first token has
            nothing before it and is not scored.
        batch_size: sentences per batch; does not change the result.
        name: of the task, in tables.
        sep: what separates cells; see :meth:`lensloc.Contrast.from_file`.
        encoding: of the files; as there.
        scoring: ``"log-likelihood"``, of each token given those before it; for masked models (BERT)
            ``"pseudo-log-likelihood"``, of each token given all others, when it is masked (Salazar
            et al. 2020). A model that reads in both directions is warned of with the first.

    Raises:
        LensLocError: a file that is missing, empty or malformed, naming file and row.
    """
    if scoring not in PAIR_SCORINGS:
        raise LensLocError(f"scoring is one of {', '.join(PAIR_SCORINGS)}; {scoring!r} is not.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 pair per paradigm; {limit} is not.")
    form = TableForm.of({_GOOD: good, _BAD: bad, _GROUP: group}, sep, encoding)
    if path is None:
        form.require_unsaid("the bundled set of pairs")
    source = bundled_folder() / "minimal_pairs.csv" if path is None else path_of(path)
    pairs: list[Pair] = []
    same: dict[Path, list[int]] = {}
    files = files_in(source, TABLE_KINDS) if is_folder(source) else [source]
    form.require_fits(*files)
    for file in files:
        found = list(_read(file, form.fitted(file), named=group != _GROUP))
        if not found:
            raise LensLocError(f"{file} holds no pair; check the file.")
        pairs += [pair for _, pair in found if pair.good != pair.bad]
        equal = [row for row, pair in found if pair.good == pair.bad]
        if equal:
            same[file] = equal
    if not pairs:
        raise LensLocError(
            f"{source} holds no pair of two different sentences; check {good} and {bad}."
        )
    left_out = tuple(_left_out(same))
    for sentence in left_out:
        warnings.warn(sentence, LensLocWarning, stacklevel=2)
    return MinimalPairs(tuple(_limited(pairs, limit)), bos, batch_size, name, left_out, scoring)


def _read(file: Path, form: TableForm, *, named: bool) -> Iterator[tuple[int, Pair]]:
    """Return every pair and its row; ``named``: the paradigm's column was asked for by name."""
    if kind_of(file) not in TABLE_KINDS:
        raise LensLocError(
            f"{file} must end in {', '.join(TABLE_KINDS)} to be read as minimal pairs"
            f"{remedy_of(file)}."
        )
    titles = [form.columns.get(name, name) for name in (_GOOD, _BAD)]
    required = [_GOOD, _BAD, *([_GROUP] if named else [])]
    optional = [*([] if named else [_GROUP]), *_OPTIONAL]
    for row in read_rows(file, required, optional, form=form):
        place, record = f"{file}, row {row.number}", row.cells
        good, bad = (
            require_text(record[name], place, title)
            for name, title in zip((_GOOD, _BAD), titles, strict=True)
        )
        yield (
            row.number,
            Pair(
                good,
                bad,
                paradigm=_label(record.get(_GROUP)) or stem_of(file),
                phenomenon=_label(record.get("linguistics_term")),
                field=_label(record.get("field")),
                place=place,
            ),
        )


def _label(value: Any) -> str:
    return "" if value is None else printable(str(value))


def _left_out(same: Mapping[Path, Sequence[int]]) -> Iterator[str]:
    """Say which rows hold one sentence twice, if any do."""
    n = sum(map(len, same.values()))
    if not n:
        return
    places = "; ".join(f"{file}, {_rows(rows)}" for file, rows in [*same.items()][:_NAMED])
    places += f"; and in {len(same) - _NAMED} other files" if len(same) > _NAMED else ""
    yield (
        f"{n} {'pair was' if n == 1 else 'pairs were'} left out, as the two sentences are the same "
        f"text: {places}."
    )


def _rows(rows: Sequence[int]) -> str:
    named = ", ".join(map(str, rows[:_NAMED]))
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {named}{more}"


def _limited(pairs: Iterable[Pair], limit: int | None) -> Iterator[Pair]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.paradigm] = counts.get(pair.paradigm, 0) + 1
        if limit is None or counts[pair.paradigm] <= limit:
            yield pair
