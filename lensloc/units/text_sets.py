"""TextSet: which texts something was made from, kept as hashes, so that overlap can be told."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xxhash

from lensloc.errors import LensLocError


@dataclass(frozen=True)
class TextSet:
    """A set of texts, known by 64-bit hashes (eight bytes per text).

    Two texts count as the same if they differ in white space or case only: a stimulus that was
    lower-cased, or that has a space in front, is still the same stimulus.

    Attributes:
        hashes: of the texts.

    Example:
        >>> stimuli = TextSet.of(["The sun", "a bridge"])
        >>> len(stimuli & TextSet.of(["the  sun ", "the moon"])), "A bridge" in stimuli
        (1, True)
    """

    hashes: frozenset[int] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TextSet":
        """Return the set of these texts."""
        return cls(frozenset(map(_hash, texts)))

    def __len__(self) -> int:
        return len(self.hashes)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and _hash(text) in self.hashes

    def __and__(self, other: "TextSet") -> "TextSet":
        return TextSet(self.hashes & other.hashes)

    def __or__(self, other: "TextSet") -> "TextSet":
        return TextSet(self.hashes | other.hashes)

    def __le__(self, other: "TextSet") -> bool:
        return self.hashes <= other.hashes

    def encode(self) -> str:
        """Return the set as a short text, the same for the same set."""
        ordered = np.array(sorted(self.hashes), dtype="<u8")
        return base64.b64encode(ordered.tobytes()).decode("ascii")

    @classmethod
    def decode(cls, code: str) -> "TextSet":
        """Read what :meth:`encode` wrote; an empty text is the empty set.

        Raises:
            LensLocError: if it is something else.
        """
        try:
            content = base64.b64decode(code, validate=True)
            return cls(frozenset(np.frombuffer(content, dtype="<u8").tolist()))
        except (binascii.Error, ValueError) as error:
            raise LensLocError(
                f"The hashes of the texts that units were selected on are damaged ({error}); "
                "localize again."
            ) from error


def _hash(text: str) -> int:
    same = " ".join(text.split()).casefold()
    return xxhash.xxh3_64_intdigest(same.encode("utf-8", "surrogatepass"))
