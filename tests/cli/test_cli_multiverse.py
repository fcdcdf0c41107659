"""``lensloc multiverse``: what it prints and writes, how it goes on, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pair_parts
import pandas as pd
import pytest
from commands import run, run_json

import lensloc as ll

TEXTS = [
    "the old gardener watered every plant",
    "nobody remembered who had built the bridge",
    "before the sun came up the village was still",
]
OTHERS = ["glorbix fendal mopi strane", "wuggle trisket plonder vash glorbix", "vash mopi trine"]
CHOICES = ["--activations", "absolute", "--activations", "signed", "--site", "resid_post",
           "--site", "mlp_post", "--percents", "5,10", "--control-units", "random",
           "--max-tokens", "whole", "--max-tokens", "3"]  # fmt: skip


@pytest.fixture
def command(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str | Path]:
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    contrast, pairs = tmp_path / "mine.csv", tmp_path / "pairs.csv"
    rows = [(text, "hot") for text in TEXTS] + [(text, "cold") for text in OTHERS]
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv(contrast, index=False)
    good = [(text, " ".join(reversed(text.split()))) for text in TEXTS]
    pd.DataFrame(good, columns=["sentence_good", "sentence_bad"]).to_csv(pairs, index=False)
    return ["multiverse", "--model-name", checkpoints["llama"], "--contrast", contrast,
            "--target", "hot", "--control", "cold", "--task", f"minimal-pairs={pairs}",
            "--draws", "2"]  # fmt: skip


def test_it_tells_what_is_left_prints_a_summary_and_goes_on(
    command: list[str | Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, figure = tmp_path / "m.parquet", tmp_path / "m.html"
    found = run_json(capfd, *command, *CHOICES, "--out", out, "--plot", figure,
                     "--report", tmp_path / "m-page.html")  # fmt: skip
    assert len(found["rows"]) == 16
    assert {row["max_tokens"] for row in found["rows"]} == {"whole", "3"}
    assert {row["verdict"] for row in found["rows"]} == {"open"}
    assert "In none of 16 specifications can anything be concluded" in " ".join(found["summary"])
    assert any("nothing can be concluded from so few" in note for note in found["warnings"])
    assert {row["choice"] for row in found["matters"]} == {
        "activations", "site", "percent", "max_tokens",
    }  # fmt: skip
    table = pd.read_parquet(out)
    assert table["difference"].tolist() == [row["difference"] for row in found["rows"]]
    assert "plotly" in figure.read_text(encoding="utf-8")
    assert 'id="choices"' in (tmp_path / "m-page.html").read_text(encoding="utf-8")
    # Everything is known now.
    assert run(*command, *CHOICES) == 0
    printed = capfd.readouterr()
    told = re.search(r"16 specifications choose \d+ sets of units, in 2 looks", printed.err)
    assert told, printed.err
    assert "are left" not in printed.err
    assert "of which" in printed.err
    assert "choice" in printed.out
    assert "In none of 16 specifications" in printed.out
    assert "Note: " in printed.err
    assert run(*command, *CHOICES[:-4], "--percents", "5,10,20") == 0
    printed = capfd.readouterr()
    assert re.search(r"\d+ are left, a few seconds|about a few seconds", printed.err), printed.err


def test_the_reference_specification_is_named(
    command: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--reference-specification", "percent=10", "--reference-specification",
             "max-tokens=3"]  # fmt: skip
    found = run_json(capfd, *command, *CHOICES, *given)
    (own,) = [row for row in found["rows"] if row["reference"]]
    assert (own["percent"], own["max_tokens"], own["site"]) == (10.0, "3", "resid_post")


BAD = {
    ("--selection", "z"): "There is no selection 'z'; there are t, d, gradient, pairs.",
    ("--pooling", "median"): "There is no pooling 'median'",
    ("--test", "rank"): "There is no test 'rank'",
    ("--site", "nowhere"): "There is no site 'nowhere'",
    ("--mode", "off"): "There is no mode 'off'",
    ("--control-units", "magic"): "There is no control 'magic'",
    ("--max-tokens", "some"): "--max-tokens is whole or a whole number above 0; 'some' is neither.",
    ("--percents", "5,5x"): "--percent '5,5x' is not a list of numbers",
    ("--percents", "0"): "above 0 and at most 100",
    ("--draws", "0"): "--draws is at least 1",
    ("--selection", "gradient", "--test", "paired"): "test has no effect here",
    ("--site", "head", "--site", "head"): "The choice site has 'head' twice; give it once.",
    ("--reference-specification", "percent"): "is no choice; write e.g. percent=1.",
    ("--percents", "5", "--reference-specification", "percent=7"): "not among the choices (5.0)",
    ("--percents", "5", "--reference-specification", "size=7"): "There is no choice 'size'",
    ("--selection", "pairs"): "--selection pairs needs --pairs; name bundled ones, or a file.",
    ("--pairs", "agreement"): "--pairs has no effect here: no selection is by pairs",
    ("--selection", "pairs", "--pairs", "none"): "There are no pairs 'none', bundled or in a file",
    ("--report", "page.txt"): "--report page.txt must end in .html",
    ("--out", "table.txt"): "--out table.txt must end in",
}


@pytest.mark.parametrize("options", list(BAD), ids=" ".join)
def test_bad_input_is_told_in_a_sentence(
    options: tuple[str, ...], command: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, *options) == 2
    error = " ".join(capfd.readouterr().err.split())
    assert BAD[options] in error
    assert "Traceback" not in error


def test_the_table_is_the_librarys(
    command: list[str | Path],
    checkpoints: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = run_json(capfd, *command, "--percents", "10", "--control-units", "layer")
    model: Any = ll.load_model(checkpoints["llama"])
    contrast = ll.Contrast.from_csv(tmp_path / "mine.csv", target="hot", control="cold")
    task = ll.tasks.minimal_pairs(tmp_path / "pairs.csv")
    own = ll.multiverse(
        model, contrast, [task], {"percent": 10, "control": "layer"}, draws=2, progress=False
    )
    (row,) = json.loads(own.table.to_json(orient="records", double_precision=15))
    for name in ("score", "drop", "control_drop", "difference", "n_units", "verdict"):
        assert found["rows"][0][name] == pytest.approx(row[name]), name


def test_units_by_pairs(
    command: list[str | Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clean.csv"
    unequal = {"clean": "garden", "corrupted": "the old gardener", "right": "Q", "wrong": "q"}
    pairs = pd.concat([pair_parts.letters().to_dataframe(), pd.DataFrame([unequal])])
    pairs[["clean", "corrupted", "right", "wrong"]].to_csv(path, index=False)
    given = ["--selection", "t", "--selection", "pairs", "--pairs", path, "--percents", "10",
             "--control-units", "random"]  # fmt: skip
    found = run_json(capfd, *command, *given)
    assert [row["selection"] for row in found["rows"]] == ["t", "pairs"]
    assert found["rows"][0]["unit_set"] != found["rows"][1]["unit_set"]
    assert any("1 of 7 pairs" in note for note in found["warnings"]), found["warnings"]
