"""A plan's file -> plain data, and where in the file everything stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lensloc.errors import LensLocError

Place = tuple[str | int, ...]
"""Keys and numbers of entries, from the outside in: ``("models", 2, "revisions")``."""

SUFFIXES = (".yaml", ".yml", ".json")
_MOST = 100_000  # entries of a file
_TOO_DEEP = "{} is nested too deeply for a plan."


@dataclass(frozen=True)
class PlanFile:
    """What was given for a plan.

    Attributes:
        data: as plain lists, mappings, texts and numbers.
        name: of the file, for sentences.
        folder: from which files that it names are looked for.
        lines: place in it -> line of the file, from 1; empty if it was no file.
    """

    data: Any
    name: str
    folder: Path
    lines: Mapping[Place, int] = field(default_factory=dict)

    def where(self, place: Sequence[str | int]) -> str:
        """Say where something stands: ``plan.yaml, line 7 (models[0].revisions)``.

        Args:
            place: in the plan; of one that the file does not have, what it does have is named.
        """
        known = tuple(place)
        while known and known not in self.lines:
            known = known[:-1]
        line = f", line {self.lines[known]}" if self.lines and known else ""
        path = in_words(place)
        return f"{self.name}{line}" + (f" ({path})" if path else "")


def in_words(place: Sequence[str | int]) -> str:
    """Write a place: ``models[2].revisions``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def bundled_plans() -> list[str]:
    """Return the names of the plans that lensloc comes with."""
    folder = resources.files("lensloc.sweeps") / "plans"
    return sorted(Path(found.name).stem for found in folder.iterdir() if _is_plan(found.name))


def read_plan_file(plan: str | Path | Mapping[str, Any]) -> PlanFile:
    """Read a plan's file.

    Args:
        plan: a file (``.yaml``, ``.yml`` or ``.json``), the name of a bundled plan, or what would
            be in the file.

    Raises:
        LensLocError: if there is none, or it is not YAML; names line and column.
    """
    if isinstance(plan, Mapping):
        return PlanFile(_plain(plan, ()), "The plan", Path.cwd())
    if not isinstance(plan, str | Path):
        raise LensLocError(
            "A plan is a file, the name of a bundled plan or a mapping; something of type "
            f"{type(plan).__name__} is none of these."
        )
    if str(plan) in bundled_plans():
        source = resources.files("lensloc.sweeps") / "plans" / f"{plan}.yaml"
        return _parsed(source.read_text(encoding="utf-8"), f"{plan}.yaml", Path.cwd())
    path = Path(plan)
    if not _is_plan(path.name):
        raise LensLocError(
            f"{path} is neither a bundled plan ({', '.join(bundled_plans())}) nor a file that ends "
            f"in {', '.join(SUFFIXES)}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LensLocError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LensLocError(
            f"The plan {path} cannot be read ({reason}); bundled plans are "
            f"{', '.join(bundled_plans())}."
        ) from error
    if path.suffix.lower() == ".json":  # where tabs are space, which in YAML they are not
        text = text.replace("\t", " ")
    return _parsed(text, str(path), path.absolute().parent)


def _is_plan(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _parsed(text: str, name: str, folder: Path) -> PlanFile:
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        at = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise LensLocError(f"{name}{at} is not YAML: {said}.") from error
    except RecursionError as error:
        raise LensLocError(_TOO_DEEP.format(name)) from error
    except ValueError as error:  # of a date or number that there is not
        raise LensLocError(
            f"{name} holds something that looks like a date or a number and is none "
            f"({str(error).split(';')[0]}); put it in quotes if it is a text."
        ) from error
    lines: dict[Place, int] = {}
    if node is not None:
        try:
            _note_lines(node, (), lines, name)
        except RecursionError as error:  # an alias that stands in what it is of
            raise LensLocError(_TOO_DEEP.format(name)) from error
    return PlanFile(data, name, folder, lines)


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if len(lines) > _MOST:
        raise LensLocError(
            f"{name} has more than {_MOST:,} entries, with those that aliases repeat; that is no "
            "plan."
        )
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inside = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inside in lines:  # of which YAML would silently keep the last
                raise LensLocError(
                    f"{name}, line {line} ({in_words(inside)}): the key {key.value!r} stands there "
                    f"twice, first in line {lines[inside]}; leave one out."
                )
            lines[inside] = line
            _note_lines(value, inside, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note_lines(value, (*place, number), lines, name)


def _plain(value: Any, place: Place) -> Any:
    """Return a mapping that was given in Python as a file would have it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(found, (*place, str(key))) for key, found in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(found, (*place, number)) for number, found in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    raise LensLocError(
        f"The plan ({in_words(place)}): something of type {type(value).__name__} cannot stand in a "
        "plan, which holds texts, numbers and lists; name files and bundled contrasts instead."
    )
