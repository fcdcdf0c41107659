"""Zip archives of anyone: what can be wrong in one, in a sentence."""

import zipfile
import zlib

# What zipfile raises of archives that are damaged, encrypted or packed in a way that it lacks.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


def zip_fault(error: BaseException) -> str:
    """Return in words what is wrong with an archive."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, RuntimeError) and "encrypted" in text:
        return "it is encrypted"
    if isinstance(error, NotImplementedError):
        return f"it is packed in a way that is not read: {text}"
    return text
