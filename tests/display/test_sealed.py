"""Whatever is changed in what was kept is noticed, and nothing that was killed stays."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plotted import selectivity
from safetensors.torch import load, save
from task_files import refused

from lensloc import LensLocError, UnitMask
from lensloc.display.disks import disk_fault, reason_of
from lensloc.display.files import remove_orphans, work_folder, write_atomically
from lensloc.display.plain_json import loads
from lensloc.display.sealed import (
    DamagedError,
    Format,
    NewerError,
    checked_record,
    checked_tensors,
    sealed_record,
    sealed_tensors,
)
from lensloc.units.provenance import Provenance

FORM = Format("lensloc.thing", 2)


def flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def mutants(content: bytes, n: int) -> list[bytes]:
    random = np.random.default_rng(0)
    places = random.integers(0, len(content), n)
    flips = [flipped(content, int(p), int(random.integers(8))) for p in places]
    return [*flips, *(content[: int(cut)] for cut in random.integers(0, len(content), n // 4))]


def test_every_bit_of_tensors_counts() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 0], dtype=torch.uint8)}
    content = sealed_tensors(save(tensors, metadata={"format": str(FORM), "word": "Ümläut\n"}))
    assert checked_tensors(content)["word"] == "Ümläut\n"
    assert all(torch.equal(load(content)[name], tensors[name]) for name in tensors)
    assert sealed_tensors(content) == content, "sealing twice changes nothing"
    unseen = 0
    for place in range(len(content)):
        for bit in (0, 5):
            try:
                metadata = checked_tensors(flipped(content, place, bit))
            except DamagedError:
                continue
            unseen += "checksum" in metadata
            # Only the word "checksum" itself can be lost so, which who reads the format asks for.
            assert "checksum" not in metadata
    assert unseen == 0


def test_every_bit_of_a_record_counts() -> None:
    record = {"x": [1.5, -0.0, 1e-300, None, True], "é": {"nested": "half an emoji \ud83d"}}
    content = sealed_record(FORM, record)
    assert checked_record(FORM, content) == record
    for mutant in mutants(content, 300):
        with contextlib.suppress(DamagedError, NewerError):
            assert checked_record(FORM, mutant) == record, "a change that changes nothing"


def test_versions() -> None:
    assert FORM.version_of("lensloc.thing/1") == 1
    for wrong in ("lensloc.other/1", "lensloc.thing", "lensloc.thing/x", "lensloc.thing/²", None):
        with pytest.raises(DamagedError, match="its format is"):
            FORM.version_of(wrong)
    with pytest.raises(NewerError, match=r"version 3 of lensloc\.thing.*install a newer lensloc"):
        checked_record(FORM, sealed_record(Format("lensloc.thing", 3), {}))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "[" + "7" * 10_000 + "]", "nul", "\ud800"],
)
def test_json_of_anyone(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|digits|Expecting|surrogates"):
        loads(text)


# -- masks -----------------------------------------------------------------------------------------


def test_damaged_masks_are_never_another_mask(tmp_path: Path) -> None:
    mask = selectivity().top(k=5)
    path = mask.save(tmp_path / "m.safetensors")
    content, told = path.read_bytes(), set()
    for mutant in mutants(content, 120):
        path.write_bytes(mutant)
        try:
            found = UnitMask.load(path)
        except LensLocError as error:
            told.add(str(error).removeprefix(str(path)).split("(")[0])
        else:
            assert found == mask
            assert found.provenance == mask.provenance
    assert " is damaged " in told


def test_masks_of_a_newer_version_and_of_an_older_one(tmp_path: Path) -> None:
    mask = selectivity().top(k=5)
    content = mask.save(tmp_path / "m.safetensors").read_bytes()
    tensors, metadata = load(content), checked_tensors(content)
    del metadata["checksum"]
    path = tmp_path / "other.safetensors"

    def written(form: str) -> Path:
        path.write_bytes(save(tensors, metadata=metadata | {"format": form}))
        return path

    assert UnitMask.load(written("lensloc.UnitMask/1")) == mask
    refused(lambda: UnitMask.load(written("lensloc.UnitMask/2")), "damaged (it has no checksum)")
    refused(lambda: UnitMask.load(written("lensloc.UnitMask/3")), "install a newer lensloc")
    refused(lambda: UnitMask.load(written("lensloc.Selectivity/1")), "damaged (its format is")
    again = UnitMask.load(written("lensloc.UnitMask/1")).save(tmp_path / "again.safetensors")
    assert "checksum" in checked_tensors(again.read_bytes())


METADATA: dict[str, dict[str, str]] = {
    "brackets": {"provenance": "[" * 100_000},
    "digits": {"provenance": '{"max_tokens": ' + "9" * 5000 + "}"},
    "rule of brackets": {"rule": '{"excluding": ' + "[" * 100_000},
    "deep rule": {"rule": '{"kind": "top", "excluding": [' * 800 + "]}" * 800},
    "a number as a name": {"provenance": '{"model": 5}'},
    "a text as warnings": {"provenance": '{"warnings": "oh"}'},
    "numbers as conditions": {"provenance": '{"target": [1, 2]}'},
    "a text as a number": {"provenance": '{"max_tokens": "12"}'},
    "widths": {"widths": "9" * 5000},
    "negative widths": {"widths": "-1,2,3"},
}


@pytest.mark.parametrize("what", list(METADATA))
def test_masks_of_odd_metadata(tmp_path: Path, what: str) -> None:
    known = {"format": "lensloc.UnitMask/1", "provenance": "{}", "site": "head"} | METADATA[what]
    path = tmp_path / "m.safetensors"
    path.write_bytes(save({"mask": torch.ones(3, 3, dtype=torch.uint8)}, metadata=known))
    with pytest.raises(LensLocError, match=r"m.safetensors has unreadable|widths|not a readable"):
        UnitMask.load(path)


@pytest.mark.parametrize("kind", ["complex64", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("name", ["mask", "score", "magnitude"])
def test_masks_of_odd_numbers(tmp_path: Path, kind: str, name: str) -> None:
    odd = torch.ones(2, 3).to(getattr(torch, kind))
    path = tmp_path / "m.safetensors"
    tensors = {"mask": torch.ones(2, 3, dtype=torch.uint8)} | {name: odd}
    path.write_bytes(save(tensors, metadata={"provenance": "{}"}))
    refused(lambda: UnitMask.load(path), kind)


# -- .npy ------------------------------------------------------------------------------------------


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1") + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + data


def form(descr: str = "'<i8'", shape: str = "(2, 3)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


NPY: dict[str, tuple[bytes, str]] = {
    "huge": (npy(form(shape="(1000000, 1000000000)")), "truncated: 0 bytes"),
    "beyond counting": (npy(form(shape=f"({'9' * 40}, {'9' * 40})")), "truncated"),
    "a byte short": (npy(form(), bytes(47)), "truncated: 47 bytes of the 48"),
    "negative": (npy(form(shape="(-1, 3)"), bytes(48)), "of shape (-1, 3)"),
    "brackets": (npy("(" * 5000), "header cannot be read"),
    "tokens": (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3"), "header cannot"),
    "a string that never ends": (npy("{'''"), "header cannot be read"),
    "code": (npy("__import__('os').abort()"), "header cannot be read"),
    "5,000 digits": (npy(form(shape=f"({'1' * 5000},)")), "header cannot be read"),
    "a long header": (npy(" " * 20_000 + form()), "header cannot be read"),
    "no header": (b"\x93NUMPY", "header cannot be read"),
    "another version": (npy(form(), version=(9, 9)), "header cannot be read"),
    "objects": (npy(form("'|O'"), bytes(48)), "pickled, which are never loaded"),
    "texts": (npy(form("'<U9'"), bytes(999)), "not a plain .npy array of numbers"),
    "dates": (npy(form("'<M8[s]'"), bytes(48)), "not a plain .npy array of numbers"),
    "records": (npy(form("[('a', '<i8'), ('b', '|O')]"), bytes(99)), "not a plain .npy"),
    "complex": (npy(form("'<c16'"), bytes(96)), "not an array of 0 and 1"),
    "empty": (npy(form(shape="(0, 3)")), "has shape (0, 3)"),
    "nothing": (b"", "not a plain .npy array"),
    "zip": (b"PK\x03\x04" + bytes(100), "not a plain .npy array"),
    "pickle": (b"\x80\x04K\x01.", "not a plain .npy array"),
}


@pytest.mark.parametrize("what", list(NPY))
def test_npy_files_of_anyone(tmp_path: Path, what: str) -> None:
    content, told = NPY[what]
    path = tmp_path / "m.npy"
    path.write_bytes(content)
    refused(lambda: UnitMask.load(path), told)


def test_npy_files_of_versions_and_orders(tmp_path: Path) -> None:
    wanted = np.array([[1, 0, 1], [0, 0, 1]])
    for number, (descr, version) in enumerate(
        [("'>i4'", (1, 0)), ("'<i4'", (2, 0)), ("'>u2'", (3, 0))]
    ):
        data = wanted.astype(descr.strip("'"))
        path = tmp_path / f"{number}.npy"
        path.write_bytes(npy(form(descr), data.tobytes(), version))
        assert UnitMask.load(path).mask.tolist() == wanted.astype(bool).tolist()
        path.write_bytes(npy(form(descr, fortran="True"), data.tobytes("F"), version))
        assert UnitMask.load(path).mask.tolist() == wanted.astype(bool).tolist()


# -- provenance ------------------------------------------------------------------------------------


def test_provenance_keeps_kinds() -> None:
    made = Provenance(model="m", target=("a", "b"), max_tokens=12, absolute=False, n_target=3)
    assert Provenance.from_json(made.to_json()) == made
    assert Provenance.from_json('{"of a later version": [1]}') == Provenance()
    for wrong in ('{"absolute": 1}', '{"n_target": true}', '{"site": null}', "[]"):
        with pytest.raises(ValueError, match=r"is '|not a JSON object"):
            Provenance.from_json(wrong)


# -- nothing left ----------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from lensloc.display import files
if sys.argv[2] == "file":
    files.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    files.write_atomically(Path(sys.argv[1]) / "whole", b"x" * 99)
else:
    with files.work_folder(Path(sys.argv[1])) as work:
        (work / "part").write_bytes(b"x" * 99)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of posix")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path, what: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), what], check=False)
    assert ended.returncode == -9
    (orphan,) = tmp_path.iterdir()
    assert orphan.name.startswith(".lensloc-")
    mine = [tmp_path / name for name in (".lensloc-notes", ".lensloc-0123", "lensloc-" + "0" * 16)]
    for each in mine:
        each.write_text("of the user")
    write_atomically(tmp_path / "whole", b"y")
    assert set(tmp_path.iterdir()) == {*mine, tmp_path / "whole"}


@pytest.mark.skipif(os.name != "posix", reason="locks of posix")
def test_what_is_being_written_stays(tmp_path: Path) -> None:
    live = tmp_path / f".lensloc-{'0' * 16}"
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_orphans(tmp_path) == []
        write_atomically(tmp_path / "other", b"")
    with work_folder(tmp_path) as work:
        assert not live.exists(), "its writer has ended"
        with work_folder(tmp_path):
            assert len([each for each in tmp_path.iterdir() if each.is_dir()]) == 2
        assert work.is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["other"]


# -- disks -----------------------------------------------------------------------------------------


def wrapped(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("something went wrong") from cause
    except RuntimeError as found:
        return found


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (RuntimeError("I/O error: Os { code: 28, kind: StorageFull }"), "full"),
        (ValueError("[Errno 28] No space left on device: 'x'"), "full"),
        (OSError("could not write: OS error 28"), "full"),
        (OSError(errno.EACCES, "Permission denied"), None),
        (ValueError("code 280"), None),
    ],
)
def test_a_full_disk_is_called_one(tmp_path: Path, error: Exception, told: str | None) -> None:
    for each in (error, wrapped(error)):
        found = disk_fault(each, tmp_path / "no" / "file")
        assert (found is None) == (told is None)
        assert told is None or f" is {told}, so" in str(found)
        assert found is None or str(Path("/")) in found
    if isinstance(error, OSError):
        assert reason_of(error, tmp_path).startswith(str(error.strerror or error))


def test_every_writer_names_the_full_disk(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    refused(lambda: selectivity().top(k=1).save(tmp_path / "m.npy"), "the disk of / is full")
    assert not list(tmp_path.iterdir())
