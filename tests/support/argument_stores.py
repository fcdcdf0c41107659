"""A store that is made anew for each call, of which a call may change what is kept."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from argument_world import World

import lensloc as ll


class Refilled:
    """The methods of a store that keeps a map and a record under ``{"a": 1}``.

    Each gives what it returns, the files that are there then, and the reasons that were logged.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def load(self, key: Mapping[str, Any], **given: Any) -> list[Any]:
        store = self._store()
        return self._told(store, lambda: store.load(key, **given))

    def discard_record(self, key: Mapping[str, Any], error: Exception) -> list[Any]:
        store = self._store()
        store.save_record({"a": 2}, {"kept": True})
        return self._told(store, lambda: store.discard_record(key, error))

    def making(self, keys: Sequence[Mapping[str, Any]], what: str) -> list[Any]:
        store = self._store()
        with store.making(keys, what) as waited:
            return self._told(store, lambda: waited)

    def _store(self) -> ll.Store:
        store = ll.Store.at(self._world.fresh("refilled"))
        store.save({"a": 1}, self._world.map, 7)
        store.save_record({"a": 1}, {"kept": True})
        return store

    def _told(self, store: ll.Store, call: Any) -> list[Any]:
        reasons: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: reasons.extend(  # type: ignore[method-assign]
            re.findall(r"\((.*?)\)", record.getMessage())
        )
        logger = logging.getLogger("lensloc")
        logger.addHandler(handler)
        try:
            found = call()
        finally:
            logger.removeHandler(handler)
        return [found, sorted(path.name for path in store.folder.iterdir()), reasons]
