"""Roles of conditions: target, control, or none."""

from lensloc.contrasts.contrast import Contrast


def with_others(contrast: Contrast) -> Contrast:
    """Return the contrast with all its conditions in use."""
    roles = (*contrast.target, *contrast.control)
    others = tuple(name for name in contrast.conditions if name not in roles)
    return contrast.with_roles(target=contrast.target, control=(*contrast.control, *others))
