"""``lensloc lesion`` and ``lensloc evaluate``: what they print and write, and what they refuse."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run, run_json

import lensloc as ll
from lensloc.cli.options import reference_contrast
from lensloc.cli.output import plain, readable
from lensloc.studies import own_percent
from lensloc.tasks import MinimalPairs
from lensloc.units.selection import count_from_percent

GOOD = [
    "the old gardener watered every plant",
    "nobody remembered who had built the bridge",
    "twelve plus nineteen is thirty one",
]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with masks, pairs and texts; an empty cache."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    pairs = [
        {"sentence_good": text, "sentence_bad": " ".join(text.split()[::-1]), "UID": kind}
        for text in GOOD
        for kind in ("order", "again")
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    Path("texts.csv").write_text("text\n" + "\n".join(GOOD) + "\n")
    Path("mine.csv").write_text(
        "condition,text\n" + "".join(f"{'ab'[i % 2]},{t}\n" for i, t in enumerate(GOOD))
    )
    return folder


@pytest.fixture(scope="session")
def found(tiny_llama: Any, small_contrast: ll.Contrast) -> ll.Localization:
    sites = ["resid_post", "mlp_out"]
    return ll.localize(tiny_llama, small_contrast, sites, progress=False)


@pytest.fixture
def network(found: ll.Localization, workplace: Path) -> ll.UnitMask:
    """A ranked mask of nine units, also in the file net.safetensors."""
    mask = found["resid_post"].top(percent=10)
    mask.save("net.safetensors")
    return mask


@pytest.fixture
def lesion(checkpoints: dict[str, Path], workplace: Path) -> list[str | Path]:
    return ["lesion", "--model-name", checkpoints["llama"], "--max-new-tokens", "6",
            "--prompt", "the old gardener"]  # fmt: skip


@pytest.fixture
def evaluate(
    checkpoints: dict[str, Path], workplace: Path, network: ll.UnitMask
) -> list[str | Path]:
    return ["evaluate", "--model-name", checkpoints["llama"], "--mask", "net.safetensors",
            "--task", "minimal-pairs=pairs.jsonl"]  # fmt: skip


# -- lesion ----------------------------------------------------------------------------------------


def test_lesion_says_what_the_library_says(
    lesion: list[str | Path],
    network: ll.UnitMask,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    prompts = ["the old gardener", "nobody in the village"]
    result = run_json(capfd, *lesion, "--prompt", prompts[1], "--mask", "net.safetensors")
    assert list(result) == [
        "model", "masks", "mode", "n_units", "per_layer", "fired", "moved", "outputs", "warnings",
    ]  # fmt: skip
    task = ll.tasks.generation(prompts, max_new_tokens=6, seed=42)
    intact = task(tiny_llama)
    with ll.lesion(tiny_llama, network) as opened:
        lesioned = task(tiny_llama)
    assert result["masks"] == ["net.safetensors"]
    assert result["mode"] == "zero"
    assert result["n_units"] == 9
    assert result["per_layer"] == network.per_layer().tolist()
    assert result["fired"] == dict(opened.effect.fired)
    assert result["moved"] == opened.effect.moved
    assert result["warnings"] == list(network.warnings)
    for row, output in enumerate(result["outputs"]):
        assert output == {
            "prompt": prompts[row],
            "intact": intact.items["text"][row],
            "lesioned": lesioned.items["text"][row],
            "fluency_intact": intact.items["value"][row] / intact.items["weight"][row],
            "fluency_lesioned": lesioned.items["value"][row] / lesioned.items["weight"][row],
        }


def test_lesion_of_a_network_by_name(
    lesion: list[str | Path], tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_json(capfd, *lesion, "--network", "language", "--percentage", "5")
    network = ll.localize(tiny_llama, ll.contrasts.language(), progress=False).top(percent=5)
    assert result["network"] == "language"
    assert result["per_layer"] == network.per_layer().tolist()
    assert any("difference in length" in note for note in result["warnings"])
    assert run(*lesion, "--percentage", "5") == 0
    printed = capfd.readouterr()
    assert "zero of 4 units at resid_post, in " in printed.out
    assert "Hooks fired " in printed.out
    assert "largest change of a logit: " in printed.out
    fluency = "Fluency (mean log-probability per token under the intact model): intact -"
    assert fluency in printed.out
    assert "Note: " not in printed.out
    assert [line for line in printed.err.splitlines() if line.startswith("Note: ")]


def test_network_none_runs_the_intact_model_alone(
    lesion: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_json(capfd, *lesion, "--network", "none")
    assert result["network"] == "none"
    assert result["mode"] is None
    assert (result["n_units"], result["per_layer"], result["fired"]) == (0, [], {})
    assert result["moved"] is None
    (output,) = result["outputs"]
    assert output["intact"]
    assert output["lesioned"] is output["fluency_lesioned"] is None
    assert run(*lesion, "--network", "none") == 0
    printed = capfd.readouterr().out
    assert "intact" in printed
    assert "lesioned" not in printed


def test_network_random_draws_from_the_whole_site_under_a_seed(
    lesion: list[str | Path], tiny_llama: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def units(seed: str, *more: str) -> Any:
        arguments = ("--network", "random", "--percentage", "100", "--site", "mlp_post", *more)
        return run_json(capfd, *lesion, *arguments, "--seed", seed)

    assert units("1")["n_units"] == 3 * 48
    few = [units(seed, "--percentage", "20") for seed in ("1", "1", "2")]
    assert few[0] == few[1]
    assert few[0]["n_units"] == few[2]["n_units"] == 28
    assert few[0]["moved"] != few[2]["moved"]
    assert few[0]["warnings"] == []


def test_several_masks_are_lesioned_together_and_no_unit_twice(
    lesion: list[str | Path],
    network: ll.UnitMask,
    found: ll.Localization,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = found["mlp_out"].top(k=5)
    other.save("other.npy")  # which does not say its site
    assert run(*lesion, "--mask", "net.safetensors", "--mask", "other.npy") == 0
    assert "zero of 9 units at resid_post and " in capfd.readouterr().out.replace("\n", " ")
    other.save("other.safetensors")
    scale = ("--mode", "scale", "--scale", "2")
    both = ("--mask", "net.safetensors", "--mask", "other.safetensors")
    result = run_json(capfd, *lesion, *both, *scale)
    with ll.lesion(tiny_llama, [network, other], "scale", scale=2.0) as opened:
        tiny_llama("the old gardener")
    assert result["moved"] == opened.effect.moved
    assert result["n_units"] == 14
    assert result["per_layer"] == {
        "resid_post": network.per_layer().tolist(),
        "mlp_out": other.per_layer().tolist(),
    }
    smaller = network.resized(k=3)
    smaller.save("smaller.safetensors")
    twice = run_json(capfd, *lesion, "--mask", "net.safetensors", "--mask", "smaller.safetensors",
                     *scale)  # fmt: skip
    once = run_json(capfd, *lesion, "--mask", "net.safetensors", *scale)
    assert twice["n_units"] == 9
    assert {**twice, "masks": None} == {**once, "masks": None}
    cut = run_json(capfd, *lesion, "--mask", "net.safetensors", "--percentage", "4", *scale)
    kept = run_json(capfd, *lesion, "--mask", "smaller.safetensors", *scale)
    assert {**cut, "masks": None} == {**kept, "masks": None}


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--mode", "mean", "--reference", "mine.csv"], {"mode": "mean"}),
        (["--mode", "resample", "--reference", "mine.csv"], {"mode": "resample", "seed": 42}),
        (["--mode", "scale", "--scale", "0.5"], {"mode": "scale", "scale": 0.5}),
        (["--mode", "clamp", "--value", "3"], {"mode": "clamp", "value": 3.0}),
        (
            ["--mode", "clamp", "--quantile", "0.9", "--reference", "mine.csv"],
            {"mode": "clamp", "quantile": 0.9},
        ),
        (["--mode", "write"], {"mode": "write"}),
        (["--positions", "last"], {"positions": "last"}),
    ],
)
def test_every_mode(
    arguments: list[str],
    given: dict[str, Any],
    lesion: list[str | Path],
    network: ll.UnitMask,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    result = run_json(capfd, *lesion, "--mask", "net.safetensors", *arguments)
    reference = reference_contrast("mine.csv") if "mine.csv" in arguments else None
    with ll.lesion(tiny_llama, network, **given, reference=reference) as opened:
        text = ll.tasks.generation(["the old gardener"], max_new_tokens=6)(tiny_llama)
    assert result["mode"] == given.get("mode", "zero")
    assert result["moved"] == opened.effect.moved
    assert result["outputs"][0]["lesioned"] == text.items["text"][0]


def test_sampling_under_a_seed(
    lesion: list[str | Path], network: ll.UnitMask, capfd: pytest.CaptureFixture[str]
) -> None:
    def text(*more: str) -> list[str]:
        found = run_json(capfd, *lesion, "--mask", "net.safetensors", *more)["outputs"][0]
        return [found["intact"], found["lesioned"]]

    drawn = text("--temperature", "1.5", "--seed", "1")
    assert drawn == text("--temperature", "1.5", "--seed", "1")
    assert drawn != text("--temperature", "1.5", "--seed", "2")
    assert drawn != text()


def test_texts_are_shown_as_they_are(
    lesion: list[str | Path],
    network: ll.UnitMask,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = "[bold]no[/bold] [/] <script> :fox: \x1b[31m"
    real = ll.tasks.Generation.__call__

    def writes_markup(self: Any, model: Any, **options: Any) -> Any:
        result = real(self, model, **options)
        result.items["text"] = "[red]wet[/red] [/blue] <b> long" + "e" * 100
        return result

    monkeypatch.setattr(ll.tasks.Generation, "__call__", writes_markup)
    assert run(*lesion, "--mask", "net.safetensors", "--prompt", odd) == 0
    printed = capfd.readouterr().out
    assert "[bold]no[/bold] [/] <script> :fox: \N{REPLACEMENT CHARACTER}[31m" in printed
    assert printed.count("[red]wet[/red] [/blue] <b> ") == 4
    assert printed.count("e" * 10) >= 20, "a long word is cut off instead of wrapped"
    assert "\x1b" not in printed
    shown = run_json(capfd, *lesion, "--mask", "net.safetensors", "--prompt", odd)
    assert shown["outputs"][1]["prompt"] == odd


def test_notes_are_one_line_each_and_no_python_warnings(
    lesion: list[str | Path],
    network: ll.UnitMask,
    checkpoints: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    same = ("--mask", "net.safetensors", "--mode", "scale", "--scale", "1")
    result = run_json(capfd, *lesion, *same)
    (note,) = [note for note in result["warnings"] if note not in network.warnings]
    assert "took no effect: it changed no activation" in note
    assert result["moved"] == 0
    assert run(*lesion, *same) == 0
    captured = capfd.readouterr()
    for told in (note, *network.warnings):
        assert captured.err.count(f"Note: {told}\n") == 1
    assert captured.err.count("Note: ") == 1 + len(network.warnings)
    assert "LensLocWarning" not in captured.err
    elsewhere = run_json(
        capfd, *lesion, "--mask", "net.safetensors", "--model-name", checkpoints["neox"]
    )
    assert any("was made on another model" in note for note in elsewhere["warnings"])


BAD_LESIONS = [
    (["--network", "music"], "no network 'music'; there are language"),
    (["--network", "language", "--mask", "net.safetensors"], "--mask and --network both say"),
    (["--network", "none", "--mask", "net.safetensors"], "--mask and --network both say"),
    (["--mask", "none.npy"], "There is no mask file none.npy"),
    (["--mask", "wide.npy"], "does not fit my-llama, which has 3x32 units at resid_post"),
    (["--mask", "empty.npy"], "holds no unit"),
    (["--mask", "flat.npy", "--percentage", "1"], "carries no ranking of units"),
    (["--mask", "net.safetensors", "--percentage", "0"], "--percent must be above 0"),
    (["--network", "random", "--percentage", "nan"], "--percent must be above 0"),
    (["--mode", "off"], "no mode 'off'; there are zero, mean"),
    (["--mode", "scale"], "--mode scale needs --scale"),
    (["--mode", "mean"], "--mode mean needs --reference"),
    (["--mode", "resample"], "--mode resample needs --reference"),
    (["--mode", "clamp"], "needs either --value, or --quantile with --reference"),
    (["--mode", "clamp", "--quantile", "0.5"], "--quantile and --reference belong together"),
    (["--mode", "clamp", "--value", "inf"], "--value must be a number"),
    (
        ["--mode", "clamp", "--quantile", "2", "--reference", "mine.csv"],
        "--quantile lies between 0 and 1",
    ),
    (["--scale", "2"], "--mode zero takes no --scale"),
    (["--reference", "language"], "--mode zero takes no --reference"),
    (
        ["--mode", "write", "--network", "random", "--site", "mlp_out", "--percentage", "9"],
        "not at mlp_out",
    ),
    (["--mode", "mean", "--reference", "music"], "neither a bundled contrast"),
    (["--mode", "mean", "--reference", "none.csv"], "no stimulus file none.csv"),
    (["--mode", "mean", "--reference", "texts.csv"], "lacks the column 'condition'"),
    (["--mode", "mean", "--reference", "one.csv"], "fewer than two conditions"),
    (["--positions", "first"], "no positions 'first'; there are all, last"),
    (["--site", "neurons"], "the sites are resid_pre"),
    (["--pooling", "first"], "no pooling 'first'"),
    (["--protocol", "mine"], "no protocol 'mine'"),
    (["--backend", "jax"], "no backend 'jax'"),
    (["--dtype", "int4"], "no dtype 'int4'"),
    (["--max-new-tokens", "0"], "max_new_tokens is at least 1"),
    (["--max-new-tokens", "200", "--network", "none"], "context window is 96"),
    (["--temperature", "-1"], "temperature is 0 or above"),
    (["--stimuli", "nowhere"], "no stimulus folder nowhere"),
    (["--model-name", "smolm2"], "closest: smollm2-135m"),
]


def one_sentence(
    capfd: pytest.CaptureFixture[str], message: str, workplace: Path, before: set[str]
) -> None:
    captured = capfd.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("lensloc: ")]
    assert len(told) == 1, captured.err
    assert message in told[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert {file.name for file in workplace.iterdir()} == before


@pytest.fixture
def odd_masks(network: ll.UnitMask, workplace: Path) -> set[str]:
    """Masks that do not fit or say little; the names of all files."""
    np.save("wide.npy", np.eye(3, 33, dtype=int))
    np.save("empty.npy", np.zeros((3, 32), dtype=int))
    np.save("flat.npy", np.eye(3, 32, dtype=int))
    Path("one.csv").write_text("condition,text\na,the sun\n")
    return {file.name for file in workplace.iterdir()}


@pytest.mark.parametrize(("arguments", "message"), BAD_LESIONS)
def test_bad_arguments_of_lesion_get_one_sentence(
    arguments: list[str],
    message: str,
    lesion: list[str | Path],
    odd_masks: set[str],
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not {"--network", "--mask", "--stimuli", "--percentage"} & set(arguments):
        arguments = [*arguments, "--mask", "net.safetensors"]
    assert run(*lesion, *arguments) == 2
    one_sentence(capfd, message, workplace, odd_masks)


# -- evaluate --------------------------------------------------------------------------------------


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [plain(row) for row in table.to_dict("records")]


def test_evaluate_says_what_lesion_study_says(
    evaluate: list[str | Path],
    network: ll.UnitMask,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    result = run_json(
        capfd, *evaluate, "--task", "perplexity=texts.csv", "--task", "bits-per-byte=texts.csv",
        "--limit", "2", "--control-units", "layer:2", "--control-units", "least-selective",
        "--percents", "5,10", "--mode", "zero", "--mode", "scale:0.5", "--mode", "scale:.5",
        "--mode", "mean", "--reference", "mine.csv", "--bos", "add",
    )  # fmt: skip
    study = ll.lesion_study(
        tiny_llama,
        {"net": network},
        [
            ll.tasks.minimal_pairs("pairs.jsonl", limit=2, bos="add"),
            ll.tasks.perplexity("texts.csv", limit=2, bos="add"),
            ll.tasks.bits_per_byte("texts.csv", limit=2, bos="add"),
        ],
        [ll.controls("layer", seeds=range(2)), ll.controls((), least_selective=True)],
        percents=[5, 10],
        modes=["zero", {"mode": "scale", "scale": 0.5}, "mean"],
        reference=reference_contrast("mine.csv"),
        seed=42,
        progress=False,
    )
    assert list(result) == ["model", "rows", "comparisons", "summary", "warnings", "out"]
    assert result["summary"] == study.summary()
    assert result["rows"] == rows_of(study.table)
    assert len(result["rows"]) == 3 * 2 * 4 * 3
    assert result["comparisons"] == rows_of(study.comparisons)
    assert result["warnings"] == list(study.warnings)
    assert result["out"] is None
    assert result["rows"][0]["seed"] is None
    assert result["rows"][0]["difference"] is None


def test_evaluate_takes_controls_of_every_kind(
    evaluate: list[str | Path],
    network: ll.UnitMask,
    found: ll.Localization,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    own = found["resid_post"].bottom(k=9)
    own.save("mine.safetensors")
    result = run_json(
        capfd, *evaluate,
        "--control-units", "magnitude+outliers:6", "--control-units", "least-active",
        "--control-units", "mask=mine.safetensors", "--exact", "--anywhere", "--mode", "dims-zero",
    )  # fmt: skip
    study = ll.lesion_study(
        tiny_llama, {"net": network}, [ll.tasks.minimal_pairs("pairs.jsonl")],
        [
            ll.controls("magnitude+outliers", seeds=range(6), elsewhere=False),
            ll.controls("least-active", elsewhere=False),
            ll.controls((), masks={"mine": own}),
        ],
        modes=["dims-zero"], seed=42, exact=True, progress=False,
    )  # fmt: skip
    assert result["comparisons"] == rows_of(study.comparisons)
    assert set(study.table["kind"]) == {"network", "magnitude+outliers", "least-active", "mine"}


def test_evaluate_prints_intact_scores_and_differences(
    evaluate: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*evaluate, "--control-units", "layer:2", "--control-units", "random:1") == 0
    printed = capfd.readouterr().out
    assert "my-llama, intact:" in printed
    assert "accuracy" in printed
    assert "How much worse with net lesioned (zero); differences with intervals (95 %)" in printed
    assert "layer (2)" in printed
    assert "random (1)" in printed
    assert "network drop" in printed
    without = run(*evaluate)
    printed = capfd.readouterr().out
    assert without == 0
    assert "intervals (95 %) over items" in printed
    assert "control" not in printed


def test_masks_keep_their_own_size(
    evaluate: list[str | Path],
    network: ll.UnitMask,
    found: ll.Localization,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def sizes(*more: str) -> dict[str, list[float]]:
        rows = pd.DataFrame(run_json(capfd, *evaluate, *more)["rows"])
        return {str(name): list(part["percent"]) for name, part in rows.groupby("network")}

    assert sizes() == {"net": [10.0]}
    found["resid_post"].top(k=9).save("nine.safetensors")
    assert sizes("--mask", "nine.safetensors") == {"net": [10.0], "nine": [100 * 9 / 96]}
    network.random_like(0).save("random.npy")
    exact = 100 * 9 / 96
    assert sizes("--mask", "random.npy") == {"net": [10.0], "random": [exact]}
    found["resid_post"].top(k=20).save("twenty.safetensors")
    twenty = 100 * 20 / 96
    assert sizes("--mask", "twenty.safetensors") == {"net": [10.0], "twenty": [twenty]}
    assert sizes("--mask", "twenty.safetensors", "--percents", "5,20,5") == {
        "net": [5.0, 20.0], "twenty": [5.0, 20.0],
    }  # fmt: skip


def test_the_own_percentage_of_a_mask_gives_its_number_of_units() -> None:
    for total in (96, 17280, 999):
        for k in {1, 2, 7, total // 3, total - 1, total} | {172 % total}:
            mask = ll.UnitMask.from_indices("resid_post", torch.arange(k), (1, total))
            assert count_from_percent(own_percent(mask), total) == k


def test_networks_by_name_are_localized_first(
    evaluate: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    few = ("--network", "formal", "--network", "net", "--percents", "10")
    assert run(*evaluate, *few) == 2
    assert "no network 'net'" in capfd.readouterr().err
    result = run_json(capfd, *evaluate, "--network", "language")
    assert [row["network"] for row in result["rows"]] == ["language", "net"]
    assert [row["percent"] for row in result["rows"]] == [10, 10]


def test_networks_by_name_are_lesioned_at_the_site_that_was_asked_for(
    checkpoints: dict[str, Path],
    workplace: Path,
    found: ll.Localization,
    tiny_llama: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", "--model-name", checkpoints["llama"], "--task",
               "minimal-pairs=pairs.jsonl", "--network", "emotion"]  # fmt: skip
    for option in ("--percents", "--percentage"):
        result = run_json(capfd, *command, "--site", "mlp_post", option, "10")
        (row,) = result["rows"]
        assert (row["site"], row["percent"], row["n_units"]) == ("mlp_post", 10, 14)
        mask = ll.localize(tiny_llama, ll.contrasts.emotion(), ["mlp_post"], progress=False).top(
            percent=10
        )
        with ll.lesion(tiny_llama, mask):
            assert row["score"] == ll.tasks.minimal_pairs("pairs.jsonl")(tiny_llama).score
    (row,) = run_json(capfd, *command, "--percents", "10")["rows"]
    assert row["site"] == "resid_post"
    found["resid_post"].top(percent=10).save("net.safetensors")
    found["mlp_out"].top(percent=10).save("net.npy")
    assert run(*command, "--mask", "net.safetensors", "--site", "mlp_out") == 2
    said = capfd.readouterr().err
    assert "net.safetensors holds units at resid_post, and not at mlp_out" in said
    both = run_json(capfd, *command, "--mask", "net.npy", "--site", "mlp_out")
    assert [row["site"] for row in both["rows"]] == ["mlp_out", "mlp_out"]
    exact = pytest.approx(100 * 9 / 96)
    assert [row["percent"] for row in both["rows"]] == [exact, exact]
    lesion = ["lesion", "--model-name", checkpoints["llama"], "--mask", "net.safetensors"]
    assert run(*lesion, "--site", "mlp_out") == 2
    assert "net.safetensors holds units at resid_post" in capfd.readouterr().err


def test_a_size_below_one_unit_is_noted(
    evaluate: list[str | Path], capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_json(capfd, *evaluate, "--percents", "0.5,10")
    assert [row["n_units"] for row in result["rows"]] == [1, 9]
    assert any("0.5 % of the 96 units at resid_post is less" in n for n in result["warnings"])
    lesion = ("lesion", *evaluate[1:5], "--percentage", "0.5", "--max-new-tokens", "2")
    result = run_json(capfd, *lesion)
    assert result["n_units"] == 1
    assert any("0.5 % of the 96 units at resid_post is less" in n for n in result["warnings"])


def test_masks_of_one_name_and_tasks_of_one_name_are_told_apart(
    evaluate: list[str | Path], found: ll.Localization, capfd: pytest.CaptureFixture[str]
) -> None:
    found["resid_post"].bottom(percent=10).save("other/net.safetensors")
    Path("others.jsonl").write_text(Path("pairs.jsonl").read_text().splitlines()[0])
    result = run_json(
        capfd, *evaluate, "--mask", "other/net.safetensors", "--mask", "net.safetensors",
        "--task", "minimal-pairs=others.jsonl", "--task", "generation", "--limit", "2",
    )  # fmt: skip
    assert {row["network"] for row in result["rows"]} == {"net", "other/net.safetensors"}
    assert [row["task"] for row in result["rows"]][:3] == [
        "minimal-pairs=pairs.jsonl", "minimal-pairs=others.jsonl", "generation",
    ]  # fmt: skip


def test_a_harness_task(
    evaluate: list[str | Path],
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def called(self: Any, model: Any, **options: Any) -> Any:
        print("harnesses like to talk")
        asked.append((self.task, self.limit))
        return ll.tasks.minimal_pairs("pairs.jsonl", name=self.task)(model)

    monkeypatch.setattr(ll.tasks.HarnessTask, "__call__", called)
    result = run_json(capfd, *evaluate, "--task", "lm-eval=mine", "--limit", "3")
    assert asked == [("mine", 3)] * 2
    assert [row["task"] for row in result["rows"]] == ["minimal-pairs", "mine"]


def test_an_interrupted_run_goes_on_where_it_stopped(
    evaluate: list[str | Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    real = MinimalPairs.__call__

    def counted(self: Any, model: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(self, model, **options)

    monkeypatch.setattr(MinimalPairs, "__call__", counted)
    command = (*evaluate, "--control-units", "layer:3")  # intact, the network, three draws
    assert run(*command, "--out", "table.csv") not in (0, 2)
    assert not Path("table.csv").exists()
    capfd.readouterr()
    first = run_json(capfd, *command)
    assert calls == 3 + 3  # two were kept, the third is done again
    second = run_json(capfd, *command, "--control-units", "random:1")
    assert calls == 7
    assert second["rows"][:4] == first["rows"]
    assert run_json(capfd, *command) == first
    assert calls == 7


def test_tables_and_figures_are_written_and_not_overwritten(
    evaluate: list[str | Path], workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    readers = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}
    for suffix, read in readers.items():
        out = f"tables/table.{suffix}"
        result = run_json(capfd, *evaluate, "--control-units", "layer:2", "--out", out)
        assert result["out"] == out
        table = read(out)
        assert list(table.columns) == list(result["rows"][0])
        for written, told in zip(rows_of(table), result["rows"], strict=True):
            for name, value in told.items():
                if isinstance(value, float):
                    assert math.isclose(written[name], value, rel_tol=1e-9, abs_tol=1e-12)
                else:
                    assert written[name] == value
    assert {file.suffix for file in Path("tables").iterdir()} == {".csv", ".json", ".parquet"}
    assert run(*evaluate, "--out", "a.csv", "--plot", "dose.html") == 0
    printed = capfd.readouterr().out
    assert "Wrote a.csv." in printed
    assert "Wrote dose.html." in printed
    assert "Plotly.newPlot" in Path("dose.html").read_text()
    before = Path("a.csv").read_bytes()
    # Refused before a model is even looked for.
    nowhere = ("--model-name", "no-such-model")
    for option, file in (("--out", "a.csv"), ("--plot", "dose.html")):
        assert run(*evaluate, *nowhere, option, file) == 2
        message = f"{file} exists; add --overwrite to replace it, or change {option}"
        assert message in capfd.readouterr().err
    assert run(*evaluate, "--out", "a.csv", "--overwrite", "--control-units", "layer:1") == 0
    assert Path("a.csv").read_bytes() != before


BAD_EVALUATIONS = [
    (["--exact"], "--exact has no effect here: no --control-units are given"),
    (["--anywhere"], "--anywhere has no effect here: no --control-units are given"),
    (["--control-units", "mask=none.npy"], "There is no mask file none.npy"),
    (["--mode", "dims-off"], "no mode 'off'"),
    (["--control-units", "laeyr"], "no control 'laeyr'; there are random, layer"),
    (["--control-units", "layer:"], "no number of draws behind the colon"),
    (["--control-units", "layer:0"], "write e.g. layer:20"),
    (["--control-units", "random:-1"], "write e.g. random:20"),
    (["--control-units", "least-selective:2"], "draws nothing; write it without :2"),
    (
        ["--control-units", "layer:2", "--control-units", "layer:3"],
        "--control-units layer is given twice",
    ),
    (["--control-units", "magnitude", "--mask", "flat.npy"], "carries no magnitudes"),
    (["--control-units", "least-selective", "--mask", "flat.npy"], "carries no ranking"),
    (["--task", "blimp"], "There is no task 'blimp' (--task blimp); there are minimal-pairs"),
    (
        ["--task", "choice"],
        "--task choice needs a .jsonl file, or one of arithmetic, code, commonsense",
    ),
    (["--task", "choice="], "--task choice needs a .jsonl file"),
    (["--task", "lm-eval"], "--task lm-eval needs the harness' name"),
    (["--task", "perplexity="], "names no file; write perplexity or perplexity=PATH"),
    (["--task", "perplexity=none.csv"], "no stimulus file none.csv"),
    (["--task", "minimal-pairs=texts.csv"], "lacks the column 'sentence_good'"),
    (["--task", "choice=texts.csv"], "must end in .jsonl to be read as questions"),
    (["--task", "generation=texts.csv"], "texts.csv lacks the column 'prompt'"),
    (["--task", "generation=texts.md"], "must end in .txt"),
    (["--text-column", "body"], "--text-column is for --contrast, --task perplexity=PATH"),
    (["--sep", ";"], "sep is for .csv and .tsv files, not for"),
    (["--limit", "0"], "limit is at least 1"),
    (["--percents", "1,much"], "--percent '1,much' is not a list of numbers"),
    (["--percents", ""], "is not a list of numbers"),
    (["--percents", "1,0"], "Every size in --percent must be above 0"),
    (["--percents", "101"], "Every size in --percent must be above 0"),
    (["--percents", "10", "--mask", "flat.npy"], "carries no ranking of units"),
    (["--percents", "60", "--control-units", "layer"], "are left to it; use a smaller percentage"),
    (["--mode", "off"], "no mode 'off'"),
    (["--mode", "zero:1"], "--mode zero takes no number"),
    (["--mode", "scale"], "--mode scale needs a factor, e.g. scale:0.5"),
    (["--mode", "scale:nan"], "--mode scale:nan needs a factor"),
    (["--mode", "clamp:much"], "--mode clamp:much needs a value, e.g. clamp:3"),
    (["--mode", "mean"], "--mode mean needs --reference"),
    (["--reference", "mine.csv"], "--reference is for --mode mean and resample"),
    (["--bos", "maybe"], "no bos 'maybe'; there are model, add, none"),
    (["--mask", "none.npy"], "There is no mask file none.npy"),
    (["--mask", "wide.npy"], "does not fit my-llama"),
    (["--mask", "empty.npy"], "holds no unit"),
    (["--network", "music"], "no network 'music'"),
    (["--site", "neurons"], "the sites are resid_pre"),
    (["--batch-size", "0"], "--batch-size is auto or a whole number"),
    (["--out", "table.xlsx"], "must end in .parquet, .csv, .json"),
    (["--out", "."], "must end in .parquet"),
    (["--out", "flat.npy/table.csv"], "cannot be written in"),
    (["--plot", "dose.pt"], "must end in .html, .png"),
    (["--dtype", "int4"], "no dtype 'int4'"),
    (["--backend", "jax"], "no backend 'jax'"),
    (["--model-name", "smolm2"], "closest: smollm2-135m"),
]


ONLY_THE_MODEL_TELLS = ("does not fit my-llama", "holds no unit", "no dtype 'int4'")


@pytest.mark.parametrize(("arguments", "message"), BAD_EVALUATIONS)
def test_bad_arguments_of_evaluate_get_one_sentence(
    arguments: list[str],
    message: str,
    evaluate: list[str | Path],
    odd_masks: set[str],
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = [] if "--out" in arguments else ["--out", "table.csv"]
    if message not in ONLY_THE_MODEL_TELLS:  # refused before a model is even looked for
        arguments = ["--model-name", "no-such-model", *arguments]
    assert run(*evaluate, *out, *arguments) == 2
    one_sentence(capfd, message, workplace, odd_masks)


# -- what they share -------------------------------------------------------------------------------


def test_what_a_terminal_obeys_is_not_printed() -> None:
    sign = "\N{REPLACEMENT CHARACTER}"
    assert readable("a\tb\n\x1b[31m\r") == f"a\tb\n{sign}[31m{sign}"
    assert readable("Café 茶") == "Café 茶"


def test_numbers_that_json_lacks_become_null() -> None:
    assert plain({"a": [math.nan, math.inf, 1.5], "b": pd.NA, "c": np.bool_(True), 4: (1,)}) == {
        "a": [None, None, 1.5], "b": None, "c": True, "4": [1],
    }  # fmt: skip
