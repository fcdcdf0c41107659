"""Published data from their public addresses: of one commit, with known contents, or not at all."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lensloc.contrasts.fetching import _download
from lensloc.display.disks import disk_told
from lensloc.display.files import require_writable_folder, work_folder
from lensloc.display.places import path_of
from lensloc.errors import LensLocError

_NATURAL_STORIES = (
    "https://raw.githubusercontent.com/languageMIT/naturalstories/"
    "4700daad696e942f5aba23c957a7423d0de66612"
)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published set.

    Attributes:
        url: where it is.
        sha256: hash of its contents.
    """

    url: str
    sha256: str


@dataclass(frozen=True)
class PublishedData:
    """A published set of files.

    Attributes:
        files: name -> file.
        about: where the set comes from, and under which licence.
    """

    files: Mapping[str, PublishedFile]
    about: str


DATA: dict[str, PublishedData] = {
    "naturalstories": PublishedData(
        {
            "all_stories.tok": PublishedFile(
                f"{_NATURAL_STORIES}/naturalstories_RTS/all_stories.tok",
                "0e4e9bd4708aaa01d8bea342696bb83cedff679c09184545483f6f3f4ba8aca3",
            ),
            "processed_wordinfo.tsv": PublishedFile(
                f"{_NATURAL_STORIES}/naturalstories_RTS/processed_wordinfo.tsv",
                "047d2a0b84eff99d90535d1517f7fa7d466b81fbd60e990f2f08caac04d8aa56",
            ),
            "all_stories_gpt3.csv": PublishedFile(
                f"{_NATURAL_STORIES}/probs/all_stories_gpt3.csv",
                "6ccee02c20a688d5f7e69a023025d725e8fb06d87e2c7f997b399384c200a0ad",
            ),
        },
        "Natural Stories of Futrell et al. 2021, CC BY-NC-SA 4.0",
    ),
}


def fetch(name: str, folder: str | Path) -> Path:
    """Fetch published data into a new folder, whole or not at all.

    Args:
        name: one of :data:`DATA`.
        folder: where the files go; must not exist yet, or be empty.

    Returns:
        The folder.

    Raises:
        LensLocError: unknown name, no network, contents other than the known ones, a folder that
            has files.
    """
    folder = path_of(folder)
    if name not in DATA:
        raise LensLocError(f"There are no published data {name!r}; there are {', '.join(DATA)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LensLocError(f"{folder} is there already; choose another place or remove it.")
    parent = require_writable_folder(folder.absolute().parent, "The folder")
    with disk_told(f"{name} cannot be kept", folder), work_folder(parent) as work:
        fetched = work / "fetched"
        fetched.mkdir()
        for file, source in DATA[name].files.items():
            content = _download(source.url, name)
            found = hashlib.sha256(content).hexdigest()
            if found != source.sha256:
                raise LensLocError(
                    f"What came from {source.url} is not the {file} of {DATA[name].about} (hash "
                    f"{found[:12]}..., not {source.sha256[:12]}...); nothing was written."
                )
            (fetched / file).write_bytes(content)
        if folder.exists():
            folder.rmdir()
        shutil.move(fetched, folder)
    return folder
