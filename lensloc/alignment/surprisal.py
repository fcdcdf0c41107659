"""Words of a text -> surprisal: of their tokens, and corrected for the white space before them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from lensloc.alignment import _model
from lensloc.alignment._model import BatchSize, Bos
from lensloc.alignment.reading_data import ReadingTimes
from lensloc.alignment.spans import Span, found_in, joined, tokens_of, windows
from lensloc.alignment.tables import Table
from lensloc.contrasts.columns import TABLE_KINDS
from lensloc.contrasts.lines import kind_of
from lensloc.display import markup
from lensloc.display.apart import require_apart
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted
from lensloc.models.surface import Model
from lensloc.results.joining import same_in_all
from lensloc.units.provenance import Provenance

Marks = Literal["beginning", "end", "none"]

_WHITE = tuple(chr(code) for code in range(0x3001) if chr(code).isspace())


def _byte_level() -> tuple[str, ...]:
    """Return how byte-level tokenizers spell white space: a letter per byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letter = {byte: chr(byte) for byte in shown}
    letter |= {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return tuple("".join(letter[byte] for byte in white.encode()) for white in _WHITE)


# The first of each is the space. SentencePiece has a sign for it, and bytes or itself for others.
_BYTE_LEVEL = ("Ġ", *_byte_level())
_SENTENCE_PIECE = ("▁", *_WHITE, *(f"<0x{ord(white):02X}>" for white in _WHITE if ord(white) < 128))
_END = "</w>"


@dataclass(frozen=True, eq=False)
class Boundaries:
    """How a tokenizer shows where words begin and end.

    Attributes:
        marks: ``"beginning"`` if a token that begins a word begins with white space; ``"end"`` if a
            token that ends a word says so, so that nothing needs to be corrected; ``"none"`` if
            tokens do not tell.
        begins: ``[token]``, tokens that begin with white space, or stand for the end of the text.
        goes_on: ``[token]``, tokens that do not begin with white space, or stand for the end of the
            text.
    """

    marks: Marks
    begins: Bool[np.ndarray, " token"]
    goes_on: Bool[np.ndarray, " token"]

    @classmethod
    def of(cls, tokenizer: Any) -> "Boundaries":
        """Find out for a tokenizer."""
        spelled, special = _model.vocabulary(tokenizer)
        probe = _model.spelling(tokenizer, "a a a")
        marked: tuple[str, ...] = ()
        for signs in (_BYTE_LEVEL, _SENTENCE_PIECE):
            if any(token.startswith(signs[0]) for token in probe[1:]):
                marked = signs
        ends = bool(probe) and all(token.endswith(_END) for token in probe)
        ends_text = np.array([number in special for number in range(len(spelled))], dtype=bool)
        begins = np.array([bool(marked) and token.startswith(marked) for token in spelled])
        there = np.array([token != "" for token in spelled], dtype=bool)
        return cls(
            "beginning" if marked else "end" if ends else "none",
            (begins & there) | ends_text,
            (~begins & there) | ends_text,
        )


@dataclass(frozen=True, eq=False)
class WordSurprisals(Savable):
    """How surprising every word of some texts is to a model, in nats.

    Attributes:
        table: one row per word: ``story``, ``position``, ``word``, ``n_tokens``; ``surprisal``,
            minus the log probability of its tokens; ``corrected``, minus the log probability of the
            word (see :func:`word_surprisals`), NaN where tokens do not tell where words end; both
            NaN for a word that nothing stands before.
        marks: what the tokenizer marks of a word, its ``"beginning"``, its ``"end"`` or ``"none"``.
        warnings: what a reader should know, in sentences.
        provenance: which model, how loaded.
    """

    table: pd.DataFrame
    marks: Marks
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def _joined(cls, several: "Sequence[WordSurprisals]") -> "WordSurprisals":
        first = several[0]
        for each in several[1:]:
            if first.provenance.differing(each.provenance.model_hashes):
                raise LensLocError(
                    "The surprisals are of several models; join those of one, or their tables: "
                    "ll.concat({'first': a.table, 'second': b.table})."
                )
        same_in_all(several, "marks")
        held = (set(map(str, each.table["story"])) for each in several)
        require_apart(held, "text", "leave it out of one of them, or call its story otherwise")
        return cls(
            pd.concat([each.table for each in several], ignore_index=True),
            first.marks,
            tuple(dict.fromkeys(sentence for each in several for sentence in each.warnings)),
            first.provenance,
        )

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        mean = float(self.table["surprisal"].mean())
        stories = self.table["story"].nunique()
        return (
            f"WordSurprisals({len(self.table):,} words of {stories} texts; mean {mean:.2f} nats; "
            f"{self.provenance.model or 'unknown model'})"
        )

    def _repr_html_(self) -> str:
        columns = ["story", "position", "word", "n_tokens", "surprisal", "corrected"]
        rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()}
            for row in self.table[columns].head(12).to_dict("records")
        ]
        return markup.card(self._line(), markup.table(rows), warnings=self.warnings)


