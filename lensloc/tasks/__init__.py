"""Tasks: what a model, intact or lesioned, is scored on. ``ll.tasks.minimal_pairs()(model)``."""

import lazy_loader

# What there is stands in __init__.pyi, and is loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
