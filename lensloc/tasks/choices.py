"""Multiple choice: which continuation of a prompt is the most probable?"""

import dataclasses
import unicodedata
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.lines import kind_of, remedy_of, stem_of
from lensloc.contrasts.readers import TableForm, read_records, require_text, text_fault
from lensloc.display.places import path_of
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, prepends_bos, require_tokenizer, shortened, token_ids
from lensloc.tasks.base import (
    MASKED_INSTEAD,
    TaskResult,
    content_hash,
    is_tie,
    reading_told,
    require_fits,
    require_scored,
    ties_told,
    told,
)
from lensloc.tasks.byte_counts import bytes_of_tokens
from lensloc.tasks.scoring import Scored, n_shared, token_log_probs
from lensloc.vocabulary import BUNDLED_CHOICES as BUNDLED_CHOICES

Normalize = Literal["none", "tokens", "bytes"]
_REQUIRED, _OPTIONAL = ("prompt", "choices", "answer"), ("kind", "item", "separator")
TIED = -1
"""What stands for the chosen one where several are equally good."""


@dataclass(frozen=True)
class Question:
    """A prompt, its possible continuations and the right one.

    Attributes:
        prompt: the text before.
        choices: the continuations, with what separates them from the prompt.
        answer: index of the right one.
        kind: what it asks for, in a word.
        item: its name.
        place: file and row that it was read from.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int
    kind: str = "all"
    item: str = ""
    place: str = ""

    @property
    def texts(self) -> frozenset[str]:
        """The prompt, every choice, and the two together."""
        together = (self.prompt + choice for choice in self.choices)
        return frozenset((self.prompt, *self.choices, *together))


@dataclass(frozen=True)
class MultipleChoice:
    """The task of :func:`multiple_choice`."""

    questions: tuple[Question, ...]
    normalize: Normalize = "none"
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "multiple-choice"
    warnings: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        content = [[q.prompt, q.choices, q.answer, q.kind] for q in self.questions]
        items = [question.item for question in self.questions]  # which stand in the result
        return {
            "task": "multiple_choice",
            "questions": content_hash(content),
            "normalize": self.normalize,
            "bos": self.bos,
            "ties": "share the credit",
            "scored": "from one position",
            **({"items": content_hash(items)} if any(items) else {}),
        }

    @property
    def texts(self) -> frozenset[str]:
        """Prompts, choices, and prompts with each of their choices."""
        return frozenset(text for question in self.questions for text in question.texts)

    def without(self, texts: Container[str]) -> "MultipleChoice":
        """Return the task without the questions that hold one of these texts.

        Raises:
            LensLocError: if none is left.
        """
        kept = tuple(q for q in self.questions if not any(text in texts for text in q.texts))
        if not kept:
            raise LensLocError(
                f"No question of the task {self.name!r} is left; give it other questions."
            )
        return dataclasses.replace(self, questions=kept)

    def at(self, items: Sequence[int]) -> "MultipleChoice":
        """Return the task with some of its questions, by position."""
        return dataclasses.replace(self, questions=tuple(self.questions[item] for item in items))

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Score every choice of every question.

        All choices of a question are scored from one position on: the first one at which the
        tokens of any of them are not the prompt's own, since a tokenizer may join the prompt's last
        characters with a choice's first ones.

        Returns:
            Accuracy, in which equally probable best choices share the credit; items with the
            ``scores`` of all choices, the index ``chosen`` (-1 where several are best) and
            ``tie``, whether they are.

        Raises:
            LensLocError: a question that does not fit the context window, a choice without
                a token of its own or with one that the model gives no number to, choices that begin
                with different tokens at the start of the text, which nothing predicts.
        """
        require_tokenizer(model)
        asked = [self._tokenized(model, question) for question in self.questions]
        found = token_log_probs(
            model,
            [scored for each in asked for scored in each],
            batch_size=self.batch_size,
            progress=progress,
            description=self.name,
        )
        rows = []
        parts = iter(found)
        for number, (question, sequences) in enumerate(
            zip(self.questions, asked, strict=True), start=1
        ):
            summed = np.array([float(next(parts).sum()) for _ in sequences])
            scores = summed / self._sizes(model, question, sequences)
            best = best_of(scores)
            rows.append(
                {
                    "item": question.item or str(number),
                    "group": question.kind,
                    "prompt": question.prompt,
                    "choices": list(question.choices),
                    "scores": scores.tolist(),
                    "answer": question.answer,
                    "chosen": int(best.argmax()) if best.sum() == 1 else TIED,
                    "tie": bool(best.sum() > 1),
                    "value": float(best[question.answer] / best.sum()),
                    "weight": 1.0,
                }
            )
        items = pd.DataFrame(rows)
        ahead = reading_told(model, self.name, MASKED_INSTEAD)
        ties = ties_told(items, self.name, "the best choices of each share its credit")
        result = TaskResult(
            self.name,
            "accuracy",
            items,
            chance=float(np.mean([1 / len(question.choices) for question in self.questions])),
            settings={**self.settings, "prepends_bos": prepends_bos(model, self.bos)},
            warnings=(*self.warnings, *ahead, *ties),
        )
        return told(result, self.warnings)

    def _tokenized(self, model: Model, question: Question) -> list[Scored]:
        prompt = token_ids(model, question.prompt, self.bos)
        texts = [question.prompt + choice for choice in question.choices]
        ids = [token_ids(model, text, self.bos) for text in texts]
        departs = min(n_shared(prompt, own) for own in ids)
        if departs == 0 and len({own[0] for own in ids if own}) > 1:
            raise LensLocError(
                f"{question.place or 'A question'} ({shortened(question.prompt)}): its choices "
                "begin with different tokens where nothing stands before them, so that they cannot "
                "be compared; use bos='add', or write a longer prompt."
            )
        first = max(1, departs)
        for text, own in zip(texts, ids, strict=True):
            require_scored(len(own) - first, question.place, text)
            require_fits(model, len(own), question.place, text)
        return [Scored(tuple(own), first, question.place) for own in ids]

    def _sizes(
        self, model: Model, question: Question, sequences: Sequence[Scored]
    ) -> Float[np.ndarray, " choice"]:
        """Return what the choices' summed log-probabilities are divided by."""
        if self.normalize == "none":
            return np.ones(len(sequences))
        if self.normalize == "tokens":
            return np.array([float(len(scored.ids) - scored.first) for scored in sequences])
        tokenizer, sizes = surface(model).tokenizer, []
        for choice, scored in zip(question.choices, sequences, strict=True):
            text = question.prompt + choice
            n_bytes = sum(bytes_of_tokens(tokenizer, text, scored.ids)[scored.first :])
            whole = text.encode()
            # A token may begin within a character.
            behind = whole[len(whole) - n_bytes :].decode(errors="surrogateescape").strip()
            sizes.append(max(1, len(behind.encode(errors="surrogateescape"))))
        return np.array(sizes, dtype=np.float64)


