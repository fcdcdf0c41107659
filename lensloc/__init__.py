"""lensloc: functional localizers for language models.

Pick a contrast, find the units of a language model that are selective for it, switch them off, and
measure what breaks.
"""

import lazy_loader

# At once, since nnsight gives every object a method ``save``, this module too: Python would find
# that before it asks for what is loaded late.
from lensloc.display.keeping import save as save

# What there is stands in __init__.pyi, and is loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
