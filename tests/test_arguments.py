"""No public function takes an argument that it silently ignores.

Each is called with each of its arguments changed; the result must differ, or the argument be
refused, or the table say why neither (and then nothing may differ).
"""

import dataclasses
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import tiny_models
from argument_calls import EVERY, FUNCTIONS, MODULES, NO_FUNCTIONS, Caller, arguments
from argument_parts import Change, Entry
from argument_people import sources
from argument_table import IDLE, table
from argument_world import World
from fingerprints import alike

import lensloc as ll
from lensloc.alignment import fetching


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
