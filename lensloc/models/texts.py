"""Text methods of a model that lensloc loaded: the same tokens as everywhere in lensloc."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lensloc.models.tokens import Bos, added_around, token_ids


def adopt_tokenizer(model: Any, tokenizer: Any, *, bos: bool | None = None) -> None:
    """Give a model a tokenizer, and its text methods the rule of :mod:`lensloc.models.tokens`.

    TransformerLens would load the tokenizer anew by its name with other settings, take its own
    stand for a beginning-of-text token, and put one in front of a text that begins with it already.

    Args:
        model: a HookedTransformer or TransformerBridge, without a tokenizer of its own.
        tokenizer: transformers' own for it, or None.
        bos: whether the model is to be given a beginning-of-text token before every text; whether
            the tokenizer adds one by itself if None.
    """
    model.tokenizer = None  # a bridge changes a tokenizer that takes another's place
    model.tokenizer = tokenizer
    adds = False
    if tokenizer is not None:
        _require_padding(tokenizer)
        before, behind = added_around(tokenizer)
        adds = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in before
        # Past nn.Module's and the bridge's own __setattr__, which look for parameters in it.
        methods = TextMethods(model)
        object.__setattr__(model, "to_tokens", methods.to_tokens)
        if behind:
            object.__setattr__(model, "generate", methods.generate)
    model.cfg.default_prepend_bos = adds if bos is None else bos
    model.cfg.tokenizer_prepends_bos = adds
    if hasattr(model.cfg, "tokenizer_appends_eos"):
        model.cfg.tokenizer_appends_eos = False


def _require_padding(tokenizer: Any) -> None:
    """Let several texts be padded; which token stands there does not matter, none is read."""
    if tokenizer.pad_token is None:
        names = (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token)
        tokenizer.pad_token = next(
            (name for name in names if name is not None), tokenizer.convert_ids_to_tokens(0)
        )
    if tokenizer.padding_side is None:
        tokenizer.padding_side = "right"


class TextMethods:
    """A model's methods for texts; an object of its own, so that models are copied with theirs."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._writing = False

    def to_tokens(
        self,
        input: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: str | None = None,
        move_to_device: bool = True,
        truncate: bool = True,
    ) -> Int[Tensor, "row pos"]:
        """Turn texts into tokens: special tokens as the tokenizer adds them, one BOS at most.

        Args:
            input: a text, or several.
            prepend_bos: whether a beginning-of-text token is put before a text that does not begin
                with one; ``cfg.default_prepend_bos`` if not given.
            padding_side: ``"left"`` or ``"right"``; the tokenizer's own if not given.
            move_to_device: to the model's.
            truncate: cut texts off behind the context window.
        """
        model = self._model
        bos: Bos = "model" if prepend_bos is None else "add" if prepend_bos else "none"
        texts = [input] if isinstance(input, str) else list(input)
        rows = [token_ids(model, text, bos, end=not self._writing) for text in texts]
        if truncate:
            rows = [row[: model.cfg.n_ctx] for row in rows]
        longest = max(map(len, rows), default=0)
        if padding_side not in ("left", "right"):
            padding_side = model.tokenizer.padding_side
        tokens = torch.full((len(rows), longest), int(model.tokenizer.pad_token_id or 0))
        for place, row in enumerate(rows):
            start = longest - len(row) if padding_side == "left" else 0
            tokens[place, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
        return tokens.to(model.cfg.device) if move_to_device else tokens

    def generate(self, *arguments: Any, **options: Any) -> Any:
        """Write on from a text, without the end-of-text token that the tokenizer puts behind it."""
        with self._while_writing():
            return type(self._model).generate(self._model, *arguments, **options)

    @contextlib.contextmanager
    def _while_writing(self) -> Iterator[None]:
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before
