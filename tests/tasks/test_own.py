"""Tasks, controls and plug-ins of one's own."""

import dataclasses
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lensloc as ll
from lensloc import LensLocError
from lensloc.errors import unwarned
from lensloc.tasks.of_functions import as_tasks

TEXTS = ["the old gardener watered", "nobody remembered", "the sun came up"]


def surprisals(model: Any) -> list[float]:
    """Mean surprisal of every text, by hand."""
    found = []
    for text in TEXTS:
        ids = model.to_tokens(text)
        logs = model(ids)[0, :-1].double().log_softmax(-1)
        found.append(-float(logs.gather(1, ids[0, 1:, None]).mean()))
    return found


@pytest.fixture
def mask() -> ll.UnitMask:
    return ll.UnitMask.from_addresses(
        ["L0.resid_post.1", "L1.resid_post.3", "L1.resid_post.8"], shape=(3, 32)
    )


def fits(mask: ll.UnitMask, model: Any) -> ll.UnitMask:
    shape = (model.cfg.n_layers, model.cfg.d_model)
    return ll.UnitMask.from_addresses(mask.addresses, shape=shape)


def test_a_function_of_a_model_is_a_task(
    tiny_llama: Any, mask: ll.UnitMask, one_thread: None
) -> None:
    mask = fits(mask, tiny_llama)
    task = ll.tasks.of_function(surprisals, higher_is_better=False, measure="nats")
    study = ll.lesion_study(tiny_llama, {"mine": mask}, [task], progress=False)
    (row,) = study.table.to_dict("records")
    with torch.no_grad():
        intact = surprisals(tiny_llama)
    with ll.lesion(tiny_llama, mask), torch.no_grad():
        lesioned = surprisals(tiny_llama)
    assert row["intact"] == pytest.approx(np.mean(intact), rel=1e-6)
    assert row["score"] == pytest.approx(np.mean(lesioned), rel=1e-6)
    assert row["drop"] == pytest.approx(np.mean(lesioned) - np.mean(intact), rel=1e-4)
    assert list(study.items["value"]) == pytest.approx(lesioned)
    plain = ll.lesion_study(tiny_llama, {"mine": mask}, [surprisals], progress=False)
    assert plain.table["task"].tolist() == ["surprisals"]
    assert plain.table["drop"].item() == pytest.approx(-row["drop"])  # a score, higher is better


def test_scores_are_kept_only_if_it_is_known_what_they_depend_on(
    tiny_llama: Any, mask: ll.UnitMask, tmp_path: Path
) -> None:
    mask, calls = fits(mask, tiny_llama), []

    def counted(model: Any) -> list[float]:
        calls.append(1)
        return [1.0, 0.0]

    def run(**more: Any) -> int:
        calls.clear()
        task = ll.tasks.of_function(counted, **more)
        with unwarned():  # the task does not run the model
            ll.lesion_study(tiny_llama, {"mine": mask}, [task], store=tmp_path, progress=False)
        return len(calls)

    assert (run(), run()) == (2, 2)
    assert (run(settings={"v": 1}), run(settings={"v": 1}), run(settings={"v": 2})) == (2, 0, 2)
    # What is said of a score is kept with it, so that other words are another score.
    assert run(settings={"v": 1}, higher_is_better=False) == 2
    assert run(settings={"v": 1}, chance=0.5) == 2


def test_one_text_is_a_text() -> None:
    assert ll.tasks.of_function(surprisals, texts="one text").texts == ("one text",)


@pytest.mark.parametrize(
    "found",
    [
        [True, False],
        np.array([1.0, 0.0]),
        torch.tensor([1, 0]),
        [{"value": 1, "item": "a"}, {"value": 0, "item": "b"}],
        pd.DataFrame({"value": [1.0, 0.0], "weight": [1, 1], "mine": ["x", "y"]}, index=[7, 9]),
        (value for value in (1, 0)),
        torch.tensor([1, 0], dtype=torch.bfloat16),
        [torch.tensor(1.0), torch.tensor(0.0)],
        [{"value": torch.tensor(True)}, {"value": np.array(0.0)}],
    ],
    ids=lambda found: type(found).__name__,
)
def test_items_are_numbers_or_rows(found: Any, tiny_llama: Any) -> None:
    result = ll.tasks.of_function(lambda model: found, name="mine")(tiny_llama)
    assert result.score == 0.5
    assert len(result.items) == 2
    assert {"item", "group", "value", "weight"} <= set(result.items.columns)


