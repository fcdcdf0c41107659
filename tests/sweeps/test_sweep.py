"""Sweeps: every cell is what the functions give, is kept at once, and is measured once."""

import errno
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import submitit
import sweep_world
import torch
from commands import run, run_json
from ranks import as_ranks, in_child

import lensloc as ll
from lensloc.errors import unwarned
from lensloc.results.lesions import NETWORK
from lensloc.studies.store import Store
from lensloc.sweeps import ranks as sweep_ranks
from lensloc.sweeps import running, sweeping, working
from lensloc.sweeps.cells import jobs_of
from lensloc.sweeps.checking import ready
from lensloc.sweeps.plan import read_plan
from lensloc.sweeps.ranks import Ranks

pytestmark = pytest.mark.usefixtures("one_thread")
PLACE = ["model", "contrast", "site", "protocol"]


@pytest.fixture(scope="module")
def plan(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep_world.write_world(tmp_path_factory.mktemp("sweeps"), checkpoints)


@pytest.fixture(scope="module")
def whole(plan: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> ll.Sweep:
    """The plan, measured without interruption."""
    return ll.sweep(plan, store=tmp_path_factory.mktemp("whole"), progress=False)


def small(plan: Path) -> ll.Contrast:
    return ll.Contrast.from_csv(
        plan.parent / "small.csv", target="sentences", control="nonwords", name="small"
    )


def same_numbers(a: ll.Sweep, b: ll.Sweep) -> None:
    """All but when and how fast it was measured."""
    for name in ("localizations", "lesions", "layers", "specificity", "published"):
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name))
    left = ["seconds", "made"]
    pd.testing.assert_frame_equal(a.cells.drop(columns=left), b.cells.drop(columns=left))
    assert a.summary() == b.summary()
    assert a.warnings == b.warnings


