"""Nouns -> plotly figures. Every function returns a Figure and shows nothing."""

import lazy_loader

# At once, since nnsight gives every object a method ``save``, this module too: Python would find
# that before it asks for what is loaded late.
from lensloc.plot.saving import save as save

# What there is stands in __init__.pyi, and is loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
