"""``lensloc lape``: figures are the library's, files are kept, and a killed recording goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run, run_json
from counts import random_counts
from tiny_models import CORPUS
from transformer_lens import HookedTransformer

import lensloc as ll
from lensloc import UnitMask, lape
from lensloc.cli.control_units import parse_controls
from lensloc.cli.tables import records
from lensloc.errors import LensLocError
from lensloc.lape import ActivationCounts

pytestmark = pytest.mark.usefixtures("one_thread")

Arguments = list[str | Path]
TEXTS = {"en": [CORPUS[0], CORPUS[2]], "de": [CORPUS[3], "all at once nobody came"]}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with texts, prompts and neurons; an empty cache."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    for name, texts in TEXTS.items():
        Path(f"{name}.csv").write_text("text\n" + "\n".join(texts) + "\n")
    Path("asked-en.txt").write_text("the old gardener\n\ntwelve\\nplus\n")
    Path("asked-de.txt").write_text("vash\n")
    identified().save("neurons.safetensors")
    return folder


def identified() -> lape.Identified:
    counts = random_counts(1, layers=3, neurons=48, n_languages=2, most=1000)
    renamed = ActivationCounts(counts.counts, counts.tokens, ("en", "de"))
    found = lape.identify(renamed, 0.2, 0.5, 0.5)
    assert all(len(mask) > 3 for mask in found.masks.values())
    return found


@pytest.fixture
def model(checkpoints: dict[str, Path]) -> Arguments:
    return ["--model-name", checkpoints["llama"]]


PAIRS = ["--corpus", "en=en.csv", "--corpus", "de=de.csv"]
ASKED = ["--prompts", "en=asked-en.txt", "--prompts", "de=asked-de.txt", "--max-new-tokens", "5"]
PROMPTS = {"en": ["the old gardener", "twelve\nplus"], "de": ["vash"]}


def without_nan(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    found: list[dict[str, Any]] = json.loads(json.dumps(records(table), allow_nan=False))
    return found


# -- record and identify ---------------------------------------------------------------------------


def test_record_counts_what_the_library_counts(
    model: Arguments, workplace: Path, tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"window": 7, "max_tokens": 30, "threshold": 0.1}
    given = ["--window", "7", "--max-tokens", "30", "--threshold", "0.1"]
    result = run_json(capfd, "lape", "record", *model, *PAIRS, *given, "--out", "c.safetensors")
    expected = lape.record(
        tiny_llama, {name: Path(f"{name}.csv") for name in TEXTS}, keep_windows=True,
        progress=False, **options,
    )  # fmt: skip
    found = ActivationCounts.load("c.safetensors")
    assert found == expected
    assert found.windows is not None
    assert result == {
        "model": str(model[1]),
        "tokens": dict(zip(TEXTS, expected.tokens.tolist(), strict=True)),
        "warnings": [],
        "out": "c.safetensors",
    }
    more = ["--no-keep-windows", "--site", "mlp_out", "--backend", "bridge"]
    assert run("lape", "record", *model, *PAIRS, *more, "--out", "d.safetensors") == 0
    printed = capfd.readouterr()
    assert "Wrote d.safetensors." in printed.out
    other = ActivationCounts.load("d.safetensors")
    assert (other.site, other.windows, other.shape) == ("mlp_out", None, (3, 32))
    assert not [path for path in workplace.iterdir() if "checkpoint" in path.name]


def test_record_reads_the_bundled_prose(
    model: Arguments, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_json(capfd, "lape", "record", *model, "--max-tokens", "50")
    assert result["tokens"] == dict.fromkeys(["en", "de", "tr", "fr", "es"], 50)
    assert Path("lape-counts.safetensors").exists()


def test_counts_may_have_as_long_a_name_as_file_systems_allow(
    model: Arguments, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = "x" * 243 + ".safetensors"  # 255 bytes, which leave none for what is kept beside it
    run_json(capfd, "lape", "record", *model, *PAIRS, "--checkpoint-every", "1", "--out", out)
    assert out in [path.name for path in workplace.iterdir()]
    assert not [path for path in workplace.iterdir() if "checkpoint" in path.name]


def test_existing_counts_are_kept_unless_overwritten(
    model: Arguments, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = workplace / "counts.safetensors"
    out.write_text("precious")
    command: Arguments = ["lape", "record", *model, *PAIRS, "--out", out]
    assert run(*command) == 2
    assert "exists; add --overwrite" in capfd.readouterr().err
    assert out.read_text() == "precious"
    run_json(capfd, *command, "--overwrite")
    assert ActivationCounts.load(out).languages == ("en", "de")


def test_identify_finds_what_the_library_finds(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = [random_counts(seed, layers=3, neurons=48, n_languages=4, most=1000) for seed in (1, 2)]
    for number, part in enumerate(parts):
        part.save(f"part{number}.safetensors")
    rates = ["--top-rate", "0.2", "--filter-rate", "0.5", "--bar", "0.6"]
    result = run_json(
        capfd, "lape", "identify", "part0.safetensors", "part1.safetensors", *rates,
        "--out", "n.safetensors", "--plot", "n.html",
    )  # fmt: skip
    expected = lape.identify(parts[0] + parts[1], 0.2, 0.5, 0.6)
    assert dict(lape.Identified.load("n.safetensors").masks) == dict(expected.masks)
    assert result == {
        "languages": without_nan(expected.table),
        "warnings": list(expected.warnings),
        "out": "n.safetensors",
    }
    assert "Plotly.newPlot" in Path("n.html").read_text()
    one = ["lape", "identify", "part0.safetensors", *rates]
    assert run(*one, "--out", "n.safetensors") == 2
    assert run(*one, "--out", "m.safetensors", "--plot", "n.html") == 2
    assert capfd.readouterr().err.count("exists; add --overwrite") == 2
    assert dict(lape.Identified.load("n.safetensors").masks) == dict(expected.masks)
    assert run(*one) == 0
    printed = capfd.readouterr().out
    mask = lape.identify(parts[0], 0.2, 0.5, 0.6).masks["de"]
    assert f"de, neurons by layer: {' '.join(map(str, mask.per_layer().tolist()))}" in printed
    assert "Wrote lape-neurons.safetensors." in printed


def test_identify_with_a_null(
    model: Arguments, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("lape", "record", *model, *PAIRS, "--window", "4", "--out", "c.safetensors") == 0
    capfd.readouterr()
    result = run_json(
        capfd, "lape", "identify", "c.safetensors", "--permutations", "30", "--seed", "3",
        "--filter-rate", "0.8",
    )  # fmt: skip
    counts = ActivationCounts.load("c.safetensors")
    chance = lape.null(counts, 30, 3, filter_rate=0.8)
    expected = lape.identify(counts, filter_rate=0.8, null=chance)
    assert result["languages"] == without_nan(expected.table)
    assert "below_null" in result["languages"][0]


def test_published_files_in_and_out(
    model: Arguments, workplace: Path, tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    counts = random_counts(2, layers=3, neurons=48, n_languages=2, most=1000)
    published = []
    for place, language in enumerate(("en", "de")):
        path = f"{language}.pth"
        torch.save({"n": int(counts.tokens[place]), "over_zero": counts.counts[..., place]}, path)
        published += ["--published", f"{language}={path}"]
    rates = ["--top-rate", "0.2", "--filter-rate", "0.5", "--bar", "0.5"]
    result = run_json(capfd, "lape", "identify", *published, *rates, "--out", "m.neuron.pth")
    masks = lape.read_neurons("m.neuron.pth", 48, names=["en", "de"])
    renamed = ActivationCounts(counts.counts, counts.tokens, ("en", "de"))
    expected = lape.identify(renamed, 0.2, 0.5, 0.5)
    for language, mask in expected.masks.items():
        assert torch.equal(masks[language].mask, mask.mask)
        assert len(mask) > 1
    assert [row["neurons"] for row in result["languages"]] == [len(m) for m in masks.values()]
    tested = ["--text", "x=en.csv", "--control-units", "random:1"]
    found = run_json(
        capfd, "lape", "perplexity", "m.neuron.pth", *model, "--names", "en, de", *tested
    )
    table = lape.perplexity(
        tiny_llama, masks, {"x": "en.csv"}, controls=ll.controls(seeds=[0]), seed=42,
        progress=False,
    ).table  # fmt: skip
    assert found["rows"] == without_nan(table)


# -- perplexity, generate, steer -------------------------------------------------------------------

TESTED = ["--text", "en=en.csv", "--text", "de=de.csv", "--control-units", "layer:2"]


def test_perplexity_says_what_the_library_says(
    model: Arguments, workplace: Path, tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    command: Arguments = ["lape", "perplexity", "neurons.safetensors", *model, *TESTED]
    result = run_json(capfd, *command, "--seed", "7", "--out", "p.parquet", "--plot", "p.html")
    found = lape.perplexity(
        tiny_llama, identified().masks, {name: f"{name}.csv" for name in TEXTS}, seed=7,
        controls=ll.controls("layer", seeds=range(2)), progress=False,
    )  # fmt: skip
    assert result["rows"] == without_nan(found.table)
    assert result["warnings"] == list(found.warnings)
    assert result["out"] == "p.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet("p.parquet"), found.table, check_dtype=False)
    assert "Plotly.newPlot" in Path("p.html").read_text()
    assert run(*command, "--language", "de", "--limit", "1", "--out", "p.csv") == 0
    printed = capfd.readouterr().out
    limited = pd.read_csv("p.csv")
    assert set(limited["lesioned"]) == {"de"}
    assert set(limited["n_texts"]) == {1}
    assert "its own units at zero" in printed
    assert "control units (layer, mean of draws) at zero" in printed
    assert f"{limited['change'].iloc[0]:.3f}" in printed
    assert "Wrote p.csv." in printed


@pytest.mark.filterwarnings("ignore:The identifier of languages finds only")
def test_generate_says_what_the_library_says(
    model: Arguments, workplace: Path, tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    command: Arguments = ["lape", "generate", "neurons.safetensors", *model, *ASKED]
    more = ["--repetition-penalty", "1.3", "--code", "de=fr", "--out", "g.json", "--answers",
            "a.csv"]  # fmt: skip
    result = run_json(capfd, *command, *more)
    found = lape.generate(
        tiny_llama, PROMPTS, identified().masks, max_new_tokens=5, repetition_penalty=1.3,
        codes={"de": "fr"}, progress=False,
    )  # fmt: skip
    assert result["rows"] == without_nan(found.table)
    assert json.loads(Path("g.json").read_text()) == {
        "table": without_nan(found.table), "answers": without_nan(found.answers),
    }  # fmt: skip
    assert len(pd.read_csv("a.csv")) == len(found.answers) == 9
    assert run(*command, *more) == 2
    assert run(*command, *more[:-1], "b.csv") == 2
    assert capfd.readouterr().err.count("exists; add --overwrite") == 2
    assert not Path("b.csv").exists()
    assert result["out"] == "g.json"
    Path("r.csv").write_text("text\nnobody knows what glorbix means\n", encoding="utf-8")
    own = run_json(capfd, *command, "--reference", "en=r.csv")
    expected = lape.generate(
        tiny_llama, PROMPTS, identified().masks, max_new_tokens=5, reference={"en": "r.csv"},
        progress=False,
    )  # fmt: skip
    assert own["rows"] == without_nan(expected.table)
    assert run(*command, "--reference", "fr=r.csv") == 2
    assert "reference names 'fr'" in capfd.readouterr().err
    limited = run_json(capfd, *command, "--limit", "1", "--language", "de")
    assert limited["out"] is None
    assert {row["n"] for row in limited["rows"]} == {1}
    assert {row["lesioned"] for row in limited["rows"]} == {"none", "de"}
    assert {row["asked"] for row in limited["rows"]} == {"en", "de"}
    assert run(*command, "--out", "g.csv") == 0
    printed = capfd.readouterr().out
    for word in ("lesioned", "asked", "language", "repeats", "fluency", "changed"):
        assert word in printed, "a heading is cut off at eighty characters"
    assert len(pd.read_csv("g.csv")) == 6


@pytest.mark.filterwarnings("ignore:The identifier of languages finds only")
def test_steer_says_what_the_library_says(
    model: Arguments, workplace: Path, tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    command: Arguments = ["lape", "steer", "neurons.safetensors", *model, *ASKED, *PAIRS]
    more = ["--level", "mean", "--level", "0.8", "--control-units", "random:1", "--plot", "s.html",
            "--out", "s.csv", "--answers", "a.parquet"]  # fmt: skip
    result = run_json(capfd, *command, *more)
    options: dict[str, Any] = {
        "corpora": {name: f"{name}.csv" for name in TEXTS}, "max_new_tokens": 5, "progress": False,
    }  # fmt: skip
    found = lape.steer(
        tiny_llama, identified().masks, PROMPTS, levels=["mean", 0.8],
        controls=ll.controls(seeds=[0]), **options,
    )  # fmt: skip
    assert result["rows"] == without_nan(found.table)
    assert result["warnings"] == list(found.warnings)
    assert len(pd.read_csv("s.csv")) == len(found.table)
    assert len(pd.read_parquet("a.parquet")) == len(found.answers)
    assert "Plotly.newPlot" in Path("s.html").read_text()
    few = run_json(capfd, *command, "--asked", "en", "--toward", "de", "--level", "0.8")
    expected = lape.steer(
        tiny_llama, identified().masks, {"en": PROMPTS["en"]}, toward=["de"], levels=[0.8],
        **options,
    )  # fmt: skip
    assert few["rows"] == without_nan(expected.table)
    assert run(*command, "--level", "mean", "--control-units", "random:1") == 0
    printed = capfd.readouterr().out
    for word in ("asked", "toward", "level", "deactivated", "kind", "switched", "fluency"):
        assert word in printed, "a heading is cut off at eighty characters"


def test_an_interrupted_command_goes_on(
    model: Arguments,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command: Arguments = ["lape", "generate", "neurons.safetensors", *model, *ASKED]
    real, calls = ll.tasks.Generation.__call__, []

    def stops(self: Any, model: Any, **options: Any) -> Any:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(self.name)
        return real(self, model, **options)

    monkeypatch.setattr(ll.tasks.Generation, "__call__", stops)
    assert run(*command) != 0
    capfd.readouterr()
    assert len(calls) == 4
    calls.clear()
    first = run_json(capfd, *command)
    assert len(calls) == 2, "what was measured is measured again"
    calls.clear()
    assert run_json(capfd, *command) == first
    assert not calls


# -- killed ----------------------------------------------------------------------------------------


def windows_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the tokens that go through the model from now on."""
    tokens: list[int] = []
    real = HookedTransformer.forward

    def counted(self: Any, ids: Any, *rest: Any, **options: Any) -> Any:
        tokens.append(ids.numel())
        return real(self, ids, *rest, **options)

    monkeypatch.setattr(HookedTransformer, "forward", counted)
    return tokens


