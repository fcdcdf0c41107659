"""Kills lensloc while it works, at every step of its writer and at random, and runs it again.

``python tests/fuzz/kills.py --kills 100 --at-steps 50 --processes 2 4 8`` prints what became of it.
Every job runs in a process that is forked from this one, so that none has to start anew.
"""

import argparse
import contextlib
import csv
import io
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # otherwise pytest has set it all
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import torch
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc.display import files
from lensloc.models import cache_entries

SENTENCES = [
    "the old gardener watered every plant", "nobody remembered who had built the bridge",
    "twelve plus nineteen is thirty one", "before the sun came up it was still",
]  # fmt: skip
NONWORDS = ["glorbix fendal mopi strane", "wuggle trisket plonder", "vash mopi", "trine plonder"]


@dataclass(frozen=True)
class Job:
    """What is done in a folder, again and again.

    Attributes:
        do: does it.
        outcome: reads what it left, to be compared.
    """

    do: Callable[[Path], None]
    outcome: Callable[[Path], Any]


class World:
    """A tiny model and texts, made once."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = make_checkpoint(folder / "model", CONFIGS["llama"]())
        self.model = ll.load_model(self.checkpoint, backend="transformers", progress=False)
        self.contrast = ll.Contrast.from_texts(
            {"hot": SENTENCES, "cold": NONWORDS}, target="hot", control="cold", name="heat"
        )
        self.csv = folder / "contrast.csv"
        with self.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "condition"])
            for name, texts in self.contrast.conditions.items():
                writer.writerows([text, name] for text in texts)
        self.texts = folder / "text.txt"
        self.texts.write_text("\n".join(SENTENCES * 6))

    def jobs(self) -> dict[str, Job]:
        return {
            "localize": Job(self._localize, _mask),
            "lesion_study": Job(self._study, lambda folder: (folder / "table.json").read_text()),
            "lape record": Job(self._record, _counts),
            "sweep": Job(self._sweep, lambda folder: (folder / "sweep.json").read_text()),
        }

    def _localize(self, folder: Path) -> None:
        found = ll.localize(
            self.model, self.contrast, ["resid_post", "mlp_out"],
            store=folder / "cache" / "results", progress=False,
        )  # fmt: skip
        for site, selectivity in found.items():
            selectivity.top(percent=5).save(folder / f"m.{site}.safetensors", overwrite=True)

    def _study(self, folder: Path) -> None:
        study = ll.lesion_study(
            self.model, {"heat": self.contrast}, [ll.tasks.perplexity(SENTENCES)],
            controls=ll.controls("layer", seeds=range(2)), percents=[5, 10],
            store=folder / "cache" / "studies", progress=False,
        )  # fmt: skip
        files.write_file(folder / "table.json", study.table.to_json().encode(), overwrite=True)

    def _record(self, folder: Path) -> None:
        part = folder / "c.checkpoint"
        counts = ll.lape.record(
            self.model, {"en": self.texts, "de": self.csv}, window=8, batch_tokens=16,
            keep_windows=True, checkpoint=part, checkpoint_every=32, progress=False,
        )  # fmt: skip
        counts.save(folder / "c.safetensors", overwrite=True)
        part.unlink()

    def _sweep(self, folder: Path) -> None:
        rows = {}
        for pooling in ("last-token", "mean"):
            for absolute in (True, False):
                found = ll.localize(
                    self.model, self.contrast, ["resid_post", "head"], pooling=pooling,
                    absolute=absolute, store=folder / "cache" / "results", progress=False,
                )  # fmt: skip
                rows[f"{pooling} {absolute}"] = [map_.t.tolist() for map_ in found.values()]
        files.write_file(folder / "sweep.json", json.dumps(rows).encode(), overwrite=True)


def _mask(folder: Path) -> Any:
    paths = sorted(folder.glob("m.*.safetensors"))
    return [ll.UnitMask.load(path).mask.tolist() for path in paths]


def _counts(folder: Path) -> Any:
    found = ll.lape.ActivationCounts.load(folder / "c.safetensors")
    return found.counts.tolist(), found.tokens.tolist()


# -- processes -------------------------------------------------------------------------------------


def forked(do: Callable[[], None], seconds: float | None = None) -> int:
    """Do something in a process of its own; return its status, negative for a signal.

    Args:
        do: what.
        seconds: after which it is killed.
    """
    child = started(do)
    if seconds is not None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def started(do: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            do()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def in_folder(job: Job, folder: Path, kill_at: int | None = None) -> Callable[[], None]:
    """Return the job, which counts the writer's steps and ends at one of them."""

    def do() -> None:
        os.environ["LENSLOC_CACHE"] = str(folder / "cache")
        steps = 0

        def reached(step: str, path: Path) -> None:
            nonlocal steps
            if kill_at is not None and steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1

        files.reached = reached
        job.do(folder)
        (folder / "steps").write_text(str(steps))

    return do


