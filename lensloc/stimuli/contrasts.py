"""The bundled contrasts, one function each."""

from importlib import resources
from pathlib import Path

from lensloc.errors import LensLocError
from lensloc.stimuli.contrast import Contrast
from lensloc.stimuli.published import read_language

NAMES = ("language",)


def language(folder: str | Path | None = None) -> Contrast:
    """Sentences against strings of nonwords (Fedorenko et al. 2010).

    Bundled: 240 sentences of twelve words, and 240 strings of twelve pronounceable nonwords that
    match them word for word in letter count; lower case, no punctuation.

    Args:
        folder: read the published stimulus files from here instead.

    Raises:
        LensLocError: if ``folder`` is not in the published format.
    """
    if folder is not None:
        return read_language(folder)
    return _bundled("language", target="sentences", control="nonwords")


def get(name: str, folder: str | Path | None = None) -> Contrast:
    """Return the bundled contrast of that name, or its published version from ``folder``.

    Raises:
        LensLocError: if there is none of that name.
    """
    if name not in NAMES:
        raise LensLocError(
            f"There is no network {name!r}; the bundled ones are {', '.join(NAMES)}."
        )
    return {"language": language}[name](folder)


def bundled_folder() -> Path:
    """Return the folder of the bundled CSV files, in a checkout or in an installed package."""
    package = Path(str(resources.files("lensloc")))
    installed = package / "bundled_stimuli"
    return installed if installed.is_dir() else package.parent / "stimuli"


def _bundled(name: str, *, target: str, control: str) -> Contrast:
    return Contrast.from_csv(
        bundled_folder() / f"{name}.csv", target=target, control=control, name=name
    )
