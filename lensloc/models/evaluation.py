"""Evaluation mode for a while: dropout off, running statistics used and not updated."""

import contextlib
from collections.abc import Iterator

from lensloc.models.surface import Model


@contextlib.contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put all of a model into evaluation mode; each part gets its own mode back."""
    parts = [part for part in model.modules() if part.training]
    if parts:
        model.eval()
    try:
        yield
    finally:
        for part in parts:
            part.training = True
