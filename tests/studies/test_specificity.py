"""Networks x tasks on a model whose tasks need known units: what is planted is found."""

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from plotted import mask_of
from scipy import stats

import lensloc as ll
from lensloc import LensLocError, LensLocWarning
from lensloc.results.lesions import NETWORK
from lensloc.results.specificities import Specificity
from lensloc.studies.dissociating import OWN, _tested, planned
from lensloc.tasks import TaskResult
from lensloc.vocabulary import DOMAINS

SITE, SHAPE = "mlp_post", (3, 48)
TOKENS = torch.tensor([[5, 17, 40, 8]])
TEXT = "the old gardener watered every plant"
A = [(layer, unit) for layer in (0, 1) for unit in range(6)]
B = [(layer, unit) for layer in (1, 2) for unit in range(20, 26)]
REST = [(layer, unit) for layer in range(3) for unit in range(30, 48)]


@dataclass(frozen=True)
class Needs:
    """A task whose items are right while a unit of their own is on."""

    name: str
    units: tuple[tuple[int, int], ...]
    kinds: tuple[str, ...] = ()
    right: tuple[bool, ...] = ()  # of the intact model; all if empty
    chance: float | None = 0.25
    texts: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"task": "needs", **dataclasses.asdict(self)}

    def at(self, items: Sequence[int]) -> "Needs":
        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[item] for item in items) if values else ()

        return dataclasses.replace(
            self, units=some(self.units), kinds=some(self.kinds), right=some(self.right)
        )

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(SHAPE[0])]
        _, cache = model.run_with_cache(TOKENS, names_filter=hooks)
        on = [float(cache[hooks[layer]][0, -1, unit] != 0) for layer, unit in self.units]
        right = self.right or (True,) * len(on)
        items = pd.DataFrame(
            {
                "item": [str(n) for n in range(len(on))],
                "group": list(self.kinds) or "all",
                "value": [value * known for value, known in zip(on, right, strict=True)],
                "weight": 1.0,
            }
        )
        return TaskResult(self.name, "accuracy", items, chance=self.chance)


