"""Templates of jinja2 that lie beside the modules that fill them; what is filled in is escaped."""

import functools
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment


def rendered(template: str, **content: Any) -> Markup:
    """Fill in a template.

    Args:
        template: its path within the package, e.g. ``"pages/report/page.html.jinja"``.
        content: what it asks for. Text is escaped; what is :class:`markupsafe.Markup` is HTML.
    """
    return Markup(_environment().get_template(template).render(**content))


def pieces(template: str) -> Any:
    """Return a template's macros, as functions that return HTML (:class:`markupsafe.Markup`)."""
    return _environment().get_template(template).module


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("lensloc", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