def best_of(scores: Float[np.ndarray, " choice"]) -> Bool[np.ndarray, " choice"]:
    """Say which choices are the best one: one, or several that differ by no more than rounding."""
    highest = float(scores.max())
    return np.array([is_tie(float(score), highest) for score in scores])


def multiple_choice(
    path: str | Path,
    *,
    prompt: str = "prompt",
    choices: str = "choices",
    answer: str = "answer",
    separator: str = " ",
    limit: int | None = None,
    kinds: tuple[str, ...] | list[str] | None = None,
    normalize: Normalize = "none",
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str | None = None,
    encoding: str | None = None,
) -> MultipleChoice:
    """Return a task of choosing the right continuation, by log-probability given the prompt.

    Equally probable best choices share the credit.

    Args:
        path: a bundled set (``"arithmetic"``, ``"code"``, ``"commonsense"``, ``"facts"``,
            ``"other-languages"``, ``"theory-of-mind"``), or a ``.jsonl`` file: ``prompt``,
            ``choices`` (a list), ``answer`` (index from 0, or the choice itself), and where there
            are ``kind``, ``item`` and ``separator``.
        prompt: the field of the prompt.
        choices: that of the choices.
        answer: that of the right one.
        separator: what is put between prompt and choice; white space is left out where one of them
            has it there already. ``""`` for languages written without spaces. A row's own
            ``separator`` goes before.
        limit: use only so many questions of every kind, the first ones.
        kinds: use only questions of these kinds.
        normalize: divide a choice's summed log-probability by the number of ``"tokens"`` that were
            scored, or of their ``"bytes"`` without white space at the ends; ``"none"`` for the sum.
        bos: whether a beginning-of-text token stands before every text.
        batch_size: texts per batch; does not change the result.
        name: of the task, in tables; that of the file if None.
        encoding: of the file; UTF-8, or what its byte order mark says, if None.

    Raises:
        LensLocError: a file that is missing, empty or malformed, naming file and row.
    """
    if normalize not in get_args(Normalize):
        raise LensLocError(f"normalize is 'none', 'tokens' or 'bytes'; {normalize!r} is not.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 question per kind; {limit} is not.")
    if not isinstance(separator, str):
        raise LensLocError(f"separator is a text, '' for none; {separator!r} is not.")
    bundled = str(path) in BUNDLED_CHOICES
    file = bundled_folder() / f"{path}.jsonl" if bundled else path_of(path)
    named = dict(zip(_REQUIRED, (prompt, choices, answer), strict=True))
    form = TableForm.of(named, None, encoding)
    if bundled:
        form.require_unsaid("a bundled set")
    if kind_of(file) != ".jsonl":
        raise LensLocError(
            f"{file} must end in .jsonl to be read as questions, or be one of "
            f"{', '.join(BUNDLED_CHOICES)}{remedy_of(file)}."
        )
    records = read_records(file, _REQUIRED, _OPTIONAL, form=form)
    read = [
        _question(record, named, separator, f"{file}, row {number}") for number, record in records
    ]
    if not read:
        raise LensLocError(f"{file} holds no question; check the file.")
    known = list(dict.fromkeys(question.kind for question in read))
    for kind in kinds or ():
        if kind not in known:
            raise LensLocError(f"{file} has no kind {kind!r}; it has {', '.join(known)}.")
    counts: dict[str, int] = {}
    kept = []
    for question in read:
        counts[question.kind] = counts.get(question.kind, 0) + 1
        within = limit is None or counts[question.kind] <= limit
        if within and (kinds is None or question.kind in kinds):
            kept.append(question)
    notes = _spaces_told(kept, file)
    for sentence in notes:
        warnings.warn(sentence, LensLocWarning, stacklevel=2)
    return MultipleChoice(tuple(kept), normalize, bos, batch_size, name or stem_of(file), notes)


