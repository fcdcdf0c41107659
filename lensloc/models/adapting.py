"""A model of any kind -> its surface."""

import importlib
from typing import Any

from lensloc.errors import LensLocError
from lensloc.models.surface import Surface

_ATTRIBUTE = "lensloc_surface"
# Class, wherever it stands among a model's ancestors -> module and class of the adapter. Modules
# are imported when they are needed: each needs a library that may not be there.
_ADAPTERS = {
    "HookedTransformer": ("hooked", "Hooked"),
    "TransformerBridge": ("bridge", "Bridge"),
    "PreTrainedModel": ("plain", "Plain"),
}


def surface(model: Any) -> Surface:
    """Return what lensloc asks of a model; the same object every time.

    Args:
        model: a HookedTransformer, a TransformerBridge, or a model of transformers.

    Raises:
        LensLocError: for anything else.
    """
    known = getattr(model, "__dict__", {}).get(_ATTRIBUTE)
    if known is not None and known.model is model:
        found: Surface = known
        return found
    ancestors = [parent.__name__ for parent in type(model).__mro__]
    adapter = next((_ADAPTERS[name] for name in ancestors if name in _ADAPTERS), None)
    if adapter is None:
        raise LensLocError(
            f"A {type(model).__name__} is not a model that lensloc can hold: give a "
            "HookedTransformer or TransformerBridge of TransformerLens, or a model of "
            "transformers; lensloc.load_model loads each of them by name."
        )
    module, name = adapter
    found = getattr(importlib.import_module(f"lensloc.models.{module}"), name)(model)
    # Past nn.Module's and the bridge's own __setattr__, which look for parameters in it.
    object.__setattr__(model, _ATTRIBUTE, found)
    return found
