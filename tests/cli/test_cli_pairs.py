"""``lensloc pairs``: what it prints and writes, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from argument_pairs import told_apart
from commands import run, run_json

import lensloc as ll


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: Any) -> ll.Pairs:
    """Pairs of the current folder's mine.csv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    pairs = told_apart(tiny_llama, "abcdefghijklmnop", 8)
    pairs.to_dataframe().to_csv("mine.csv", index=False)
    return pairs


def test_units_and_curves(
    written: ll.Pairs,
    tiny_llama: Any,
    checkpoints: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = ("--model-name", checkpoints["llama"], "--pairs", "mine.csv", "--site", "mlp_post")
    found = run_json(capfd, "pairs", *model, "--num-units", "5", "--out", "net.safetensors")
    expected = ll.localize_pairs(tiny_llama, written, "mlp_post", progress=False)
    mask = ll.UnitMask.load("net.safetensors")
    assert mask == expected.top(k=5)
    assert mask.rule == expected.top(k=5).rule
    assert found["n_units"] == 5
    assert found["metric_clean"] == pytest.approx(float(expected.clean.mean()), abs=1e-5)
    assert found["best"][0]["address"] in mask.addresses
    site = ("--model-name", checkpoints["llama"], "--pairs", "mine.csv", "--site", "resid_post")
    curves = ("--curves", "--n-random", "1", "--n-exact", "2", "--figure", "curves.html")
    found = run_json(capfd, "pairs", *site, *curves)
    assert found["n_pairs"] + found["n_pairs_measured"] == 8
    assert {row["curve"] for row in found["curves"]} == {"faithfulness", "completeness"}
    assert len(found["exact"]) == 2
    assert Path("curves.html").is_file()
    assert run("pairs", *site, *curves[:-2]) == 0
    printed = " ".join(capfd.readouterr().out.split())
    assert "of the difference; of that, the first k units" in printed
    assert "nan" not in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pairs", "irony"), "There are no pairs 'irony', bundled or in a file"),
        (("--n-exact", "3"), "nothing but --curves uses it"),
        (("--percentage", "1", "--num-units", "3"), "--percent says how many"),
        (("--percentage", "0"), "--percent must be above 0"),
        (("--sep", ";"), "bundled pairs are none"),
        (("--site", "neurons"), "neurons"),
        (("--gradient-at", "both"), "both"),
        (("--out", "mask.txt"), "mask.txt"),
    ],
)
def test_bad_requests_are_refused_before_a_model_is_loaded(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("pairs", "--model-name", "/no/such/model", *arguments) == 2
    told = capfd.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_pairs_of_unequal_length_are_refused_or_left_out(
    written: ll.Pairs, checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    mixed = written.to_dataframe()
    mixed.loc[1, "clean"] = "the old gardener 1"
    mixed.to_csv("mixed.csv", index=False)
    arguments = ("pairs", "--model-name", checkpoints["llama"], "--pairs", "mixed.csv")
    assert run(*arguments) == 2
    assert "mixed.csv, row 3: the clean prompt has" in capfd.readouterr().err
    found = run_json(capfd, *arguments, "--leave-out")
    assert found["n_pairs"] == 7
    assert any("left out" in note for note in found["warnings"])
