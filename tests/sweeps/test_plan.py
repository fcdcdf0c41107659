"""A plan is checked whole, and what is wrong in it is named with its place in the file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
import sweep_world
import yaml
from huggingface_hub.errors import RepositoryNotFoundError

import lensloc as ll
from lensloc.display.sentences.sweeps import Depths, depth_sentence
from lensloc.pages.report.page import paragraphs
from lensloc.sweeps.cells import jobs_of
from lensloc.sweeps.checking import ReadyPlan, ready
from lensloc.sweeps.files import bundled_plans
from lensloc.sweeps.plan import read_plan
from lensloc.vocabulary import DRAWS


@pytest.fixture(scope="module")
def folder(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep_world.write_world(tmp_path_factory.mktemp("plans"), checkpoints).parent


def checked(path: Any) -> ReadyPlan:
    plan, file = read_plan(path)
    return ready(plan, file, ask_hub=False)


def lesion(**changes: Any) -> dict[str, Any]:
    return {**sweep_world.PLAN["lesions"][0], **changes}


own = sweep_world.PLAN["contrasts"][0]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"site": ["resid_post"]}, r"yaml, line \d+ \(site\): there is no key 'site' here; did you"),
    ({"models": [{"name": "gpt2", "revison": "a"}]}, r"line 3 \(models\[0\].revison\).* revisions"),
    ({"models": []}, r"\(models\): models has nothing in it; give at least one"),
    ({"sites": []}, r"\(sites\): sites has nothing in it"),
    ({"models": ["my-llama", "gtp2"]}, r"line 3 \(models\[1\]\): there is no model 'gtp2' \(close"),
    ({"models": ["my-llama", "./my-llama/../my-gpt2", "my-llama"]}, "my-llama is there twice"),
    ({"models": [{"name": "my-llama", "revisions": ["a"]}]}, "has no revisions"),
    ({"models": [{"name": "gpt2", "seed": 1}]}, r"\(models\[0\]\): seed is of untrained models"),
    ({"models": ["timm:resnet18"]}, r"\(models\[0\]\): timm:resnet18 is a model of pictures"),
    ({"models": ["efficientnet-lite0"]}, "efficientnet-lite0 is a model of pictures"),
    ({"models": [{"name": "gpt2", "options": {"dtype": "a"}}]}, "dtype stands in options.*dtype:"),
    ({"models": [{"name": "gpt2", "options": {"revision": "a"}}]}, "revision stands.*revisions:"),
    ({"models": [{"name": "gpt2", "options": {"progress": True}}]}, "a sweep says progress itself"),
    ({"models": [{"name": "gpt2", "dtype": "int8"}]}, r"models\[0\].dtype\): it should be 'fl"),
    ({"models": [{"name": "gpt2", "untrained": "no?"}]}, r"models\[0\].untrained\): it should be"),
    ({"contrasts": ["langage"]}, r"\(contrasts\[0\]\): there is no contrast 'langage'; there are"),
    ({"contrasts": ["faces"]}, "no contrast 'faces' for language models; there are language,"),
    ({"contrasts": [{**own, "file": "none.csv"}]}, r"\(contrasts\[0\]\): .*none.csv"),
    ({"contrasts": [{**own, "target": "verbs"}]}, r"\(contrasts\[0\]\): .*verbs"),
    ({"contrasts": [{"name": "small", "file": "small.csv"}]}, "needs target and control"),
    ({"contrasts": [{"name": "language", "item": "item"}]}, "item is for a contrast with file:"),
    ({"contrasts": ["language", "language"]}, r"\(contrasts\[1\]\): language is there twice"),
    ({"sites": ["resid_post", "rsid_post"]}, r"\(sites\[1\]\): There is no site 'rsid_post'"),
    ({"protocols": ["alkhamissi"]}, r"\(protocols\[0\]\): it should be 'lensloc' or"),
    ({"percent": 0}, r"\(percent\): it should be greater than 0"),
    ({"percent": True}, r"\(percent\): it should be a valid number"),
    ({"lesions": [lesion(mode="zeros")]}, r"\(lesions\[0\].mode\): There is no mode 'zeros'"),
    ({"lesions": [lesion(mode="scale")]}, r"the mode scale needs scale"),
    ({"lesions": [lesion(scale=0.5)]}, r"the mode zero takes no scale"),
    ({"lesions": [lesion(mode="clamp", value=1.0, quantile=0.5)]}, "either value or quantile"),
    ({"lesions": [lesion(mode="mean", reference="x")]}, r"lesions\[0\].reference\): .*'x'"),
    ({"lesions": [lesion(reference="language")]}, "the mode zero takes no reference"),
    ({"lesions": [{"mode": "zero"}]}, r"\(lesions\[0\]\): the key 'tasks' is missing"),
    ({"lesions": [lesion(tasks=["pairs"])]}, r"lesions\[0\].tasks\[0\]\): there is no task 'pair"),
    ({"lesions": [lesion(tasks=["choice"])]}, "the task choice needs something behind its ="),
    ({"lesions": [lesion(tasks=["minimal-pairs=no.csv"])]}, r"lesions\[0\].tasks\[0\]\): .*no.csv"),
    ({"lesions": [lesion(tasks=["facts", "facts"])]}, "two tasks are called facts"),
    ({"lesions": [lesion(controls=["layers"])]}, r"lesions\[0\].controls\[0\]\): There is no con"),
    ({"lesions": [lesion(controls=["layer:x"])]}, "'x' is no number of draws"),
    ({"lesions": [lesion(controls=[f"layer:{'9' * 30}"])]}, r"controls\[0\]\): A control is drawn"),
    ({"lesions": [lesion(controls=[f"layer:{'9' * 6000}"])]}, "drawn at most 10,000 times"),
    ({"lesions": [lesion(controls=["layer:10001"])]}, "drawn at most 10,000 times"),
    ({"lesions": [lesion(controls=["layer:0"])]}, "'0' is no number of draws"),
    ({"lesions": [lesion(seed=2**70)]}, r"\(lesions\[0\].seed\): it should be less than or equal"),
    ({"lesions": [lesion(controls=["least-active:2"])]}, "draws nothing"),
    ({"lesions": [lesion(), lesion()]}, r"\(lesions\[1\]\): zero is there twice; give each a"),
    ({"specificity": {"items": 8}}, r"\(specificity\): which tasks are small's own is not known"),
    ({"specificity": {"own": {"smal": ["facts"]}}}, "own names 'smal'"),
    ({"specificity": {"own": {"small": ["facts"]}, "tasks": ["facts"]}}, "give at least two"),
    (
        {"specificity": {"own": {"small": ["fact"]}}},
        r"specificity.own.small\): 'fact' is none of the tasks, grammar,",
    ),
    (
        {"specificity": {"own": {"small": ["facts"]}, "controls": ["least-active"]}},
        r"\(specificity\): specificity needs controls that are drawn",
    ),
    (
        {"published": [{"model": "my-llama", "quantity": "width", "value": 32}]},
        r"published\[0\]\): sites differ in width; add site:, one of resid_post, mlp_post",
    ),
    (
        {"published": [{"model": "gpt2", "quantity": "depth", "value": 1}]},
        r"published\[0\].model\): 'gpt2' is none",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named_with_its_place(
    folder: Path, change: dict[str, Any], told: str
) -> None:
    path = sweep_world.write_plan(folder, sweep_world.changed(**change))
    with pytest.raises(ll.LensLocError, match=told) as raised:
        checked(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: [a\n", "line 2, column 1 is not YAML"),
        ("models: [gpt2]\nsites: [q]\nmodels: [gpt2]\n", r"line 3 \(models\): .*first in line 1"),
        ("- gpt2\n", "is no plan, which has keys"),
        ("", "is no plan"),
        ("models: [2024-05-01]\n", r"line 1 \(models\[0\].*quotes"),
        ("about: 2024-13-45\n", r"looks like a date or a number and is none \(month.*quotes"),
        ("about: 0x_\n", "looks like a date or a number"),
        (f"percent: {'1' * 5000}\n", "looks like a date or a number"),
        ("models: &all [*all]\n", "nested too deeply"),
        (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9)),
            "more than 100,000 entries",
        ),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ll.LensLocError, match=told):
        checked(path)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ll.LensLocError, match=r"cannot be read \(No such file"):
        read_plan(tmp_path / "none.yaml")
    with pytest.raises(ll.LensLocError, match=r"cannot be read \(embedded null"):
        read_plan("a\0.yaml")
    with pytest.raises(ll.LensLocError, match="alkhamissi2024, pythia-training"):
        read_plan("alkhamisi")
    with pytest.raises(ll.LensLocError, match=r"\(models\[0\]\): something of type object"):
        read_plan({"models": [object()]})


def test_one_value_stands_for_a_list_and_a_name_for_an_entry(folder: Path) -> None:
    short = {"models": {"name": "EleutherAI/pythia-70m", "revisions": [1000, "step1"]},
             "sites": "head", "contrasts": "emotion"}  # fmt: skip
    found = checked(short)
    assert [model.label for model in found.models] == [
        "EleutherAI/pythia-70m@1000",
        "EleutherAI/pythia-70m@step1",
    ]
    assert found.models[0].arguments(None)["revision"] == "1000"
    drawn = checked({"models": [{"name": "gpt2", "untrained": True, "seed": n} for n in (0, 1)]})
    assert [model.label for model in drawn.models] == ["gpt2 untrained 0", "gpt2 untrained 1"]
    assert [model.arguments(None)["seed"] for model in drawn.models] == [0, 1]
    assert found.plan.sites == ("head",)
    assert list(found.contrasts) == [("emotion", "lensloc")]


def test_cells_and_the_jobs_that_do_them(folder: Path) -> None:
    two = {**own, "name": "other"}
    found = checked(sweep_world.write_plan(folder, sweep_world.changed(contrasts=[own, two])))
    cells = found.cells()
    assert len(cells) == 2 * 2 * 2 * (1 + 1)  # models, contrasts, sites; localization and lesion
    assert len({cell.name for _, cell in cells}) == len(cells)
    jobs = jobs_of(cells)
    assert [job.model.label for job in jobs] == ["my-llama", "my-gpt2"]
    shared = jobs_of(cells, 4)
    assert [(job.model.label, {cell.contrast for cell in job.cells}) for job in shared] == [
        ("my-llama", {"small"}),
        ("my-llama", {"other"}),
        ("my-gpt2", {"small"}),
        ("my-gpt2", {"other"}),
    ]
    assert sorted(cell.name for job in shared for cell in job.cells) == sorted(
        cell.name for _, cell in cells
    )
    assert len(jobs_of(cells, 99)) == 4  # cells of one contrast stay together


def names(path: Path) -> dict[str, str]:
    return {cell.words: cell.name for _, cell in checked(path).cells()}


@pytest.fixture
def own_folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return sweep_world.write_world(tmp_path / "own", checkpoints)


def test_a_cell_is_another_where_what_it_depends_on_is(own_folder: Path) -> None:
    before = names(own_folder)
    with (own_folder.parent / "pairs.csv").open("a") as file:
        file.write("the plant sun,sun the plant\n")
    lesions = {words for words in before if "zero" in words}
    after = names(own_folder)
    assert {words for words in before if after[words] != before[words]} == lesions
    with (own_folder.parent / "small.csv").open("a") as file:
        file.write("the plant sun,sentences\n")
    assert not set(names(own_folder).values()) & set(after.values())
    config = own_folder.parent / "my-llama"
    copied = own_folder.parent / "copied"
    copied.mkdir()
    for file_ in config.iterdir():
        (copied / file_.name).write_bytes(file_.read_bytes())
    config.unlink()
    copied.rename(config)  # as when a model is trained further
    last = names(own_folder)
    changed = {words for words, name in last.items() if name not in names_of(after, last)}
    assert changed == {words for words in last if "my-llama" in words}


def names_of(after: dict[str, str], last: dict[str, str]) -> set[str]:
    return {name for words, name in last.items() if "my-gpt2" in words} | set(after.values())


@pytest.mark.parametrize("name", bundled_plans())
def test_bundled_plans_are_whole(name: str) -> None:
    found = checked(name)
    assert found.plan.name == name
    models = [model.label for model in found.models]
    if name == "alkhamissi2024":
        assert len(models) == 18
        assert {entry.model for entry in found.plan.published} == set(models)
        assert {protocol for _, protocol in found.contrasts} == {"alkhamissi2024"}
        assert found.contrasts["language", "alkhamissi2024"].protocol.max_tokens == 12  # type: ignore[union-attr]
        (lesions,) = found.lesions.values()
        assert lesions.percents == (0.125, 0.25, 0.5, 1.0)
        assert [len(control.seeds) for control in lesions.controls] == [DRAWS, DRAWS]
    else:
        assert "EleutherAI/pythia-70m@step143000" in models
        assert len(models) == 3 * 14


def test_models_of_the_hub_are_asked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ref:
        name = "main"

    class Refs:
        branches, tags = [Ref()], []

    def refs(self: Any, name: str) -> Refs:
        if name != "someone/there":
            gone = httpx.Response(404, request=httpx.Request("GET", "https://hub"))
            raise RepositoryNotFoundError("404", response=gone)
        return Refs()

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_refs", refs)

    def ask(**entry: Any) -> None:
        plan, file = read_plan({"models": [entry]})
        ready(plan, file)

    ask(name="someone/there", revisions=["main", "0123abc", "refs/pr/1"])
    with pytest.raises(ll.LensLocError, match=r"models\[0\]\): someone/there has no revision 'v2'"):
        ask(name="someone/there", revisions=["v2"])
    with pytest.raises(ll.LensLocError, match="the hub has no model 'someone/gone'"):
        ask(name="someone/gone")
    monkeypatch.undo()
    ask(name="someone/gone")  # without network nothing can be said


def test_a_plan_is_yaml_as_others_read_it(folder: Path) -> None:
    path = sweep_world.write_plan(folder, sweep_world.PLAN)
    assert yaml.safe_load(path.read_text()) == sweep_world.PLAN
    other = path.with_name("plan-copy.json")
    other.write_text(json.dumps(sweep_world.PLAN))
    of_yaml = [cell.words for _, cell in checked(path).cells()]
    assert [cell.words for _, cell in checked(other).cells()] == of_yaml
    other.write_text(json.dumps(sweep_world.PLAN, indent="\t"))
    assert [cell.words for _, cell in checked(other).cells()] == of_yaml


def test_models_whose_networks_lie_equally_deep() -> None:
    """Whatever is shown of a depth is shown once, if it is the same in all."""
    found = Depths("heat", "head", "lensloc", 1.0, {"a": 0.501, "b": 0.499, "c": 0.5})
    assert depth_sentence(found).endswith(
        "depth of 0.50 in each of 3 models (0: first layer, 1: last)."
    )
    apart = dataclasses.replace(found, depth={"a": 0.25, "b": 0.5})
    assert "depth of 0.25 (a) to 0.50 (b) in 2 models, " in depth_sentence(apart)


def test_many_sentences_of_a_summary_stand_apart() -> None:
    assert paragraphs(["One.", "Two."]) == ["One. Two."]
    many = [f"Sentence {n}." for n in range(20)]
    assert paragraphs(many) == many