def checkpoint_of(path: Path) -> list[dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found: list[dict[str, Any]] = json.loads(file.metadata()["record"])["languages"]
    return found


def test_a_killed_recording_goes_on_and_shards_add_up(
    model: Arguments,
    workplace: Path,
    tiny_llama: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL, which no process can prepare for, as soon as there is a checkpoint."""
    random = np.random.default_rng(0)
    n_tokens = 30_000
    np.save("en.npy", random.integers(1, 320, n_tokens))
    np.save("de.npy", random.integers(1, 320, 5_000))
    np.save("rest.npy", random.integers(1, 320, 3_000))
    corpora: Arguments = ["--corpus", "en=en.npy", "--corpus", "de=de.npy"]
    command: Arguments = [
        "lape", "record", *model, *corpora, "--out", "first.safetensors",
        "--checkpoint-every", "4000", "--json",
    ]  # fmt: skip
    path = workplace / "first.safetensors.checkpoint"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lensloc", *map(str, command)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    assert output == b""
    assert not Path("first.safetensors").exists()
    english, german = checkpoint_of(path)
    assert 4000 <= english["tokens"] < n_tokens
    assert not english["done"]
    assert german["tokens"] == 0

    tokens = windows_run(monkeypatch)
    result = run_json(capfd, *command[:-1])
    left = n_tokens + 5_000 - english["tokens"]
    assert left <= sum(tokens) < left + 1_000, "but for the model's check, only what was left"
    assert result["tokens"] == {"en": n_tokens, "de": 5_000}
    assert not path.exists()
    whole = lape.record(
        tiny_llama, {"en": "en.npy", "de": "de.npy"}, keep_windows=True, progress=False
    )
    assert ActivationCounts.load("first.safetensors") == whole

    rest = ["--corpus", "de=rest.npy", "--out", "second.safetensors"]
    assert run("lape", "record", *model, *rest) == 0
    capfd.readouterr()
    shards = ["first.safetensors", "second.safetensors"]
    merged = run_json(capfd, "lape", "identify", *shards, "--filter-rate", "0.8")
    more = lape.record(tiny_llama, {"de": "rest.npy"}, keep_windows=True, progress=False)
    expected = lape.identify(whole + more, filter_rate=0.8)
    assert merged["languages"] == without_nan(expected.table)
    assert [row["tokens"] for row in merged["languages"]] == [n_tokens, 8_000]
    again = ["first.safetensors", "first.safetensors", "--out", "n.safetensors"]
    assert run("lape", "identify", *again) == 2
    assert "Both counts hold the same text of" in capfd.readouterr().err


# -- bad arguments ---------------------------------------------------------------------------------

RECORD, IDENTIFY = ["record"], ["identify"]
PERPLEXITY, GENERATE, STEER = (
    [name, "neurons.safetensors"] for name in ("perplexity", "generate", "steer")
)
BAD: list[tuple[list[str], str]] = [
    ([*RECORD, "--corpus", "en"], "--corpus en is not of the form LANGUAGE=VALUE"),
    ([*RECORD, "--corpus", "=x.csv"], "is not of the form"),
    ([*RECORD, "--corpus", "en="], "is not of the form"),
    ([*RECORD, "--corpus", "en=en.csv", "--corpus", "en=de.csv"], "names en twice"),
    ([*RECORD, "--corpus", "en=nowhere.csv"], "no file or folder nowhere.csv"),
    ([*RECORD, "--corpus", "en=asked-en.txt", "--window", "97"], "window is 1 to 96 tokens"),
    ([*RECORD, "--corpus", "en=asked-en.txt", "--max-tokens", "0"], "max_tokens is at least 1"),
    ([*RECORD, "--checkpoint-every", "0"], "--checkpoint-every is at least 1"),
    ([*RECORD, "--site", "nowhere"], "no site 'nowhere'"),
    ([*RECORD, "--backend", "nowhere"], "no backend 'nowhere'"),
    ([*RECORD, "--out", "c.csv"], "--out c.csv must end in .safetensors"),
    ([*RECORD, "--out", "nowhere.safetensors/c.safetensors/x"], "must end in"),
    (IDENTIFY, "Name either files that record wrote"),
    ([*IDENTIFY, "c.safetensors", "--published", "en=x"], "Name either files"),
    ([*IDENTIFY, "nowhere.safetensors"], "no file nowhere.safetensors"),
    ([*IDENTIFY, "neurons.safetensors"], "neurons.safetensors is not"),
    ([*IDENTIFY, "--published", "en"], "--published en is not of the form"),
    ([*IDENTIFY, "counts.safetensors", "--permutations", "-1"], "--permutations is 0 or more"),
    ([*IDENTIFY, "counts.safetensors", "--permutations", "9"], "hold no windows"),
    ([*IDENTIFY, "counts.safetensors", "--top-rate", "2"], "top_rate is above 0"),
    ([*IDENTIFY, "counts.safetensors", "--bar", "0"], "bar is above 0"),
    ([*IDENTIFY, "counts.safetensors", "--out", "x.txt"], "must end in .safetensors, .pth"),
    ([*IDENTIFY, "counts.safetensors", "--plot", "x.txt"], "--plot x.txt must end in .html"),
    (["perplexity", "nowhere.safetensors"], "no file nowhere.safetensors"),
    (["perplexity", "counts.safetensors"], "is not a file of language neurons"),
    (["perplexity", "en.csv"], "en.csv is damaged or not a file of language neurons"),
    (["perplexity", "nowhere.pth"], "nowhere.pth"),
    ([*PERPLEXITY, "--names", "en,de"], "names its languages itself; leave --names out"),
    ([*PERPLEXITY, "--language", "fr"], "holds no neurons of fr (--language)"),
    ([*PERPLEXITY, "--text", "en"], "--text en is not of the form"),
    ([*PERPLEXITY, "--text", "en=nowhere.csv"], "nowhere.csv"),
    ([*PERPLEXITY, "--control-units", "burn"], "no control 'burn'"),
    ([*PERPLEXITY, "--control-units", "random:x"], "no number of draws"),
    ([*PERPLEXITY, "--limit", "0"], "limit is at least 1"),
    ([*PERPLEXITY, "--out", "x.txt"], "must end in .parquet, .csv, .json"),
    ([*GENERATE, "--prompts", "en=en.csv"], "en.csv lacks the column 'prompt'; it has text"),
    ([*GENERATE, "--prompts", "en=en.md"], "must end in .txt"),
    ([*GENERATE, "--prompt-column", "text"], "prompt='text' names a column of a table"),
    ([*PERPLEXITY, "--sep", ";"], "sep is for .csv and .tsv files, not for what was given"),
    ([*GENERATE, "--prompts", "en=nowhere.txt"], "nowhere.txt"),
    ([*GENERATE, "--prompts", "en=blank.txt"], "no prompt of 'en'"),
    ([*GENERATE, "--limit", "0"], "--limit is at least 1"),
    ([*GENERATE, *ASKED, "--code", "fr=fr"], "codes names 'fr'"),
    ([*GENERATE, *ASKED, "--code", "en=english"], "'english', the code of 'en'"),
    ([*GENERATE, *ASKED, "--repetition-penalty", "0"], "repetition_penalty is above 0"),
    ([*GENERATE, *ASKED[:-1], "0"], "max_new_tokens is at least 1"),
    ([*GENERATE, "--answers", "x.txt"], "--answers x.txt must end in"),
    ([*STEER, "--level", "median"], "--level is mean, or a quantile"),
    ([*STEER, *ASKED, "--level", "2"], "2.0 is neither"),
    ([*STEER, *ASKED, "--asked", "fr"], "no prompts in fr (--asked)"),
    ([*STEER, *ASKED, "--toward", "fr"], "no neurons of fr"),
    ([*STEER, *ASKED, "--language", "en"], "neurons of one language only (en)"),
    ([*STEER, *ASKED, "--corpus", "en=en.csv"], "no text of de"),
    ([*STEER, *ASKED, "--plot", "x.txt"], "--plot x.txt must end in"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(each) for each, _ in BAD])
def test_bad_arguments_are_one_sentence(
    arguments: list[str],
    message: str,
    model: Arguments,
    workplace: Path,
    tiny_llama: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ll, "load_model", lambda *_, **__: tiny_llama)
    random_counts(1, layers=3, neurons=48, most=1000).save("counts.safetensors")
    Path("blank.txt").write_text(" \n")
    before = {path: path.read_bytes() for path in workplace.iterdir()}
    given = [] if arguments[0] == "identify" else model
    assert run("lape", *arguments, *given) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.strip()]
    assert message in line
    assert line.endswith(".")
    assert {path: path.read_bytes() for path in workplace.iterdir()} == before


@pytest.mark.parametrize("command", ["perplexity", "generate", "steer"])
def test_neurons_are_read_before_a_model_is(
    command: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given: Arguments = ["lape", command, "--model-name", "./no-such-model"]
    assert run(*given, "nowhere.safetensors") == 2
    assert "no file nowhere.safetensors" in capfd.readouterr().err
    assert run(*given, "neurons.safetensors", "--language", "fr") == 2
    assert "holds no neurons of fr (--language)" in capfd.readouterr().err
    assert run(*given, "neurons.safetensors") == 2
    assert "no-such-model" in capfd.readouterr().err


def test_questions_that_do_not_fit(
    model: Arguments, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("lape", "generate", "neurons.safetensors", *model, "--json") == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "but the model's context window is 96" in printed.err.splitlines()[-1]


def test_published_neurons_need_the_width_of_the_model(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mask = UnitMask.from_addresses(["L0.mlp_post.47"], (3, 48))
    lape.write_neurons("m.pth", {"en": mask, "de": mask})
    named: Arguments = ["lape", "perplexity", "m.pth", "--names", "en", "--text", "en=en.csv"]
    assert run(*named, "--model-name", checkpoints["llama"]) == 2
    assert "the neurons of 2 languages, but names has 1" in capfd.readouterr().err


def test_help_names_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("lape", "--help") == 0
    shown = capfd.readouterr().out
    for name in ("record", "identify", "perplexity", "generate", "steer"):
        assert name in shown


def test_controls_of_the_command_line() -> None:
    (random, layer, least) = parse_controls(["random:3", "layer", "least-selective"])
    assert (random.matches, random.seeds) == (("random",), (0, 1, 2))
    assert (layer.matches, layer.seeds) == (("layer",), tuple(range(20)))
    assert least.matches == ("least-selective",)
    (matched, away) = (
        parse_controls(["magnitude+outliers:3"], elsewhere=False),
        parse_controls(["layer"], draws=2),
    )
    assert (matched[0].matches, matched[0].elsewhere) == (("magnitude+outliers",), False)
    assert away[0].seeds == (0, 1)
    assert parse_controls([]) == []
    for texts, message in (
        (["random", "random:2"], "random is given twice"),
        (["random:0"], "no number of draws"),
        (["random:"], "no number of draws"),
        (["least-selective:2"], "draws nothing"),
        (["nothing"], "no control 'nothing'"),
    ):
        with pytest.raises(LensLocError, match=message):
            parse_controls(texts)
