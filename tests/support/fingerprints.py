"""What a result is, in plain values: to tell whether an argument changed it."""

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from safetensors import safe_open

import lensloc as ll
from lensloc.models import describe
from lensloc.pages.explorer import ExplorerPage
from lensloc.studies.localization import Seconds
from lensloc.units.brainscore import BrainScoreFiles

# What differs from run to run, whatever the arguments are.
_OF_THE_RUN = {"seconds", "date"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def fingerprint(found: Any) -> Any:
    """Return nested tuples of names, numbers, texts and arrays that stand for a result."""
    if isinstance(found, Mapping) and dataclasses.is_dataclass(found):
        return (*_fields(found), fingerprint(dict(found)))
    for kind, read in _READERS:
        if isinstance(found, kind):
            return read(found)
    if dataclasses.is_dataclass(found):
        return type(found).__name__, *_fields(found)
    if hasattr(found, "payload"):  # the explorer as a widget
        return fingerprint({"payload": found.payload, "percent": found.percent})
    raise TypeError(f"a {type(found).__name__} has no fingerprint; add it")


def _of_array(found: np.ndarray[Any, Any]) -> Any:
    if found.dtype.kind in "biuf":
        return str(found.dtype), found.astype(float)
    return tuple(map(fingerprint, found.tolist()))


def _in_its_folder(found: BrainScoreFiles) -> str:
    """The script, whichever folder of the run the mask's folder lies in."""
    folder = found.path.parent.absolute()
    return found.script.replace(str(folder), folder.name)


_READERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str | bytes | bool | None, lambda found: found),
    (slice, lambda found: (found.start, found.stop)),
    (enum.Enum, lambda found: found.name),
    (int | float | np.number, float),
    (Seconds, lambda found: "seconds"),
    (BrainScoreFiles, lambda found: (fingerprint(found.path), _in_its_folder(found))),
    (Path, lambda found: (found.name, _content(found))),
    (torch.Tensor, lambda found: (str(found.dtype), found.detach().cpu().double().numpy())),
    (np.ndarray, _of_array),
    (pd.DataFrame, lambda t: tuple((str(n), fingerprint(t[n].to_numpy())) for n in t.columns)),
    (pd.Series, lambda s: (fingerprint(s.index.to_numpy()), fingerprint(s.to_numpy()))),
    (go.Figure, lambda found: str(found.to_json())),
    (ExplorerPage, lambda found: found.html),
    (Mapping, lambda found: tuple((str(key), fingerprint(v)) for key, v in found.items())),
    (Set, lambda found: tuple(sorted(map(str, found)))),
    (Sequence, lambda found: tuple(map(fingerprint, found))),
    (torch.nn.Module, lambda found: fingerprint(describe(found))),
    (ll.Lesion, lambda found: (found.description, fingerprint(found.settings))),
    (BaseException, lambda found: (type(found).__name__, str(found))),
)


def _content(path: Path) -> Any:
    if not path.is_file():
        return None
    if path.suffix == ".html":  # in which plotly gives a figure a name at random
        return _UUID.sub("", path.read_text(encoding="utf-8"))
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, framework="pt") as file:  # whose metadata has no order
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        return fingerprint(tensors), tuple(sorted((file.metadata() or {}).items()))


def _fields(found: Any) -> tuple[Any, ...]:
    return tuple(
        (field.name, fingerprint(getattr(found, field.name)))
        for field in dataclasses.fields(found)
        if field.name not in _OF_THE_RUN
    )


def alike(one: Any, other: Any, *, rtol: float = 1e-5) -> bool:
    """Whether two fingerprints are the same but for rounding."""
    if isinstance(one, float) and isinstance(other, float):
        one, other = np.array(one), np.array(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape:
            return False
        finite = one[np.isfinite(one)]
        least = rtol * float(np.abs(finite).max()) if finite.size else 0.0
        return bool(np.allclose(one, other, rtol=rtol, atol=least, equal_nan=True))
    if isinstance(one, tuple) and isinstance(other, tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(alike(a, b, rtol=rtol) for a, b in pairs)
    return type(one) is type(other) and bool(one == other)


def told(call: Callable[[], Any]) -> Any:
    """Return what a call gave, or the sentence with which it was refused."""
    try:
        return call()
    except ll.LensLocError as reason:
        return reason
