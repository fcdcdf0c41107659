"""The run-time type checker of the tests: beartype, for which an int is also a float.

It checks what mypy cannot: the shapes of arrays, in functions that take or return some, and the
fields of every dataclass. To check all functions takes longer than what the tests do; with
``LENSLOC_CHECK_ALL=1`` in the environment, they are.
"""

import dataclasses
import inspect
import os
import re
import typing
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

with_int_as_float = beartype(conf=BeartypeConf(is_pep484_tower=True))
everything = jaxtyping.jaxtyped
SHAPE = re.compile(r"\b[A-Z]\w+\[[^\[\]]*(Tensor|ndarray), *['\"]")


def has_arrays(hint: Any) -> bool:
    """Whether an annotation says the shape of an array, at any depth."""
    if isinstance(hint, list | tuple):  # the arguments of a Callable
        return any(map(has_arrays, hint))
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    if isinstance(hint, str):  # an annotation in quotes
        return SHAPE.search(hint) is not None
    return any(map(has_arrays, typing.get_args(hint)))


def is_checked(thing: Any) -> bool:
    """Whether a class, function, method or property is worth its checks."""
    if inspect.isclass(thing):
        return dataclasses.is_dataclass(thing)
    function = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    return any(map(has_arrays, getattr(function, "__annotations__", {}).values()))


def jaxtyped(*given: Any, **options: Any) -> Any:
    """Decorate as jaxtyping's import hook asks for, or leave a thing as it is."""
    if given:
        return everything(*given, **options)

    def decorate(thing: Any) -> Any:
        return everything(thing, **options) if is_checked(thing) else thing

    return decorate


# The hook looks this name up wherever it decorates.
if not os.environ.get("LENSLOC_CHECK_ALL"):
    jaxtyping.jaxtyped = jaxtyped
