"""The name of a data set of the Hugging Face hub -> its rows, in a stream."""

import re
from typing import Any

from lensloc.errors import LensLocError

HUB = "hf:"

_NAME = re.compile(r"hf:(?P<name>[^:@]+)(?::(?P<config>[^:@]+))?(?:@(?P<split>[^@]+))?")


def data_set(name: str) -> Any:
    """Open one split of a data set, whose rows are fetched as they are read.

    Args:
        name: ``hf:NAME``, with ``:CONFIGURATION`` and ``@SPLIT`` behind it where needed, e.g.
            ``hf:wikimedia/wikipedia:20231101.de@train``; the split is ``train`` if not named.

    Raises:
        LensLocError: another form, or a data set that cannot be had.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise LensLocError(
            f"{name!r} does not name a data set; write hf:NAME, hf:NAME:CONFIGURATION or "
            "hf:NAME:CONFIGURATION@SPLIT."
        )
    import datasets  # takes seconds to import, and only this function needs it

    try:
        return datasets.load_dataset(
            found["name"], found["config"], split=found["split"] or "train", streaming=True
        )
    except Exception as error:  # the library raises of every kind, its own and its dependencies'
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LensLocError(
            f"The data set {name} could not be had ({lines[0]}); check its name, configuration and "
            "split, or without network save it as a file where there is some and give that."
        ) from error
