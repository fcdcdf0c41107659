"""Every public function, and calls of it as the table of arguments has them."""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from argument_parts import Change, Entry, Fresh
from argument_results import TRIED_ON
from argument_world import World
from fingerprints import fingerprint, told

import lensloc as ll
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
