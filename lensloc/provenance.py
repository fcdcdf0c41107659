"""Where a result came from: everything needed to tell two results apart, or to make one again."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """How a selectivity map or a unit mask was made.

    ``model`` to ``check`` describe the model (``about`` and ``quantization`` in words: what it is,
    and how its weights were stored), ``contrast`` to ``n_control`` the stimuli, ``site`` to
    ``lesion`` the procedure, ``seeds`` what was drawn with which seed (``"weights 42"``). Empty
    strings mean "not known" (an imported mask, say). ``warnings`` are what a reader of the result
    should know, in sentences.
    """

    model: str = ""
    about: str = ""
    revision: str = ""
    weights_hash: str = ""
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
    target: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    n_target: int = 0
    n_control: int = 0
    site: str = ""
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

    def to_json(self) -> str:
        """Return the fields as one JSON object."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Read what :meth:`to_json` wrote; fields of other versions are ignored.

        Raises:
            ValueError: if ``text`` is not a JSON object.
        """
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("provenance is not a JSON object")  # noqa: TRY004
        names = {field.name for field in dataclasses.fields(cls)}
        kept: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in raw.items()
            if key in names
        }
        return cls(**kept)

    def replace(self, **changes: Any) -> "Provenance":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)
