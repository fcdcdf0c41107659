"""Perplexity: how well does the model predict running text?"""

import dataclasses
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.readers import TableForm, read_csv, read_texts, require_texts
from lensloc.display.places import path_of
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, prepends_bos, require_tokenizer, token_ids
from lensloc.tasks.base import (
    MASKED_INSTEAD,
    TaskResult,
    content_hash,
    reading_told,
    require_scored,
    told,
)
from lensloc.tasks.byte_counts import bytes_of_tokens
from lensloc.tasks.scoring import Scored, token_log_probs

Unit = Literal["token", "byte"]

# Windows beyond this cost memory that grows with their square and hardly change the figure.
_LONGEST_WINDOW = 2048


@dataclass(frozen=True)
class Perplexity:
    """The task of :func:`perplexity`."""

    texts: tuple[str, ...]
    places: tuple[str, ...]
    per: Unit = "token"
    window: int | None = None
    stride: int | None = None
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "perplexity"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        known = {
            "task": "perplexity",
            "texts": content_hash(self.texts),
            "per": self.per,
            "window": self.window,
            "stride": self.stride,
            "bos": self.bos,
        }
        return known if self.per == "token" else {**known, "bytes": "of scored tokens"}

    def without(self, texts: Container[str]) -> "Perplexity":
        """Return the task without these texts.

        Raises:
            LensLocError: if none is left.
        """
        kept = [pair for pair in zip(self.texts, self.places, strict=True) if pair[0] not in texts]
        if not kept:
            raise LensLocError(f"No text of the task {self.name!r} is left; give it other texts.")
        left, places = zip(*kept, strict=True)
        return dataclasses.replace(self, texts=left, places=places)

    def at(self, items: Sequence[int]) -> "Perplexity":
        """Return the task with some of its texts, by position."""
        texts, places = (tuple(one[item] for item in items) for one in (self.texts, self.places))
        return dataclasses.replace(self, texts=texts, places=places)

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Score every text.

        Returns:
            Perplexity per token (items: natural log-loss and number of scored tokens), or bits per
            byte (items: bits and bytes). Items have ``tokens`` and ``bytes``, those that were
            scored: without a beginning-of-text token, not the first token and its bytes.

        Raises:
            LensLocError: a text of one token; a window that the model does not have; a token that
                the model gives no number to.
        """
        require_tokenizer(model)
        window, stride = self._windows(model)
        sequences: list[Scored] = []
        counts: list[int] = []
        scored: list[int] = []
        n_bytes: list[int] = []
        for text, place in zip(self.texts, self.places, strict=True):
            ids = token_ids(model, text, self.bos)
            require_scored(len(ids) - 1, place, text)
            parts = sliding_windows(ids, window, stride)
            sequences += [
                dataclasses.replace(part, place=f"{place}, window {number} of {len(parts)}")
                if len(parts) > 1
                else dataclasses.replace(part, place=place)
                for number, part in enumerate(parts, start=1)
            ]
            counts.append(len(parts))
            scored.append(len(ids) - 1)
            n_bytes.append(sum(bytes_of_tokens(surface(model).tokenizer, text, ids)[1:]))
        found = token_log_probs(
            model,
            sequences,
            batch_size=self.batch_size,
            progress=progress,
            description=self.name,
        )
        of_windows = iter(found)
        losses = [-sum(float(next(of_windows).sum()) for _ in range(count)) for count in counts]
        items = pd.DataFrame(
            {
                "item": [str(number) for number in range(1, len(self.texts) + 1)],
                "group": "all",
                "text": list(self.texts),
                "tokens": scored,
                "bytes": n_bytes,
                "log_loss": losses,
            }
        )
        by_token = self.per == "token"
        items["value"] = items["log_loss"] / (1 if by_token else math.log(2))
        items["weight"] = (items["tokens"] if by_token else items["bytes"]).astype(float)
        result = TaskResult(
            self.name,
            "perplexity" if by_token else "bits per byte",
            items,
            higher_is_better=False,
            exponential=by_token,
            settings={
                **self.settings,
                "window": window,
                "stride": stride,
                "prepends_bos": prepends_bos(model, self.bos),
            },
            warnings=reading_told(model, self.name, MASKED_INSTEAD),
        )
        if math.isnan(result.score):  # of finite losses
            reason = (
                f"The mean log-loss of {self.name!r} is {result.mean:.6g} nats per token, whose "
                "exponential no number can hold; take the mean instead of the score."
                if by_token
                else f"No byte of {self.name!r} was scored, so that there are no bits per byte."
            )
            result = dataclasses.replace(result, warnings=(*result.warnings, reason))
        return told(result)

    def _windows(self, model: Model) -> tuple[int, int]:
        n_ctx = surface(model).window
        window = min(n_ctx, _LONGEST_WINDOW) if self.window is None else self.window
        if not 2 <= window <= n_ctx:
            raise LensLocError(
                f"window is 2 to {n_ctx} tokens, the model's context; {window} is not."
            )
        stride = max(1, window // 2) if self.stride is None else self.stride
        if not 1 <= stride < window:
            raise LensLocError(
                f"stride is at least 1 and below the window of {window} tokens; {stride} is not."
            )
        return window, stride


def perplexity(
    texts: Sequence[str] | str | Path | None = None,
    *,
    text: str = "text",
    limit: int | None = None,
    per: Unit = "token",
    window: int | None = None,
    stride: int | None = None,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str | None = None,
    sep: str | None = None,
    encoding: str | None = None,
) -> Perplexity:
    """Return a task of predicting running text.

    A text longer than the window is read in windows that move on by ``stride``; every token is
    scored once, with at least ``window - stride`` tokens before it where the text has them.
    Perplexity is the exponential of the mean log-loss over all scored tokens of all texts.

    Args:
        texts: texts in a list; or a file: ``.txt`` (one text), ``.jsonl``, ``.csv``, ``.tsv`` or
            ``.parquet`` with a column of texts (a text per row); the bundled English prose
            (held-out part, 21 paragraphs) if None.
        text: that column's name.
        limit: use only so many texts, the first ones.
        per: ``"token"`` for perplexity; ``"byte"`` for bits per byte of UTF-8, which compares
            models with different tokenizers: of those bytes whose tokens are scored.
        window: tokens at once, a beginning-of-text token included; the context window, at most
            2048, if None.
        stride: how far windows move on; half a window if None.
        bos: whether a beginning-of-text token stands before every text: ``"model"``, ``"add"``
            or ``"none"``. Without one, a text's first token is not scored.
        batch_size: windows per batch; does not change the result.
        name: of the task, in tables.
        sep: what separates the cells of a file; see :meth:`lensloc.Contrast.from_file`.
        encoding: of a file; as there.

    Raises:
        LensLocError: a file that is missing, empty or malformed, naming file and row; a text that
            is none.
    """
    if per not in ("token", "byte"):
        raise LensLocError(f"per is 'token' or 'byte'; {per!r} is neither.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 text; {limit} is not.")
    found = _texts(texts, TableForm.of({"text": text}, sep, encoding))
    if not found:
        raise LensLocError("There is no text to score; give at least one.")
    kept = found[:limit]
    return Perplexity(
        tuple(each for each, _ in kept),
        tuple(place for _, place in kept),
        per,
        window,
        stride,
        bos,
        batch_size,
        name or ("perplexity" if per == "token" else "bits-per-byte"),
    )


def bits_per_byte(texts: Sequence[str] | str | Path | None = None, **options: Any) -> Perplexity:
    """Return :func:`perplexity` with ``per="byte"``, which compares across tokenizers."""
    return perplexity(texts, per="byte", **options)


def _texts(texts: Sequence[str] | str | Path | None, form: TableForm) -> list[tuple[str, str]]:
    """Return every text and its place."""
    if isinstance(texts, str | Path):
        return read_texts(path_of(texts), form=form)
    if texts is not None:
        form.require_unsaid("a list of texts")
        return [(text, f"Text {number}") for number, text in enumerate(require_texts(texts), 1)]
    form.require_unsaid("the bundled prose")
    path = bundled_folder() / "prose" / "en.csv"
    return [
        (row.cells["text"], f"{path}, row {row.number}")
        for row in read_csv(path, ("text", "part"))
        if row.cells["part"] == "held-out"
    ]


def sliding_windows(ids: Sequence[int], window: int, stride: int) -> list[Scored]:
    """Cut a text into windows so that every token but the first is scored exactly once.

    Example:
        >>> for window in sliding_windows([10, 11, 12, 13, 14], window=4, stride=2):
        ...     print(window.ids, "scored from", window.first)
        (10, 11, 12, 13) scored from 1
        (12, 13, 14) scored from 2
    """
    windows, scored_up_to = [], 1
    for start in range(0, len(ids), stride):
        stop = min(start + window, len(ids))
        windows.append(Scored(tuple(ids[start:stop]), scored_up_to - start))
        scored_up_to = stop
        if stop == len(ids):
            break
    return windows
