"""Runner: results under several lesions are kept, looked up, and made again where damaged."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from task_files import refused

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, UnitMask
from lensloc.display.sealed import sealed_record
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.results.kept_formats import RECORD
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.store import Store
from lensloc.tasks import TaskResult

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = torch.arange(5, 14)[None]


@dataclass(frozen=True)
class MeanLogit:
    """A task that counts its calls and notes which lesions were open."""

    name: str = "mean logit"
    first: int = 0
    calls: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": "mean logit", "first": self.first}

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        self.calls.append(tuple(found.description for found in open_lesions(model)))
        logits = model(TOKENS, return_type="logits")[0, self.first :].double()
        items = pd.DataFrame({"value": logits.std(-1).tolist()})
        items = items.assign(item=[str(i) for i in items.index], group="all", weight=1.0)
        return TaskResult(self.name, "mean logit", items)


def neurons(seed: int = 0, site: str = "mlp_post") -> UnitMask:
    size = (3, 48 if site == "mlp_post" else 32)
    return UnitMask(site, torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.2)


ZERO = PlannedLesion(neurons(0), {"mode": "zero"})
CLAMP = PlannedLesion(neurons(1), {"mode": "clamp", "value": 2.0})


def runner(model: Any, store: Store | None = None) -> Runner:
    return Runner(model, describe(model), store)


def test_lesions_are_opened_in_order(tiny_llama: Any) -> None:
    task = MeanLogit()
    run = runner(tiny_llama)
    assert (ZERO.mask.mask & CLAMP.mask.mask).any()
    before = task(tiny_llama)
    ways: dict[str, tuple[PlannedLesion, ...]] = {
        "none": (), "zero": (ZERO,), "clamp": (CLAMP,), "both": (ZERO, CLAMP),
        "turned": (CLAMP, ZERO),
    }  # fmt: skip
    scores = {}
    for name, planned in ways.items():
        result, effects = run.measure(task, *planned)
        assert len(effects) == len(planned)
        assert all(effect.took_effect for effect in effects)
        assert all(set(effect.fired.values()) == {1} for effect in effects)
        scores[name] = result.score
    assert [[words.split()[0] for words in call] for call in task.calls[1:]] == [
        [], ["zero"], ["clamp"], ["zero", "clamp"], ["clamp", "zero"],
    ]  # fmt: skip
    assert len(set(scores.values())) == 5
    assert scores["none"] == before.score
    zero, clamp = ll.lesion(tiny_llama, ZERO.mask), CLAMP.on(tiny_llama)
    with zero:
        assert task(tiny_llama).score == scores["zero"]
        with clamp:
            assert task(tiny_llama).score == scores["both"]
    with clamp:
        assert task(tiny_llama).score == scores["clamp"]
    assert task(tiny_llama).score == before.score


def test_what_is_known_is_not_measured_again(tiny_llama: Any, tmp_path: Path) -> None:
    store, task = Store.at(tmp_path), MeanLogit()
    run = runner(tiny_llama, store)
    first = run.measure(task, ZERO, CLAMP)
    assert run.measure(task, ZERO, CLAMP)[0].score == first[0].score
    assert len(task.calls) == 1
    assert len(list(tmp_path.glob("*.json"))) == 1
    again, effects = runner(tiny_llama, store).measure(task, ZERO, CLAMP)
    assert len(task.calls) == 1
    pd.testing.assert_frame_equal(again.items, first[0].items)
    assert effects == first[1]
    # A mask of the same units from elsewhere is the same lesion.
    copied = PlannedLesion(UnitMask("mlp_post", ZERO.mask.mask.clone()), {"mode": "zero"})
    runner(tiny_llama, store).measure(task, copied, CLAMP)
    assert len(task.calls) == 1
    without = runner(tiny_llama)
    without.measure(task, ZERO)
    without.measure(task, ZERO)
    assert len(task.calls) == 2
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_whatever_differs_is_measured(
    tiny_llama: Any, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    store, task = Store.at(tmp_path), MeanLogit()
    values = torch.full((3, 48), 2.0)
    ways: list[tuple[PlannedLesion, ...]] = [
        (), (ZERO,), (CLAMP,), (ZERO, CLAMP), (CLAMP, ZERO), (ZERO, ZERO),
        (PlannedLesion(neurons(3), {"mode": "zero"}),),
        (PlannedLesion(neurons(0), {"mode": "zero", "positions": "last"}),),
        (PlannedLesion(neurons(1), {"mode": "clamp", "value": 3.0}),),
        (PlannedLesion(neurons(1), {"mode": "clamp", "value": values}),),
        (PlannedLesion(neurons(1), {"mode": "clamp", "value": values * 2}),),
    ]  # fmt: skip
    for _ in range(2):
        for way in ways:
            runner(tiny_llama, store).measure(task, *way)
    assert len(task.calls) == len(ways)
    other = MeanLogit(first=3)
    runner(tiny_llama, store).measure(other)
    assert len(other.calls) == 1
    bridge = ll.load_model(checkpoints["llama"], backend="bridge")
    runner(bridge, store).measure(task)
    half = ll.load_model(checkpoints["llama"], dtype="bfloat16")
    runner(half, store).measure(task)
    with ll.lesion(tiny_llama, neurons(5)):
        runner(tiny_llama, store).measure(task)
    assert len(task.calls) == len(ways) + 3
    assert len(list(tmp_path.glob("*.json"))) == len(ways) + 4


def test_a_result_has_the_name_that_the_task_has_now(tiny_llama: Any, tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    runner(tiny_llama, store).measure(MeanLogit("one"))
    task = MeanLogit("other")
    run = runner(tiny_llama, store)
    assert run.measure(task)[0].task == "other"
    assert run.measure(MeanLogit("third"))[0].task == "third"
    assert not task.calls


def damages() -> dict[str, Callable[[dict[str, Any]], Any]]:
    def without(*path: str) -> Callable[[dict[str, Any]], Any]:
        def remove(record: dict[str, Any]) -> Any:
            place = record
            for name in path[:-1]:
                place = place[name]
            del place[path[-1]]
            return record

        return remove

    return {
        "result": without("result"),
        "items": without("result", "items"),
        "effects": without("effects"),
        "list": lambda record: [record],
        "no effects": lambda record: {**record, "effects": None},
        "effect": lambda record: {**record, "effects": [{"fired": {}}]},
        "more": lambda record: {**record, "result": {**record["result"], "wrong": 1}},
    }


@pytest.mark.parametrize("damage", [*damages(), "cut", "empty"])
def test_a_damaged_entry_is_made_again(tiny_llama: Any, tmp_path: Path, damage: str) -> None:
    store, task = Store.at(tmp_path), MeanLogit()
    first, effects = runner(tiny_llama, store).measure(task, ZERO)
    (path,) = tmp_path.glob("*.json")
    whole = path.read_text()
    if damage in damages():
        content = json.loads(whole)["content"]  # sealed again, as if it had been kept so
        content["record"] = damages()[damage](content["record"])
        path.write_bytes(sealed_record(RECORD, content))
    else:
        path.write_text(whole[:-20] if damage == "cut" else "")
    again, others = runner(tiny_llama, store).measure(task, ZERO)
    assert len(task.calls) == 2
    assert (again.score, others) == (first.score, effects)
    assert path.read_text() == whole
    assert path.with_name(f"{path.name}.damaged").exists()


def test_nothing_is_kept_under_foreign_hooks(
    tiny_llama: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, task = Store.at(tmp_path), MeanLogit()
    known, _ = runner(tiny_llama, store).measure(task, ZERO)
    hook = ("blocks.0.hook_resid_post", lambda value, hook: value * 1.5)
    with tiny_llama.hooks(fwd_hooks=[hook]), caplog.at_level("INFO"):
        run = runner(tiny_llama, store)
        found, _ = run.measure(task, ZERO)
        run.measure(task, ZERO)
        run.measure(task)
    assert "neither looked up nor kept" in caplog.text
    assert found.score != known.score
    assert len(task.calls) == 3, "within a run it is measured once"
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_what_fails_is_not_kept_and_leaves_no_lesion(tiny_llama: Any, tmp_path: Path) -> None:
    store = Store.at(tmp_path)

    class Failing(MeanLogit):
        def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(tiny_llama, store).measure(Failing(), ZERO, CLAMP)
    assert open_lesions(tiny_llama) == ()
    assert not list(tmp_path.iterdir())


def test_warnings_are_left_to_the_tables(tiny_llama: Any) -> None:
    """A lesion without effect: the hooks fire, and nothing changes."""
    idle = PlannedLesion(neurons(0), {"mode": "scale", "scale": 1.0})
    _, (effect,) = runner(tiny_llama).measure(MeanLogit(), idle)
    assert effect.fired
    assert not effect.took_effect


def test_planned_lesions(tiny_llama: Any) -> None:
    assert CLAMP.on(tiny_llama).settings["value"] == 2.0
    with ZERO.on(tiny_llama, check=False) as opened:
        tiny_llama(TOKENS)
    assert opened.effect.moved is None
    with pytest.warns(LensLocWarning, match="never fired"), ZERO.on(tiny_llama):
        pass
    empty = PlannedLesion(neurons(0) - neurons(0), {"mode": "zero"})
    refused(lambda: empty.on(tiny_llama), "holds no unit")
    with pytest.raises(LensLocError, match="needs scale"):
        runner(tiny_llama).measure(MeanLogit(), PlannedLesion(neurons(0), {"mode": "scale"}))
