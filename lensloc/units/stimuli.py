"""Stimuli that are no texts: pictures, sounds and arrays, known by what they hold."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

Kind = Literal["image", "audio", "array"]


class Stimulus(str):
    """A picture, a sound or an array, where a text stands otherwise.

    As a text it is its kind and a hash of its content, so that whatever compares, counts or keeps
    texts (splits, overlaps, hashes of contrasts, files) does the same for it: two stimuli are equal
    if they hold the same, whatever they are called.

    Attributes:
        kind: ``"image"``, ``"audio"`` or ``"array"``.
        name: what it is called: a file, or its place among those given.
        shape: of the array; of a picture height, width and, with colours, channels.
        rate: samples per second, of a sound; None where not known.
        measures: what may differ between conditions beside what they are about, and was measured:
            brightness and contrast of a picture, say.
    """

    kind: Kind
    name: str
    shape: tuple[int, ...]
    rate: int | None
    measures: Mapping[str, float]
    _load: Callable[[], Any]

    def __new__(
        cls,
        code: str,
        *,
        kind: Kind,
        name: str,
        shape: tuple[int, ...],
        load: Callable[[], Any],
        rate: int | None = None,
        measures: Mapping[str, float] | None = None,
    ) -> "Stimulus":
        """Make one; ``load`` gives its content, a PIL image or an array."""
        made = super().__new__(cls, code)
        made.kind, made.name, made.shape, made.rate = kind, name, shape, rate
        made.measures = dict(measures or {})
        made._load = load
        return made

    def load(self) -> Any:
        """Return the content: a PIL image, or a numpy array."""
        return self._load()

    @property
    def noun(self) -> str:
        """What it is, in a word."""
        return {"image": "picture", "audio": "sound"}.get(self.kind, "array")

    def _kept_state(self) -> dict[str, Any]:
        names = ("kind", "name", "shape", "rate", "measures")
        content = np.asarray(self.load())
        return {"code": str(self), **{name: getattr(self, name) for name in names}} | (
            {"picture": _as_png(content)} if self.kind == "image" else {"content": content}
        )

    @classmethod
    def _of_kept_state(cls, state: dict[str, Any]) -> "Stimulus":
        picture = state.pop("picture", None)
        load = _Png(picture) if picture is not None else Kept(state.pop("content"))
        return cls(state.pop("code"), load=load, **state)

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("kind", "name", "shape", "rate", "measures")
        options = {name: getattr(self, name) for name in names}
        return _again, (str(self), options, self._load)

    def __repr__(self) -> str:
        return f"<{self.noun} {self.name}>"


def _again(code: str, options: dict[str, Any], load: Callable[[], Any]) -> Stimulus:
    return Stimulus(code, load=load, **options)


class Kept:
    """Content that is kept in memory."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __call__(self) -> Any:
        """Return it."""
        return self._content


class _Png:
    """A picture that is kept in memory as a file would have it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __call__(self) -> Any:
        """Open it."""
        from PIL import Image  # of the extra "vision"

        return Image.open(io.BytesIO(self._content)).copy()


def _as_png(pixels: Shaped[np.ndarray, "*axes"]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def code_of(kind: Kind, content: Shaped[np.ndarray, "*axes"], extra: str = "") -> str:
    """Return the text that stands for an array: its kind, and a hash of type, shape and numbers."""
    digest = hashlib.sha256(f"{content.dtype.str} {content.shape} {extra}".encode())
    digest.update(np.ascontiguousarray(content).data)
    return f"{kind} {digest.hexdigest()[:32]}"
