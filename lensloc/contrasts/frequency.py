"""How frequent words are, on the Zipf scale."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lensloc.errors import LensLocError, needed

_EDGES = re.compile(r"^\W+|\W+$")


def zipf_frequencies(words: Sequence[str], language: str = "en") -> Float[np.ndarray, " word"]:
    """Return log10 of how often words occur in a thousand million words (wordfreq).

    Punctuation around a word does not count. A word that wordfreq does not know has 0.

    Args:
        words: the words.
        language: code of their language.

    Raises:
        LensLocError: a language that wordfreq lacks.
    """
    library = needed("wordfreq", "Word frequencies", "lensloc[alignment]")
    # wordfreq would take the nearest language that it has, which may be English.
    if language.replace("_", "-").split("-")[0] not in library.available_languages():
        raise LensLocError(
            f"wordfreq has no list of words for the language {language!r}; name another."
        )
    known = {
        word: float(library.zipf_frequency(_EDGES.sub("", word), language)) for word in set(words)
    }
    return np.array([known[word] for word in words], dtype=np.float64)