def _question(
    record: Mapping[str, Any], named: Mapping[str, str], separator: str, place: str
) -> Question:
    prompt, choices, answer = (record[name] for name in _REQUIRED)
    prompt = require_text(prompt, place, named["prompt"])
    listed = isinstance(choices, list) and not any(map(text_fault, choices))
    if not listed or len(choices) < 2 or len(set(choices)) < len(choices):
        raise LensLocError(
            f"{place}: {named['choices']} is not a list of at least two different texts."
        )
    if isinstance(answer, str) and answer in choices:
        answer = choices.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise LensLocError(
            f"{place}: {named['answer']} {answer!r} is neither one of the choices nor an index "
            f"from 0 to {len(choices) - 1}."
        )
    own = record.get("separator")
    if own is not None and not isinstance(own, str):
        raise LensLocError(f"{place}: separator {own!r} is not a text; write one, '' for none.")
    separator = separator if own is None else own
    separated = tuple(_separated(prompt, choice, separator) for choice in choices)
    kind, item = (_name(record.get(field)) for field in ("kind", "item"))
    return Question(prompt, separated, answer, kind or "all", item, place)


def _separated(prompt: str, choice: str, separator: str) -> str:
    is_space = separator.isspace()
    there = is_space and (prompt[-1].isspace() or choice[0].isspace())
    return choice if there else separator + choice


def _name(value: Any) -> str:
    return "" if value is None else str(value)


def _spaces_told(questions: Sequence[Question], file: Path) -> tuple[str, ...]:
    """Say that a space was put where none is written."""
    n = sum(
        any(
            choice[0] == " " and _is_unspaced(question.prompt[-1]) and _is_unspaced(choice[1:2])
            for choice in question.choices
        )
        for question in questions
    )
    if not n:
        return ()
    return (
        f"In {n} of {len(questions)} questions of {file} a space stands between prompt and choice, "
        "though both are written without spaces; give separator='' if it should not.",
    )


def _is_unspaced(letter: str) -> bool:
    """Say whether a letter is of a script that writes no spaces between words."""
    name = unicodedata.name(letter, "") if letter else ""
    scripts = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
    return name.startswith(scripts)
