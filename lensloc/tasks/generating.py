"""Generation: what does the model write, and how fluent does the intact model find it?"""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensloc.arguments import require_numbers
from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.readers import TableForm, read_prompts, require_texts
from lensloc.display.places import path_of
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.lesions.lesioning import intact
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, prepends_bos, require_tokenizer, shortened, token_ids
from lensloc.tasks.base import TaskResult, content_hash, require_fits, told
from lensloc.tasks.decoding import Decoding, decode
from lensloc.tasks.scoring import Scored, token_log_probs


@dataclass(frozen=True)
class Generation:
    """The task of :func:`generation`."""

    prompts: tuple[str, ...]
    max_new_tokens: int = 40
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    stops: tuple[str, ...] = ()
    min_new_tokens: int = 0
    seed: int = 0
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "generation"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        return {
            "task": "generation",
            "prompts": content_hash(self.prompts),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "repetition_penalty": self.repetition_penalty,
            "stops": list(self.stops),
            "min_new_tokens": self.min_new_tokens,
            "seed": self.seed,
            "bos": self.bos,
        }

    @property
    def texts(self) -> frozenset[str]:
        """All prompts."""
        return frozenset(self.prompts)

    def without(self, texts: Container[str]) -> "Generation":
        """Return the task without these prompts.

        Raises:
            LensLocError: if none is left.
        """
        kept = tuple(prompt for prompt in self.prompts if prompt not in texts)
        if not kept:
            raise LensLocError(f"No prompt of the task {self.name!r} is left; give it others.")
        return dataclasses.replace(self, prompts=kept)

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Let the model write, under whatever lesion is open; let the intact one judge.

        Returns:
            Fluency: mean natural log-probability per token that the model without its lesions gives
            to what was written. Items: ``text``, ``tokens``, ``words``, ``distinct_1`` and
            ``distinct_2`` (share of different words and of different pairs of words; NaN where
            there is none), ``value`` (summed log-probability) and ``weight`` (tokens). NaN if
            nothing was written at all.

        Raises:
            LensLocError: a prompt that leaves no room in the context window, or after which the
                model gives no number to any token.
        """
        require_tokenizer(model)
        ids = [token_ids(model, prompt, self.bos, end=False) for prompt in self.prompts]
        for number, (prompt, tokens) in enumerate(zip(self.prompts, ids, strict=True), start=1):
            if not tokens:
                raise LensLocError(f"Prompt {number} has no tokens; write one, or use bos='add'.")
            where = f"Prompt {number} with {self.max_new_tokens} tokens after it"
            require_fits(model, len(tokens) + self.max_new_tokens, where, prompt)
        written = decode(
            model,
            ids,
            Decoding(
                self.max_new_tokens,
                self.temperature,
                self.repetition_penalty,
                self.stops,
                self.seed,
                self.min_new_tokens,
            ),
            places=[
                f"prompt {number} of {self.name!r} ({shortened(prompt)})"
                for number, prompt in enumerate(self.prompts, start=1)
            ],
            batch_size=self.batch_size,
            progress=progress,
            description=self.name,
        )
        with intact(model):
            judged = token_log_probs(
                model,
                [
                    Scored((*a, *b), len(a), f"prompt {number} of {self.name!r} and what follows")
                    for number, (a, b) in enumerate(zip(ids, written, strict=True), start=1)
                ],
                progress=progress,
                description=f"{self.name}: fluency",
            )
        rows = []
        for number, (prompt, tokens, logs) in enumerate(
            zip(self.prompts, written, judged, strict=True), start=1
        ):
            text = surface(model).tokenizer.decode(tokens, skip_special_tokens=True)
            words = text.split()
            rows.append(
                {
                    "item": str(number),
                    "group": "all",
                    "prompt": prompt,
                    "text": text,
                    "tokens": len(tokens),
                    "words": len(words),
                    "distinct_1": distinct(words, 1),
                    "distinct_2": distinct(words, 2),
                    "value": float(logs.sum()),
                    "weight": float(len(logs)),
                }
            )
        settings = {**self.settings, "prepends_bos": prepends_bos(model, self.bos)}
        silent = not any(written)
        reason = f"Nothing was written after any prompt of {self.name!r}, so it has no fluency."
        result = TaskResult(
            self.name,
            "fluency",
            pd.DataFrame(rows),
            settings=settings,
            warnings=(reason,) * silent,
        )
        return told(result)


def generation(
    prompts: Sequence[str] | str | Path | None = None,
    *,
    prompt: str = "prompt",
    limit: int | None = None,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    repetition_penalty: float = 1.0,
    stops: Sequence[str] = (),
    min_new_tokens: int = 0,
    seed: int = 0,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str = "generation",
    sep: str | None = None,
    encoding: str | None = None,
) -> Generation:
    """Return a task of continuing prompts, judged by the intact model.

    Args:
        prompts: texts in a list; or a file: a ``.txt`` with a prompt per line, or a ``.csv``,
            ``.tsv``, ``.jsonl`` or ``.parquet`` with a column of prompts; the bundled 60 sentence
            beginnings if None.
        prompt: that column's name.
        limit: use only so many prompts, the first ones.
        max_new_tokens: most tokens to write.
        temperature: 0 takes the most probable token every time; above 0 tokens are drawn.
        repetition_penalty: what logits of tokens that are there already are divided by if positive
            and multiplied by if negative (Keskar et al. 2019); 1 for none, 1.1 to 1.3 against
            loops.
        stops: texts at which writing ends, e.g. ``["\\n"]``; what was written ends before the
            token in which the stop begins.
        min_new_tokens: so many tokens are written before an end-of-text token may be.
        seed: of the draws.
        bos: whether a beginning-of-text token stands before every prompt.
        batch_size: prompts of equal length per batch; does not change the result.
        name: of the task, in tables.
        sep: what separates the cells of a file; see :meth:`lensloc.Contrast.from_file`.
        encoding: of a file; as there.

    Raises:
        LensLocError: no prompt, one that is no text, or a number that makes no sense.
    """
    require_numbers(seed=seed, max_new_tokens=max_new_tokens)
    if max_new_tokens < 1:
        raise LensLocError(f"max_new_tokens is at least 1; {max_new_tokens} is not.")
    if not 0 <= temperature < float("inf"):
        raise LensLocError(f"temperature is 0 or above; {temperature} is not.")
    if not 0 < repetition_penalty < float("inf"):
        raise LensLocError(
            f"repetition_penalty is above 0, and 1 for none; {repetition_penalty} is not."
        )
    if not 0 <= min_new_tokens <= max_new_tokens:
        raise LensLocError(
            f"min_new_tokens is 0 to max_new_tokens ({max_new_tokens}); {min_new_tokens} is not."
        )
    if isinstance(stops, str) or not all(stops):
        raise LensLocError("stops is a list of texts, none of them empty; give e.g. ['\\n'].")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 prompt; {limit} is not.")
    form = TableForm.of({"prompt": prompt}, sep, encoding)
    if not isinstance(prompts, str | Path):
        form.require_unsaid("what was given")
    if prompts is None:
        prompts = bundled_folder() / "beginnings.txt"
    if isinstance(prompts, str | Path):
        prompts = read_prompts(path_of(prompts), form=form)
    prompts = tuple(require_texts(prompts, "Prompt", may_be_empty=True))
    if not prompts:
        raise LensLocError("There is no prompt to continue; give at least one.")
    return Generation(
        prompts[:limit],
        max_new_tokens,
        temperature,
        repetition_penalty,
        tuple(stops),
        min_new_tokens,
        seed,
        bos,
        batch_size,
        name,
    )


def distinct(words: Sequence[str], n: int) -> float:
    """Return the share of different ones among runs of n words (Li et al. 2016); NaN of none.

    Example:
        >>> distinct("the dog saw the dog".split(), 2)
        0.75
    """
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else float("nan")
