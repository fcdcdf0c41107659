"""What commands print on any terminal, and the files that they write or refuse to."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from documents import command_lines

import lensloc as ll
from lensloc.cli import main
from lensloc.cli.output import any_encoding

ROOT = Path(__file__).parents[2]
ENCODINGS = ["ascii", "cp1252"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on a terminal of that encoding, in an empty folder: status, output, errors."""
    folder = tmp_path / "wörk 中"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")

    def on_terminal(*arguments: str | Path) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding, "strict") for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        for stream in streams:
            assert stream.errors == "strict"  # as it was
            stream.flush()
        out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)  # type: ignore[attr-defined]
        return int(ended.value.code or 0), out, err

    return on_terminal


def test_words_that_the_terminal_lacks_are_escaped(run: Run, encoding: str) -> None:
    status, out, err = run("stimuli", "show", "languages", "--items", "5")
    assert (status, err) == (0, "")
    for letter in "üıçé":
        shown = letter.encode(encoding, "backslashreplace").decode(encoding)
        assert shown in out
    assert run("stimuli", "list")[0] == 0
    assert run("models", "list")[0] == 0
    assert run("stimuli", "check", "languages", "--model-name", "none")[0] == 0
    status, _, err = run("localize", "--contrast", "nichts 中.csv", "--target", "a")
    assert status == 2
    assert "nichts \\u4e2d.csv" in err
    status, _, err = run("stimuli", "zeig 中")
    assert status == 2
    assert "\\u4e2d" in err
    for command in ("localize", "lesion", "evaluate", "report", "heatmap", "demo"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert "--help" in out


def test_commands_that_run_a_model(
    run: Run, encoding: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "modèle 中"
    model.symlink_to(checkpoints["gpt2"])
    rows = [(f"der alte Gärtner {i}", "wärme 中") for i in range(5)]
    rows += [(f"niemand kam {i}", "kälte") for i in range(5)]
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv("größe 中.csv", index=False)
    of_file = ["--contrast", "größe 中.csv", "--target", "wärme 中", "--control", "kälte"]
    named = ["--model-name", model]
    status, out, err = run("localize", *named, *of_file, "--num-units", "3")
    assert status == 0, err
    assert "3 units at resid_post" in out
    status, out, err = run("localize", *named, *of_file, "--num-units", "3", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert out.isascii()
    mask = Path(found["mask"])
    assert mask.is_file()
    assert found["network"] == "größe 中"
    lesion = [
        "lesion",
        *named,
        "--mask",
        mask,
        "--prompt",
        "Der Gärtner 中",
        "--max-new-tokens",
        "3",
    ]
    status, out, err = run(*lesion)
    assert status == 0, err
    assert "G\\xe4rtner" in out if encoding == "ascii" else "Gärtner" in out
    assert "\\u4e2d" in out
    status, out, err = run(*lesion, "--json")
    assert json.loads(out)["outputs"][0]["prompt"] == "Der Gärtner 中"
    task = ["--task", "perplexity=größe 中.csv", "--task", "bits-per-byte=größe 中.csv"]
    status, out, err = run("evaluate", *named, "--mask", mask, *task, "--out", "täfel 中.csv")
    assert status == 0, err
    assert Path("täfel 中.csv").is_file()
    status, _, err = run("heatmap", mask, "--out", "kärte 中.html")
    assert status == 0, err
    status, out, err = run(
        "report", *named, *of_file, "--percentage", "5", "--out", "seite 中.html"
    )
    assert status == 0, err
    assert "seite \\u4e2d.html" in out


def test_python_io_encoding_of_a_process(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    out = tmp_path / "o.txt"
    with out.open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "lensloc", "stimuli", "show", "languages"],
            stdout=file,
            env=environment,
            check=True,
        )
    assert "Küchenuhr" in out.read_text(encoding="cp1252")


def test_what_is_no_text_stream_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with any_encoding():
        sys.stdout.write("中")
    closed = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", closed)
    with any_encoding():
        closed.close()


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "docs/command_line.md"])
def test_lines_of_a_page_do_not_collide(name: str) -> None:
    """Run one after the other, they write files of different names."""
    written = [
        arguments[place + 1]
        for arguments in command_lines(ROOT / name)
        for place, argument in enumerate(arguments)
        if argument in ("--out", "--plot", "--answers")
    ]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.S)
    code = "\n".join(blocks)
    written += re.findall(r'(?:\.save\(|\breport\(\w+, )"([^"]+)"', code)
    assert len(written) > 6
    assert [name for name, n in Counter(written).items() if n > 1] == []


@pytest.mark.parametrize("name", ["README.md", "docs/command_line.md"])
def test_masks_that_lines_of_a_page_read_are_written_by_one(name: str) -> None:
    lines = command_lines(ROOT / name)
    written = {a[i + 1] for a in lines for i, word in enumerate(a) if word in ("--out", "--plot")}
    for arguments in lines:
        for place, word in enumerate(arguments):
            if word == "--mask":
                assert arguments[place + 1] in written
            if word.endswith((".safetensors",)) and "*" not in word:
                assert word in written


