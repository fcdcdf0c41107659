"""Alignment with people: do units predict what brains do, and surprisal how long people read?"""

import lazy_loader

# What there is stands in __init__.pyi, and is loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
