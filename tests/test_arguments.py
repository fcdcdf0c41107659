"""No public function takes an argument that it silently ignores.

Each is called with each of its arguments changed; the result must differ, or the argument be
refused, or the table say why neither (and then nothing may differ).
"""

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
import tiny_models
from argument_parts import Change, Entry, Fresh
from argument_people import sources
from argument_results import TRIED_ON
from argument_table import IDLE, table
from argument_world import World
from fingerprints import alike, fingerprint, told

import lensloc as ll
from lensloc.alignment import fetching
from lensloc.display.savable import Savable

MODULES = {
    "": ll,
    "contrasts": ll.contrasts,
    "tasks": ll.tasks,
    "lape": ll.lape,
    "alignment": ll.alignment,
    "plot": ll.plot,
}
NO_FUNCTIONS = {
    "Lesion": "opened, not made: lesion() makes it",
    "LensLocError": "takes a sentence",
    "LensLocWarning": "takes a sentence",
    "Wrapped": "made by wrap(), and called as the module is",
    "Statistic": "what a statistic is, without one",
    "tasks.Task": "what a task is, without one",
    "alignment.Dataset": "a pair of stimuli and responses",
}


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function and method, by the name under which it is called."""
    seen = set()
    inherited = [getattr(each, "__func__", each) for each in vars(Savable).values()]
    for prefix, module in MODULES.items():
        for name in module.__all__:
            found, called = getattr(module, name), f"{prefix}.{name}".lstrip(".")
            if id(found) in seen or called in NO_FUNCTIONS or not callable(found):
                continue
            seen.add(id(found))
            if not inspect.isclass(found):
                yield called, found
                continue
            for attribute in dir(found):
                if attribute.startswith("_") and attribute != "__call__":
                    continue
                raw = inspect.getattr_static(found, attribute)
                method = getattr(found, attribute)
                own = str(getattr(method, "__module__", "")).startswith("lensloc")
                shared = getattr(method, "__func__", method) in inherited and name != TRIED_ON
                if shared:
                    continue
                if own and (inspect.isfunction(raw) or isinstance(raw, classmethod | staticmethod)):
                    yield f"{called}.{attribute}", method


def arguments(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


FUNCTIONS = {name: arguments(function) for name, function in public() if arguments(function)}
EVERY = [(name, argument) for name, found in FUNCTIONS.items() for argument in found]


@pytest.fixture(scope="module")
def world(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("arguments")
    other = tiny_models.make_checkpoint(folder / "my-other", tiny_models.CONFIGS["llama"](), seed=1)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        for name, source in sources(folder).items():
            monkeypatch.setitem(fetching.DATA, name, source)
        yield World(checkpoints["llama"], other, folder)


@pytest.fixture(scope="module")
def entries(world: World) -> dict[str, Entry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LensLocWarning)
        return table(world)


class Caller:
    """Calls functions with arguments of the table, and remembers the calls without changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[Any, Any] = {}

    def base(self, name: str, entry: Entry, change: Change) -> Any:
        """The fingerprint without the change; of several with the same further arguments, once."""
        key = name, _key(change.given)
        if key not in self._known:
            self._known[key] = self.call(name, entry, change.given)
        return self._known[key]

    def call(
        self, name: str, entry: Entry, given: Mapping[str, Any], without: Collection[str] = ()
    ) -> Any:
        """The fingerprint of a call with these arguments over those of the base."""
        settings = {
            key: value for key, value in {**entry.base, **given}.items() if key not in without
        }
        for several in ("more", "options"):
            settings |= settings.pop(several, {})
        settings = {
            key: self._world.fresh(value.name) if isinstance(value, Fresh) else _own(value)
            for key, value in settings.items()
        }
        function = _function(name, entry)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ll.LensLocWarning)
            found = told(lambda: entry.use(function(**settings)))
        return fingerprint(found), self._left(settings)

    def _left(self, settings: Mapping[str, Any]) -> Any:
        """What the call left on disk."""
        return tuple(
            (name, len(list(value.folder.iterdir())))
            for name, value in settings.items()
            if isinstance(value, ll.Store)
        ) + tuple(
            (name, value.exists()) for name, value in settings.items() if isinstance(value, Path)
        )


