"""What is bundled, by name."""

import builtins

from lensloc.contrasts.bundled import NAMES, OF_PICTURES


def list() -> builtins.list[str]:
    """Return the names of the bundled contrasts."""
    return [*NAMES, *OF_PICTURES]
