"""What importing the package and asking for help load, and what a name then gives."""

import ast
import copy
import inspect
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

import lensloc as ll
from lensloc import models
from lensloc.contrasts import protocols
from lensloc.models import BACKENDS, BUNDLED, DTYPES, known_names
from lensloc.models.names import VISION
from lensloc.vocabulary import Dtype

HEAVY = {"torch", "transformers", "transformer_lens", "pandas", "plotly", "scipy"}
ROOMS = [ll, *(value for name in ll.__all__ if inspect.ismodule(value := getattr(ll, name)))]

# Prints what is loaded when the command ends, in whatever way.
WATCHED = """
import atexit, sys
heavy = {heavy!r}
atexit.register(lambda: print("LOADED", *sorted(heavy & set(sys.modules)), file=sys.stderr))
"""
QUICK = [
    ["--help"],
    ["--version"],
    ["localize", "--help"],
    ["specificity", "--help"],
    ["lape", "steer", "--help"],
    ["alignment", "encode", "--help"],
    ["alignment", "reading-times", "--help"],
    ["stimuli", "list"],
    ["models", "list", "gpt2"],
    ["cache", "list"],
    ["evaluate", "--mode"],  # a mistake is told at once, too
]


def python(code: str) -> tuple["subprocess.CompletedProcess[str]", float]:
    """Run code in a new process; also the processor's time that it took, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(Path(ll.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(arguments: Sequence[str]) -> str:
    return f"{WATCHED.format(heavy=HEAVY)}\nfrom lensloc.cli import main\nmain({arguments!r})"


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_help_and_lists_load_no_library(arguments: list[str]) -> None:
    done, _ = python(command(arguments))
    (loaded,) = [line for line in done.stderr.splitlines() if line.startswith("LOADED")]
    assert loaded == "LOADED"
    assert done.returncode == (2 if arguments[-1] == "--mode" else 0)
    assert "Traceback" not in done.stderr


def test_help_and_lists_come_at_once() -> None:
    """Bounds are relative to importing torch, so that a slow machine does not matter."""
    _, torch = python("import torch")
    for code in ("import lensloc", *(command(each) for each in (["--help"], ["stimuli", "list"]))):
        _, seconds = python(code)
        assert seconds < torch, code


def test_importing_the_package_loads_nothing_until_it_is_asked_for() -> None:
    done, _ = python(
        f"{WATCHED.format(heavy=HEAVY)}\n"
        "import lensloc as ll\n"
        "assert 'localize' in dir(ll) and 'language' in dir(ll.contrasts)\n"
        "print(ll.contrasts.language())"
    )
    assert "language: sentences > nonwords" in done.stdout
    assert done.stderr == "LOADED\n"


def test_modules_that_come_first_leave_every_name_what_it_is() -> None:
    """A module that is imported by itself must not take the place of a function."""
    done, _ = python(
        "import lensloc.pages.report, lensloc.pages.explorer, lensloc.studies, lensloc.lesions\n"
        "import lensloc.tasks.perplexities, lensloc.lape.generating, lensloc.plot.overlaps\n"
        "import lensloc as ll\n"
        "found = {name: getattr(ll, name) for name in ll.__all__}\n"
        "rooms = [name for name, value in found.items() if type(value).__name__ == 'module']\n"
        "print(rooms, callable(ll.report), callable(ll.lesion), callable(ll.study))\n"
        "from lensloc import *\n"
        "print(report is ll.report, localize is ll.localize, plot is ll.plot)"
    )
    assert done.stdout.splitlines() == [
        "['alignment', 'contrasts', 'lape', 'plot', 'tasks'] True True True",
        "True True True",
    ], done.stderr


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.__name__))
def test_every_public_name_is_there_and_documented(room: Any) -> None:
    assert sorted(room.__all__) == sorted(dir(room))
    for name in room.__all__:
        value = getattr(room, name)
        assert value is not None
        if inspect.isroutine(value) or inspect.isclass(value):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize("room", [*ROOMS, models], ids=lambda room: str(room.__name__))
def test_type_checkers_are_told_the_names_that_there_are(room: Any) -> None:
    stub = ast.parse(Path(room.__file__).with_suffix(".pyi").read_text())
    (told,) = [node.value for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(ast.literal_eval(told)) == sorted(room.__all__)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="lokalize"):
        getattr(ll, "lokalize")  # noqa: B009
    with pytest.raises(ImportError, match="lokalize"):
        exec("from lensloc import lokalize")


def test_what_is_loaded_late_is_pickled_as_ever() -> None:
    contrast = ll.contrasts.language()
    for made in (contrast, contrast.protocol, ll.controls("layer"), ll.SITES["head"]):
        assert pickle.loads(pickle.dumps(made)) == made
        assert copy.deepcopy(made) == made
    # Pickles of earlier versions name the modules in which these classes stood.
    from lensloc.forward import sites
    from lensloc.units import selection

    assert selection.SelectionRule is ll.SelectionRule
    assert sites.Site is ll.Site


def test_the_words_of_arguments_are_those_that_the_library_knows() -> None:
    assert set(protocols.PROTOCOLS) == {protocols.LENSLOC.name, protocols.ALKHAMISSI2024.name}
    assert set(get_args(Dtype)) == {*DTYPES, "auto"}
    assert "auto" in BACKENDS


def test_names_of_models_are_those_of_transformer_lens() -> None:
    loading = pytest.importorskip("transformer_lens.loading_from_pretrained")
    assert known_names() == [*BUNDLED, *VISION, *sorted(loading.make_model_alias_map())]