def left_over(folder: Path) -> list[str]:
    """Return what should not be there after all is done: orphans, damaged entries, checkpoints."""
    found = [
        f"left: {path.relative_to(folder)}"
        for path in folder.rglob("*")
        if files.is_temporary(path.name) or ".damaged" in path.name or "checkpoint" in path.name
    ]
    for entry in cache_entries.entries(folder / "cache"):
        state, reason = cache_entries.verify(entry)
        if state != "whole":
            found.append(f"cache: {entry.path.name} is {state} ({reason})")
    return found


def kills(world: World, folder: Path, n: int, n_at_steps: int, seed: int) -> list[dict[str, Any]]:
    """Kill every job so often, and run it again.

    Returns:
        One row per job: kills, how many at steps, identical results, faults.
    """
    draw, rows = random.Random(seed), []
    jobs = world.jobs()
    for place, (name, job) in enumerate(jobs.items()):
        wanted, steps_took = folder / f"{place}-whole", time.perf_counter()
        wanted.mkdir()
        assert forked(in_folder(job, wanted)) == 0, f"{name} does not run"
        took = time.perf_counter() - steps_took
        n_steps, good = int((wanted / "steps").read_text()), job.outcome(wanted)
        share = _share(n, len(jobs), place)
        at_steps = _share(n_at_steps, len(jobs), place)
        row: dict[str, Any] = {"job": name, "kills": 0, "at a step": 0, "steps": n_steps}
        row |= {"identical": 0, "faults": []}
        for number in range(share):
            where = folder / f"{place}-{number}"
            where.mkdir()
            if number < at_steps:
                step = number if at_steps >= n_steps else number * n_steps // at_steps
                status = forked(in_folder(job, where, step % n_steps))
            else:
                status = forked(in_folder(job, where), draw.uniform(0, took))
            row["kills"] += status == -signal.SIGKILL
            row["at a step"] += status == -signal.SIGKILL and number < at_steps
            if forked(in_folder(job, where)) != 0:
                row["faults"].append(f"kill {number}: it does not run again")
                continue
            row["identical"] += job.outcome(where) == good
            row["faults"] += [f"kill {number}: {fault}" for fault in left_over(where)]
        rows.append(row)
    return rows


def _share(n: int, parts: int, place: int) -> int:
    return n // parts + (place < n % parts)


def together(world: World, folder: Path, n: int) -> int:
    """Let so many processes localize the same at once; return how often it was computed."""
    folder.mkdir()

    def do() -> None:
        from lensloc.studies import localization

        run = localization.capture_moments
        assert callable(run)

        def counted(*arguments: Any, **options: Any) -> Any:
            with (folder / "passes").open("a") as file:
                file.write("x")
            time.sleep(0.2)
            return run(*arguments, **options)

        localization.capture_moments = counted
        logging.disable(logging.CRITICAL)
        (folder / f"ready-{os.getpid()}").touch()
        until = time.monotonic() + 60
        while len(list(folder.glob("ready-*"))) < n and time.monotonic() < until:
            time.sleep(0.01)
        found = ll.localize(world.model, world.contrast, store=folder / "s", progress=False)
        (folder / f"found-{os.getpid()}").write_text(repr(found["resid_post"].t.tolist()))

    children = [started(do) for _ in range(n)]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children), "one of them failed"
    found = [path.read_text() for path in folder.glob("found-*")]
    assert len(found) == n
    assert len(set(found)) == 1, "they found different things"
    return len((folder / "passes").read_text())


def main() -> int:
    """Run what the command line asks for; return 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--at-steps", type=int, default=50, help="so many of them at steps")
    parser.add_argument("--processes", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    bad = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        world = World(folder / "world")
        print("| job | killed | at a step of the writer (of) | rerun identical | faults |")
        print("|---|---:|---:|---:|---:|")
        for row in kills(world, folder, given.kills, given.at_steps, given.seed):
            n = row["identical"]
            print(f"| {row['job']} | {row['kills']} | {row['at a step']} ({row['steps']}) | {n} | "
                  f"{len(row['faults'])} |")  # fmt: skip
            print(*row["faults"], sep="\n", end="\n" if row["faults"] else "", file=sys.stderr)
            bad |= bool(row["faults"])
        for n in given.processes:
            times = together(world, folder / f"together-{n}", n)
            print(f"{n} processes with one key on an empty cache: computed {times} time(s)")
            bad |= times != 1
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
