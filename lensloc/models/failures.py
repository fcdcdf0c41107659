"""What libraries raise of files that are damaged, whatever they call it."""

from lensloc.errors import LensLocError


def require_failure(error: BaseException) -> None:
    """Let go on, as it is, what is no failure of a library: our own errors, interrupts, exits.

    A panic of a library in Rust is a failure, though it is no ``Exception``.

    Raises:
        BaseException: what was given.
    """
    failed = isinstance(error, Exception) or type(error).__name__ == "PanicException"
    if isinstance(error, LensLocError) or not failed:
        raise error


def gist_of(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is called if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