def _key(value: Any) -> Any:
    """What tells arguments apart: plain values, and which things they are (the table keeps all)."""
    if isinstance(value, Mapping):
        return tuple((name, _key(found)) for name, found in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    return value if isinstance(value, str | int | float | Path | Fresh | None) else id(value)


def _own(value: Any) -> Any:
    """A dictionary for this call alone, which may write into it."""
    return dict(value) if type(value) is dict else value


def _function(name: str, entry: Entry) -> Callable[..., Any]:
    found: Any = ll
    if entry.on is not None:
        found, name = entry.on, name.split(".")[-1]
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def caller(world: World) -> Caller:
    return Caller(world)


@pytest.mark.parametrize(("name", "argument"), EVERY, ids=[f"{n}-{a}" for n, a in EVERY])
def test_an_argument_makes_a_difference(
    name: str, argument: str, entries: dict[str, Entry], caller: Caller
) -> None:
    entry = entries.get(name)
    if entry is None or argument not in entry.changes:
        pytest.fail(
            f"ll.{name} takes {argument!r}, for which tests/support/argument_table.py has no other "
            "value; add one that makes a difference, or says why it makes none."
        )
    given = entry.changes[argument]
    change = given if isinstance(given, Change) else Change(given)
    base = caller.base(name, entry, change)
    changed = caller.call(name, entry, {**change.given, argument: change.value})
    if change.same:
        assert alike(base, changed), f"ll.{name} changed with {argument}, although {change.same}"
        return
    assert not alike(base, changed), f"ll.{name} ignores {argument}"
    if change.refused:
        kind, sentence = changed[0]
        assert kind == "LensLocError"
        assert re.search(change.refused, sentence), sentence


@pytest.mark.parametrize("number", range(len(IDLE)), ids=[case.name for case in IDLE])
def test_an_argument_without_effect_is_refused(
    number: int, world: World, entries: dict[str, Entry], caller: Caller
) -> None:
    """What another argument makes idle is told; but for seeds, which may have nothing to draw."""
    case = IDLE[number]
    given = case.given(world)
    kind, sentence = caller.call(case.name, entries[case.name], given)[0]
    assert kind == "LensLocError"
    assert case.sentence in sentence
    found = caller.call(case.name, entries[case.name], given, without=case.idle)[0]
    assert found[0] != "LensLocError", found


@pytest.mark.parametrize("name", ["localize", "lesion_study", "lape.generate"])
def test_a_store_hides_no_argument(
    name: str, entries: dict[str, Entry], world: World, caller: Caller
) -> None:
    """What was kept under other arguments is not what these would give."""
    store = ll.Store.at(world.fresh("one-store"))
    entry = entries[name]
    entry = dataclasses.replace(entry, use=_without_source)
    caller.call(name, entry, {"store": store})
    for argument, given in entry.changes.items():
        change = given if isinstance(given, Change) else Change(given)
        if argument in ("store", "recompute") or change.same or change.refused:
            continue
        settings = {**change.given, argument: change.value}
        alone = caller.call(name, entry, settings)[0]
        assert alike(alone, caller.call(name, entry, {**settings, "store": store})[0]), argument


def _without_source(found: Any) -> Any:
    """The result as it is, computed or looked up."""
    return (
        dataclasses.replace(found, from_store=()) if isinstance(found, ll.Localization) else found
    )


def test_the_same_call_has_the_same_fingerprint(entries: dict[str, Entry], caller: Caller) -> None:
    """Otherwise every argument would seem to make a difference."""
    for name, entry in entries.items():
        first = caller.base(name, entry, Change(None))
        assert alike(first, caller.call(name, entry, {})), name


def test_the_table_names_nothing_that_does_not_exist(entries: dict[str, Entry]) -> None:
    for name, entry in entries.items():
        assert name in FUNCTIONS, f"{name} is not public, or takes nothing; remove it"
        unknown = set(entry.changes) - set(FUNCTIONS[name])
        assert not unknown, f"ll.{name} does not take {unknown}; remove it"


def test_results_keep_what_they_are_made_of() -> None:
    """A dataclass has every argument of its own as a field, so that none can get lost."""
    for prefix, module in MODULES.items():
        for name in module.__all__:
            found = getattr(module, name)
            if not inspect.isclass(found) or f"{prefix}.{name}".lstrip(".") in NO_FUNCTIONS:
                continue
            assert dataclasses.is_dataclass(found), name
            fields = [field.name for field in dataclasses.fields(found) if field.init]
            assert arguments(found) == fields, name
