"""``lensloc report``: a page like the library's, and one sentence for bad input."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from report_pages import tables_of, text_of

import lensloc as ll
from lensloc.cli import main


@pytest.fixture
def command(
    checkpoints: dict[str, Path],
    small_contrast: ll.Contrast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """The beginning of a command, in an empty folder with a file of texts."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    rows = [(text, name) for name, texts in small_contrast.conditions.items() for text in texts]
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv("small.csv", index=False)
    return ["report", "--model-name", str(checkpoints["llama"]), "--contrast", "small.csv",
            "--target", "sentences", "--control", "nonwords", "--percentage", "10"]  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_report_writes_what_the_library_finds(
    command: list[str],
    tiny_llama: Any,
    small_contrast: ll.Contrast,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lesions = ["--task", "minimal-pairs", "--limit", "1", "--control-units", "layer:2"]
    assert run(*command, *lesions, "--percents", "5,10", "--json") == 0
    result = json.loads(capfd.readouterr().out)
    found = ll.localize(tiny_llama, small_contrast, progress=False)
    network = found.top(percent=10)
    assert (result["n_units"], result["site"], result["out"]) == (9, "resid_post", "report.html")
    page = Path("report.html").read_text()
    call = text_of(page).split("Run it again", 1)[1]
    assert "lensloc report --model-name my-llama --contrast small.csv --target sentences" in call
    for paragraph in (*result["summary"], *result["warnings"]):
        assert " ".join(paragraph.split()) in " ".join(text_of(page).split())
    tables = tables_of(page)
    units = tables["small-my-llama-units.csv"]
    assert set(units["address"]) == set(network.addresses)
    lesioned = tables["small-my-llama-lesions.csv"]
    assert sorted(set(lesioned["percent"])) == [5, 10]
    assert (lesioned["kind"] == "layer").sum() == 4


def test_a_second_report_measures_no_lesion_again(
    command: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lesions = ["--task", "minimal-pairs", "--limit", "1", "--control-units", "layer:1"]
    assert run(*command, *lesions) == 0
    first = Path("report.html").read_text()
    measured = []
    task = ll.tasks.minimal_pairs(limit=1)
    called = type(task).__call__
    monkeypatch.setattr(
        type(task), "__call__", lambda *a, **k: measured.append(1) or called(*a, **k)
    )
    assert run(*command, *lesions, "--overwrite") == 0
    assert not measured
    again = Path("report.html").read_text()
    name = "small-my-llama-lesions.csv"
    pd.testing.assert_frame_equal(tables_of(first)[name], tables_of(again)[name])
    shown = capfd.readouterr()
    assert "Wrote report.html." in shown.out
    assert "units at resid_post were selected" in " ".join(shown.out.split())


def test_tasks_are_told_as_evaluate_tells_them(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of tasks reach the study, under the names that evaluate gives them."""
    asked: list[Any] = []

    def study(*_: Any, tasks: Any, **__: Any) -> Any:
        asked.extend(tasks)
        raise ll.LensLocError("That is enough.")

    monkeypatch.setattr(ll, "study", study)
    Path("questions.jsonl").write_text(
        '{"q": "the old", "choices": ["man", "dog"], "answer": 0}\n' * 2
    )
    Path("classes.txt").write_text("a\nb\n")
    for label in "ab":
        Path("seen", label).mkdir(parents=True)
        for n in range(6):
            shade = (40 * n, 20 * n, 10 if label == "a" else 200)
            Image.new("RGB", (8, 8), shade).save(Path("seen", label, f"{n}.png"))
    scored = ("--task", "minimal-pairs", "--limit", "1", "--scoring", "pseudo-log-likelihood")
    assert run(*command, *scored) == 2
    assert asked.pop().scoring == "pseudo-log-likelihood"
    chosen = ("--task", "choice=questions.jsonl", "--prompt-column", "q")
    assert run(*command, *chosen) == 2
    assert asked.pop().name == "questions"
    seen = ("--task", "classification=seen", "--classes", "classes.txt", "--top", "2")
    assert run(*command, *seen, "--task", "linear-probe=seen", "--probe-layer", "0") == 2
    assert (asked[0].top, dict(asked[0].classes), asked[1].place.layer) == (2, {"a": 0, "b": 1}, 0)


def test_bad_input_ends_with_one_sentence_and_writes_nothing(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("there.html").write_text("mine")
    Path("folder.html").mkdir()
    problems = {
        ("--out", "there.html"): "there.html exists; add --overwrite",
        ("--out", "page.pdf"): "--out page.pdf must end in .html",
        ("--out", "folder.html"): "folder.html is a folder",
        ("--percentage", "0"): "--percent must be above 0",
        ("--percents", "1,x"): "--percents '1,x' is not a list of numbers",
        ("--task", "nothing"): "There is no task 'nothing'",
        ("--control-units", "nobody"): "There is no control 'nobody'",
        ("--control-units", "layer:2"): "--control-units has no effect without --task",
        ("--percents", "1,2"): "--percents has no effect without --task",
        ("--scoring", "pseudo-log-likelihood"): "--scoring is for --task minimal-pairs, which",
        ("--top", "5"): "--top has no effect here: it is of --task classification",
        ("--probe-layer", "0", "--task", "perplexity"): "--probe-layer has no effect here",
        ("--prompt-column", "p"): "--prompt-column is for --task choice=PATH and",
        ("--limit", "2"): "--limit has no effect without --task",
        ("--control-units", "layer:x"): "--control-units layer:x has no number of draws",
        ("--site", "nowhere"): "nowhere",
        ("--pooling", "first"): "There is no pooling 'first'",
        ("--batch-size", "0"): "--batch-size is auto or a whole number",
        ("--target", "warm"): "warm",
        ("--network", "language", "--contrast", "missing.csv"): "missing.csv",
    }
    for arguments, message in problems.items():
        assert run(*command, *arguments) == 2, arguments
        shown = capfd.readouterr()
        assert message in shown.err, arguments
        assert shown.err.strip().count("\n") == 0, shown.err
    assert Path("there.html").read_text() == "mine"
    assert not Path("report.html").exists()
