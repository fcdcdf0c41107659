"""The names by which models are known, without loading a library to list them."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from lensloc.display.plain_json import loads
from lensloc.models.bundled import BUNDLED

VISION = ("efficientnet-lite0",)
"""Models of pictures that a package of the extra ``lensloc[vision]`` holds."""
TIMM = "timm:"
"""Before the name of one of timm's models."""

# Kinds of transformers' configurations that say no size of a picture.
_SEEING = frozenset({"convnext", "convnextv2", "resnet", "regnet", "bit", "mobilenet_v1"})

_ALIASES_OF_4 = Path("tools", "model_registry", "data", "model_aliases.json")


def known_names() -> list[str]:
    """Return every name and alias that needs no path: bundled ones and TransformerLens'."""
    return [*BUNDLED, *VISION, *sorted(_of_transformer_lens())]


def may_see(name: str) -> bool:
    """Say whether a name may be that of a model of pictures, before anything is loaded."""
    if sees_surely(name):
        return True
    # On the hub, where only asking would tell.
    on_hub = name.count("/") == 1 and not Path(name, "config.json").is_file()
    return on_hub and name.lower() not in _of_transformer_lens()


def sees_surely(name: str) -> bool:
    """Say whether a name, or a folder's configuration, is that of a model of pictures."""
    if name.lower() in VISION or name.startswith(TIMM):
        return True
    try:
        config = loads(Path(name, "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict):
        return False
    known = config.get("model_type", "")
    return "image_size" in config or "vision_config" in config or known in _SEEING


def hub_names() -> dict[str, list[str]]:
    """Return TransformerLens' names as the hub spells them, each with its aliases.

    They are read where they are written, in its files: importing the module that holds them would
    load the whole library.
    """
    spec = importlib.util.find_spec("transformer_lens")
    assert spec is not None
    place = next(iter(spec.submodule_search_locations or ()))
    written = _literals(Path(place, "supported_models.py"))
    official: list[str] = written["OFFICIAL_MODEL_NAMES"]
    # TransformerLens 4 keeps the aliases in a file of their own.
    aliases: dict[str, list[str]] = (
        written.get("MODEL_ALIASES")
        or loads(Path(place, _ALIASES_OF_4).read_text(encoding="utf-8"))["aliases"]
    )
    return {name: list(aliases.get(name, ())) for name in official}


@cache
def _of_transformer_lens() -> frozenset[str]:
    """Return TransformerLens' names and aliases, in lower case."""
    several = hub_names().items()
    return frozenset(name.lower() for one, others in several for name in (one, *others))


def _literals(module: Path) -> dict[str, Any]:
    """Return what a module assigns to annotated names, where it is written out."""
    found = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.List | ast.Dict):
            assert isinstance(node.target, ast.Name)
            found[node.target.id] = ast.literal_eval(node.value)
    return found