WRONG: dict[str, Any] = {
    "returns something of type float; return its items": 0.5,
    "returns something of type str": "many",
    "returns no item; return at least one": [],
    "have no 'value'; they have score": [{"score": 1}],
    "The value of item 2 of the task 'mine' is 'x', which is no number": [
        {"value": 1}, {"value": "x"}],
    "The weights of the task 'mine' are 0 or more": [{"value": 1, "weight": -1}],
    "returns an array that is no list of numbers": [[1, 2], [3, 4]],
    "an array that is no list of num": [[1], [2, 3]],
    "returns something of type float; return": torch.tensor(1.0),
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_items_that_are_none_are_told(sentence: str, tiny_llama: Any) -> None:
    with pytest.raises(LensLocError, match=sentence):
        ll.tasks.of_function(lambda model: WRONG[sentence], name="mine")(tiny_llama)


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        ([1.0, 0.0, 1.0], "gave 3 items under a lesion and 2 for the intact model; return"),
        ([1.0], "gave 1 items under a lesion and 2 for"),
        ([{"item": "b", "value": 1}, {"item": "a", "value": 0}],
         "gave as item 1 'b' under a lesion and 'a' for the intact model"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first_lesion", [2, 3])
def test_other_items_under_a_lesion_are_told(
    later: Any, sentence: str, first_lesion: int, tiny_llama: Any, mask: ll.UnitMask
) -> None:
    calls: list[int] = []

    def picky(model: Any) -> Any:
        """Return other items from the network's lesion on, or from the first draw on."""
        calls.append(1)
        same = [{"item": "a", "value": 1}, {"item": "b", "value": 0}]
        return later if len(calls) >= first_lesion else same

    with pytest.raises(LensLocError, match=f"The task 'picky' {sentence}"), unwarned():
        ll.lesion_study(
            tiny_llama, {"m": fits(mask, tiny_llama)}, [picky], ll.controls("layer"), progress=False
        )


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), None])
def test_no_number_without_a_lesion_is_told(
    lost: float | None, tiny_llama: Any, mask: ll.UnitMask
) -> None:
    """Else it would seem that lesions lose it; one that a lesion loses is a row without a score."""

    def gap(model: Any) -> Any:
        return [1.0, lost, 0.5]

    with pytest.raises(LensLocError, match=r"'gap' gave no number for item 2 .* without a lesion"):
        ll.lesion_study(tiny_llama, {"m": fits(mask, tiny_llama)}, [gap], progress=False)


def test_a_function_that_fails_is_named(tiny_llama: Any, mask: ll.UnitMask) -> None:
    def broken(model: Any) -> Any:
        raise KeyError("nothing")

    with pytest.raises(LensLocError, match=r"The task 'broken' failed \(KeyError: 'nothing'\)"):
        ll.lesion_study(tiny_llama, {"m": fits(mask, tiny_llama)}, [broken], progress=False)
    with pytest.raises(LensLocError, match="something of type int is neither"):
        as_tasks([5])


# -- controls --------------------------------------------------------------------------------------


def beside(network: ll.UnitMask, seed: int) -> ll.UnitMask:
    return ll.UnitMask(network.site, network.mask.roll(1 + seed, dims=1))