def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells that are measured from now on, by their words."""
    found: list[str] = []
    keep = working.Worker._keep

    def watched(self: Any, cell: Any, *rest: Any, **more: Any) -> None:
        found.append(cell.words)
        keep(self, cell, *rest, **more)

    monkeypatch.setattr(working.Worker, "_keep", watched)
    return found


def test_cells_are_what_the_functions_give(
    plan: Path, whole: ll.Sweep, checkpoints: dict[str, Path]
) -> None:
    assert whole.counts == {"done": 8, "failed": 0, "waiting": 0}
    model = ll.load_model(checkpoints["gpt2"])
    with unwarned():
        found = ll.localize(model, small(plan), ["mlp_post"], progress=False)["mlp_post"]
        network = found.top(percent=10)
        study = ll.lesion_study(
            model, {"small": found},
            [ll.tasks.minimal_pairs(plan.parent / "pairs.csv", name="pairs")],
            ll.controls("random", seeds=range(2)), [10, 20], progress=False,
        )  # fmt: skip
    of = {"model": "my-gpt2", "contrast": "small", "site": "mlp_post", "protocol": "lensloc"}
    rows = whole.localizations
    (row,) = rows[(rows[list(of)] == pd.Series(of)).all(axis=1)].to_dict("records")
    assert (row["n_layers"], row["width"], row["n_units"]) == (3, 128, len(network))
    assert row["largest_t"] == found.range_of_t[1]
    layers = np.repeat([0, 0.5, 1], network.per_layer().numpy())
    assert row["depth"] == pytest.approx(layers.mean())
    assert row["significant"] == ((found.q < 0.05) & (found.t > 0)).double().mean()
    assert row["weights_hash"] == network.provenance.weights_hash
    by_layer = whole.layers[(whole.layers[list(of)] == pd.Series(of)).all(axis=1)]
    assert by_layer["share"].tolist() == network.percent_per_layer().tolist()
    assert by_layer["relative_depth"].tolist() == [0, 0.5, 1]
    lesions = whole.lesions[(whole.lesions[list(of)] == pd.Series(of)).all(axis=1)]
    own = study.table[study.table["kind"] == NETWORK]
    for name in ("score", "intact", "drop_low"):
        assert lesions[name].tolist() == own[name].tolist()
    for name in ("network_drop", "control_drop", "difference", "p_more", "difference_low"):
        assert lesions[name].tolist() == study.comparisons[name].tolist()
    assert set(lesions["verdict"]) <= {"holds", "not told apart", "reversed", "no harm", "open"}
    assert len(whole.table) == len(whole.lesions) == 2 * 2 * 2


def test_a_killed_sweep_goes_on_where_it_stopped(
    plan: Path, whole: ll.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_after_three() -> None:
        keep, kept = working.Worker._keep, []

        def watched(self: Any, cell: Any, *rest: Any, **more: Any) -> None:
            keep(self, cell, *rest, **more)
            kept.append(cell)
            if len(kept) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        working.Worker._keep = watched  # type: ignore[method-assign]
        ll.sweep(plan, store=tmp_path, progress=False)

    assert in_child(killed_after_three) == -signal.SIGKILL
    halfway = ll.sweep(plan, store=tmp_path, measure=False)
    assert halfway.counts == {"done": 3, "failed": 0, "waiting": 5}
    assert halfway.summary()[0] == "3 of 8 cells are done; 5 are waiting."
    done = set(halfway.cells.loc[halfway.cells["state"] == "done", "cell"])
    again = measured(monkeypatch)
    resumed = ll.sweep(plan, store=tmp_path, progress=False)
    assert len(again) == 5
    same_numbers(resumed, whole)
    stayed = resumed.cells[resumed.cells["cell"].isin(done)]
    assert stayed["made"].tolist() == halfway.cells.dropna(subset="seconds")["made"].tolist()
    monkeypatch.setattr(working, "load_model", None)  # nothing is left to do, so none is loaded
    same_numbers(ll.sweep(plan, store=tmp_path, progress=False), whole)
    assert len(again) == 5


def test_what_fails_leaves_its_reason_and_stops_nothing(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = plan.parent / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "llama", "hidden_size": -1}')
    wrong = sweep_world.changed(
        models=["broken", "my-llama"], sites=["ln1.hook_normalised", "resid_post"], lesions=[]
    )
    path = sweep_world.write_plan(plan.parent, wrong, "wrong.yaml")
    found = ll.sweep(path, store=tmp_path, progress=False)
    states = found.cells.set_index(["model", "site"])["state"].to_dict()
    assert states == {
        ("broken", "ln1.hook_normalised"): "failed",
        ("broken", "resid_post"): "failed",
        ("my-llama", "ln1.hook_normalised"): "failed",
        ("my-llama", "resid_post"): "done",
    }
    assert "2 cells failed" in " ".join(found.warnings)
    reasons = found.cells["reason"].tolist()
    assert "hidden_size = -1" in reasons[0]
    assert "hook_normalised" in reasons[2]
    again = measured(monkeypatch)
    ll.sweep(path, store=tmp_path, progress=False)
    assert len(again) == 3  # what failed is tried again


def test_a_model_that_cannot_be_loaded_again_leaves_what_is_done(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a task of Slurm goes on, on a machine that is broken."""
    one = sweep_world.write_plan(
        plan.parent, sweep_world.changed(models=["my-llama"], sites=["resid_post"]), "again.yaml"
    )
    read, file = read_plan(one)
    checked = ready(read, file)
    store = Store.at(tmp_path)
    ((order, _),) = running.orders(file, store, jobs_of(checked.cells()), None)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no GPU")

    with monkeypatch.context() as patch:
        patch.setattr(working, "lesion_study", broken)
        order()
    before = ll.sweep(one, store=store, measure=False)
    assert before.counts == {"done": 1, "failed": 1, "waiting": 0}
    monkeypatch.setattr(working, "load_model", broken)
    order()
    after = ll.sweep(one, store=store, measure=False)
    assert after.counts == before.counts
    assert "RuntimeError: no GPU" in after.failures()[0]
    pd.testing.assert_frame_equal(after.localizations, before.localizations)


def test_verdicts_stand_beside_their_controls(plan: Path, tiny_llama: Any) -> None:
    controls = [ll.controls("random", seeds=range(2)), ll.controls("layer", seeds=range(19))]
    with unwarned():
        found_there = ll.localize(tiny_llama, small(plan), progress=False)["resid_post"]
        study = ll.lesion_study(
            tiny_llama, {"small": found_there},
            [ll.tasks.minimal_pairs(plan.parent / "pairs.csv", name="pairs")],
            controls, [10, 20], exact=True, progress=False,
        )  # fmt: skip
    found = working._verdicts(study)
    compared = study.comparisons
    assert compared["kind"].tolist() == ["random", "layer"] * 2
    assert found[::2] == ["open"] * 2  # two draws are too few
    by_draws = zip(found[1::2], compared.iloc[1::2].to_dict("records"), strict=True)
    for verdict, row in by_draws:
        if row["p_more"] <= 0.05:
            assert verdict in ("holds", "no harm")
        else:
            assert verdict == ("reversed" if row["p_less"] <= 0.05 else "not told apart")


