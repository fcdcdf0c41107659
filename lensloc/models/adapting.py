"""A model of any kind -> its surface."""

import importlib
from typing import Any

from lensloc.errors import LensLocError
from lensloc.models.surface import Model, Surface
from lensloc.ranks import Crew, crew, least

_ATTRIBUTE = "lensloc_surface"
# Class, wherever it stands among a model's ancestors -> module and class of the adapter. Modules
# are imported when they are needed: each needs a library that may not be there.
_ADAPTERS = {
    "HookedTransformer": ("hooked", "Hooked"),
    "TransformerBridge": ("bridge", "Bridge"),
    "PreTrainedModel": ("plain", "Plain"),
    "Wrapped": ("module", "OfModule"),
}


def surface(model: Any) -> Surface:
    """Return what lensloc asks of a model; the same object every time.

    Args:
        model: a HookedTransformer, a TransformerBridge, a language model of transformers, or a
            module that :func:`lensloc.wrap` gave sites.

    Raises:
        LensLocError: for anything else.
    """
    known = getattr(model, "__dict__", {}).get(_ATTRIBUTE)
    if known is not None and known.model is model:
        found: Surface = known
        return found
    adapter = _adapter_of(type(model))
    if adapter is None:
        raise LensLocError(_refused(model))
    module, name = adapter
    found = getattr(importlib.import_module(f"lensloc.models.{module}"), name)(model)
    # Past nn.Module's and the bridge's own __setattr__, which look for parameters in it.
    object.__setattr__(model, _ATTRIBUTE, found)
    return found


def crew_of(model: Model) -> Crew:
    """Return the processes that share a model's work; this one alone if they share the model."""
    return Crew() if surface(model).is_sharded else crew()


def agreed(model: Model, number: int) -> int:
    """Return a number that processes which share a model must have in common: the least of theirs.

    Each runs its part of every pass, so that none may begin or end another one, or a smaller one.
    """
    return least(number) if surface(model).is_sharded else number


def _adapter_of(kind: type) -> tuple[str, str] | None:
    ancestors = [parent.__name__ for parent in kind.__mro__]
    return next((_ADAPTERS[name] for name in ancestors if name in _ADAPTERS), None)


def _refused(model: Any) -> str:
    if isinstance(model, str):
        return f"A loaded model is needed, not a name; load it first: ll.load_model({model!r})."
    kind = "None" if model is None else type(model).__name__
    if hasattr(model, "named_modules"):
        return (
            f"A {kind} is no language model that lensloc knows; say where its units live: "
            "ll.wrap(module, sites={'block': 'blocks.{layer}'})."
        )
    return (
        f"A loaded model is needed first, not something of type {kind}: a HookedTransformer or "
        "TransformerBridge of TransformerLens, or a language model of transformers; load one with "
        "ll.load_model."
    )