def word_surprisals(
    model: Model,
    words: "ReadingTimes | Table | Sequence[str]",
    *,
    bos: Bos = "model",
    window: int | None = None,
    batch_size: BatchSize = "auto",
    progress: bool = True,
) -> WordSurprisals:
    r"""Return the surprisal of every word, with all words of its text before it as context.

    A word is what stands between white space, punctuation included. Its tokens t1 ... tn have
    the joint probability that a language model gives directly, so that

        surprisal = - sum log p(t_i | all tokens before).

    With a tokenizer whose tokens carry the white space *before* a word, this is not the surprisal
    of the word (Oh and Schuler 2024, Pimentel and Meister 2024). The first token of the next word
    decides whether "care" has ended or goes on as "careful", and its surprisal counts that, too.
    The probability that a word w follows a context c, given that the word before has ended, is

        p(w | c) = prod p(t_i | c, t_<i) * P(B | c, w) / P(B | c),

    where P(B | ...) is the total probability of all tokens that begin with white space or stand for
    the end of the text. Over all words, and the end of the text, these sum to 1. So

        corrected = surprisal - log P(B | c, w) + log P(B | c).

    Special cases:

    - The first token of some words carries no white space: the first word of a text, a word after a
      line end that is a token of its own. Then P(B | c) is the total of all tokens that do *not*
      begin with white space or that end the text, given everything before, white space included.
    - White space that is a token of its own (a line end, a second space) ends the word before it,
      and belongs to no word: it is read, but its probability counts for none.
    - After the last word of a text, P(B | c, w) is as everywhere: that white space or the end of
      the text would follow.
    - Without a beginning-of-text token nothing stands before the first token, so the first word
      has no surprisal (NaN). ``bos="add"`` puts one there.
    - A tokenizer that marks the end of words (``</w>``) gives word probabilities as they are:
      corrected = surprisal. One that marks neither (white space is thrown away, as by WordPiece)
      cannot be corrected: NaN, and a warning.

    Args:
        model: a loaded model.
        words: texts as words: of reading times; a table with columns ``story``, ``position`` and
            ``word``, or a file of one; or texts, of which each is a story and is split at white
            space.
        bos: whether a beginning-of-text token stands before every text.
        window: most tokens read at once; longer texts are read in windows that move on by half of
            it. At most 2048 tokens, or the model's context, if None.
        batch_size: windows per batch; does not change the result.
        progress: show a progress bar.

    Raises:
        LensLocError: words that do not line up with the text or its tokens, naming the word; no
            tokenizer, or a slow one; a probability that is not a number.
    """
    stories = _stories(words)
    size = _model.window_of(model, window)
    boundaries = Boundaries.of(_model.tokenizer_of(model))
    sequences: list[tuple[tuple[int, ...], int]] = []
    planned: list[tuple[_Story, _model.Tokens, list[range], int]] = []
    for story in stories:
        tokens = _model.tokenize(model, story.text, bos)
        owned = tokens_of(story.text, story.spans, tokens.spans, story.place)
        # One token more, which is predicted but not read: what follows the last word.
        extended = (*tokens.ids, tokens.ids[-1])
        parts = [
            (extended[part.start : part.stop], max(1, part.new - part.start))
            for part in windows(len(extended), size)
        ]
        sequences += parts
        planned.append((story, tokens, owned, len(parts)))
    found = _model.log_probabilities(
        model,
        sequences,
        [boundaries.begins, boundaries.goes_on],
        batch_size=batch_size,
        progress=progress,
    )
    rows: list[dict[str, Any]] = []
    for story, tokens, owned, count in planned:
        # Row p holds what was predicted in the place of token p; in that of the first, nothing.
        scores = np.concatenate([np.full((1, 3), np.nan), *found[:count]])
        found = found[count:]
        rows += _rows(story, tokens, owned, scores, boundaries)
    table = pd.DataFrame(rows)
    return WordSurprisals(
        table,
        boundaries.marks,
        _warnings(table, boundaries.marks),
        _model.provenance(model, prepends_bos=tokens.spans[0] is None),
    )


