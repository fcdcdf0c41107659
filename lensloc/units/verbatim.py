"""Verbatim: a text in which every special token stands that the model is to read."""

from typing import Any, SupportsIndex


class Verbatim(str):
    """A text to which no special token is added when it is made into tokens.

    A chat template writes the special tokens itself, so a tokenizer that adds its own would double
    them, or put an end-of-text token behind. In all else it is the text that it holds; a part of it
    is verbatim too, and so is it with something written behind. What turns texts into tokens knows
    it (:func:`lensloc.models.tokens.token_ids`).

    Example:
        >>> text = Verbatim("<s>[INST] hot tea [/INST]")
        >>> text == "<s>[INST] hot tea [/INST]", type(text[:3]).__name__
        (True, 'Verbatim')
    """

    __slots__ = ()

    def _kept_state(self) -> dict[str, str]:
        return {"text": str(self)}

    @classmethod
    def _of_kept_state(cls, state: dict[str, str]) -> "Verbatim":
        return cls(state["text"])

    def __getitem__(self, key: SupportsIndex | slice) -> "Verbatim":
        return Verbatim(super().__getitem__(key))

    def __add__(self, more: str) -> "Verbatim":
        return Verbatim(super().__add__(more))


def as_text(value: Any) -> str:
    """Return a text as a string of Python's own, or as the verbatim text that it is."""
    return value if type(value) is Verbatim else str(value)


def is_verbatim(text: Any) -> bool:
    """Say whether no special token is to be added to a text."""
    return isinstance(text, Verbatim)
