"""A value as plain JSON beside arrays and tables, and back, to the last bit.

One walk for all results: a dataclass is its fields, an array goes to safetensors, a table to
Parquet, and all else is JSON. What JSON has no word for is an object with one key that begins with
``~``. Nothing is pickled, and no class is made that :mod:`lensloc.display.kinds` does not name.
"""

import dataclasses
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped

from lensloc.display.frozen import FrozenMapping
from lensloc.display.kinds import OF_THE_RUN, class_of, kind_of
from lensloc.display.plain_json import loads
from lensloc.display.sealed import DamagedError
from lensloc.errors import LensLocError

Node: TypeAlias = Any
"""Plain JSON."""

_MARK = "~"
_NUMBERS = "biuf"


@dataclass
class Parts:
    """What stands beside the JSON.

    Attributes:
        arrays: name -> array of numbers.
        tables: name -> content of a Parquet file.
        files: name -> content of other files, e.g. pictures.
    """

    arrays: dict[str, Shaped[np.ndarray, "*axes"]] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


# -- writing ---------------------------------------------------------------------------------------


class Encoder:
    """Turns one value into JSON and parts."""

    def __init__(self) -> None:
        self.parts = Parts()
        self._known: dict[int, tuple[Any, Node]] = {}  # one array in two places is kept once

    def node(self, value: Any, place: str) -> Node:
        """Return a value as JSON.

        Args:
            value: what is kept.
            place: where it stands, for names and for the sentence.

        Raises:
            LensLocError: for what cannot be kept, naming the place.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        kind = kind_of(value)
        if kind is not None:
            return {f"{_MARK}{kind}": self._fields(value, place)}
        for types, write in self._writers():
            if isinstance(value, types):
                return write(value, place)
        found = self._library(value, place)
        if found is None:
            raise LensLocError(
                f"{place} is of type {type(value).__name__}, which cannot be kept in a file."
            )
        return found

    def _writers(self) -> tuple[tuple[Any, Callable[[Any, str], Node]], ...]:
        return (
            ((bool, np.bool_), lambda value, _: bool(value)),
            (np.integer, lambda value, _: int(value)),
            ((float, np.floating), lambda value, _: _number(float(value))),
            (str, lambda value, _: str(value)),
            (bytes, lambda value, place: {"~bytes": self._named(self.parts.files, value, place)}),
            (FrozenMapping, lambda value, place: {"~frozen": self._pairs(value, place)}),
            (Mapping, self._mapping),
            (tuple, lambda value, place: {"~tuple": self._each(value, place)}),
            (list, self._each),
            ((frozenset, set), self._set),
            (np.ndarray, self._array),
        )

    def _fields(self, value: Any, place: str) -> dict[str, Node]:
        state = getattr(value, "_kept_state", None)
        if state is not None:
            found = state()
        else:
            names = [each.name for each in dataclasses.fields(value) if each.init]
            found = {name: getattr(value, name) for name in names}
        return {name: self.node(part, f"{place}.{name}") for name, part in found.items()}

    def _each(self, values: Any, place: str) -> list[Node]:
        return [self.node(value, f"{place}.{number}") for number, value in enumerate(values)]

    def _mapping(self, value: Mapping[Any, Any], place: str) -> Node:
        plain = all(type(key) is str and not key.startswith(_MARK) for key in value)
        if type(value) is dict and plain:
            return {key: self.node(part, f"{place}.{key}") for key, part in value.items()}
        return {"~dict": self._pairs(value, place)}

    def _pairs(self, value: Mapping[Any, Any], place: str) -> list[Node]:
        return [
            [self.node(key, f"{place} (a name)"), self.node(part, f"{place}.{key}")]
            for key, part in value.items()
        ]

    def _set(self, value: Any, place: str) -> Node:
        return {"~frozenset" if isinstance(value, frozenset) else "~set": sorted(
            (self.node(part, place) for part in value),
            key=lambda part: json.dumps(part, sort_keys=True),
        )}  # fmt: skip

    def _library(self, value: Any, place: str) -> Node:
        """Return what a value of torch or pandas is; None of something else."""
        import pandas as pd  # takes long to load, and contrasts need neither
        import torch

        if value is pd.NA:
            return {"~na": 1}
        if value is pd.NaT:
            return {"~nat": 1}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, place)
        if isinstance(value, pd.DataFrame):
            return {"~table": self._table(value, place)}
        if isinstance(value, pd.Series):
            table = value.to_frame("value")
            return {"~series": [self.node(value.name, place), self._table(table, place)]}
        return None

    def _tensor(self, value: Any, place: str) -> Node:
        import torch

        if id(value) in self._known:
            return self._known[id(value)][1]
        plain = value.detach().cpu().contiguous()
        node: dict[str, Node]
        if plain.dtype is torch.bfloat16:
            node = self._array(plain.view(torch.int16).numpy(), place)
            node = {"~tensor": node["~array"], "as": "bfloat16"}
        else:
            try:
                node = {"~tensor": self._array(plain.numpy(), place)["~array"]}
            except TypeError as error:
                raise LensLocError(
                    f"{place} is an array of {plain.dtype}, which cannot be kept."
                ) from error
        self._known[id(value)] = (value, node)
        return node

    def _array(self, value: Shaped[np.ndarray, "*axes"], place: str) -> dict[str, Node]:
        if id(value) in self._known:
            found: dict[str, Node] = self._known[id(value)][1]
            return found
        node: dict[str, Node]
        if value.dtype.kind in _NUMBERS and value.dtype.itemsize <= 8:
            native = value.astype(value.dtype.newbyteorder("="), copy=False)
            native = np.ascontiguousarray(native).reshape(value.shape)
            node = {"~array": self._named(self.parts.arrays, native, place)}
        elif value.dtype.kind in "OU":
            node = {
                "~objects": self._each(value.ravel().tolist(), place),
                "shape": list(value.shape),
                "text": value.dtype.kind == "U",
            }
        else:
            raise LensLocError(f"{place} is an array of {value.dtype}, which cannot be kept.")
        self._known[id(value)] = (value, node)
        return node

    def _table(self, value: Any, place: str) -> Node:
        import pandas as pd

        labels = [self.node(name, f"{place} (a column)") for name in value.columns]
        plain = all(type(name) is str for name in labels) and len(set(labels)) == len(labels)
        columns, as_json = {}, []
        for number, name in enumerate(labels):
            column = value.iloc[:, number]
            called = name if plain else str(number)
            if column.dtype == object:  # of whatever, and with several words for what is missing
                texts = [json.dumps(self.node(cell, f"{place}.{called}")) for cell in column]
                columns[called] = pd.array(texts, dtype="str")
                as_json.append(called)
            else:
                columns[called] = column.array
        table = pd.DataFrame(columns, index=pd.RangeIndex(len(value)))
        buffer = io.BytesIO()
        try:
            table.to_parquet(buffer, index=False)
        except (ValueError, TypeError, NotImplementedError) as error:  # of pyarrow
            raise LensLocError(f"{place} is a table that cannot be kept ({error}).") from error
        index = value.index
        trivial = index.equals(pd.RangeIndex(len(value))) and index.names == [None]
        return {
            "parquet": self._named(self.parts.tables, buffer.getvalue(), place),
            "columns": labels,
            "labels": str(value.columns.dtype),
            "dtypes": [str(dtype) for dtype in value.dtypes],
            "json": as_json,
            "rows": len(value),
            "index": None if trivial and isinstance(index, pd.RangeIndex) else {
                "values": self._each(index.tolist(), f"{place} (its index)"),
                "names": [self.node(name, place) for name in index.names],
                "dtype": None if index.nlevels > 1 else str(index.dtype),
            },
            "attrs": self.node(dict(value.attrs), f"{place} (its attrs)"),
        }  # fmt: skip

    def _named(self, into: dict[str, Any], value: Any, place: str) -> str:
        base = re.sub(r"[^\w.()+-]+", "_", place, flags=re.ASCII).strip("._") or "value"
        name, number = base[:120], 1
        while name.lower() in {known.lower() for known in into}:
            number += 1
            name = f"{base[:120]}-{number}"
        into[name] = value
        return name


def _number(value: float) -> Node:
    return value if math.isfinite(value) else {"~float": str(value)}


def meaning(node: Node) -> Node:
    """Return a value's JSON without what differs from run to run."""
    if isinstance(node, list):
        return [meaning(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, part in node.items():
        left_out = OF_THE_RUN.get(key.removeprefix(_MARK), ())
        if left_out and isinstance(part, dict):
            part = {name: value for name, value in part.items() if name not in left_out}
        found[key] = meaning(part)
    return found


# -- reading ---------------------------------------------------------------------------------------


class Decoder:
    """Makes of JSON and parts the value that they were made of."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[str, Any] = {}

    def value(self, node: Node) -> Any:
        """Return the value.

        Raises:
            DamagedError, KeyError, TypeError, ValueError, LensLocError: if it is none.
        """
        if isinstance(node, list):
            return [self.value(part) for part in node]
        if not isinstance(node, dict):
            return node
        marks = [key for key in node if key.startswith(_MARK)]
        if not marks:
            return {key: self.value(part) for key, part in node.items()}
        (mark,) = marks
        read = getattr(self, f"_read_{mark[1:]}", None)
        if read is not None:
            return read(node[mark], node)
        return self._made(mark[1:], node[mark])

    def _made(self, kind: str, fields: Mapping[str, Node]) -> Any:
        try:
            made_of = class_of(kind)
        except KeyError:
            raise DamagedError(f"it holds a {kind[:60]!r}, which is not known here") from None
        found = {name: self.value(part) for name, part in fields.items()}
        if hasattr(made_of, "_of_kept_state"):
            return made_of._of_kept_state(found)
        known = {each.name for each in dataclasses.fields(made_of) if each.init}
        if not known >= found.keys():
            more = ", ".join(sorted(found.keys() - known))
            raise DamagedError(f"its {kind} has what is not known here: {more}")
        made = made_of(**found)
        for name, part in found.items():  # as it was, where making it adds or leaves out something
            object.__setattr__(made, name, part)
        return made

    def _read_float(self, text: str, _: Any) -> float:
        return float(text)

    def _read_tuple(self, parts: list[Node], _: Any) -> tuple[Any, ...]:
        return tuple(map(self.value, parts))

    def _read_dict(self, pairs: list[Node], _: Any) -> dict[Any, Any]:
        return {self.value(key): self.value(part) for key, part in pairs}

    def _read_frozen(self, pairs: list[Node], _: Any) -> FrozenMapping[Any, Any]:
        return FrozenMapping({self.value(key): self.value(part) for key, part in pairs})

    def _read_frozenset(self, parts: list[Node], _: Any) -> frozenset[Any]:
        return frozenset(map(self.value, parts))

    def _read_set(self, parts: list[Node], _: Any) -> set[Any]:
        return set(map(self.value, parts))

    def _read_bytes(self, name: str, _: Any) -> bytes:
        return self._parts.files[name]

    def _read_na(self, _: Node, __: Any) -> Any:
        import pandas as pd

        return pd.NA

    def _read_nat(self, _: Node, __: Any) -> Any:
        import pandas as pd

        return pd.NaT

    def _read_array(self, name: str, _: Any) -> Any:
        return self._parts.arrays[name]

    def _read_tensor(self, name: str, node: Mapping[str, Node]) -> Any:
        import torch

        if name not in self._known:
            found = torch.from_numpy(self._parts.arrays[name])
            self._known[name] = (
                found.view(torch.bfloat16) if node.get("as") == "bfloat16" else found
            )
        return self._known[name]

    def _read_objects(self, parts: list[Node], node: Mapping[str, Node]) -> Any:
        values = [self.value(part) for part in parts]
        if node["text"]:
            return np.array(values, dtype=str).reshape(node["shape"])
        found = np.empty(len(values), dtype=object)
        for number, value in enumerate(values):
            found[number] = value
        return found.reshape(node["shape"])

    def _read_series(self, node: list[Node], _: Any) -> Any:
        name, table = node
        found = self._read_table(table, None)["value"]
        return found.rename(self.value(name))

    def _read_table(self, node: Mapping[str, Node], _: Any) -> Any:
        import pandas as pd

        table = pd.read_parquet(io.BytesIO(self._parts.tables[node["parquet"]]))
        columns = []
        for name, dtype in zip(table.columns, node["dtypes"], strict=True):
            column = table[name]
            if name in node["json"]:
                cells = np.empty(len(column), dtype=object)
                for number, text in enumerate(column):
                    cells[number] = self.value(loads(text))
                column = pd.Series(cells, dtype=object)
            elif str(column.dtype) != dtype:
                column = column.astype(dtype)
            columns.append(column)
        index = pd.RangeIndex(node["rows"])
        found = pd.DataFrame(dict(enumerate(columns)), index=index)
        labels = [self.value(label) for label in node["columns"]]
        found.columns = pd.Index(labels, dtype=node["labels"])
        if node["index"] is not None:
            found.index = self._index(node["index"])
        found.attrs.update(self.value(node["attrs"]))
        return found

    def _index(self, node: Mapping[str, Node]) -> Any:
        import pandas as pd

        values = [self.value(part) for part in node["values"]]
        names = [self.value(name) for name in node["names"]]
        if node["dtype"] is None:
            return pd.MultiIndex.from_tuples(values, names=names)
        return pd.Index(values, dtype=node["dtype"], name=names[0])
