"""The bundled model end to end, against the independent reference."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from published_stimuli import tom_folder
from reference import t_map, top_mask

import lensloc as ll
from lensloc import contrasts, localize
from lensloc.cli import main

pytestmark = pytest.mark.pretrained

LANGUAGE = contrasts.language()
# The reference reads one text at a time; a quarter of the stimuli is enough to compare with.
QUARTER = {"S": LANGUAGE.conditions["sentences"][:60], "N": LANGUAGE.conditions["nonwords"][:60]}


def published_folder(folder: Path, texts: dict[str, Sequence[str]]) -> Path:
    """The texts as the published files: two runs of five sets, conditions interleaved."""
    folder.mkdir(parents=True)
    trials = [
        (code, text)
        for pair in zip(texts["S"], texts["N"], strict=True)
        for code, text in zip("SN", pair, strict=True)
    ]
    size = -(-len(trials) // 10)
    for number in range(10):
        name = f"langloc_fmri_run{number // 5 + 1}_stim_set{number % 5 + 1}.csv"
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([f"stim{i}" for i in range(1, 15)])
            for i, (code, text) in enumerate(trials[number * size : (number + 1) * size], start=1):
                writer.writerow([i, *text.upper().split(), code])
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_folder(tmp_path_factory.mktemp("published") / "stimuli", QUARTER)


def test_the_published_protocol_selects_the_units_of_the_reference(
    published: Path,
    pretrained: Any,
    pretrained_folder: Path,
    fresh_cache: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "mask.npy"
    arguments = (
        "localize --model-name smollm2-135m --network language --protocol alkhamissi2024 "
        f"--percentage 1 --stimuli {published} --json --out {out}"
    ).split()
    run(arguments)
    result = json.loads(capfd.readouterr().out)

    original = transformers.AutoModelForCausalLM.from_pretrained(pretrained_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    expected = t_map(
        original.model,
        original.model.layers,
        tokenizer,
        QUARTER["S"],
        QUARTER["N"],
        max_tokens=12,
    )
    assert result["n_units"] == 172
    assert result["shape"] == [30, 576]
    np.testing.assert_array_equal(np.load(out), top_mask(expected, 172))
    assert result["per_layer"] == top_mask(expected, 172).sum(1).tolist()
    assert result["tokens"] == 120 * 12
    assert set(result["seconds"]) == {"load", "forward", "statistics"}

    kept = localize(
        pretrained,
        contrasts.language(published),
        protocol="alkhamissi2024",
        store=ll.Store.at(fresh_cache / "results"),
        progress=False,
    )
    assert kept.from_store == ("resid_post",)
    np.testing.assert_allclose(kept["resid_post"].t, expected, rtol=1e-3, atol=1e-3)

    run([*arguments, "--overwrite"])  # again: from the results kept, the same mask
    again = json.loads(capfd.readouterr().out)
    assert again["cached"]
    assert again["per_layer"] == result["per_layer"]
    assert again["seconds"]["forward"] == 0


def written(stimuli: ll.Contrast, path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "condition"])
        for name, texts in stimuli.conditions.items():
            writer.writerows([text, name] for text in texts)
    return path


def run(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (0, None)


def test_batch_size_and_order_do_not_change_the_units(pretrained: Any) -> None:
    few = {name: texts[:12] for name, texts in LANGUAGE.conditions.items()}
    contrast = ll.Contrast.from_texts(few, target="sentences", control="nonwords")
    expected = localize(pretrained, contrast, progress=False).top(percent=1)
    for batch_size in (1, 7):
        found = localize(pretrained, contrast, batch_size=batch_size, progress=False)
        assert found.top(percent=1) == expected, batch_size
    order = np.random.default_rng(0).permutation(12)
    shuffled = {name: [texts[i] for i in order] for name, texts in few.items()}
    turned = ll.Contrast.from_texts(
        dict(reversed(shuffled.items())), target="sentences", control="nonwords"
    )
    assert localize(pretrained, turned, progress=False).top(percent=1) == expected


def test_bfloat16_finds_nearly_the_same(pretrained: Any) -> None:
    few = {name: texts[:24] for name, texts in LANGUAGE.conditions.items()}
    contrast = ll.Contrast.from_texts(few, target="sentences", control="nonwords")
    exact = localize(pretrained, contrast, progress=False)["resid_post"]
    model = ll.load_model("smollm2-135m", dtype="bfloat16")
    rough = localize(model, contrast, progress=False)["resid_post"]
    correlation = np.corrcoef(exact.t.flatten(), rough.t.flatten())[0, 1]
    shared = int((exact.top(percent=1).mask & rough.top(percent=1).mask).sum())
    print(f"bfloat16: t correlates {correlation:.4f}; {shared} of 172 units shared")
    assert correlation > 0.99


def test_both_classes_find_the_same_units(pretrained: Any) -> None:
    few = {name: texts[:16] for name, texts in LANGUAGE.conditions.items()}
    contrast = ll.Contrast.from_texts(few, target="sentences", control="nonwords")
    bridge = ll.load_model("smollm2-135m", backend="bridge")
    a, b = (localize(model, contrast, progress=False) for model in (pretrained, bridge))
    assert a.top(percent=1) == b.top(percent=1)
    assert torch.allclose(a["resid_post"].t, b["resid_post"].t, rtol=1e-3, atol=1e-3)


FORMS = [
    ("theory-of-mind", "published"),
    ("multiple-demand", "a file of eight conditions"),
]


@pytest.mark.parametrize(("network", "form"), FORMS)
def test_other_networks_equal_the_reference_with_mean_pooling(
    network: str,
    form: str,
    pretrained: Any,
    pretrained_folder: Path,
    fresh_cache: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["localize", "--pooling", "mean", "--json"]
    arguments += ["--out", str(tmp_path / "mask.npy")]
    folder = None
    if not form.startswith("a file"):
        arguments += ["--network", network]
    if form == "published":
        arguments += ["--protocol", "alkhamissi2024"]
        if network == "theory-of-mind":
            folder = tom_folder(tmp_path / "tomloc")
            arguments += ["--stimuli", str(folder)]
    protocol = "alkhamissi2024" if form == "published" else "lensloc"
    stimuli = contrasts.get(network, folder, protocol=protocol)
    if form.startswith("a file"):
        stimuli = stimuli.keep({name: range(4) for name in stimuli.conditions})
        arguments += ["--contrast", str(written(stimuli, tmp_path / "mine.csv"))]
        for role, names in (("target", stimuli.target), ("control", stimuli.control)):
            arguments += [part for name in names for part in (f"--{role}", name)]
    run(arguments)
    assert json.loads(capfd.readouterr().out)["n_units"] == 172

    sides = [
        [text for name in names for text in stimuli.conditions[name]]
        for names in (stimuli.target, stimuli.control)
    ]
    original = transformers.AutoModelForCausalLM.from_pretrained(pretrained_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    expected = t_map(original.model, original.model.layers, tokenizer, *sides, pooling="mean")
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), top_mask(expected, 172))
