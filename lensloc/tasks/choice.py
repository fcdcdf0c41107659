"""Multiple choice: which continuation of a prompt is the most probable?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lensloc.errors import LensLocError
from lensloc.running import BatchSize
from lensloc.stimuli.bundled import bundled_folder
from lensloc.stimuli.lines import kind_of, stem_of
from lensloc.stimuli.tables import TableForm, read_records, require_text, text_fault
from lensloc.tasks.base import TaskResult, content_hash, require_fits, require_scored
from lensloc.tasks.scoring import Scored, n_shared, token_log_probs
from lensloc.tokens import Bos, prepends_bos, require_tokenizer, token_ids

Normalize = Literal["none", "tokens", "bytes"]
_REQUIRED, _OPTIONAL = ("prompt", "choices", "answer"), ("kind", "item")
BUNDLED_CHOICES: tuple[str, ...] = ("arithmetic", "commonsense")


@dataclass(frozen=True)
class Question:
    """A prompt, its possible continuations and the right one.

    Attributes:
        prompt: the text before.
        choices: the continuations.
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


@dataclass(frozen=True)
class MultipleChoice:
    """The task of :func:`multiple_choice`."""

    questions: tuple[Question, ...]
    normalize: Normalize = "none"
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "multiple-choice"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        content = [[q.prompt, q.choices, q.answer, q.kind] for q in self.questions]
        return {
            "task": "multiple_choice",
            "questions": content_hash(content),
            "normalize": self.normalize,
            "bos": self.bos,
        }

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        """Score every choice of every question.

        Returns:
            Accuracy; items with the scores of all choices and the chosen index. Of equally
            probable choices the first counts as chosen.

        Raises:
            LensLocError: a question that does not fit the context window, or a choice without
                a token of its own.
        """
        require_tokenizer(model)
        sequences = [
            scored for question in self.questions for scored in self._tokenized(model, question)
        ]
        groups = [row for row, question in enumerate(self.questions) for _ in question.choices]
        found = token_log_probs(
            model,
            sequences,
            groups=groups,
            batch_size=self.batch_size,
            progress=progress,
            description=self.name,
        )
        scores = iter(float(part.sum()) for part in found)
        counts = iter(len(part) for part in found)
        rows = []
        for number, question in enumerate(self.questions, start=1):
            summed = np.array([next(scores) for _ in question.choices])
            lengths = np.array([next(counts) for _ in question.choices])
            if self.normalize == "tokens":
                summed = summed / lengths
            elif self.normalize == "bytes":
                summed = summed / [len(choice.strip().encode()) for choice in question.choices]
            chosen = int(summed.argmax())
            rows.append(
                {
                    "item": question.item or str(number),
                    "group": question.kind,
                    "prompt": question.prompt,
                    "choices": list(question.choices),
                    "scores": summed.tolist(),
                    "answer": question.answer,
                    "chosen": chosen,
                    "value": float(chosen == question.answer),
                    "weight": 1.0,
                }
            )
        return TaskResult(
            self.name,
            "accuracy",
            pd.DataFrame(rows),
            chance=float(np.mean([1 / len(question.choices) for question in self.questions])),
            settings={**self.settings, "prepends_bos": prepends_bos(model, self.bos)},
        )

    def _tokenized(self, model: Any, question: Question) -> Iterator[Scored]:
        prompt = token_ids(model, question.prompt, self.bos)
        for choice in question.choices:
            text = question.prompt + choice
            ids = token_ids(model, text, self.bos)
            # A tokenizer may join the prompt's last token with the choice's first.
            first = max(1, n_shared(prompt, ids))
            require_scored(len(ids) - first, question.place, text)
            require_fits(model, len(ids), question.place, text)
            yield Scored(tuple(ids), first)


def multiple_choice(
    path: str | Path,
    *,
    prompt: str = "prompt",
    choices: str = "choices",
    answer: str = "answer",
    limit: int | None = None,
    kinds: tuple[str, ...] | list[str] | None = None,
    normalize: Normalize = "none",
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str | None = None,
    encoding: str | None = None,
) -> MultipleChoice:
    """Return a task of choosing the right continuation, by log-probability given the prompt.

    Args:
        path: ``"arithmetic"`` or ``"commonsense"`` for a bundled set (neither tests grammar), or
            a ``.jsonl`` file: ``prompt``, ``choices`` (a list), ``answer`` (index from 0, or the
            choice itself), and where there are ``kind`` and ``item``. A space is put between
            prompt and choice unless one of them has it.
        prompt: the field of the prompt.
        choices: that of the choices.
        answer: that of the right one.
        limit: use only so many questions of every kind, the first ones.
        kinds: use only questions of these kinds.
        normalize: divide a choice's summed log-probability by its number of ``"tokens"`` or
            ``"bytes"``; ``"none"`` for the sum.
        bos: whether a beginning-of-text token stands before every text.
        batch_size: texts a batch; does not change the result.
        name: of the task, in tables; that of the file if None.
        encoding: of the file; UTF-8, or what its byte order mark says, if None.

    Raises:
        LensLocError: a file that is missing, empty or malformed, naming file and row.
    """
    if normalize not in ("none", "tokens", "bytes"):
        raise LensLocError(f"normalize is 'none', 'tokens' or 'bytes'; {normalize!r} is not.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 question a kind; {limit} is not.")
    bundled = str(path) in BUNDLED_CHOICES
    file = bundled_folder() / f"{path}.jsonl" if bundled else Path(path)
    named = dict(zip(_REQUIRED, (prompt, choices, answer), strict=True))
    form = TableForm.of(named, None, encoding)
    if bundled:
        form.require_unsaid("a bundled set")
    if kind_of(file) != ".jsonl":
        raise LensLocError(
            f"{file} must end in .jsonl to be read as questions, or be one of "
            f"{', '.join(BUNDLED_CHOICES)}."
        )
    records = read_records(file, _REQUIRED, _OPTIONAL, form=form)
    questions = [_question(record, named, f"{file}, row {number}") for number, record in records]
    if not questions:
        raise LensLocError(f"{file} holds no question; check the file.")
    known = list(dict.fromkeys(question.kind for question in questions))
    for kind in kinds or ():
        if kind not in known:
            raise LensLocError(f"{file} has no kind {kind!r}; it has {', '.join(known)}.")
    counts: dict[str, int] = {}
    kept = []
    for question in questions:
        counts[question.kind] = counts.get(question.kind, 0) + 1
        within = limit is None or counts[question.kind] <= limit
        if within and (kinds is None or question.kind in kinds):
            kept.append(question)
    return MultipleChoice(tuple(kept), normalize, bos, batch_size, name or stem_of(file))


def _question(record: Mapping[str, Any], named: Mapping[str, str], place: str) -> Question:
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
    spaced = tuple(
        choice if prompt[-1].isspace() or choice[0].isspace() else f" {choice}"
        for choice in choices
    )
    kind, item = str(record.get("kind") or "all"), str(record.get("item") or "")
    return Question(prompt, spaced, answer, kind, item, place)
