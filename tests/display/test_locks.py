"""Several processes that want one piece of work: one does it, the others wait."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lensloc.display.files import remove_orphans
from lensloc.display.locks import held

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and signals of posix")

_WORKER = """
import logging, sys, time
from pathlib import Path
from lensloc.display.locks import held
logging.basicConfig()
folder, number, n, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
(folder / f"ready.{number}").touch()
while len(list(folder.glob("ready.*"))) < n:
    time.sleep(0.01)
with held(folder / f".{'0' * 32}.lock", "the thing") as waited:
    if not (folder / "made").exists():
        with (folder / "begun").open("a") as file:
            file.write("x")
        time.sleep(seconds)
        (folder / "made").touch()
print(waited)
"""


def worker(folder: Path, number: int, n: int, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _WORKER, str(folder), *map(str, (number, n, seconds))]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True)


def test_work_is_done_once(tmp_path: Path) -> None:
    n = 4
    workers = [worker(tmp_path, number, n, 1.0) for number in range(n)]
    output = [each.communicate(timeout=300) for each in workers]
    assert [each.returncode for each in workers] == [0] * n, output
    assert (tmp_path / "begun").read_text() == "x"
    assert sorted(out.strip() for out, _ in output) == ["False", *["True"] * (n - 1)]
    told = [err for _, err in output if "another process is making the thing; waiting" in err]
    assert len(told) == n - 1
    assert not list(tmp_path.glob(".*")), "no lock is left"


@pytest.mark.parametrize("next_one", ["a writer", "the same work"])
def test_the_lock_of_a_killed_process_is_none(tmp_path: Path, next_one: str) -> None:
    killed = worker(tmp_path, 0, 1, 600)
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    (lock,) = tmp_path.glob(".*.lock")
    remove_orphans(tmp_path)
    assert lock.exists(), "it is held"
    killed.kill()
    killed.communicate()
    if next_one == "a writer":
        assert remove_orphans(tmp_path) == [lock]
    else:
        with held(lock, "it") as waited:
            assert not waited
    assert not lock.exists()


def test_where_no_lock_can_be_had_the_work_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with held(tmp_path / "file" / "x.lock", "it") as waited:
        assert not waited
    with pytest.raises(KeyError), held(tmp_path / "x.lock", "it"):
        raise KeyError
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
