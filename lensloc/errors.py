"""The exceptions that lensloc raises on purpose, the one warning, and how results show theirs."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

_LONGEST_SENTENCE = 2000


class LensLocError(ValueError):
    r"""Input that lensloc cannot use.

    The message is one sentence: what was wrong, where, and what to do about it.
    The command line prints it and exits with status 2. What it quotes of files and names can hold
    anything: it becomes one line that a terminal shows and does not obey, and if it is very long,
    its middle is left out.

    Example:
        >>> print(LensLocError("The file a\x1b[2J\n.csv is empty."))
        The file a�[2J .csv is empty.
        >>> len(str(LensLocError("The cell is " + "9" * 100_000 + ", not a number.")))
        2000
    """

    def __init__(self, sentence: object = "") -> None:
        super().__init__(_in_a_line(str(sentence)))


def _in_a_line(text: str) -> str:
    half = _LONGEST_SENTENCE // 2
    if len(text) > _LONGEST_SENTENCE:
        text = f"{text[: half - 5]} ... {text[-half:]}"
    text = text.replace("\r\n", " ")
    shown = (" " if letter in "\n\r\t\u2028\u2029" else letter for letter in text)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)


class NotFiniteError(LensLocError):
    """A model that gives no number to a token: its logits hold NaN or infinity.

    The message names text and token. A study of lesions catches it, marks the lesion, and goes on.
    """


def refuse_idle(reason: str, **given: bool) -> None:
    """Refuse arguments that were given and would have no effect.

    Args:
        reason: what they belong to, in words.
        given: argument -> whether it was given.

    Raises:
        LensLocError: naming the arguments.

    Example:
        >>> refuse_idle("it is of integrated gradients", n_steps=False)
        >>> refuse_idle("it is of integrated gradients", n_steps=True)
        Traceback (most recent call last):
        lensloc.errors.LensLocError: n_steps has no effect here: it is of integrated gradients.
    """
    idle = [name for name, was_given in given.items() if was_given]
    if idle:
        verb = "has" if len(idle) == 1 else "have"
        raise LensLocError(f"{' and '.join(idle)} {verb} no effect here: {reason}.")


class LensLocWarning(UserWarning):
    """A result that is not what it seems, in one sentence."""


def noted(head: str, warnings: Sequence[str]) -> str:
    """Return a result's line with its warnings below, each on a line of its own."""
    return "\n".join([head, *(f"  Warning: {sentence}" for sentence in warnings)])


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Leave our own warnings to the result, which holds them, where it is made or shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LensLocWarning)
        yield


def needed(module: str, purpose: str, install: str) -> Any:
    """Import a library that lensloc itself does not depend on.

    Args:
        module: name of the module, e.g. ``"himalaya.ridge"``.
        purpose: what it is needed for, as the beginning of a sentence.
        install: what brings it.

    Raises:
        LensLocError: if it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (getattr(error, "name", None) or module).split(".")[0]
        raise LensLocError(
            f'{purpose} needs {missing}, which is not installed; run: pip install "{install}"'
        ) from error
    except (RuntimeError, OSError, AttributeError) as error:
        # Of compiled parts that were built for another version of torch, say.
        raise LensLocError(
            f"{purpose} needs {module}, which cannot be imported here ({error}); install it again."
        ) from error
