"""Text -> token ids, by the tokenizer that a model carries and the model's own setting for BOS.

One rule for a beginning-of-text token (BOS), for everything that reads text: it stands in front
once where it is wanted, whether the text begins with it already or not; and one that the text
itself begins with is never taken away. A verbatim text (one that a chat template wrote) holds all
its special tokens itself, and is given no others.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.units.stimuli import Stimulus
from lensloc.units.verbatim import is_verbatim
from lensloc.vocabulary import BOS as BOS
from lensloc.vocabulary import Bos as Bos

_ADDED = "lensloc_added"
# What may change which special tokens a tokenizer adds.
_SETTINGS = ("add_bos_token", "add_eos_token", "bos_token_id", "eos_token_id", "cls_token_id")
# Short texts, of which every tokenizer makes something of at least one.
_PROBES = ("a", "1", "the")


def token_ids(model: Model, text: str, bos: Bos = "model", *, end: bool = True) -> list[int]:
    """Return a text's token ids, without padding or truncation.

    Special tokens are those that the tokenizer adds by itself, except the beginning-of-text token
    (BOS), which follows ``bos``. A text that begins with the BOS' own text keeps that one, and none
    is added to it. To a verbatim text (:class:`lensloc.units.verbatim.Verbatim`) none is added at
    all, unless ``bos`` is ``"add"`` and it begins with none.

    Args:
        model: a model with a tokenizer.
        text: the text.
        bos: ``"model"``: the model's setting (``cfg.default_prepend_bos``; a model that lensloc
            loaded does what its tokenizer does by itself). ``"add"``: one stands in front.
            ``"none"``: none is added; one that the text begins with stays.
        end: keep what the tokenizer adds behind a text (an end-of-text token). Not for a text on
            which the model is to write on.

    Raises:
        LensLocError: a BOS is to be added, but the tokenizer has none; or the tokenizer knows a
            token that the model does not.
    """
    if isinstance(text, Stimulus):
        raise LensLocError(
            f"The stimulus {text!r} is no text, and {surface(model).name or 'this model'} reads "
            "texts; wrap a module that takes such stimuli: ll.wrap(module, sites)."
        )
    tokenizer = surface(model).tokenizer
    wanted = prepends_bos(model, bos)
    before, behind, own = _parts(tokenizer, text)
    wanted = wanted and not (is_verbatim(text) and bos == "model")
    token = tokenizer.bos_token_id
    if not wanted or (token is not None and own[:1] == [token]):
        front = [added for added in before if added != token]
    elif token in before:
        front = before
    else:
        front = [int(token), *before]
    ids = [*front, *own, *(behind if end else ())]
    require_known(model, ids, f"The text {shortened(text)}")
    return ids


def _parts(tokenizer: Any, text: str) -> tuple[list[int], list[int], list[int]]:
    """Return what the tokenizer puts in front of a text and behind it, and its own tokens."""
    if is_verbatim(text):
        own = tokenizer(str(text), add_special_tokens=False)["input_ids"]
        return [], [], [int(token) for token in own]
    before, behind = added_around(tokenizer)
    whole = [int(token) for token in tokenizer(text)["input_ids"]]
    return before, behind, whole[len(before) : len(whole) - len(behind)]


def added_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that a tokenizer puts in front of a text and behind it.

    Found out by trying, since no setting of a tokenizer says it reliably; and again when a setting
    changed that may change it.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings = [
        repr(getattr(backend, "post_processor", None)),
        *(getattr(tokenizer, name, None) for name in _SETTINGS),
    ]
    kept = getattr(tokenizer, _ADDED, None)
    if kept is None or kept[0] != settings:
        kept = (settings, _tried(tokenizer))
        object.__setattr__(tokenizer, _ADDED, kept)
    before, behind = kept[1]
    return list(before), list(behind)


def _tried(tokenizer: Any) -> tuple[list[int], list[int]]:
    for probe in _probes(tokenizer):
        own = [int(token) for token in tokenizer(probe, add_special_tokens=False)["input_ids"]]
        whole = [int(token) for token in tokenizer(probe)["input_ids"]]
        for start in range(len(whole) - len(own) + 1) if own else ():
            if whole[start : start + len(own)] == own:
                return whole[:start], whole[start + len(own) :]
    return [], []


def _probes(tokenizer: Any) -> Iterator[str]:
    yield from _PROBES
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    with contextlib.suppress(AttributeError, NotImplementedError):
        yield from (token for token in list(tokenizer.get_vocab())[:100] if token not in special)


def prepends_bos(model: Model, bos: Bos = "model") -> bool:
    """Say whether a beginning-of-text token stands before a text under a policy.

    Raises:
        LensLocError: an unknown policy; a BOS is to be added, but the tokenizer has none.
    """
    if bos not in BOS:
        raise LensLocError(f"bos is one of {', '.join(BOS)}; {bos!r} is not.")
    seen = surface(model)
    has = seen.tokenizer.bos_token_id is not None
    if bos == "add" and not has:
        raise LensLocError(
            "The model's tokenizer has no beginning-of-text token to add; use bos='none'."
        )
    if bos == "model":
        return has and seen.prepends_bos
    return bos == "add"


def require_known(model: Model, ids: Sequence[int] | Int[np.ndarray, " token"], what: str) -> None:
    """Check that the model has an embedding for every token.

    Args:
        model: the model.
        ids: token ids.
        what: what holds them, to begin the sentence with.

    Raises:
        LensLocError: naming the first token that it does not have.
    """
    seen = surface(model)
    known, array = seen.vocabulary, np.asarray(ids)
    unknown = array[(array < 0) | (array >= known)]
    if len(unknown) == 0:
        return
    wrong = int(unknown[0])
    raise LensLocError(
        f"{what} holds the token {wrong}{_named(seen.tokenizer, wrong)}, but the model knows 0 to "
        f"{known - 1}; tokenize with the model's own tokenizer, or give the model an embedding for "
        "what was added to it."
    )


def _named(tokenizer: Any, token: int) -> str:
    """Return a token's text in brackets, if the tokenizer has one for it."""
    if tokenizer is None or token < 0:
        return ""
    try:
        name = tokenizer.convert_ids_to_tokens(token)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        return ""
    return f" ({name!r})" if name else ""


def n_shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two texts have in common from the start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def require_tokenizer(model: Model) -> None:
    """Check that texts can be run through the model.

    Raises:
        LensLocError: if it has no tokenizer.
    """
    seen = surface(model)
    if not seen.takes_tokens:
        raise LensLocError(
            f"{seen.name} is a wrapped module, which is run on its own stimuli and not on tokens; "
            "load a language model with ll.load_model for this."
        )
    if seen.tokenizer is None:
        raise LensLocError(
            "The model has no tokenizer, so texts cannot be run through it; "
            "load it with one (tokenizer files in its folder)."
        )


def shortened(text: str, length: int = 40) -> str:
    """Return a text in quotes, cut off for an error message."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