def test_processes_share_the_models(plan: Path, whole: ll.Sweep, tmp_path: Path) -> None:
    """Not guarded by ``if __name__ == "__main__"``, as in a notebook."""
    where = sweep_world.write_plan(plan.parent, sweep_world.changed(lesions=[]), "shared.yaml")
    found = ll.sweep(where, store=tmp_path, processes=2, progress=False)
    pd.testing.assert_frame_equal(found.localizations, whole.localizations)


def test_a_process_that_is_ended_is_told(plan: Path, tmp_path: Path) -> None:
    class Ended(running.Order):
        def __call__(self) -> int:
            raise running.BrokenProcessPool("a worker was killed")

    read, file = read_plan(plan)
    checked = ready(read, file)
    todo = running.orders(file, Store.at(tmp_path), jobs_of(checked.cells()), None)
    orders = [Ended(**vars(order)) for order, _ in todo]
    with (
        joblib.parallel_config(backend="threading"),
        pytest.raises(ll.LensLocError, match=r"ended from outside.*what was measured is kept"),
    ):
        running.run_in_processes(orders, 2, lambda n: None)


def test_every_process_has_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = running.device_of_its_own
    with own(None, tmp_path) as device:
        assert device is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with own("cpu", tmp_path) as device:
        assert device == "cpu"
    with own(None, tmp_path) as first, own(None, tmp_path) as second:
        assert [first, second] == ["cuda:0", "cuda:1"]
        with own(None, tmp_path) as third:  # of which there is none left
            assert third in (first, second)
    with pytest.raises(OSError, match="disk"), own(None, tmp_path):
        raise OSError("the disk is full")
    with own(None, tmp_path) as device:
        assert device == "cuda:0"


# -- ranks -----------------------------------------------------------------------------------------


def test_ranks_share_the_models(plan: Path, whole: ll.Sweep, tmp_path: Path) -> None:
    def work(rank: int) -> None:
        own = measured_in_child()
        ll.sweep(plan, store=tmp_path / "store", progress=False)
        (tmp_path / f"{rank}.json").write_text(json.dumps(own))

    assert as_ranks(work) == [0, 0]
    own = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [{"llama" in words for words in each} for each in own] == [{True}, {False}]
    assert [len(each) for each in own] == [4, 4]
    same_numbers(ll.sweep(plan, store=tmp_path / "store", measure=False), whole)


def test_the_command_under_torchrun_shares_the_models(plan: Path, tmp_path: Path) -> None:
    one = sweep_world.write_plan(plan.parent, sweep_world.changed(lesions=[]), "torchrun.yaml")

    def work(rank: int) -> None:
        own = measured_in_child()
        assert run("sweep", one, "--store", tmp_path / "store") == 0
        (tmp_path / f"{rank}.json").write_text(json.dumps(own))

    assert as_ranks(work) == [0, 0]
    own = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [len(each) for each in own] == [2, 2]
    assert ll.sweep(one, store=tmp_path / "store", measure=False).counts["done"] == 4