# -- one text --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Story:
    name: str
    positions: tuple[int, ...]
    words: tuple[str, ...]
    text: str
    spans: tuple[Span, ...]

    def place(self, number: int) -> str:
        """Return how a word is called in a message."""
        return f"Story {self.name}, word {self.positions[number]}"


def _stories(words: "ReadingTimes | Table | Sequence[str]") -> list[_Story]:
    if isinstance(words, ReadingTimes):
        data = words
    elif isinstance(words, pd.DataFrame | Path) or _names_a_table(words):
        data = ReadingTimes.from_dataframe(words, time=None)  # type: ignore[arg-type]
    else:
        texts = [words] if isinstance(words, str) else list(words)
        rows = [
            {"story": str(number), "position": position, "word": word}
            for number, text in enumerate(texts, start=1)
            for position, word in enumerate(text.split(), start=1)
        ]
        data = ReadingTimes.from_dataframe(
            pd.DataFrame(rows, columns=["story", "position", "word"]),
            time=None,
            texts={str(number): text for number, text in enumerate(texts, start=1)},
        )
    return [_story(data, str(name), found) for name, found in data.stories()]


def _names_a_table(words: object) -> bool:
    """Say whether a text is the name of a file: no text is one word that ends so."""
    return isinstance(words, str) and not words.split()[1:] and kind_of(Path(words)) in TABLE_KINDS


def _story(data: ReadingTimes, name: str, found: pd.DataFrame) -> _Story:
    words = tuple(found["word"])
    positions = tuple(int(position) for position in found["position"])
    given = data.texts.get(name)
    if given is None:
        text, spans = joined(words, " ")
    else:
        text = given
        spans = found_in(text, words, lambda at: f"Story {name}, word {positions[at]}")
    return _Story(name, positions, words, text, spans)


def _rows(
    story: _Story,
    tokens: _model.Tokens,
    owned: Sequence[range],
    scores: Float[np.ndarray, "place 3"],
    boundaries: Boundaries,
) -> list[dict[str, Any]]:
    rows = []
    for number, places in enumerate(owned):
        begins = bool(boundaries.begins[tokens.ids[places.start]])
        surprisal = -float(scores[places.start : places.stop, 0].sum())
        before = float(scores[places.start, 1 if begins else 2])
        after = float(scores[places.stop, 1])
        corrected = {
            "beginning": surprisal - after + before,
            "end": surprisal,
            "none": np.nan,
        }[boundaries.marks]
        told = surprisal if boundaries.marks == "none" else corrected
        if places.start > 0 and not (np.isfinite(surprisal) and np.isfinite(told)):
            raise LensLocError(
                f"{story.place(number)}: the word {story.words[number]!r} has a surprisal of "
                f"{told}, which is no number; load the model in float32, or lesion less."
            )
        rows.append(
            {
                "story": story.name,
                "position": story.positions[number],
                "word": story.words[number],
                "n_tokens": len(places),
                "surprisal": surprisal,
                "corrected": corrected,
            }
        )
    return rows


def _warnings(table: pd.DataFrame, marks: Marks) -> tuple[str, ...]:
    found = []
    if marks == "none":
        found.append(
            "The tokenizer marks neither beginnings nor ends of words, so surprisals cannot be "
            "corrected for white space; only the sum over tokens is given."
        )
    unknown = int(table["surprisal"].isna().sum())
    if unknown:
        found.append(
            f"{unknown} words have no surprisal, since nothing stands before them; bos='add' puts "
            "a beginning-of-text token there."
        )
    return tuple(found)
