"""Mutants of every kind of file that lensloc reads, and what becomes of each."""

import logging
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutations import Mutate, mutant

OUTCOMES = (
    *("same result", "declared difference", "one sentence"),
    *("traceback", "hang", "silent change"),
)
BAD = OUTCOMES[3:]
SECONDS, MEMORY = 20, 2**30


@dataclass(frozen=True)
class Read:
    """What a reader made of a file.

    Attributes:
        result: all that counts.
        identity: what lensloc itself says of the content (hashes that travel with a result); None
            of files that have a checksum, which give what was written or nothing.
    """

    result: Hashable
    identity: Hashable = None


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind.
        make: writes a good one into a folder; returns the file to damage.
        read: reads it, as users do.
        ways: how it is damaged.
        agrees: whether an independent reader finds the same in a damaged file as lensloc did; where
            there is none, lensloc's own identity must differ.
        weight: how many mutants it gets, beside the others.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Read]
    ways: Sequence[Mutate]
    agrees: Callable[[Path, Hashable], bool] | None = None
    weight: float = 1.0


class NotRead(Exception):
    """Nothing was read, and the log said why."""


class HangError(BaseException):
    """A reader took too long."""


@dataclass
class Row:
    """What became of the mutants of a kind.

    Attributes:
        counts: outcome -> number.
        bad: number of a mutant, its outcome, and what was seen.
        slowest: seconds of the slowest one.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def n(self) -> int:
        return sum(self.counts.values())


class Bench:
    """A good file of a kind, and what is read of it."""

    def __init__(self, kind: Kind, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kind, self.seed = kind, seed
        self.path = kind.make(folder)
        self.content = self.path.read_bytes()
        with silent():
            self.good = kind.read(self.path)
            again = kind.read(self.path)
        assert self.good == again, f"{kind.name}: reading twice gives two results"

    def mutant(self, number: int) -> bytes:
        return mutant(self.content, self.kind.ways, f"{self.seed} {self.kind.name} {number}")

    def judge(self, number: int) -> tuple[str, str, float]:
        """Say what becomes of a mutant: the outcome, what was seen, CPU seconds."""
        self.path.write_bytes(self.mutant(number))
        start = time.process_time()
        try:
            with silent(), bounded():
                outcome, seen = self._judged()
        except HangError:
            outcome, seen = "hang", f"more than {SECONDS} s"
        finally:
            self.path.write_bytes(self.content)
        return outcome, seen, time.process_time() - start

    def _judged(self) -> tuple[str, str]:
        from lensloc.errors import LensLocError

        try:
            found = self.kind.read(self.path)
        except LensLocError as error:
            fault = fault_of(str(error))
            return ("traceback", fault) if fault else ("one sentence", str(error))
        except NotRead as error:
            return "one sentence", str(error)
        except HangError:
            raise
        except BaseException as error:  # panics of Rust are no exceptions
            if isinstance(error, KeyboardInterrupt):
                raise
            return "traceback", "".join(traceback.format_exception(error)[-6:])
        if found.result == self.good.result:
            return "same result", ""
        declared = self._agreed(found.result)
        if self.kind.agrees is None or self.good.identity is not None:
            declared = declared and found.identity != self.good.identity
        gist = f"{str(self.good.result)[:300]} became {str(found.result)[:300]}"
        return ("declared difference", gist) if declared else ("silent change", gist)

    def _agreed(self, result: Hashable) -> bool:
        if self.kind.agrees is None:
            return True
        try:
            return self.kind.agrees(self.path, result)
        except Exception:  # what nobody else can read
            return False


def fault_of(sentence: str) -> str:
    """Say what is wrong with a sentence; empty if it is one line that a terminal can show."""
    if "\n" in sentence:
        return f"more than a line: {sentence!r}"
    if not sentence.endswith((".", "?")):
        return f"no end: {sentence!r}"
    if len(sentence) > 3000:
        return f"{len(sentence)} letters: {sentence[:200]!r}"
    return ""


@contextmanager
def bounded(seconds: int = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Bound what is done in CPU time and, above what the process has, in memory.

    A machine that is busy makes no hang; what waits for ever is ended after 20 times as long.
    """

    def ring(*_: Any) -> None:
        raise HangError

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    bells = (signal.SIGPROF, signal.SIGALRM)
    old = [signal.signal(bell, ring) for bell in bells]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(20 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        for bell, handler in zip(bells, old, strict=True):
            signal.signal(bell, handler)


@contextmanager
def silent() -> Iterator[None]:
    """Leave warnings and logs out; they are no part of the outcome."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


# -- many ------------------------------------------------------------------------------------------


def shares(kinds: Sequence[Kind], mutants: int) -> dict[str, int]:
    """Return how many mutants each kind gets of all."""
    total = sum(kind.weight for kind in kinds)
    counts = {kind.name: int(mutants * kind.weight / total) for kind in kinds}
    for kind in kinds[: mutants - sum(counts.values())]:
        counts[kind.name] += 1
    return counts


def run(
    kinds: Sequence[Kind],
    folder: Path,
    *,
    mutants: int,
    seconds: float | None = None,
    seed: int = 0,
) -> dict[str, Row]:
    """Judge mutants of all kinds in this process; fewer where the CPU seconds are used up."""
    counts, found = shares(kinds, mutants), {}
    total = sum(kind.weight for kind in kinds)
    for kind in kinds:
        row = found[kind.name] = Row()
        bench = Bench(kind, folder / kind.name.replace(" ", "-").replace("/", "-"), seed)
        until = time.process_time() + (seconds or 0) * kind.weight / total
        for number in range(counts[kind.name]):
            if seconds is not None and time.process_time() > until and number > 2:
                break
            noted(row, number, *bench.judge(number))
    return found


def noted(row: Row, number: int, outcome: str, seen: str, seconds: float) -> None:
    row.counts[outcome] += 1
    row.slowest = max(row.slowest, seconds)
    if outcome in BAD:
        row.bad.append((number, outcome, seen))


def run_apart(kind: Kind, folder: Path, numbers: range, seed: int) -> Row:
    """Judge the mutants of a kind in processes of their own, so that one that dies is told too."""
    row, at = Row(), numbers.start
    while at < numbers.stop:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _child(kind, folder, range(at, numbers.stop), seed, write_end)
        os.close(write_end)
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                number, outcome, seconds, seen = line.rstrip("\n").split("\t", 3)
                noted(row, int(number), outcome, seen.replace("\\n", "\n"), float(seconds))
                at = int(number) + 1
        _, status = os.waitpid(child, 0)
        if at < numbers.stop:  # it died
            noted(row, at, "traceback", f"the process ended with status {status}", 0.0)
            at += 1
    return row


def _child(kind: Kind, folder: Path, numbers: range, seed: int, write_end: int) -> None:
    status = 1
    try:
        bench = Bench(kind, folder, seed)
        with os.fdopen(write_end, "w", encoding="utf-8", errors="replace", buffering=1) as out:
            for number in numbers:
                outcome, seen, seconds = bench.judge(number)
                seen = seen.replace("\\", "/").replace("\n", "\\n").replace("\r", "")
                out.write(f"{number}\t{outcome}\t{seconds:.3f}\t{seen[:2000]}\n")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def table(found: dict[str, Row]) -> str:
    """Return the outcomes as a table in Markdown."""
    head = ["kind", "mutants", *OUTCOMES]
    rows = [[name, row.n, *row.counts.values()] for name, row in found.items()]
    rows.append(
        ["all", sum(r.n for r in found.values())]
        + [sum(row.counts[name] for row in found.values()) for name in OUTCOMES]
    )
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in (head, *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(head) - 1))
    return "\n".join(lines)