def test_looking_at_a_sweep_is_one_process_work(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    for command in ("status", "report"):
        assert run("sweep", command, plan) == 2
        assert f"lensloc sweep {command} is one process's work" in capfd.readouterr().err


def test_ranks_that_cannot_meet_or_share_already_are_told(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("connection refused\nsomewhere")

    with monkeypatch.context() as patch:
        patch.setattr(torch.distributed, "init_process_group", gone)
        with pytest.raises(ll.LensLocError, match=r"cannot find each other \(connection refused\)"):
            Ranks(0, 2, 0).meet("plan")
    monkeypatch.setattr(sweeping, "n_ranks", lambda: 2)
    with pytest.raises(ll.LensLocError, match="A process group is open here"):
        ll.sweep(plan, store=tmp_path, progress=False)
    assert not ll.sweep(plan, store=tmp_path, measure=False).counts["done"]


def measured_in_child() -> list[str]:
    return measured(pytest.MonkeyPatch())


@pytest.mark.parametrize("what", ["versions", "plan"])
def test_ranks_that_differ_are_told_on_every_rank(plan: Path, tmp_path: Path, what: str) -> None:
    def work(rank: int) -> None:
        given: Any = plan
        if what == "plan":
            given = plan.parent / f"plan-{rank}.yaml"
            sweep_world.write_plan(plan.parent, sweep_world.changed(percent=10 + rank), given.name)
        elif rank == 1:
            here = working.versions_here()
            sweep_ranks.versions_here = lambda: {**here, "torch": "1.0"}
        try:
            ll.sweep(given, store=tmp_path, progress=False)
        except ll.LensLocError as error:
            (tmp_path / f"{rank}.txt").write_text(str(error))

    assert as_ranks(work) == [0, 0]
    told = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    words = {
        "versions": "Rank 1 has torch 1.0, and rank 0 torch",
        "plan": "Rank 1 has another plan",
    }
    assert told[0].startswith(words[what])
    assert not ll.sweep(plan, store=tmp_path, measure=False).counts["done"]


def test_the_place_among_ranks_is_read_from_the_environment() -> None:
    place = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }
    assert Ranks.here(place) == Ranks(3, 4, 1)
    assert Ranks.here({"RANK": "3"}) == Ranks()
    with pytest.raises(ll.LensLocError, match="RANK=4, WORLD_SIZE=4"):
        Ranks.here({**place, "RANK": "4"})


# -- Slurm -----------------------------------------------------------------------------------------


def test_slurm_tasks_do_their_cells_and_go_back_into_the_queue(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep_world.write_plan(
        plan.parent, sweep_world.changed(models=["my-llama"], lesions=[]), "one.yaml"
    )
    jobs: list[Any] = []
    submit = running.submit

    def watched(*given: Any) -> list[Any]:
        jobs.extend(submit(*given))
        return jobs

    monkeypatch.setattr(sweeping, "submit", watched)
    monkeypatch.setenv("PYTHONPATH", str(Path(ll.__file__).parent.parent))
    options = {"cluster": "local", "timeout_min": 5}
    begun = ll.sweep(one, store=tmp_path, on="slurm", slurm=options, progress=False)
    assert begun.counts["done"] + begun.counts["waiting"] == 2
    (job,) = jobs
    assert job.result() == 2
    found = ll.sweep(one, store=tmp_path, measure=False)
    assert found.counts == {"done": 2, "failed": 0, "waiting": 0}
    order = job.submission().function
    again = order.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == order
    monkeypatch.setattr(working, "load_model", None)
    assert order() == 2  # all is there, so nothing is loaded
    monkeypatch.setattr(running, "versions_here", lambda: {**order.versions, "lensloc": "9"})
    with pytest.raises(ll.LensLocError, match="The process that began the sweep has lensloc 0"):
        order()


def test_a_cluster_that_is_not_there_is_told(plan: Path, tmp_path: Path) -> None:
    with pytest.raises(ll.LensLocError, match="could not be submitted to slurm"):
        ll.sweep(plan, store=tmp_path, on="slurm", slurm={"timeout_min": 5})
    with pytest.raises(ll.LensLocError, match=r"could not be submitted to local \(.*partitio"):
        ll.sweep(plan, store=tmp_path, on="slurm", slurm={"cluster": "local", "partitio": "a"})
    with pytest.raises(ll.LensLocError, match=r"submitted to local \(.*max_num_timeout"):
        ll.sweep(plan, store=tmp_path, on="slurm", slurm={"cluster": "local", "max_num_timeout": 3})
    with pytest.raises(ll.LensLocError, match="slurm has no effect"):
        ll.sweep(plan, store=tmp_path, slurm={"timeout_min": 5})
    with pytest.raises(ll.LensLocError, match="processes is a whole number above 0"):
        ll.sweep(plan, store=tmp_path, processes=0)


# -- stores ----------------------------------------------------------------------------------------


def test_a_store_that_takes_nothing_is_refused(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(ll.LensLocError, match=r"The sweep's store .* is read-only"):
            ll.sweep(plan, store=tmp_path, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_record", lambda *_: None)
        with pytest.raises(
            ll.LensLocError, match=r"small at resid_post of my-llama .*what was kept"
        ):
            ll.sweep(plan, store=tmp_path, progress=False)


def test_a_store_that_is_looked_at_stays_as_it_is(
    plan: Path, whole: ll.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "not" / "there"
    assert ll.sweep(plan, store=place, measure=False).counts["waiting"] == 8
    assert not place.parent.exists()
    file = tmp_path / "file"
    file.touch()
    for wrong in (file, Store(file)):
        with pytest.raises(ll.LensLocError, match="file is no folder"):
            ll.sweep(plan, store=wrong, measure=False)
    one = sweep_world.changed(models=["my-llama"], sites=["resid_post"], lesions=[])
    path = sweep_world.write_plan(plan.parent, one, "looked-at.yaml")
    ll.sweep(path, store=tmp_path / "store", progress=False)

    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # a disk that is read-only
    found = ll.sweep(path, store=tmp_path / "store", measure=False)
    assert found.counts == {"done": 1, "failed": 0, "waiting": 0}


def test_cells_of_other_versions_are_told(
    plan: Path, whole: ll.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep_world.write_plan(
        plan.parent, sweep_world.changed(models=["my-llama"], lesions=[], sites=["resid_post"]),
        "old.yaml",
    )  # fmt: skip
    here = working.versions_here()
    with monkeypatch.context() as patch:
        patch.setattr(working, "versions_here", lambda: {**here, "torch": "1.0"})
        ll.sweep(one, store=tmp_path, progress=False)
    found = ll.sweep(plan, store=tmp_path, progress=False)
    assert any("different versions of torch (1.0 and" in said for said in found.warnings)
    assert not any("versions" in said for said in whole.warnings)


# -- specificity, published numbers, pages ---------------------------------------------------------


@pytest.fixture(scope="module")
def specific(
    plan: Path, tiny_llama: Any, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> ll.Sweep:
    sweep_world.right_pairs(tiny_llama, plan.parent)
    asked = sweep_world.changed(
        models=["my-llama"],
        sites=["resid_post"],
        lesions=[],
        specificity={
            "tasks": [{"task": f"minimal-pairs={n}.csv", "name": n} for n in ("one", "other")],
            "own": {"small": ["one"]},
            "answered": None,
            "controls": ["random:3"],
        },
        published=[
            {"model": "my-llama", "quantity": "n_layers", "value": 3, "source": "A paper"},
            {"model": "my-llama", "quantity": "width", "value": 33},
            {"model": "my-llama", "quantity": "score", "value": 0.5, "task": "blimp"},
        ],
    )
    path = sweep_world.write_plan(plan.parent, asked, "specific.yaml")
    return ll.sweep(path, store=tmp_path_factory.mktemp("specific"), progress=False)


def test_specificity_is_what_the_function_gives(
    plan: Path, specific: ll.Sweep, tiny_llama: Any
) -> None:
    assert specific.counts["done"] == 2, specific.warnings
    with unwarned():
        network = ll.localize(tiny_llama, small(plan), progress=False).top(percent=10)
        tasks = [
            ll.tasks.minimal_pairs(plan.parent / f"{name}.csv", name=name)
            for name in ("one", "other")
        ]
        found = ll.specificity(
            tiny_llama, {"small": network}, tasks, ll.controls("random", seeds=range(3)),
            {"small": ["one"]}, answered=None, progress=False,
        )  # fmt: skip
    for name in ("index", "control_index", "difference", "p"):
        np.testing.assert_array_equal(specific.specificity[name], found.indices[name])
    np.testing.assert_array_equal(specific.shares["share"], found.table["share"])


def test_published_numbers_stand_beside(specific: ll.Sweep) -> None:
    rows = specific.published.set_index("quantity")
    assert rows.loc["n_layers", ["published", "measured"]].tolist() == [3, 3]
    assert rows.loc["n_layers", "source"] == "A paper"
    assert pd.isna(rows.loc["score", "measured"])
    told = [said for said in specific.warnings if "another model" in said]
    assert [said.split(", and")[0] for said in told] == ["my-llama has width 32"]


def test_pages_and_figures(whole: ll.Sweep, specific: ll.Sweep, tmp_path: Path) -> None:
    page = ll.report(whole, tmp_path / "whole.html").read_text()
    for words in ("Where networks lie", "What lesions cost on pairs", "my-gpt2", "8 of 8 cells"):
        assert words in page
    page = ll.report(specific, tmp_path / "specific.html").read_text()
    assert "How specific lesions are" in page
    assert "A paper" in page
    depths = ll.plot.sweep_depths(whole)
    assert len(depths.data) == 2
    resid = whole.layers[(whole.layers["site"] == "resid_post")]
    for place, model in enumerate(("my-llama", "my-gpt2")):
        column = np.asarray(depths.data[0].z)[:, place]
        shares = resid.loc[resid["model"] == model, "share"].tolist()
        assert [column[0], column[12], column[-1]] == shares  # 0, about a half, 1
    drops = ll.plot.sweep_drops(whole, percent=20)
    rows = whole.lesions[(whole.lesions["percent"] == 20) & (whole.lesions["site"] == "resid_post")]
    own, beside = drops.data[:2]
    assert list(own.y) == rows["network_drop"].tolist()
    assert list(beside.y) == rows["control_drop"].tolist()
    with pytest.raises(ll.LensLocError, match="There is no task 'x'; there are pairs"):
        ll.plot.sweep_drops(whole, task="x")
    with pytest.raises(ll.LensLocError, match="No specificity of this sweep"):
        ll.plot.sweep_specificity(whole)
    figure = ll.plot.sweep_specificity(specific)
    assert figure.data[0].z[0][0] == specific.specificity["difference"].iloc[0]
    with pytest.raises(ll.LensLocError, match="There is no control 'layer' here"):
        ll.plot.sweep_specificity(specific, kind="layer")


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def kept(plan: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A plan of one model, and a store in which there is nothing of it yet."""
    one = sweep_world.changed(models=["my-llama"], sites=["resid_post"])
    return sweep_world.write_plan(plan.parent, one, "command.yaml"), tmp_path / "store"


def test_the_commands(
    kept: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, store = kept
    at = ("--store", store)
    assert run_json(capfd, "sweep", "status", path, *at)["waiting"] == 2
    done = run_json(capfd, "sweep", path, *at)
    assert (done["done"], done["waiting"], len(done["rows"])) == (2, 0, 2)
    out, page = tmp_path / "table.parquet", tmp_path / "page.html"
    written = run_json(capfd, "sweep", "report", path, *at, "--out", out, "--page", page)
    assert written["rows"] == done["rows"]
    assert pd.read_parquet(out)["network_drop"].tolist() == [
        row["network_drop"] for row in done["rows"]
    ]
    assert page.read_text().startswith("<!doctype html>")
    assert run("sweep", "status", path, *at) == 0
    assert "All 2 cells are done." in capfd.readouterr().out
    assert run("sweep", "report", path, *at, "--out", out) == 2
    assert "add --overwrite" in capfd.readouterr().err
    assert run("sweep", "plans") == 0
    assert "pythia-training" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.yaml"], "The plan none.yaml cannot be read"),
        (["--slurm", "a", "pythia-training", "--on", "slurm"], "--slurm a is not KEY=VALUE"),
        (["pythia-training", "--on", "moon"], "--on is here or slurm; 'moon' is neither."),
        (["pythia-training", "--on", "slurm", "--page", "p.html"], "--page has no effect"),
        (["pythia-training", "--page", "p.pdf"], "--page p.pdf must end in .html"),
        (["report", "pythia-training", "--processes", "2"], "No such option: --processes"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], told: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("sweep", *arguments, "--store", tmp_path) == 2
    error = capfd.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_plans_can_be_given_as_mappings(plan: Path, whole: ll.Sweep, tmp_path: Path) -> None:
    given = sweep_world.changed(
        models=[str(plan.parent / "my-llama")],
        contrasts=[{**sweep_world.PLAN["contrasts"][0], "file": str(plan.parent / "small.csv")}],
        sites="resid_post",
        lesions=[],
    )
    found = ll.sweep(given, store=tmp_path, progress=False)
    rows = whole.localizations
    like = rows[(rows["model"] == "my-llama") & (rows["site"] == "resid_post")]
    left = ["model"]
    pd.testing.assert_frame_equal(
        found.localizations.drop(columns=left), like.drop(columns=left).reset_index(drop=True)
    )
    assert found.call.startswith("ll.sweep(")
    assert repr(found).startswith("Sweep(sweep; 1 models; cells: 1 done)")
