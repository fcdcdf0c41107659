"""Where a result came from: everything needed to tell two results apart, or to make one again."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lensloc.display.plain_json import loads
from lensloc.units.text_sets import TextSet

# What responses depend on, beside the site: two results that agree in these measured the same.
_MEASURED = ("weights_hash", "contrast_hash", "pooling", "max_tokens", "lesion", "dtype")


def known_hashes(weights: str, configuration: str, tokenizer: str) -> dict[str, str]:
    """Return the parts of a model that make it another one, without those not known.

    Two models with the same weights, configuration and tokenizer give the same results.
    """
    parts = {"weights": weights, "configuration": configuration, "tokenizer": tokenizer}
    return {name: found for name, found in parts.items() if found}


@dataclass(frozen=True)
class Provenance:
    """How a selectivity map or a unit mask was made.

    ``model`` to ``check`` describe the model (``about`` and ``quantization`` in words: what it
    is, and how its weights were stored), ``contrast`` to ``n_control`` the stimuli, ``site`` to
    ``lesion`` the procedure (``place``: what a unit of a wrapped module's site is), ``seeds``
    what was drawn with which seed (``"weights 42"``). Empty strings mean "not known" (an
    imported mask, say). ``texts`` are the hashes of the texts of target and control, as a
    :class:`~lensloc.units.text_sets.TextSet` writes them. ``lengths`` are three numbers, as far as
    known: mean tokens of a text of the target and of the control, as far as they are read, and
    their difference in standard deviations. ``warnings`` are what a reader of the
    result should know, in sentences.
    """

    model: str = ""
    about: str = ""
    revision: str = ""
    weights_hash: str = ""
    config_hash: str = ""
    tokenizer_hash: str = ""
    architecture: str = ""
    backend: str = ""
    processing: str = ""
    dtype: str = ""
    quantization: str = ""
    device: str = ""
    untrained: bool = False
    check: str = ""
    contrast: str = ""
    contrast_hash: str = ""
    texts: str = dataclasses.field(default="", repr=False)
    target: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()
    n_target: int = 0
    n_control: int = 0
    site: str = ""
    place: str = ""
    pooling: str = ""
    protocol: str = ""
    absolute: bool = True
    test: str = "welch"
    max_tokens: int | None = None
    prepends_bos: bool = False
    selection: str = ""
    lesion: str = ""
    seeds: tuple[str, ...] = ()
    lensloc: str = ""
    transformer_lens: str = ""
    transformers: str = ""
    torch: str = ""
    numpy: str = ""
    python: str = ""
    date: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def model_hashes(self) -> dict[str, str]:
        """What makes a model another one, as far as it is known: name of the part -> its hash."""
        return known_hashes(self.weights_hash, self.config_hash, self.tokenizer_hash)

    def differing(self, hashes: Mapping[str, str]) -> list[str]:
        """Return in which parts a model is another one, as far as they are known of both."""
        mine = self.model_hashes
        return [name for name in mine if name in hashes and mine[name] != hashes[name]]

    def seeded(self, what: str, seed: int) -> "Provenance":
        """Return a copy that says what was drawn with which seed."""
        return self.replace(seeds=(*self.seeds, f"{what} {seed}"))

    def to_json(self) -> str:
        """Return the fields as one JSON object."""
        # In ASCII, since half a character (of a file's odd name, say) has no place in a file.
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Read what :meth:`to_json` wrote; fields of other versions are ignored.

        Raises:
            ValueError: if ``text`` is not a JSON object, or a field of it is of another kind.
        """
        raw = loads(text)
        if not isinstance(raw, dict):
            raise ValueError("provenance is not a JSON object")  # noqa: TRY004
        kept: dict[str, Any] = {
            field.name: _as_kept(field.name, raw[field.name], field.default)
            for field in dataclasses.fields(cls)
            if field.name in raw
        }
        return cls(**kept)

    def replace(self, **changes: Any) -> "Provenance":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def text_set(self) -> TextSet:
        """The texts of target and control; empty if not known.

        Raises:
            LensLocError: if they were damaged on the way.
        """
        return TextSet.decode(self.texts)

    # -- two results ---------------------------------------------------------------------------

    def differs_in_weights(self, other: "Provenance") -> bool:
        """Say whether the two are known to be of models with different weights."""
        known = self.weights_hash and other.weights_hash
        return bool(known) and self.weights_hash != other.weights_hash

    def measured_like(self, other: "Provenance") -> bool:
        """Say whether the two are known to come from the same responses of one model."""
        known = self.weights_hash and self.contrast_hash
        return bool(known) and all(getattr(self, n) == getattr(other, n) for n in _MEASURED)

    def merged(self, other: "Provenance", sign: str) -> "Provenance":
        """Return what is true of something made of both, as ``a & b`` is.

        Names of models and contrasts are joined by the sign, texts are those of both, and what
        else differs is not known of the two together. Units that somebody named have no origin, so
        that the other one's is kept.
        """
        for one, given in ((self, other), (other, self)):
            if not (given.weights_hash or given.model or given.contrast):
                return one
        changes: dict[str, Any] = {
            field.name: field.default
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        }
        for name in ("model", "contrast"):
            if name in changes:
                both = (getattr(self, name), getattr(other, name))
                changes[name] = f" {sign} ".join(part for part in both if part)
        if "date" in changes:
            changes["date"] = max(self.date, other.date)
        if self.texts and other.texts:
            changes["texts"] = (self.text_set | other.text_set).encode()
        return self.replace(**changes)


def _as_kept(name: str, value: Any, default: Any) -> Any:
    """Return what a field was, of what JSON has for it.

    Raises:
        ValueError: if it is of another kind.
    """
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
    elif default is None:  # a number or none
        if value is None or type(value) is int:
            return value
    elif type(value) is type(default):
        return value
    raise ValueError(f"{name} is {str(value)[:40]!r}")