def task(name: str, units: Sequence[tuple[int, int]], n: int = 40, **more: Any) -> Needs:
    """A task of which three items in four need these units, and the others some of the rest."""
    own = [units[i % len(units)] for i in range(3 * n // 4)]
    rest = [REST[(7 * i) % len(REST)] for i in range(n - len(own))]
    return Needs(name, tuple(own + rest), **more)


NETWORKS = {"a": mask_of(SHAPE, *A, site=SITE), "b": mask_of(SHAPE, *B, site=SITE)}
TASKS = [task("needs a", A), task("needs b", B), task("needs neither", REST)]
WHOSE = {"a": ["needs a"], "b": ["needs b"]}


def run(
    model: Any, tasks: Any = None, networks: Any = None, *, draws: int = 3, **options: Any
) -> Specificity:
    given = {
        "controls": ll.controls(None, seeds=range(draws)),
        "domains": WHOSE,
        "answered": None,
        "progress": False,
        **options,
    }
    return ll.specificity(model, networks or NETWORKS, TASKS if tasks is None else tasks, **given)


@pytest.fixture(scope="module")
def found(tiny_llama: Any, one_thread: None) -> Specificity:
    return run(tiny_llama, draws=20)


# -- planted truths --------------------------------------------------------------------------------


def test_a_planted_double_dissociation_is_found(found: Specificity) -> None:
    (held,) = found.found.values()
    assert held.crossed
    assert held.p_double == 1 / 21
    assert held.overall.p == held.overall.min_p == 1 / 441
    assert all(index.low > 0 for index in held.networks)
    shares = found.matrix("drop")
    assert shares.loc["a", "needs a"] == shares.loc["b", "needs b"] == 0.75
    assert shares.loc["a", "needs b"] == shares.loc["b", "needs a"] == 0
    # By hand: three quarters of the items, as a share of the room above guessing.
    assert found.matrix().loc["a", "needs a"] == pytest.approx(0.75 / 0.75)
    assert held.networks[0].index == pytest.approx(1.0)
    said = " ".join(found.summary())
    assert "The lesion of a is specific: needs a loses more of the room to fall than needs b and " \
        "needs neither" in said  # fmt: skip
    assert "That is a double dissociation: each of a and b" in said


def test_shared_damage_is_none(tiny_llama: Any, one_thread: None) -> None:
    """Both tasks need the units of both networks."""
    both = [task("needs a", A + B, 32), task("needs b", B + A, 32), TASKS[2]]
    result = run(tiny_llama, both, draws=20)
    (held,) = result.found.values()
    assert result.matrix("drop").loc["a", "needs b"] > 0.2
    assert not held.crossed
    assert "double dissociation: each" not in " ".join(result.summary())
    same = run(tiny_llama, [task("needs a", A), task("needs b", A), TASKS[2]], draws=20)
    (held,) = same.found.values()
    assert held.networks[0].p == 1 / 21  # more than the third task
    assert held.networks[1].p > 0.05
    assert "of a and b, only a harms its own tasks" in " ".join(same.summary())


def test_every_number_is_that_of_a_lesion_by_hand(found: Specificity, tiny_llama: Any) -> None:
    for name, mask in NETWORKS.items():
        draws = [control.mask for control in ll.controls(None, seeds=range(20))(mask)]
        for each in TASKS:
            intact = each(tiny_llama).score
            drops = []
            for units in (mask, *draws):
                with ll.lesion(tiny_llama, units):
                    drops.append(intact - each(tiny_llama).score)
            row = found.table.set_index(["network", "task"]).loc[(name, each.name)]
            assert row["drop"] == pytest.approx(drops[0])
            assert row["control_drop"] == pytest.approx(np.mean(drops[1:]))
            assert row["p_more"] == (1 + sum(d >= drops[0] - 1e-9 for d in drops[1:])) / 21
            assert row["share"] == pytest.approx(drops[0] / (intact - 0.25))
            assert row["own"] == (each.name in WHOSE[name])


# -- items that the model answers ------------------------------------------------------------------


def test_kinds_are_chosen_on_the_half_that_is_not_measured(tiny_llama: Any) -> None:
    kinds = ("known",) * 40 + ("unknown",) * 20 + ("small",) * 3
    right = (True,) * 40 + (False,) * 20 + (True,) * 3
    units = tuple(A[i % 12] for i in range(63))
    mixed = Needs("needs a", units, kinds, right)
    result = run(tiny_llama, [mixed, *TASKS[1:]], answered=0.4)
    row = result.room.set_index("task").loc["needs a"]
    assert (row["items"], row["kinds"], row["kinds_answered"]) == (63, 3, 2)
    assert row["n_items"] == 20 + 2  # of three, the larger half is measured
    assert row["intact"] == 1
    measured = {n: set(_tested(mixed(tiny_llama), 0.4, n)[0]) for n in range(3)}
    assert measured[0] != measured[1]
    assert all(position < 40 or position >= 60 for position in measured[0])


def test_no_measured_item_decides_what_is_measured() -> None:
    """Where nothing is known, what is kept by one half is at guessing on the other."""
    rng = np.random.default_rng(0)
    tested, chosen = [], []
    for trial in range(300):
        values = rng.binomial(1, 0.5, 80).astype(float)
        items = pd.DataFrame(
            {"item": range(80), "group": np.repeat(list("abcdefgh"), 10), "value": values}
        ).assign(weight=1.0)
        positions, counts = _tested(TaskResult("x", "accuracy", items, chance=0.5), 0.4, trial)
        assert len(positions) == 5 * counts["kinds_answered"]
        tested += values[positions].tolist()
        kept = items["group"].iloc[positions].unique()
        others = np.setdiff1d(np.flatnonzero(items["group"].isin(kept)), positions)
        chosen += values[others].tolist()
    assert np.mean(chosen) > 0.75  # chosen on themselves they would look answered
    assert stats.binomtest(int(sum(tested)), len(tested), 0.5).pvalue > 0.001


def test_a_task_without_room_is_told_and_left_out(tiny_llama: Any) -> None:
    guessed = Needs("guessed", tuple(REST[:40]), right=(True, False, False, False) * 10)
    for answered in (None, 0.4):
        with pytest.warns(LensLocWarning, match="Guessed has no room to fall"):
            result = run(tiny_llama, [*TASKS, guessed], answered=answered)
        assert result.with_room == ("needs a", "needs b", "needs neither")
        assert result.tasks[-1] == "guessed"
        assert result.matrix()["guessed"].isna().all()
        assert np.isnan(result.table.set_index("task").loc["guessed", "room"]).all()
        assert any("Guessed has no room to fall" in sentence for sentence in result.warnings)
        figure = ll.plot.specificity(result)
        assert figure.data[0].text[0][-1] == "no room"


def test_a_network_without_tasks_is_shown_and_has_no_index(tiny_llama: Any) -> None:
    networks = {**NETWORKS, "c": mask_of(SHAPE, *REST[:12], site=SITE)}
    result = run(tiny_llama, networks=networks, domains={**WHOSE, "c": []})
    assert list(result.matrix().index) == ["a", "b", "c"]
    assert [index.network for index in result.found["random"].networks] == ["a", "b"]
    assert "c has no task of its own, so it has no index." in result.warnings


# -- what is kept ----------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(
    tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    measure = Needs.__call__

    def counted(self: Needs, model: Any, *, progress: bool = False) -> TaskResult:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return measure(self, model, progress=progress)

    monkeypatch.setattr(Needs, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, store=tmp_path, draws=3)
    again = run(tiny_llama, store=tmp_path, draws=3)
    whole = 3 + 2 * 4 * 3  # intact, and every lesion on every task
    assert calls == whole + 1  # the one that was interrupted
    fresh = run(tiny_llama, draws=3)
    pd.testing.assert_frame_equal(again.table, fresh.table)
    pd.testing.assert_frame_equal(again.indices, fresh.indices)


def test_the_estimate_is_of_all_lesions(tiny_llama: Any) -> None:
    options = dict(percent=None, site=None, mode="zero", reference=None, room=None, answered=None,
                   seed=0, confidence=0.95, store=None, progress=False,
                   batch_size="auto")  # fmt: skip
    wanted = [ll.controls(["random", "least-selective"], seeds=range(3)), ll.controls("layer")]
    grid = planned(tiny_llama, NETWORKS, TASKS, wanted, WHOSE, **options)
    assert grid.n_lesions == 2 * (1 + 3 + 1 + 20)
    assert grid.n_items == 120
    assert 0 < grid.seconds(4) < 600


def test_it_is_pickled_and_shows_itself(found: Specificity) -> None:
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(again.indices, found.indices)
    assert "no number" not in found._repr_html_()
    assert repr(found).startswith("Specificity(networks a, b; tasks needs a, needs b, needs neith")
    assert found.call.startswith("ll.specificity(")


def test_the_figure_shows_the_table(found: Specificity) -> None:
    figure = ll.plot.specificity(found)
    heat = [trace for trace in figure.data if trace.type == "heatmap"]
    assert np.allclose(heat[0].z, found.matrix("share"))
    assert np.allclose(heat[1].z, found.matrix("control_share"))
    assert heat[0].text[0][0] == "1.00"
    assert heat[0].text[0][2].startswith("(")
    outlined = {(shape.x0, shape.y0) for shape in figure.layout.shapes if shape.type == "rect"}
    assert outlined == {(-0.5, -0.5), (0.5, 0.5)}
    draws = [trace for trace in figure.data if trace.name == "control draws"]
    assert [len(trace.x) for trace in draws] == [20, 20]
    points = [trace for trace in figure.data if trace.name == "network"]
    assert [trace.x[0] for trace in points] == [i.index for i in found.found["random"].networks]


# -- what is refused or told -----------------------------------------------------------------------


def test_bad_input_is_one_sentence(tiny_llama: Any) -> None:
    def told(match: str, *given: Any, **options: Any) -> None:
        with pytest.raises(LensLocError, match=match) as caught:
            run(tiny_llama, *given, **options)
        assert str(caught.value).count("\n") == 0

    told("between tasks \\(needs a given\\)", TASKS[:1])
    told("Two tasks have one name", [TASKS[0], TASKS[0]])
    told("Which tasks are those of 'a' is not known; say it", domains=None)
    told("'sums', a task of 'a', is not measured", domains={**WHOSE, "a": ["sums"]})
    told("domains names 'c', which is no network", domains={**WHOSE, "c": []})
    told("No network \\(a, b\\) has both a task of its own", domains={"a": [], "b": []})
    told("no control here is drawn", controls=ll.controls("least-active"))
    told("answered is a share", answered=2.0)
    told("room names 'sums', which is no task", room={"sums": 1.0})
    told("above 0, not -1", room={"needs a": -1})
    told("site='mlp_post' says where contrasts", site="mlp_post")
    guessed = [Needs(name, tuple(A), right=(False,) * 12) for name in ("needs a", "needs b")]
    told("fewer than two have room to fall \\(none\\)", guessed)
    free = dataclasses.replace(TASKS[1], chance=None)
    told("How far needs b can fall is not known", [TASKS[0], free])
    run(tiny_llama, [TASKS[0], free], room={"needs b": 1.0})
    other = [
        dataclasses.replace(mask, provenance=mask.provenance.replace(weights_hash=name, model=name))
        for name, mask in NETWORKS.items()
    ]
    told("localized on different models \\(a on a, b on b\\)", None, dict(zip("ab", other)))  # noqa: B905
    with pytest.raises(LensLocError, match="There is no network to lesion"):
        ll.specificity(tiny_llama, {}, TASKS)


def test_one_network_and_one_draw_are_told(tiny_llama: Any) -> None:
    one = run(tiny_llama, networks={"a": NETWORKS["a"]}, domains={"a": ["needs a"]})
    assert "double" not in " ".join(one.summary())
    assert "The lesion of a is specific" in one.summary()[0]
    single = run(tiny_llama, draws=1)
    assert any("1 draw stands" in sentence for sentence in single.warnings)
    assert "With so few draws of random units nothing can be concluded" in single.summary()[0]
    assert "cannot be told" in single.summary()[-1]


def test_units_in_common_are_told(tiny_llama: Any) -> None:
    near = {"a": NETWORKS["a"], "b": mask_of(SHAPE, *A[:4], *B[:8], site=SITE)}
    with pytest.warns(LensLocWarning, match="a and b have 4 units in common"):
        run(tiny_llama, networks=near, draws=2)


def test_texts_that_selected_are_left_out_for_all_networks(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    sentences = small_contrast.conditions["sentences"]
    rows = [(text, " ".join(reversed(text.split()))) for text in (*sentences[:4], TEXT + " now",
            "a stone bridge", "the sun came up", "every village was still")]  # fmt: skip
    pd.DataFrame(rows, columns=["sentence_good", "sentence_bad"]).to_csv(tmp_path / "p.csv")
    pairs = ll.tasks.minimal_pairs(tmp_path / "p.csv")
    with pytest.warns(LensLocWarning, match="Items of minimal-pairs that hold one of 4"):
        result = run(
            tiny_llama,
            [pairs, TASKS[0]],
            {"small": small_contrast},
            domains={"small": ["minimal-pairs"]},
            percent=10,
            room={"minimal-pairs": 0.5},
            draws=2,
        )
    assert result.room.set_index("task").loc["minimal-pairs", "n_items"] == 4
    assert any("Items of minimal-pairs that hold one of 4" in told for told in result.warnings)


def test_bundled_domains_are_those_of_bundled_contrasts() -> None:
    assert set(OWN) <= set(ll.contrasts.NAMES)
    assert {name for own in OWN.values() for name in own} <= set(DOMAINS)
    owned = [name for own in OWN.values() for name in own]
    assert len(owned) == len(set(owned))


def test_controls_of_several_kinds_have_an_index_each(tiny_llama: Any) -> None:
    wanted = ll.controls([None, "layer"], seeds=range(3), masks={"mine": NETWORKS["b"]})
    networks = {"a": NETWORKS["a"]}
    result = run(tiny_llama, networks=networks, domains={"a": ["needs a"]}, controls=wanted)
    assert list(result.found) == ["random", "layer"]
    assert result.kinds == ("random", "layer", "mine")
    assert result.matrix("control_drop", "mine").loc["a", "needs b"] == 0.75
    assert set(result.table["kind"]) == {"random", "layer", "mine"}
    assert NETWORK not in result.kinds
    with pytest.raises(LensLocError, match="'mine' was not drawn, so it has no index; random, lay"):
        ll.plot.specificity(result, kind="mine")
    with pytest.raises(LensLocError, match="no control 'heads' here"):
        result.matrix(kind="heads")
    with pytest.raises(LensLocError, match="There is no 'score' here"):
        result.matrix("score")
