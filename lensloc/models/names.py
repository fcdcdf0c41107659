"""The names by which models are known, without loading a library to list them."""

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from lensloc.models.bundled import BUNDLED

_ALIASES_OF_4 = Path("tools", "model_registry", "data", "model_aliases.json")


def known_names() -> list[str]:
    """Return every name and alias that needs no path: bundled ones and TransformerLens'."""
    return [*BUNDLED, *sorted(_of_transformer_lens())]


@cache
def _of_transformer_lens() -> frozenset[str]:
    """Return TransformerLens' names and aliases, in lower case, as they are written in its files.

    Importing the module that holds them would load the whole library.
    """
    spec = importlib.util.find_spec("transformer_lens")
    assert spec is not None
    place = next(iter(spec.submodule_search_locations or ()))
    written = _literals(Path(place, "supported_models.py"))
    official: list[str] = written["OFFICIAL_MODEL_NAMES"]
    # TransformerLens 4 keeps the aliases in a file of their own.
    aliases: dict[str, list[str]] = (
        written.get("MODEL_ALIASES")
        or json.loads(Path(place, _ALIASES_OF_4).read_text(encoding="utf-8"))["aliases"]
    )
    names = [*official, *(alias for name in official for alias in aliases.get(name, ()))]
    return frozenset(name.lower() for name in names)


def _literals(module: Path) -> dict[str, Any]:
    """Return what a module assigns to annotated names, where it is written out."""
    found = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.List | ast.Dict):
            assert isinstance(node.target, ast.Name)
            found[node.target.id] = ast.literal_eval(node.value)
    return found