def test_a_function_draws_controls(tiny_llama: Any, mask: ll.UnitMask) -> None:
    mask = fits(mask, tiny_llama)
    found = list(ll.controls(["layer", beside], seeds=[0, 2])(mask))
    assert [(each.kind, each.seed) for each in found] == [
        ("layer", 0), ("layer", 2), ("beside", 0), ("beside", 2)]  # fmt: skip
    assert found[3].mask.addresses == ["L0.resid_post.4", "L1.resid_post.6", "L1.resid_post.11"]
    study = ll.lesion_study(
        tiny_llama, {"mine": mask}, [surprisals], ll.controls(beside, seeds=range(3)),
        exact=True, progress=False,
    )  # fmt: skip
    drawn = study.table[study.table["kind"] == "beside"]
    assert list(drawn["seed"]) == [0, 1, 2]
    with ll.lesion(tiny_llama, beside(mask, 1)), torch.no_grad():
        assert drawn["score"].iloc[1] == pytest.approx(np.mean(surprisals(tiny_llama)), rel=1e-6)
    assert study.comparisons["draws"].item() == 3
    assert "<beside>" in study.call


def test_what_is_no_control_is_told(mask: ll.UnitMask) -> None:
    def same(network: ll.UnitMask, seed: int) -> Any:
        return network

    def none(network: ll.UnitMask, seed: int) -> Any:
        return network.addresses

    def other_site(network: ll.UnitMask, seed: int) -> Any:
        return dataclasses.replace(network, site="mlp_out")

    def failing(network: ll.UnitMask, seed: int) -> Any:
        return 1 / 0

    for function, sentence in {
        same: "has 3 units, 3 of them the network's; draw as many as the network has, 3",
        none: "draws something of type list; return a UnitMask",
        other_site: "has units at mlp_out, but the network at resid_post",
        failing: r"failed with seed 0 \(ZeroDivisionError",
    }.items():
        with pytest.raises(LensLocError, match=sentence):
            list(ll.controls(function, seeds=[0])(mask))
    same.__name__ = "layer"
    with pytest.raises(LensLocError, match="There is another control 'layer'"):
        ll.controls(["layer", same])


# -- plug-ins --------------------------------------------------------------------------------------

PACKAGE = """
import lensloc as ll
def chess():
    return ll.Contrast.from_texts({"a": ["x", "y"], "b": ["z", "w"]}, target="a", control="b",
                                  name="chess")
def no_contrast():
    return ["x"]
def fails():
    raise RuntimeError("no board")
def moves(n=2):
    def played(model):
        return [1.0] * n
    return played
thing = 3
"""
POINTS = """
[lensloc.contrasts]
chess = my_chess:chess
list-of-texts = my_chess:no_contrast
failing = my_chess:fails
gone = my_chess:nothing
[lensloc.tasks]
chess-moves = my_chess:moves
a-number = my_chess:thing
not-there = my_absent_package:moves
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of somebody else."""
    (tmp_path / "my_chess.py").write_text(PACKAGE)
    made = tmp_path / "my_chess-1.2.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: my-chess\nVersion: 1.2\n")
    (made / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "my_chess", raising=False)
    return tmp_path


def test_packages_offer_contrasts_and_tasks(package: Path, tiny_llama: Any) -> None:
    assert {"chess", "language"} <= set(ll.contrasts.list())
    assert ll.contrasts.get("chess").name == "chess"
    task = ll.tasks.plugged("chess-moves", n=3)
    assert task.name == "played"
    assert len(task(tiny_llama).items) == 3


def test_broken_plugins_are_told(package: Path) -> None:
    for name, sentence in {
        "gone": r"The plug-in 'gone' of lensloc.contrasts \(my-chess 1.2\) cannot be loaded \(Attr",
        "failing": r"'failing' of lensloc.contrasts failed \(RuntimeError: no board\)",
        "list-of-texts": "gives something of type list, and not a Contrast; tell its authors",
        "nowhere": "There is no network 'nowhere'; .*; installed packages offer chess, failing",
    }.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.contrasts.get(name)
    for name, sentence in {
        "a-number": "is of type int, and not a function; tell its authors",
        "not-there": r"cannot be loaded \(ModuleNotFoundError: No module named 'my_absent_package'",
        "nowhere": "No installed package offers a task 'nowhere'; those that are offered: a-number",
    }.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.tasks.plugged(name)
    with pytest.raises(LensLocError, match="failed \\(TypeError"):
        ll.tasks.plugged("chess-moves", m=3)
