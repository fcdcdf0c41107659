"""The one exception that lensloc raises on purpose, and the one warning."""


class LensLocError(ValueError):
    """Input that lensloc cannot use.

    The message is one sentence: what was wrong, where, and what to do about it.
    The command line prints it and exits with status 2.
    """


class LensLocWarning(UserWarning):
    """A result that is not what it seems, in one sentence."""
