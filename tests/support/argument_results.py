"""Arguments of what all results share: files, tables, the hub, several as one."""

from typing import Any

import torch
from argument_parts import Change, Entry, Fresh, refused, same
from argument_world import LONG, NONWORDS, SENTENCES, World

import lensloc as ll

BATCHES = "batches change speed and memory only"
PROGRESS = "shows a bar, or none"
# All results inherit these, so they are tried on one.
TRIED_ON = "LesionStudy"


def _first(model: Any) -> list[float]:
    return [float(model(torch.tensor([[1, 2, 3]])).sum()), 0.0]


def _second(model: Any) -> list[float]:
    return [float(model(torch.tensor([[3, 2, 1]])).sum()), 0.0]


def of_statistics(w: World) -> dict[str, Entry]:
    """Statistics of one's own, and nuisances."""
    sides = ("sentences",), ("nonwords",)
    n = len(w.responses.conditions)

    def highest(target: Any, control: Any) -> Any:
        return target.amax(dim=0) - control.amax(dim=0)

    def lowest(target: Any, control: Any) -> Any:
        return target.amin(dim=0) - control.amin(dim=0)

    by_token = ll.capture_tokens(w.model, SENTENCES[:3], ["a"] * 3, progress=False)

    def known(made: Any) -> Any:
        settings = {name: value for name, value in made.settings.items() if name != "own"}
        return made.name, made.measure, made.texts, settings, made(w.model)

    return {
        "tasks.of_function": Entry(
            {"function": _first, "settings": {"version": 0}},
            {
                **{"function": _second, "name": "mine", "measure": "accuracy"},
                **{"higher_is_better": False, "chance": 0.5, "texts": ["x"]},
                "settings": {"version": 1},
            },
            use=known,
        ),
        "tasks.OwnTask.__call__": Entry(
            {"model": w.model},
            {"model": w.untrained, "progress": same(True, "a function shows what it likes")},
            on=ll.tasks.of_function(_first),
        ),
        "tasks.plugged": Entry(
            {"name": "nothing"},
            {
                "name": refused("else", "offers a task 'else'"),
                "options": same({"n": 3}, "no package is installed; tests/tasks/test_own.py"),
            },
        ),
        "capture_tokens": Entry(
            {"model": w.model, "texts": SENTENCES[:3], "conditions": ["a"] * 3, "progress": False},
            {
                **{"model": w.untrained, "texts": NONWORDS[:3], "conditions": ["b"] * 3},
                **{"site": "mlp_post", "units": w.mask, "max_tokens": 3, "bos": "add"},
                "truncate": Change(True, {"texts": [LONG] * 3}),
                **{"batch_size": same(2, BATCHES), "progress": same(True, PROGRESS)},
            },
        ),
        **{
            f"TokenResponses.{name}": Entry({argument: first}, {argument: other}, on=by_token)
            for name, argument, first, other in (
                ("rows", "stimulus", 0, 1),
                ("of", "stimulus", 0, 1),
                ("tokens_of", "stimulus", 0, 1),
                ("unit", "address", "L0.resid_post.0", "L1.resid_post.0"),
                ("pooled", "how", "mean", "max"),
            )
        },
        "TokenResponses.coloured": Entry(
            {}, {"unit": "L0.resid_post.0", "stimuli": [2, 0]}, on=by_token
        ),
        "statistic": Entry(
            {"function": highest},
            {"function": lowest, "name": "mine", "settings": {"version": 1}},
            use=lambda made: (made(w.responses, *sides), made.settings),
        ),
        "adjusted_for": Entry(
            {"nuisances": {"x": [at % 3 for at in range(n)]}},
            {"nuisances": {"x": [at % 5 for at in range(n)]}},
            use=lambda made: made(w.responses, *sides),
        ),
        "nuisances": Entry(
            {"model": w.model, "contrast": w.contrast, "progress": False},
            {
                "model": w.untrained,
                "contrast": w.other,
                "measures": ["words"],
                "language": Change("de", {"measures": ["frequency"]}),
                "bos": "add",
                "max_tokens": 2,
                "batch_size": same(1, BATCHES),
                "progress": same(True, PROGRESS),
            },
        ),
    }


def of_results(w: World) -> dict[str, Entry]:
    study, other = w.lesions, w.other_lesions
    files = [found.save(w.folder / f"study-{n}.lensloc") for n, found in enumerate((study, other))]
    there = [other.save(w.folder / f"there-{n}.lensloc") for n in range(2)]
    table = w.folder / "there.csv"
    table.write_text("x")
    nobody = "no body"
    return {
        "load": Entry({"path": files[0]}, {"path": files[1]}),
        "save": Entry(
            {"found": study, "path": Fresh("a.lensloc")},
            {
                "found": study.table,
                "path": Fresh("b.lensloc"),
                "overwrite": Change(True, {"path": there[0]}),
            },
        ),
        "concat": Entry({"results": [study]}, {"results": {"renamed": study}}),
        "LesionStudy.load": Entry({"path": files[0]}, {"path": files[1]}),
        "LesionStudy.save": Entry(
            {"path": Fresh("a.lensloc")},
            {"path": Fresh("b.lensloc"), "overwrite": Change(True, {"path": there[1]})},
            on=study,
        ),
        "LesionStudy.to_csv": Entry(
            {"path": Fresh("a.csv")},
            {"path": Fresh("b.csv"), "overwrite": Change(True, {"path": table})},
            on=study,
        ),
        "LesionStudy.to_latex": Entry({}, {"columns": ["task", "drop"], "digits": 5}, on=study),
        "LesionStudy.push_to_hub": Entry(
            {"repo": nobody},
            {
                "repo": refused("other body", "could not be put into other body"),
                "name": refused("b.lensloc", "b.lensloc could not be put"),
                "private": same(True, "nothing is put anywhere here; tests/display/test_hub.py"),
                "token": same("mine", "as private"),
            },
            on=study,
        ),
        "LesionStudy.from_hub": Entry(
            {"repo": nobody},
            {
                "repo": refused("other body", "of other body could not be had"),
                "name": refused("b.lensloc", "b.lensloc of no body could not be had"),
                "revision": same("first", "nothing is had here; tests/display/test_hub.py"),
                "token": same("mine", "as revision"),
            },
        ),
    }
