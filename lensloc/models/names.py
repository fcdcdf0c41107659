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
    return is_of_pictures(Path(name).expanduser() / "config.json")


def is_of_pictures(config: Path) -> bool:
    """Say whether a configuration is that of a model that sees pictures and writes no text.

    Of what cannot be read it is not said here what is wrong with it.
    """
    try:
        found = loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("model_type", "")) in _seeing_kinds()


@cache
def _seeing_kinds() -> frozenset[str]:
    """Return transformers' words for kinds of models that see pictures and write no text."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as auto

    see = {*auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *auto.MODEL_FOR_IMAGE_MAPPING_NAMES}
    # Of two towers, and the one that sees alone.
    towers = {kind for kind in CONFIG_MAPPING if kind.endswith("_vision_model")}
    see |= towers | {tower.removesuffix("_vision_model") for tower in towers}
    write = {
        *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    }
    return frozenset(see - write)


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
