"""A newcomer's path: from an empty environment to the first heatmap of an own CSV.

python tests/benchmarks/newcomer.py [--keep FOLDER]

Builds the wheel, and then types what README says, one command after another, counting commands and
seconds, on the clock and of the CPU (a machine that does other things is slower on the clock).
Nothing that was fetched before is used. What is fetched comes from the package index that pip is
set to; where that has torch with CUDA only, these are some gigabytes more.
"""

import argparse
import datetime
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TEXTS = {
    "hot": "the {} burned our tongues and the steam fogged every window",
    "cold": "the {} froze in our hands and the frost covered every window",
}
_THINGS = (
    "soup tea coffee bread cocoa stew broth porridge rice pudding sauce cider milk punch gravy "
    "chowder custard noodles dumplings pie"
).split()


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        typed: as it was typed.
        seconds: how long it took, on the clock.
        cpu: seconds of the CPU.
        printed: what it printed.
    """

    typed: str
    seconds: float
    cpu: float
    printed: str


def table() -> str:
    """Return a file of two conditions, as a newcomer may have one."""
    rows = [
        f"{text.format(thing)},{condition}"
        for condition, text in _TEXTS.items()
        for thing in _THINGS
    ]
    return "\n".join(["text,condition", *rows]) + "\n"


def walk(folder: Path, wheel: Path) -> list[Step]:
    """Type the commands in an empty folder; stop at the first that fails."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    known |= {
        # Neither what was kept nor what was fetched before.
        "LENSLOC_CACHE": str(folder / "cache"),
        "PIP_NO_CACHE_DIR": "1",
        "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    steps = []
    for command in (
        [sys.executable, "-m", "venv", "venv"],
        ["pip", "install", "-c", str(ROOT / "constraints.txt"), str(wheel)],
        ["lensloc", "localize", "--contrast", "mine.csv", "--target", "hot", "--control", "cold",
         "--out", "mine.safetensors"],
        ["lensloc", "heatmap", "mine.safetensors", "--out", "layers.html"],
    ):  # fmt: skip
        start, before = time.perf_counter(), _cpu()
        done = subprocess.run(
            command, cwd=folder, env=known, capture_output=True, text=True, check=False
        )
        short = " ".join(Path(part).name if "/" in part else part for part in command)
        step = Step(short, time.perf_counter() - start, _cpu() - before, done.stdout)
        steps.append(step)
        print(f"| `{short}` | {step.seconds:.0f} | {step.cpu:.0f} |", flush=True)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return steps


def _cpu() -> float:
    """Return the seconds of the CPU of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_SAID = """
import importlib.metadata as m, torch
names = ("lensloc", "torch", "transformers")
gpu = "a GPU" if torch.cuda.is_available() else "no GPU"
print(*(f"{name} {m.version(name)}" for name in names), gpu, sep=", ", end="")
"""


def machine(folder: Path) -> str:
    """Return the day, the versions that were installed, and what they ran on."""
    done = subprocess.run(
        [folder / "venv" / "bin" / "python", "-c", _SAID],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    python = f"Python {platform.python_version()}"
    return f"{datetime.date.today()}: {python}, {done.stdout}, {os.cpu_count()} CPU cores"


def built(folder: Path) -> Path:
    """Build the wheel, which is no part of the path: a newcomer finds it on the index."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
         "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("lensloc-*.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="an empty folder, in which everything is left")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary) / "newcomer"
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty; name an empty folder.")
        wheel = built(Path(temporary) / "dist")
        (folder / "mine.csv").write_text(table(), encoding="utf-8")
        print("| command | seconds | of the CPU |\n|---|---|---|")
        steps = walk(folder, wheel)
        figure = folder / "layers.html"
        assert "heatmap" in figure.read_text(encoding="utf-8"), "the page holds no heatmap"
        total, cpu = sum(step.seconds for step in steps), sum(step.cpu for step in steps)
        what = f"{len(steps)} commands and a file of two columns"
        print(f"| **{what}** | **{total:.0f}** | **{cpu:.0f}** |\n")
        print(machine(folder), "\n")
        print(steps[2].printed)


if __name__ == "__main__":
    main()
