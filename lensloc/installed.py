"""Which versions of what made a result."""

import platform
from importlib import metadata

# Those whose version a result may depend on.
_PACKAGES = (
    *("lensloc", "torch", "transformers", "transformer-lens", "tokenizers", "numpy", "scipy"),
    *("pandas", "pyarrow", "safetensors", "plotly", "accelerate", "huggingface-hub"),
)

__version__ = metadata.version("lensloc")


def versions_of(packages: tuple[str, ...] = ("lensloc", "torch", "transformers")) -> dict[str, str]:
    """Return the versions of Python and of some packages; empty for what is not installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def versions() -> dict[str, str]:
    """Return the versions of lensloc, Python, the system and what results depend on.

    Example:
        >>> import lensloc as ll
        >>> ll.versions()["lensloc"] == ll.__version__
        True
    """
    found = versions_of(_PACKAGES)
    return {"lensloc": found.pop("lensloc"), **found, "system": platform.platform()}
