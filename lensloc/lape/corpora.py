"""Text or tokens, from memory or from files -> windows of token ids, one after another.

Everything is read as it is needed, so that memory does not grow with a corpus.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lensloc.contrasts.readers import TableForm, from_dataframe
from lensloc.display.places import path_of
from lensloc.errors import LensLocError
from lensloc.lape.documents import Corpus, Document, Ids, one_text, rows_of_tokens
from lensloc.lape.hub import HUB, data_set
from lensloc.lape.readers import open_path
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, require_known, require_tokenizer, token_ids

_LONGEST_WINDOW = 1024


@dataclass(frozen=True)
class Window:
    """Token ids that the model reads at once.

    Attributes:
        ids: the token ids.
        read: share of the corpus that has been read; None where its length is not known.
    """

    ids: Ids
    read: float | None


def open_corpus(name: str, given: Any, form: TableForm | None = None) -> Corpus:
    """Say how a corpus is read; see :func:`lensloc.lape.record` for what it can be.

    Args:
        name: of the language.
        given: the corpus.
        form: how files are written, and what a column of texts is called.

    Raises:
        LensLocError: if it is nothing that can be read. What is wrong inside is found while
            reading.
    """
    form = form or TableForm()
    column = form.columns.get("text", "text")
    if isinstance(given, str) and given.startswith(HUB):
        return Corpus(_items(data_set(given), name, column))
    if isinstance(given, str | Path):
        return open_path(path_of(given), form)
    if isinstance(given, Tensor | np.ndarray):
        return rows_of_tokens(given, f"The tokens of {name!r}")
    if isinstance(given, pd.DataFrame):
        rows = from_dataframe(given, ["text"], f"The table of {name!r}", form=form)
        given = [row.cells["text"] for row in rows]
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise LensLocError(
            f"The corpus of {name!r} is of type {type(given).__name__}; give texts, a path, token "
            "ids or one split of a data set."
        )
    return Corpus(_items(given, name, column))


def require_fitting_file(corpora: Mapping[str, Any], form: TableForm) -> None:
    """Check that there is a file that what was said of files makes sense for.

    Raises:
        LensLocError: if there is none.
    """
    named = [given for given in corpora.values() if isinstance(given, str | Path)]
    form.require_fits(*(path_of(given) for given in named if not str(given).startswith(HUB)))


def windows(
    corpus: Corpus, model: Model, length: int, bos: Bos, max_tokens: int | None
) -> Iterator[Window]:
    """Tokenize the documents, join them, and cut them into windows; the last may be shorter.

    Args:
        corpus: the documents, or windows that are ready.
        model: a model, whose tokenizer is needed if there is text.
        length: tokens per window.
        bos: whether a beginning-of-text token stands before every document.
        max_tokens: how many tokens to give at most.

    Raises:
        LensLocError: a model without tokenizer, a token that the model does not have, a ready
            window that is too long, or what is wrong with the corpus.
    """
    left = max_tokens
    ready = corpus.ready
    for window in _ready(corpus, model, length) if ready else _packed(corpus, model, length, bos):
        ids = window.ids[:left]
        yield Window(ids, window.read)
        if left is not None:
            left -= len(ids)
            if left <= 0:
                return


def window_length(model: Model, window: int | None) -> int:
    """Return how many tokens a window holds: the model's context, at most 1024, if None.

    Raises:
        LensLocError: unless the context holds it.
    """
    context = surface(model).window
    if window is None:
        return min(context, _LONGEST_WINDOW)
    if not 1 <= window <= context:
        raise LensLocError(
            f"window is 1 to {context} tokens, the model's context; {window} is not."
        )
    return window


def _packed(corpus: Corpus, model: Model, length: int, bos: Bos) -> Iterator[Window]:
    rest, read = np.zeros(0, dtype=np.int64), None
    for document in corpus.documents:
        ids, read = _encoded(document, model, bos), document.read
        rest = np.concatenate([rest, ids])
        whole = len(rest) // length * length
        for start in range(0, whole, length):
            yield Window(rest[start : start + length], read)
        rest = rest[whole:]
    if len(rest):
        yield Window(rest, read)


def _ready(corpus: Corpus, model: Model, length: int) -> Iterator[Window]:
    for document in corpus.documents:
        ids = document.content
        assert not isinstance(ids, str)
        require_known(model, ids, document.place)
        if len(ids) > length:
            raise LensLocError(
                f"{document.place}: {len(ids)} tokens, but a window holds {length}; give one long "
                "row of tokens to have it cut, or shorter rows."
            )
        if len(ids):
            yield Window(ids, document.read)


def _encoded(document: Document, model: Model, bos: Bos) -> Ids:
    if not isinstance(document.content, str):
        require_known(model, document.content, document.place)
        return document.content
    require_tokenizer(model)
    policy: Bos = "none" if document.continues else bos
    ids = token_ids(model, document.content, policy, end=not document.goes_on)
    return np.asarray(ids, dtype=np.int64)


# -- from memory -----------------------------------------------------------------------------------


def _items(given: Iterable[Any], name: str, column: str) -> Iterator[Document]:
    """Read texts, rows with a text, or token ids, of a list, an iterator or a data set."""
    columns = getattr(given, "column_names", None)
    if isinstance(columns, list):
        column = _column(columns, column, f"The data set of {name!r}")
        given = given.select_columns([column]) if hasattr(given, "select_columns") else given
    try:
        total = len(given)  # type: ignore[arg-type]
    except TypeError:
        total = None
    return _documents_of(given, name, total, column)


def _column(present: Iterable[Any], column: str, where: str) -> str:
    """Return the name of the column of texts as it is written there."""
    titles = [str(title) for title in present]
    place = TableForm({"text": column}).places(titles, ["text"], where=where)["text"]
    return titles[place]


def _documents_of(
    given: Iterable[Any], name: str, total: int | None, column: str
) -> Iterator[Document]:
    for number, item in enumerate(given, start=1):
        place = f"Text {number} of {name!r}"
        read = number / total if total else None
        if isinstance(item, Mapping):
            text = item[column] if column in item else item[_column(item, column, place)]
            yield from one_text(text, place, read)
        elif isinstance(item, str):
            yield from one_text(item, place, read)
        else:
            yield Document(_one_row(item, place), place, read)


def _one_row(item: Any, place: str) -> Ids:
    array = np.asarray(item) if isinstance(item, list | tuple | np.ndarray | Tensor) else None
    if array is None or array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise LensLocError(
            f"{place} is neither text nor a row of token ids but of type {type(item).__name__}; "
            "leave it out or make it one."
        )
    return array.astype(np.int64)
