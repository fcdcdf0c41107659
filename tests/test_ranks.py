"""Work shared by processes: masks, statistics, scores and counts are one process's."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import planted_vision
import pytest
import rank_work
import torch
from rank_work import found_by
from ranks import as_ranks, in_child
from task_files import TEXTS
from tiny_models import CONFIGS, CORPUS, make_checkpoint

import lensloc as ll
from lensloc import ranks
from lensloc.cli import main
from lensloc.cli.ranking import shared_by_ranks
from lensloc.forward import capturing, module_runs
from lensloc.forward.memory import Budget
from lensloc.models.plain import Plain
from lensloc.tasks.scoring import Scored, token_log_probs

_SUPPORT = Path(__file__).parent / "support"


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_SUPPORT), str(_SUPPORT.parent.parent)]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "LENSLOC_CACHE": str(folder / "cache"),
    }


def by_ranks(n: int, *program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return subprocess.run(
        [*launch, str(n), *program],
        env=_environment(folder), capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("ranks") / "model", CONFIGS["llama"]())


def test_alone_all_work_is_ones_own() -> None:
    assert (ranks.n_ranks(), ranks.rank()) == (1, 0)
    assert ranks.crew().mine([1, 2, 3]) == [1, 2, 3]
    assert ranks.together(lambda: 5) == [5]
    assert ranks.from_first(lambda: 6) == 6
    assert not ranks.started_by_torchrun()


@pytest.mark.parametrize("n", [2, 4])
def test_ranks_find_what_one_process_finds(n: int, checkpoint: Path, tmp_path: Path) -> None:
    """Uneven shares; some tasks have fewer batches than there are ranks."""
    if n == 4:  # without importing all anew
        assert as_ranks(lambda _: rank_work.run(checkpoint, tmp_path), n) == [0] * n
    else:
        done = by_ranks(
            n, str(_SUPPORT / "rank_work.py"), str(checkpoint), str(tmp_path), folder=tmp_path
        )
        assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(tmp_path / "found.pt")
    alone = tmp_path / "alone"
    alone.mkdir()
    expected: dict[str, Any] = found_by(ll.load_model(checkpoint, backend="transformers"), alone)
    for name in ("mask", "counts", "blocks", "responses"):
        assert torch.equal(found[name], expected[name]), name
    for name in ("t", "t of heads"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)
    for name in ("score", "good"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    # One rank wrote, and what it wrote is whole.
    names = [{path.name for path in (place / "store").iterdir()} for place in (tmp_path, alone)]
    assert names[0] == names[1]


def test_what_fails_in_one_rank_is_told_by_all(tmp_path: Path) -> None:
    """An error reaches every rank, and they go on together; a rank that dies is told of."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, str(_SUPPORT / "rank_errors.py")],
            env=_environment(tmp_path)
            | {"RANK": str(n), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            | {"MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    first, second = (process.communicate(timeout=200)[0] for process in started)
    for n, said in enumerate((first, second)):
        assert said.count(f"rank {n}: Text 7 is bad.") == 2
    assert "100 [0, 2, 4]" in first
    assert "100 [1, 3]" in second
    assert "rank 0: Another process of this run has ended" in first


def test_commands_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for given in (["lape", "generate", "x"], ["demo"], ["localizer"]):
        words = " ".join(given[:2])
        with (
            pytest.raises(ll.LensLocError, match=f"lensloc {words} is one process's work"),
            shared_by_ranks(given),
        ):
            pass
    with (
        pytest.raises(ll.LensLocError, match=r"^lensloc report is one process's work"),
        shared_by_ranks(["report", "--network", "language"]),
    ):
        pass


def test_one_rank_says_what_was_wrong(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a command that cannot be shared, and of an option that there is not."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("lensloc.cli.ranking.join", lambda: pytest.fail)
    level = logging.getLogger().level
    try:
        for given in ([], ["demo"], ["localize", "--nonsense"]):
            with pytest.raises(SystemExit) as ended:
                main(given)
            assert ended.value.code == 2
    finally:
        logging.getLogger().setLevel(level)
    assert "".join(capfd.readouterr()) == ""


def test_what_ended_the_run_is_told_once_though_rank_0_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> None:
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        place = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        for name, value in place.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("lensloc.cli.ranking.join", lambda: pytest.fail)
        ended = []
        for given in ["localize"], ["sweep", "plan.yaml"]:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", given[0])
            for rank in ("1", "2"):
                monkeypatch.setenv("RANK", rank)
                with (
                    pytest.raises((ll.LensLocError, SystemExit)) as found,
                    shared_by_ranks(given),
                ):
                    raise ll.LensLocError(ranks.ENDED)
                ended.append(found.type)
        assert ended == [ll.LensLocError, SystemExit] * 2

    # In a process of its own: one that is forked later would wait for the threads of such a store.
    assert in_child(work) == 0


@pytest.mark.parametrize("size", ["", "two", "1"])
def test_a_number_of_processes_that_is_none(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", "0")
    assert not ranks.started_by_torchrun()


def test_batches_are_the_same_in_ranks_with_different_memory(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Every text, and every picture, is run once, whatever each rank would take at a time."""
    pictures = ll.Contrast.from_images(planted_vision.pictures(), target="red", control="other")
    texts = [*CORPUS, *TEXTS]
    labels = ["a", "b"] * (len(texts) // 2) + ["a"] * (len(texts) % 2)

    def found_in() -> dict[str, Any]:
        model = ll.load_model(checkpoint, backend="transformers", progress=False)
        moments = capturing.capture_moments(model, texts, labels, progress=False)
        pooled = ll.capture(model, texts, labels, progress=False).responses["resid_post"]
        wrapped = ll.wrap(planted_vision.Net(), {"conv": "convs.{layer}"})
        seen = ll.capture(wrapped, pictures.texts, pictures.labels, ["conv"], progress=False)
        return {
            "pictures": seen.responses["conv"].values,
            "n": {k: m.n for k, m in moments.moments["resid_post"].items()},
            "responses": pooled.values,
        }

    def work(rank: int) -> None:
        leave = ranks.join()
        for module in (capturing, module_runs):
            module._BUDGET = Budget(on_cpu=2**30 if rank else 20_000, share=0.5)
        torch.save(found_in(), tmp_path / f"{rank}.pt")
        leave()

    assert as_ranks(work) == [0, 0]
    expected = found_in()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert found["n"] == expected["n"]
        for name in ("responses", "pictures"):
            torch.testing.assert_close(found[name], expected[name], equal_nan=True)


def test_rows_are_the_same_in_ranks_that_read_side_by_side_and_alone(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Every text is scored, though one rank's model takes several texts per row, another's none."""
    sequences = [Scored((5, 6, 7, *range(n, n + 4))) for n in range(20, 60)]

    def scores() -> torch.Tensor:
        model = ll.load_model(checkpoint, backend="transformers", progress=False)
        return torch.tensor(np.stack(token_log_probs(model, sequences, progress=False)))

    def work(rank: int) -> None:
        leave = ranks.join()
        if rank:
            Plain.longest_packed = lambda self: 0  # type: ignore[method-assign]
        torch.save(scores(), tmp_path / f"{rank}.pt")
        leave()

    assert as_ranks(work) == [0, 0]
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), scores(), atol=1e-5, rtol=0)


def test_all_ranks_are_told_the_same_error(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        leave = ranks.join()

        def fail() -> None:
            raise ll.LensLocError(f"Text {rank} is bad.")

        with pytest.raises(ll.LensLocError, match="Text 0 is bad"):
            ranks.together(fail)
        leave()

    assert as_ranks(work) == [0, 0]
