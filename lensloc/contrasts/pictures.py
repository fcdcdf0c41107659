"""Pictures, sounds and arrays as stimuli: found, opened, checked, and known by their content."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from lensloc.contrasts.lines import TEXT_KINDS, kind_of
from lensloc.contrasts.measures import of_array, of_picture, of_sound
from lensloc.display.places import is_file, is_folder, path_of
from lensloc.errors import LensLocError
from lensloc.units.stimuli import Kept, Stimulus, code_of

if TYPE_CHECKING:
    from PIL.Image import Image


def pictures(conditions: Any) -> tuple[dict[str, tuple[Stimulus, ...]], str]:
    """Return the pictures of every condition, and where they come from in words.

    Args:
        conditions: name -> folder, file, or list of files, arrays or images; or a folder that holds
            a folder of pictures for every condition.

    Raises:
        LensLocError: an empty folder, a picture that cannot be read, something that is none; it is
            named.
    """
    _require_pillow()
    source = "pictures given in Python"
    if isinstance(conditions, str | Path):
        root = path_of(conditions)
        source, conditions = str(root.resolve()), _class_folders(root)
    if not isinstance(conditions, Mapping):
        raise LensLocError(
            "Pictures are given as {condition: folder, or list of files or arrays}, or as a folder "
            f"with a folder for every condition; {type(conditions).__name__} is neither."
        )
    return {str(name): tuple(_of(str(name), given)) for name, given in conditions.items()}, source


def arrays(conditions: Any, *, sounds: bool, rate: int | None) -> dict[str, tuple[Stimulus, ...]]:
    """Return arrays of every condition as stimuli.

    Args:
        conditions: name -> list of arrays or tensors, or one array whose first axis is the stimuli.
        sounds: whether they are sounds.
        rate: of sounds, samples per second.

    Raises:
        LensLocError: no arrays, or arrays of other things than numbers.
    """
    if not isinstance(conditions, Mapping):
        raise LensLocError(
            "Arrays are given as {condition: list of arrays}; "
            f"{type(conditions).__name__} is not that."
        )
    if rate is not None and not rate > 0:
        raise LensLocError(f"rate is samples per second, above 0; {rate} is not.")
    found = {}
    for name, given in conditions.items():
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise LensLocError(
                f"The condition {name!r} is a list of arrays; {type(given).__name__} is none."
            )
        made = []
        for number, each in enumerate(given, start=1):
            values = _numbers(each, f"{name} {number}")
            made.append(_array(values, f"{name} {number}", sounds, rate))
        found[str(name)] = tuple(made)
    return found


def _array(
    values: Shaped[np.ndarray, "*axes"], name: str, sounds: bool, rate: int | None
) -> Stimulus:
    if sounds:
        values = values.astype(np.float32)
    return Stimulus(
        code_of("audio" if sounds else "array", values, f"{rate}" if sounds else ""),
        kind="audio" if sounds else "array",
        name=name,
        shape=values.shape,
        load=Kept(values),
        rate=rate if sounds else None,
        measures=of_sound(values, rate) if sounds else of_array(values),
    )


def _numbers(given: Any, name: str) -> Shaped[np.ndarray, "*axes"]:
    values = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if values.dtype.kind not in "biuf" or values.size == 0:
        raise LensLocError(f"The array {name!r} holds no numbers; give an array of some.")
    if not np.isfinite(values).all():
        raise LensLocError(f"The array {name!r} holds NaN or infinity; correct or remove it.")
    return values


# -- where pictures are ----------------------------------------------------------------------------


def _class_folders(root: Path) -> dict[str, Path]:
    if not is_folder(root):
        raise LensLocError(f"There is no folder {root}; check the path.")
    folders = sorted(
        (each for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")),
        key=_natural,
    )
    if not folders:
        raise LensLocError(
            f"The folder {root} holds no folder of pictures; it needs one for every condition."
        )
    return {folder.name: folder for folder in folders}


def _of(condition: str, given: Any) -> Iterator[Stimulus]:
    if isinstance(given, str | Path):
        path = path_of(given)
        if is_folder(path):
            for file in _files(path, condition):
                yield _of_file(file, f"{condition}/{file.relative_to(path).as_posix()}")
            return
        given = [path]
    several = isinstance(given, Iterable) and not isinstance(given, bytes | Mapping)
    if not several or _is_image(given):
        raise LensLocError(
            f"The pictures of {condition!r} are a folder, or a list of files, arrays or images; "
            f"{type(given).__name__} is none."
        )
    if isinstance(given, np.ndarray) and given.ndim < 3:
        raise LensLocError(
            f"The pictures of {condition!r} are an array of shape {given.shape}, which is one "
            "picture; put it in a list."
        )
    number = 0
    for number, each in enumerate(given, start=1):
        name = f"{condition} {number}"
        if isinstance(each, str | Path):
            yield _of_file(path_of(each), str(each))
        elif _is_image(each):
            yield _stimulus(_pixels_of(each, name), name, None)
        else:
            yield _stimulus(_pixels_of_array(each, name), name, None)
    if number == 0:
        raise LensLocError(f"The condition {condition!r} has no pictures; give some.")


def _files(folder: Path, condition: str) -> list[Path]:
    from PIL import Image

    # Some formats are written only, as .pdf is; .mpo is read as a JPEG.
    suffixes = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN or kind == "MPO"
    }
    found = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        texts = any(kind_of(file) in TEXT_KINDS for file in folder.rglob("*"))
        remedy = "; texts are read from one table, with columns text and condition" if texts else ""
        raise LensLocError(
            f"The folder {folder} of the condition {condition!r} holds no picture; put some there "
            f"(.png, .jpg and what else Pillow reads){remedy}."
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Order names as people do: picture 2 before picture 10."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


# -- opening ---------------------------------------------------------------------------------------


class _File:
    """Opens a picture when it is asked for, and checks that it still is what it was."""

    def __init__(self, path: Path, code: str) -> None:
        self._path, self._code = path, code

    def __call__(self) -> "Image":
        from PIL import Image

        pixels = _opened(self._path)
        if code_of("image", pixels) != self._code:
            raise LensLocError(
                f"The picture {self._path} was changed since the contrast was made; make it again."
            )
        return Image.fromarray(pixels)


class _Pixels:
    """A picture that is kept in memory."""

    def __init__(self, pixels: Shaped[np.ndarray, "*axes"]) -> None:
        self._pixels = pixels

    def __call__(self) -> "Image":
        from PIL import Image

        return Image.fromarray(self._pixels)


def _of_file(path: Path, name: str) -> Stimulus:
    if not is_file(path):
        raise LensLocError(f"There is no picture {path}; check the path.")
    return _stimulus(_opened(path), name, path)


def _stimulus(pixels: Shaped[np.ndarray, "*axes"], name: str, path: Path | None) -> Stimulus:
    code = code_of("image", pixels)
    return Stimulus(
        code,
        kind="image",
        name=name,
        shape=pixels.shape,
        load=_Pixels(pixels) if path is None else _File(path.resolve(), code),
        measures=of_picture(pixels),
    )


def _opened(path: Path) -> Shaped[np.ndarray, "*axes"]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return _pixels_of(image, str(path))
    except LensLocError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their formats make them
        raise LensLocError(
            f"The picture {path} cannot be read ({type(error).__name__}: {error}); replace or "
            "remove it."
        ) from error


def _pixels_of(image: "Image", name: str) -> Shaped[np.ndarray, "*axes"]:
    """Return a picture as people see it: upright, grey or in colours, 0 to 255; of several, one."""
    from PIL import ImageOps

    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("F", "I") or upright.mode.startswith("I;16"):
            return _pixels_of_array(np.asarray(upright), name)
        grey = upright.mode in ("1", "L", "LA")
        return np.asarray(upright.convert("L" if grey else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, LensLocError):
            raise
        raise LensLocError(
            f"The picture {name} cannot be read ({error}); replace or remove it."
        ) from error


def _pixels_of_array(given: Any, name: str) -> Shaped[np.ndarray, "*axes"]:
    """Return an array of grey values or colours as whole numbers from 0 to 255."""
    values = _numbers(given, name)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)):
        raise LensLocError(
            f"The array {name!r} has the shape {values.shape}, and a picture is [height, width] or "
            "[height, width, 3]; give other arrays to Contrast.from_arrays."
        )
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 1 else values[..., :3]
    return np.ascontiguousarray(_to_bytes(values, name))


def _to_bytes(values: Shaped[np.ndarray, "*axes"], name: str) -> Shaped[np.ndarray, "*axes"]:
    low, high = float(values.min()), float(values.max())
    scale = 0.0
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and low >= 0 and high <= 1):
        scale = 255.0
    elif values.dtype in (np.uint16, np.int32) and low >= 0 and 255 < high < 2**16:
        scale = 1 / 257
    elif low >= 0 and high <= 255:
        scale = 1.0
    if scale:
        found: Shaped[np.ndarray, "*axes"] = np.rint(values * scale).astype(np.uint8)
        return found
    raise LensLocError(
        f"The picture {name!r} has values from {low:g} to {high:g}; they are 0 to 255, or 0 to 1. "
        "Give other arrays to Contrast.from_arrays."
    )


def _is_image(given: Any) -> bool:
    from PIL import Image

    return isinstance(given, Image.Image)


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise LensLocError(
            "Pictures need Pillow; install it: pip install 'lensloc[vision]'."
        ) from error


def thumbnails(stimuli: Sequence[str], most_bytes: int = 4 * 2**20) -> list[str]:
    """Return small copies of pictures for a page, as :func:`thumbnail` gives them.

    They become smaller where they would take more than so many bytes; then there are none, as for
    stimuli that are no pictures.
    """
    shown = [each for each in stimuli if isinstance(each, Stimulus) and each.kind == "image"]
    if not shown or len(shown) < len(stimuli):
        return []
    for most in (96, 48):
        if len(shown) * most * 12 > 4 * most_bytes:  # hopeless, without opening them all
            continue
        found = [thumbnail(each, most) for each in shown]
        if sum(map(len, found)) <= most_bytes:
            return found
    return []


def thumbnail(stimulus: Stimulus, most: int = 96) -> str:
    """Return a small copy of a picture as a ``data:`` URI, at most so many pixels wide or high."""
    image = stimulus.load().convert("RGB")
    image.thumbnail((most, most))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
