"""What is bundled, by name."""

import builtins

from lensloc.contrasts.bundled import NAMES, OF_PICTURES
from lensloc.display.plugins import CONTRASTS, plugin_names


def list() -> builtins.list[str]:
    """Return the names of the bundled contrasts, and of those that installed packages offer."""
    known = [*NAMES, *OF_PICTURES]
    return [*known, *(name for name in plugin_names(CONTRASTS) if name not in known)]
