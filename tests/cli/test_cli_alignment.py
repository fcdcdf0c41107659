"""``lensloc alignment``: the library's figures, files written, bad input in one sentence."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run, run_json
from people import stimuli
from stories import natural_stories

import lensloc as ll
from lensloc import UnitMask
from lensloc.alignment import fetching

pytestmark = pytest.mark.usefixtures("one_thread")

Arguments = list[str | Path]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    table = stimuli()
    table.to_csv("stimuli.csv", index=False, sep=";")
    draw = np.random.default_rng(3)
    values = pd.DataFrame(draw.normal(size=(len(table), 2)), columns=["v1", "v2"])
    values.to_parquet("responses.parquet")
    Path("ceilings.csv").write_text("response,ceiling,region\nv1,0.5,a\nv2,0.6,b\n")
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    chosen[0, [3, 7]] = chosen[2, [1, 30]] = True
    UnitMask("resid_post", chosen).save("mine.safetensors")
    words = " ".join(table["text"]).split()
    times = pd.DataFrame({"story": [str(n % 4) for n in range(len(words))], "word": words})
    times = times.sort_values("story", kind="stable")
    times["position"] = times.groupby("story").cumcount() + 1
    times["time"] = 300 + 20 * draw.normal(size=len(times))
    times.to_csv("times.csv", index=False)
    return folder


@pytest.fixture
def common(checkpoints: dict[str, Path]) -> Arguments:
    return ["--model-name", checkpoints["llama"], "--mask", "mine.safetensors",
            "--control-units", "layer:2", "--resamples", "20", "--folds", "3"]  # fmt: skip


ENCODE: Arguments = ["alignment", "encode", "--stimuli", "stimuli.csv", "--responses",
                     "responses.parquet"]  # fmt: skip
READ: Arguments = ["alignment", "reading-times", "times.csv"]


def test_encode_is_the_librarys(
    workplace: Path, common: Arguments, checkpoints: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = run_json(
        capfd, *ENCODE, "--ceilings", "ceilings.csv", *common, "--seed", "5", "--out",
        "scores.csv", "--responses-out", "all.parquet", "--plot", "f.html", "--report", "p.html",
    )  # fmt: skip
    model = ll.load_model(checkpoints["llama"], progress=False)
    expected = ll.alignment.encode(
        model,
        "stimuli.csv",
        ll.alignment.BrainResponses.of("responses.parquet", ceilings="ceilings.csv"),
        {"mine": UnitMask.load("mine.safetensors")},
        controls=ll.controls("layer", seeds=range(2)),
        untrained=ll.load_model(checkpoints["llama"], untrained=True, seed=5, progress=False),
        n_folds=3, n_resamples=20, seed=5, progress=False,
    )  # fmt: skip
    assert [row["r"] for row in found["rows"]] == pytest.approx(expected.table["r"].tolist())
    assert {row["kind"] for row in found["rows"]} >= {"network", "control", "untrained"}
    assert found["warnings"] == list(expected.warnings)
    assert found["split"] == "grouped"
    written = pd.read_csv("scores.csv")
    assert written["r"].tolist() == pytest.approx(expected.table["r"].tolist())
    assert set(pd.read_parquet("all.parquet")["region"]) == {"a", "b"}
    assert "<html" in Path("f.html").read_text()[:200]
    assert "lensloc alignment encode" in Path("p.html").read_text()


def test_layers_and_a_shuffled_split(
    workplace: Path, common: Arguments, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*common, "--no-untrained", "--by-layer", "--split", "shuffled"]
    assert run(*ENCODE, *arguments) == 0
    printed = capfd.readouterr()
    assert "SHUFFLED split" in printed.out
    assert "layer 0" in printed.out
    assert "layer 2" in printed.out
    assert "no score here is evidence" in printed.err
    assert "untrained" not in printed.out


def test_reading_times_are_the_librarys(
    workplace: Path, common: Arguments, checkpoints: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = run_json(
        capfd, *READ, *common, "--mode", "scale:0.5", "--out", "gains.json", "--words-out",
        "words.csv", "--plot", "f.html", "--report", "p.html",
    )  # fmt: skip
    model = ll.load_model(checkpoints["llama"], progress=False)
    expected = ll.alignment.reading_times(
        model, "times.csv", {"mine": UnitMask.load("mine.safetensors")},
        controls=ll.controls("layer", seeds=range(2)), mode={"mode": "scale", "scale": 0.5},
        n_folds=3, n_resamples=20, progress=False,
    )  # fmt: skip
    assert [row["gain"] for row in found["rows"]] == pytest.approx(expected.table["gain"].tolist())
    words = pd.read_csv("words.csv")
    own = ll.alignment.word_surprisals(model, "times.csv", progress=False).table
    np.testing.assert_allclose(words["corrected"], own["corrected"])
    assert Path("f.html").is_file()
    assert "Reading times" in Path("p.html").read_text()


def test_a_mode_with_a_reference_is_the_librarys(
    workplace: Path, checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame(
        {"condition": ["hot", "hot", "cold"], "text": ["the old gardener", "nobody", "twelve"]}
    ).to_csv("held.csv", index=False)
    given: Arguments = ["--model-name", checkpoints["llama"], "--mask", "mine.safetensors",
                        "--control-units", "none", "--resamples", "20", "--folds", "3"]  # fmt: skip
    found = run_json(capfd, *READ, *given, "--mode", "mean", "--reference", "held.csv")
    held = ll.Contrast.from_csv("held.csv", target="hot", control="cold")
    model = ll.load_model(checkpoints["llama"], progress=False)
    mask = {"mine": UnitMask.load("mine.safetensors")}
    gains = {
        mode: ll.alignment.reading_times(
            model, "times.csv", mask, controls=None, mode=arguments, n_folds=3, n_resamples=20,
            progress=False,
        ).table["gain"].tolist()
        for mode, arguments in {"mean": {"mode": "mean", "reference": held}, "zero": "zero"}.items()
    }  # fmt: skip
    assert [row["gain"] for row in found["rows"]] == pytest.approx(gains["mean"])
    assert gains["mean"] != pytest.approx(gains["zero"])


def test_stories_in_the_published_form(
    workplace: Path, checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    texts = stimuli()["text"]
    told = {n: " ".join(texts[6 * n : 6 * n + 6]) for n in range(1, 5)}
    natural_stories(workplace / "ns", told)
    arguments: Arguments = ["alignment", "reading-times", "ns", "--measure", "gmeanItemRT",
                            "--intact", "--model-name", checkpoints["llama"]]  # fmt: skip
    found = run_json(capfd, *arguments)
    assert [row["kind"] for row in found["rows"]] == ["intact", "intact"]
    assert run(*arguments, "--mask", "mine.safetensors") == 2
    assert "--mask has no effect with --intact" in capfd.readouterr().err


def test_fetch_from_this_machine(
    workplace: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, url = served
    (folder / "a.tok").write_bytes(b"word\n")
    digest = hashlib.sha256(b"word\n").hexdigest()
    file = fetching.PublishedFile(f"{url}/a.tok", digest)
    source = fetching.PublishedData({"a.tok": file}, "Stories, CC BY")
    monkeypatch.setitem(fetching.DATA, "naturalstories", source)
    assert run("alignment", "fetch", "naturalstories") == 0
    assert "Stories, CC BY: naturalstories." in capfd.readouterr().out
    assert Path("naturalstories/a.tok").read_bytes() == b"word\n"
    assert run("alignment", "fetch", "naturalstories") == 2
    assert "is there already" in capfd.readouterr().err
    assert run("alignment", "fetch", "dundee") == 2
    assert "there are naturalstories" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "--stimuli", "stimuli.csv"], "Give --stimuli and --responses, or --data"),
        (["encode", "--data", "pereira=x.mat"], "--data pereira=x.mat is none of pereira2018=FILE"),
        (["encode", "--data", "pereira2018=x.mat"], "There is no file x.mat"),
        (["encode", "--data", "pereira2018=x", "--stimuli", "s.csv"], "are both given"),
        ([*ENCODE[1:], "--split", "random"], "no split 'random'; there are grouped, shuffled"),
        ([*ENCODE[1:], "--pooling", "max"], "no pooling 'max'"),
        ([*ENCODE[1:], "--delays", "one"], "--delays 'one' is no list of whole numbers"),
        ([*ENCODE[1:], "--trim", "1,2,3"], "--trim '1,2,3' is one number, or two"),
        ([*ENCODE[1:], "--control-units", "none", "--control-units", "layer:2"], "stands alone"),
        ([*ENCODE[1:], "--control-units", "depth"], "no control 'depth'"),
        ([*ENCODE[1:], "--network", "music"], "music"),
        ([*ENCODE[1:], "--out", "x.csv", "--responses-out", "x.csv"], "are one file"),
        ([*ENCODE[1:], "--out", "stimuli.csv"], "exists; add --overwrite"),
        ([*ENCODE[1:], "--encoding", "klingon"], "no encoding 'klingon'"),
        ([*READ[1:], "--mode", "mean"], "--mode mean needs --reference"),
        ([*READ[1:], "--reference", "language"], "--reference is for --mode mean and resample"),
        ([*READ[1:], "--mode", "mean", "--reference", "no.csv"], "no.csv"),
        (
            [*READ[1:], "--mode", "mean", "--reference", "language", "--intact"],
            "--reference has no effect with --intact",
        ),
        ([*READ[1:], "--bos", "maybe"], "There is no bos 'maybe'; there are model, add, none"),
        ([*READ[1:], "--measure", "rt"], "lacks the column 'rt'"),
        (["reading-times", "nothing.csv"], "There is no file nothing.csv of reading times"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments: Arguments, words: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in workplace.iterdir()}
    assert run("alignment", *arguments) == 2
    printed = capfd.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert {path: path.read_bytes() for path in workplace.iterdir()} == before
