"""The call that made a result, as code that a reader can follow."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lensloc.contrasts import bundled
from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.words import counted
from lensloc.errors import LensLocError
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.module import OfModule
from lensloc.models.module_sites import ModuleSite
from lensloc.models.surface import Model
from lensloc.selectivity import Selectivity
from lensloc.tasks import Task
from lensloc.units.control_sets import Controls
from lensloc.units.mask import UnitMask
from lensloc.units.stimuli import Stimulus
from lensloc.vocabulary import UNSEEDED

# What changes no result, or is of one machine.
_LEFT_OUT = ("progress", "store", "recompute", "batch_size")
# What a task is made of, by what it calls that.
_ITEMS = {"pairs": "pair", "texts": "text", "questions": "question", "prompts": "prompt"}


def written_call(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """Return a call as it could be written: what was given, but for what is the default.

    Things that code cannot write out (texts, masks, tasks) stand in angle brackets; of files only
    the names are told.

    Args:
        name: what the function is called.
        function: the function.
        given: its arguments by name, ``model`` among them.
    """
    parts = []
    for key, parameter in inspect.signature(function).parameters.items():
        if key in _LEFT_OUT or key not in given:
            continue
        value = given[key]
        if key == "model":
            parts.append(_model(value))
        elif parameter.default is inspect.Parameter.empty:
            parts.append(_shown(value))
        elif not _same(value, parameter.default):
            parts.append(f"{key}={_shown(value)}")
    return f"{name}({', '.join(parts)})"


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return type(value) is type(default) and bool(value == default)


def _model(model: Model) -> str:
    card, own = describe(model), surface(model)
    if isinstance(own, OfModule):
        sites = ", ".join(f"{name!r}: {_modules(site)}" for name, site in own.model.sites.items())
        return f"ll.wrap(<{own.architecture}>, {{{sites}}})"
    untrained = ", untrained=True" if card.untrained else ""
    return (
        f"ll.load_model({Path(card.name).name if _is_path(card.name) else card.name!r}{untrained})"
    )


def _modules(site: ModuleSite) -> str:
    settings = [
        f"{field.name}={value!r}"
        for field in dataclasses.fields(site)
        if field.name != "modules" and (value := getattr(site, field.name)) != field.default
    ]
    modules = site.modules if isinstance(site.modules, str) else list(site.modules)
    return f"ll.ModuleSite({', '.join([repr(modules), *settings])})" if settings else repr(modules)


def _is_path(name: str) -> bool:
    return Path(name).is_absolute()


def _shown(value: Any) -> str:
    if isinstance(value, Contrast):
        return _contrast(value)
    if isinstance(value, Controls):
        return _controls(value)
    if isinstance(value, UnitMask):
        return f"<{counted(len(value), 'unit')} at {value.site}>"
    if isinstance(value, Selectivity):
        return f"<map of {counted(value.n_units, 'unit')} at {value.site}>"
    if isinstance(value, str | int | float | None):
        return repr(value)
    if isinstance(value, Path):
        return repr(value.name)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shown(found)}" for key, found in value.items()) + "}"
    if isinstance(value, range):
        return repr(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, Task):
        return _task(value)
    return f"<{getattr(value, 'name', type(value).__name__)}>"


def _contrast(contrast: Contrast) -> str:
    if contrast.name in (*bundled.NAMES, *bundled.OF_PICTURES):
        for protocol in ("lensloc", "alkhamissi2024"):
            try:
                known = bundled.get(contrast.name, protocol=protocol)
            except LensLocError:  # pictures of one's own, where the bundled ones are not installed
                break
            if known.content_hash == contrast.content_hash:
                published = f", protocol={protocol!r}" if protocol != "lensloc" else ""
                return f"ll.contrasts.get({contrast.name!r}{published})"
    sides = f"{' + '.join(contrast.target)} > {' + '.join(contrast.control)}"
    source = Path(contrast.source)
    where = source.name if source.is_absolute() else contrast.source
    first = contrast.texts[0]
    noun = first.noun if isinstance(first, Stimulus) else "text"
    return f"<contrast {contrast.name!r}, {sides}, {len(contrast.texts):,} {noun}s, {where}>"


def _controls(found: Controls) -> str:
    seeds = list(found.seeds)
    drawn = range(seeds[0], seeds[-1] + 1) if seeds else range(0)
    kinds = [*map(repr, found.matches), *(f"<{name}>" for name, _ in found.own)]
    parts = [f"[{', '.join(kinds)}]" if kinds else "()"]
    if found.own or any(match not in UNSEEDED for match in found.matches):
        parts.append(f"seeds={drawn if list(drawn) == seeds else seeds}")
    parts += [f"{name}=True" for name in ("least_selective", "without_outliers")
              if getattr(found, name)]  # fmt: skip
    for name in ("masks", "others"):
        if getattr(found, name):
            parts.append(f"{name}={_shown(dict(getattr(found, name)))}")
    if not found.elsewhere:
        parts.append("elsewhere=False")
    return f"ll.controls({', '.join(parts)})"


def _task(task: Task) -> str:
    counts = [
        counted(len(getattr(task, name)), noun)
        for name, noun in _ITEMS.items()
        if hasattr(task, name)
    ]
    return f"<task {', '.join([task.name, *counts[:1]])}>"