def test_lines_of_the_readme_run_one_after_another(
    workplace: Path, checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """In one folder, with a tiny model in the place of the bundled one."""
    rows = [f"it is {word},{side}" for side in ("hot", "cold") for word in "a b c d e f".split()]
    Path("mine.csv").write_text("\n".join(["text,condition", *rows]))
    lines = [line for line in command_lines(ROOT / "README.md") if line != ["demo"]]
    assert len(lines) >= 6
    for arguments in lines:
        tiny = [] if arguments[0] == "heatmap" else ["--model-name", str(checkpoints["llama"])]
        fewer = {"report": ["--control-units", "layer:2"]}
        given = [*arguments, *fewer.get(arguments[0], [])]
        if arguments[0] == "evaluate":
            place = arguments.index("--control-units")
            given = [*arguments[: place + 1], "layer:2", *arguments[place + 2 :]]
        assert status_of(*given, *tiny) == 0, (arguments, capfd.readouterr().err)
    written = {path.name for path in workplace.iterdir()}
    assert written >= {"language.safetensors", "layers.html", "mine.safetensors", "table.csv",
                       "dose.html", "language.html"}  # fmt: skip


def status_of(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    np.save("mask.npy", np.eye(4, 9, dtype=int))
    return folder


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        (["localize", "--out", "t.safetensors"], "t.safetensors"),
        (["localize", "--site", "head", "--site", "q", "--out", "t.npy"], "t.q.npy"),
        (["evaluate", "--out", "t.csv"], "t.csv"),
        (["evaluate", "--plot", "t.html"], "t.html"),
        (["report", "--out", "t.html"], "t.html"),
        (["heatmap", "mask.npy", "--out", "t.html"], "t.html"),
        (["demo", "--out", "t"], "t/heatmap.html"),
        (["lape", "record", "--out", "t.safetensors"], "t.safetensors"),
        (["lape", "identify", "c.safetensors", "--out", "t.pth"], "t.pth"),
        (["lape", "identify", "c.safetensors", "--plot", "t.html"], "t.html"),
        (["lape", "perplexity", "n.safetensors", "--out", "t.json"], "t.json"),
        (["lape", "generate", "n.safetensors", "--answers", "t.json"], "t.json"),
        (["lape", "steer", "n.safetensors", "--plot", "t.html"], "t.html"),
    ],
)
def test_every_command_refuses_a_place_that_is_taken_before_it_runs_anything(
    command: list[str],
    taken: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ll, "load_model", None)
    Path(taken).parent.mkdir(exist_ok=True)
    Path(taken).write_text("mine")
    before = sorted(workplace.rglob("*"))
    assert status_of(*command) == 2
    assert f"{taken} exists; add --overwrite to replace it" in capfd.readouterr().err
    assert Path(taken).read_text() == "mine"
    assert sorted(workplace.rglob("*")) == before


def test_places_that_cannot_be_written_are_told_before_anything_runs(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for out, message in {
        "x" * 260 + ".html": "cannot be written (File name too long)",
        "mask.npy/t.html": "cannot be written in mask.npy",
        ".": "must end in",
    }.items():
        assert status_of("heatmap", "mask.npy", "--out", out) == 2
        assert message in capfd.readouterr().err.replace(f"{workplace}/", "")
    long = "x" * 250 + ".html"
    assert status_of("heatmap", "mask.npy", "--out", long) == 0
    assert Path(long).is_file()
    for n, expected in ((1, 2), (2, 0)):
        again = ["--overwrite"] if n == 2 else []
        assert status_of("heatmap", "mask.npy", "--title", "t", "--out", long, *again) == expected


def test_two_outputs_of_one_name_are_refused(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("generate", "steer"):
        names = ["--out", "a.json", "--answers", "./a.json"]
        assert status_of("lape", command, "n.safetensors", *names) == 2
        assert "--out and --answers are one file, a.json" in capfd.readouterr().err


def test_a_picture_without_kaleido_or_chromium_names_what_is_missing(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lensloc.plot.saving._has_browser", lambda: False)
    for kaleido, message in (
        (None, "needs kaleido, which draws pictures; install it with `pip install 'lensloc[png]'"),
        ("there", "since kaleido found no working Chrome or Chromium; install Chromium"),
    ):
        monkeypatch.setattr("importlib.util.find_spec", lambda _, found=kaleido: found)
        for command in (
            ["heatmap", "mask.npy", "--out", "x.png"],
            ["evaluate", "--model-name", "no-such-model", "--plot", "x.PDF"],
        ):
            assert status_of(*command) == 2
            assert message in capfd.readouterr().err
    assert [file.name for file in workplace.iterdir()] == ["mask.npy"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["localize", "--seed", "abc"], "'--seed'"),
        (["localize", "--bla"], "No such option: --bla"),
        (["lokalize"], "No such command 'lokalize'"),
        (["lape", "identify", "--bar"], "'--bar' requires an argument"),
        (["stimuli", "show"], "Missing argument 'name'"),
        (["evaluate", "--bos", "x"], "There is no bos 'x'; there are model, add, none."),
        (["lesion", "--dtype", "it's"], "there are float32, float64, bfloat16, float16, auto."),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_no_command_is_told_in_one_sentence_too(
    command: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*command) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("lensloc: ")
    assert line.endswith(".")
    assert message in line


def test_the_version_is_that_of_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capfd.readouterr().out == f"lensloc {version('lensloc')}\n"
