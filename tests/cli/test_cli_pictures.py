"""Pictures on the command line: contrasts and tasks of folders; layers that differ in width."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import planted_vision
import pytest
import torch
import transformers
from commands import run, run_json
from PIL import Image

import lensloc as ll

WIDTHS = (4, 4, 8, 8)
ROLES = ("--target", "red", "--control", "other")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pictures")
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(
        hidden_sizes=[4, 8], depths=[2, 2], num_stages=2, num_labels=3
    )
    transformers.ConvNextForImageClassification(config).save_pretrained(root / "net")
    transformers.ConvNextImageProcessor(size={"shortest_edge": 16}).save_pretrained(root / "net")
    for name, pictures in planted_vision.pictures(n=8).items():
        (root / "seen" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / "seen" / name / f"{number}.png")
    turned = planted_vision.pictures(n=8)
    for name, number in (("red", "2"), ("other", "0")):
        (root / "tried" / number).mkdir(parents=True)
        for row, picture in enumerate(turned[name]):
            Image.fromarray(np.rot90(picture).copy()).save(root / "tried" / number / f"{row}.png")
            (root / "more" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[::-1].copy()).save(root / "more" / name / f"{row}.png")
    (root / "lonely" / "red").mkdir(parents=True)
    (root / "names.txt").write_text("0\nnothing\n2\n")
    return {each: root / each for each in ("net", "seen", "tried", "more", "names.txt")}


@pytest.fixture(scope="module")
def mask(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("masks") / "redness.safetensors"
    options = ("--contrast", places["seen"], *ROLES, "--percentage", "10", "--device", "cpu")
    assert run("localize", "--model-name", places["net"], *options, "--out", out) == 0
    return out


def test_a_folder_of_class_folders_is_a_contrast(places: dict[str, Path], mask: Path) -> None:
    found = ll.UnitMask.load(mask)
    assert (found.widths, found.site, len(found)) == (WIDTHS, "block", 2)
    model = ll.load_model(str(places["net"]), device="cpu")
    contrast = ll.Contrast.from_images(places["seen"], target="red", control="other", name="seen")
    again = ll.localize(model, contrast, progress=False)["block"].top(percent=10)
    assert again == found
    assert found.provenance.contrast == "seen"


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
def test_evaluate_measures_tasks_on_pictures(
    places: dict[str, Path], mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tried = places["tried"]
    found = run_json(
        capfd, "evaluate", "--model-name", places["net"], "--mask", mask, "--device", "cpu",
        "--task", f"classification={tried}", "--task", f"linear-probe={tried}",
        "--task", f"embedding-verification={tried}", "--probe-layer", "1", "--limit", "7",
        "--classes", places["names.txt"], "--top", "2",
    )  # fmt: skip
    model = ll.load_model(str(places["net"]), device="cpu")
    contrast = ll.Contrast.from_images(tried, target="0", control="2")
    few = contrast.keep({name: range(7) for name in contrast.conditions})
    tasks = (
        ll.tasks.classification(few, top=2),
        ll.tasks.linear_probe(few, layer=1),
        ll.tasks.embedding_verification(few, "block", layer=1),
    )
    rows = {row["task"]: row for row in found["rows"] if row["kind"] == "network"}
    for task in tasks:
        row = rows[task.name]
        assert row["intact"] == pytest.approx(task(model).score)
        with ll.lesion(model, ll.UnitMask.load(mask)):
            assert row["score"] == pytest.approx(task(model).score)


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
@pytest.mark.parametrize("how", [(), ("--pooling", "max")])
def test_a_contrast_is_localized_at_the_models_own_site(
    how: tuple[str, ...], places: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    common = ("--model-name", places["net"], "--device", "cpu", "--percent", "10", *how,
              "--contrast", places["seen"], *ROLES)  # fmt: skip
    tasks = [f"linear-probe={places[name]}" for name in ("tried", "more")]
    found = run_json(capfd, "evaluate", *common, "--task", tasks[0])
    assert {row["site"] for row in found["rows"]} == {"block"}
    found = run_json(
        capfd, "specificity", *common, "--task", tasks[0], "--task", tasks[1],
        "--own", f"seen={tasks[0]}", "--control-units", "layer:2", "--all-items",
    )  # fmt: skip
    assert {row["network"] for row in found["rows"]} == {"seen"}


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
def test_the_report_of_a_picture_model_from_the_command_line(
    places: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    options = ("--contrast", places["seen"], *ROLES, "--percentage", "10", "--device", "cpu")
    task = ("--task", f"linear-probe={places['tried']}", "--control-units", "layer:2")
    assert run("report", "--model-name", places["net"], *options, *task, "--out", page) == 0
    text = page.read_text()
    assert "data:image/jpeg;base64," in text
    assert "a wrapped torch module" in text
    assert "HookedTransformer" not in text.split("<main")[1].split("<script")[0]
    assert "Nanda" not in text.split("<main")[1].split("<script")[0]
    thumbnails = re.findall(r"data:image/jpeg;base64,[\w+/=]+", text)
    assert sum(map(len, set(thumbnails))) < 100_000
    for layer, width in enumerate(WIDTHS):  # no address of a padded place
        named = [int(unit) for unit in re.findall(rf"L{layer}\.block\.(\d+)", text)]
        assert all(unit < width for unit in named)


def test_specificity_takes_tasks_on_pictures(
    places: dict[str, Path], mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    both = [f"linear-probe={places[name]}" for name in ("tried", "more")]
    found = run_json(
        capfd, "specificity", "--model-name", places["net"], "--mask", mask, "--device", "cpu",
        "--task", both[0], "--task", both[1], "--own", f"redness={both[0]}",
        "--control-units", "layer:2", "--all-items",
    )  # fmt: skip
    assert {row["task"] for row in found["room"]} == set(both)


def bad(places: dict[str, Path], mask: Path) -> dict[str, tuple[tuple[Any, ...], str]]:
    net, seen = ("--model-name", places["net"], "--device", "cpu"), places["seen"]
    named = ("--model-name", "efficientnet-lite0")
    return {
        "no roles": (("localize", *net, "--contrast", seen),
                     r"needs --target and --control: of its folders, .* \(other, red\)"),
        "no such folder": (("localize", *net, "--contrast", seen / "no", *ROLES),
                           "or be a folder with a folder of pictures"),
        "a column": (("localize", *net, "--contrast", seen, *ROLES, "--text-column", "words"),
                     "--text-column has no effect here: .* is a folder of pictures"),
        "one condition": (("evaluate", *net, "--mask", mask, "--task", f"linear-probe={seen}",
                           "--mode", "mean", "--reference", seen.parent / "lonely"),
                          "--reference .* has fewer than two conditions; give it two"),
        "an empty folder": (("localize", *net, "--contrast", seen / "red", *ROLES),
                            "holds no folder of pictures"),
        "no folder of a task": (("evaluate", *net, "--mask", mask, "--task", "linear-probe"),
                                "--task linear-probe needs a folder .*: linear-probe=FOLDER"),
        "one label": (("evaluate", *net, "--mask", mask, "--task", f"linear-probe={seen.parent}/x"),
                      "There is no folder"),
        "labels without a class": (("evaluate", *net, "--mask", mask, "--task",
                                    f"classification={seen}"), "the model has 3 classes"),
        "a layer too far": (("evaluate", *net, "--mask", mask, "--task", f"linear-probe={seen}",
                             "--probe-layer", "9"), "There is no layer 9 at block"),
        "an idle option": (("evaluate", *net, "--mask", mask, "--task", f"linear-probe={seen}",
                            "--top", "2"), "--top has no effect here"),
        "a probe's option": (("evaluate", *net, "--mask", mask, "--task", f"classification={seen}",
                              "--probe-site", "block"), "--probe-site has no effect here"),
        "no limit": (("evaluate", *net, "--mask", mask, "--task", f"linear-probe={seen}",
                      "--limit", "0"), "--limit is at least 1 picture a label"),
        "tasks on texts": (("evaluate", *named, "--task", "minimal-pairs"),
                           "sees pictures, and --task minimal-pairs is not for them; name one"),
        "no task": (("evaluate", *named), "sees pictures, and no --task is named"),
        "grammar": (("specificity", *named, "--task", "grammar"), "--task grammar is not for them"),
        "writing": (("lesion", *named), "writes no text; .* lensloc evaluate --task class"),
        "a scoring": (("evaluate", *named, "--task", f"linear-probe={seen}", "--scoring",
                       "log-likelihood"), "--scoring is for --task minimal-pairs"),
        "an unknown task": (("evaluate", "--task", "guessing"), "and of pictures classif"),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad({name: Path() for name in ("net", "seen")}, Path())))
def test_bad_input_is_told_in_a_sentence(
    case: str, places: dict[str, Path], mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command, sentence = bad(places, mask)[case]
    assert run(*command) == 2
    told = " ".join(capfd.readouterr().err.split())
    assert re.search(sentence, told), told
    assert "Traceback" not in told
