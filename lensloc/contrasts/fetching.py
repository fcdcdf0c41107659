"""Published stimuli from their public addresses: checked, unpacked safely, or not at all."""

import io
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lensloc.contrasts.published import read_language, read_theory_of_mind
from lensloc.display.archives import ZIP_ERRORS, zip_fault
from lensloc.display.disks import disk_told, reason_of
from lensloc.display.files import require_writable_folder, work_folder
from lensloc.errors import LensLocError

_MAX_ARCHIVE = 200 * 2**20
_MAX_FILE = 20 * 2**20
_MAX_SUM = 400 * 2**20
_TIMEOUT = 60


@dataclass(frozen=True)
class Source:
    """A published set of stimuli.

    Attributes:
        url: of a zip archive, or of a page that links to it.
        link: what the link looks like on that page; empty if ``url`` is the archive itself.
        keep: which of its files are wanted, by the end of their path.
        check: raises if the unpacked folder is not what it should be.
        about: where the set comes from.
    """

    url: str
    link: str
    keep: Callable[[PurePosixPath], bool]
    check: Callable[[Path], object]
    about: str


def _check_blimp(folder: Path) -> None:
    paradigms = list(folder.glob("*.jsonl"))
    if len(paradigms) != 67:
        raise LensLocError(f"{len(paradigms)} paradigms came instead of BLiMP's 67.")


def _check_theory_of_mind(folder: Path) -> None:
    read_theory_of_mind(folder, instruction="")


SOURCES: dict[str, Source] = {
    "language": Source(
        "https://www.dropbox.com/sh/c9jhmsy4l9ly2xx/AACQ41zipSZFj9mFbDfJJ9c4a?dl=1",
        "",
        lambda path: path.match("langloc_fmri_run*.csv") and "archive" not in str(path.parent),
        read_language,
        "sentences and nonwords of Fedorenko et al. 2010",
    ),
    "theory-of-mind": Source(
        "https://saxelab.mit.edu/use-our-efficient-false-belief-localizer/",
        r"href=[\"']([^\"']*tom[^\"']*\.zip)",
        lambda path: path.name.endswith(("_story.txt", "_question.txt")),
        _check_theory_of_mind,
        "stories of Dodell-Feder et al. 2011",
    ),
    "blimp": Source(
        "https://github.com/alexwarstadt/blimp/archive/refs/heads/master.zip",
        "",
        lambda path: path.suffix == ".jsonl" and path.parent.name == "data",
        _check_blimp,
        "minimal pairs of Warstadt et al. 2020",
    ),
}


def fetch(name: str, folder: Path) -> Path:
    """Fetch a published set into a new folder, whole or not at all.

    Args:
        name: one of :data:`SOURCES`.
        folder: where the files go; must not exist yet, or be empty.

    Returns:
        The folder.

    Raises:
        LensLocError: unknown name, no network, an archive that is too large, has a path that
            leaves its folder, or does not hold what it should; a folder that has files.
    """
    if name not in SOURCES:
        raise LensLocError(
            f"There are no published stimuli {name!r}; there are {', '.join(SOURCES)}."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LensLocError(f"{folder} is there already; choose another place or remove it.")
    source = SOURCES[name]
    archive = _archive(source, name)
    parent = require_writable_folder(folder.absolute().parent, "The folder")
    with disk_told(f"{name} cannot be kept", folder), work_folder(parent) as work:
        unpacked = work / "unpacked"
        unpack(archive, unpacked, source.keep)
        try:
            source.check(unpacked)
        except LensLocError as error:
            raise LensLocError(
                f"What came from {source.url} is not {source.about} ({error}); "
                "the address may have changed."
            ) from error
        if folder.exists():
            folder.rmdir()
        shutil.move(unpacked, folder)
    return folder


def unpack(archive: bytes, folder: Path, keep: Callable[[PurePosixPath], bool]) -> None:
    """Unpack the wanted files of a zip archive side by side into a new folder.

    Raises:
        LensLocError: if it is no zip archive, has a path that leaves its folder, or a wanted file
            is too large or occurs twice.
    """
    folder.mkdir(parents=True)
    total = 0
    for name, content in _wanted(archive, keep):
        total += len(content)
        if total > _MAX_SUM:
            raise LensLocError(
                f"The archive's files have more than the {_MAX_SUM} bytes that are allowed "
                "together; nothing was unpacked."
            )
        target = folder / name
        if target.exists():
            raise LensLocError(f"The archive holds {name} twice; nothing was unpacked.")
        try:
            target.write_bytes(content)
        except OSError as error:
            raise LensLocError(
                f"{target} cannot be written ({reason_of(error, target)})."
            ) from error
    if not any(folder.iterdir()):
        raise LensLocError("The archive holds none of the files that were wanted.")


def _wanted(archive: bytes, keep: Callable[[PurePosixPath], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive, each by its name, once every path was looked at."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            wanted = []
            for entry in packed.infolist():
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
                    raise LensLocError(
                        f"The archive has a path that leaves its folder ({entry.filename}); "
                        "nothing was unpacked."
                    )
                if not entry.is_dir() and keep(path):
                    wanted.append((entry, path.name))
            if sum(entry.file_size for entry, _ in wanted) > _MAX_SUM:
                raise LensLocError(
                    f"The archive's files have more than the {_MAX_SUM} bytes that are allowed "
                    "together; nothing was unpacked."
                )
            for entry, name in wanted:
                if entry.file_size > _MAX_FILE:
                    raise LensLocError(
                        f"The archive's file {entry.filename} has {entry.file_size} bytes, more "
                        f"than the {_MAX_FILE} that are allowed; nothing was unpacked."
                    )
                with packed.open(entry) as file:
                    content = file.read(_MAX_FILE + 1)
                if len(content) > _MAX_FILE:
                    raise LensLocError(
                        f"The archive's file {entry.filename} is larger than it says; "
                        "nothing was unpacked."
                    )
                yield name, content
    except LensLocError:
        raise
    except ZIP_ERRORS as error:
        raise LensLocError(
            f"What came is not a complete zip archive ({zip_fault(error)})."
        ) from error


def _archive(source: Source, name: str) -> bytes:
    content = _download(source.url, name)
    if not source.link:
        return content
    found = re.search(source.link, content.decode("utf-8", errors="replace"), re.IGNORECASE)
    if found is None:
        raise LensLocError(
            f"The page {source.url} no longer links to {source.about}; download them by hand and "
            "name the folder with --stimuli."
        )
    return _download(urllib.parse.urljoin(source.url, found[1]), name)


def _download(url: str, name: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            content = bytes(answer.read(_MAX_ARCHIVE + 1))
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise LensLocError(
            f"{name} could not be fetched from {url} ({reason}); fetch it where there is network "
            "and name the folder with --stimuli."
        ) from error
    if len(content) > _MAX_ARCHIVE:
        raise LensLocError(f"What came from {url} is larger than {_MAX_ARCHIVE} bytes.")
    return content
