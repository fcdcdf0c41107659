"""``lensloc specificity`` says what the library says, and how long it takes."""

from pathlib import Path
from typing import Any

import pytest
from commands import run, run_json

import lensloc as ll


@pytest.fixture
def arguments(
    tiny_llama: Any, checkpoints: dict[str, Path], small_contrast: ll.Contrast, tmp_path: Path
) -> list[str | Path]:
    found = ll.localize(tiny_llama, small_contrast, progress=False)["resid_post"]
    mask = found.top(percent=5).save(tmp_path / "mine.safetensors")
    return [
        "specificity", "--model-name", checkpoints["llama"], "--mask", mask, "--own",
        "mine=grammar", "--task", "grammar", "--task", "facts", "--items", "8", "--all-items",
        "--room", "grammar=0.5", "--room", "facts=0.5", "--control-units", "random:2", "--store",
        tmp_path / "store",
    ]  # fmt: skip


def test_it_says_what_the_library_says(
    arguments: list[str | Path], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    tiny_llama: Any,
) -> None:  # fmt: skip
    before = run_json(capfd, *arguments, "--estimate")
    assert (before["lesions"], before["tasks"], before["items"]) == (3, 2, 16)
    assert before["seconds"] > 0
    table, figure = tmp_path / "table.csv", tmp_path / "figure.html"
    found = run_json(capfd, *arguments, "--out", table, "--plot", figure,
                     "--report", tmp_path / "page.html")  # fmt: skip
    assert 'id="specificity"' in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert table.is_file()
    assert figure.is_file()
    same = ll.specificity(
        tiny_llama, {"mine": ll.UnitMask.load(tmp_path / "mine.safetensors")},
        ll.tasks.domains(["grammar", "facts"], items=8), ll.controls("random", seeds=range(2)),
        {"mine": ["grammar"]}, room={"grammar": 0.5, "facts": 0.5}, answered=None, progress=False,
    )  # fmt: skip
    assert [row["drop"] for row in found["rows"]] == pytest.approx(list(same.table["drop"]))
    assert found["summary"] == same.summary()
    assert run(*arguments) == 0
    output = capfd.readouterr()
    assert "3 lesions on 2 tasks of 16 items together: about" in output.err
    assert "Took" in output.out
    assert same.summary()[0][:60] in output.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--own", "yours=facts"], "--own yours=facts is not NETWORK=TASK of one of the networks"),
        (["--room", "facts"], "--room facts is not TASK=NUMBER"),
        (["--answered", "0.3"], "--answered has no effect here"),
        (["--task", "physics"], "There is no task 'physics'"),
        (["--mode", "mean"], "--mode mean needs --reference"),
    ],
)
def test_bad_options_are_one_sentence(
    arguments: list[str | Path], more: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, *more) == 2
    assert words in capfd.readouterr().err


def test_a_network_without_tasks_of_its_own_is_told_what_to_say(
    arguments: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    unsaid = [each for each in arguments if each not in ("--own", "mine=grammar")]
    assert run(*unsaid) == 2
    assert "of mine is not known; say --own mine=TASK, or --own mine= for" in capfd.readouterr().err
