"""Numbers of a configuration that no model can have, refused before anything is built of them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lensloc.display.plain_json import loads
from lensloc.errors import LensLocError

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
_SIZES = (
    *("hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "ffn_dim", "head_dim"),
    *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"),
    *("vocab_size", "max_position_embeddings", "n_positions", "n_ctx"),
)
_HEADS = (("hidden_size", "num_attention_heads"), ("n_embd", "n_head"), ("d_model", "n_heads"))
_MOST_LAYERS, _MOST, _MOST_POSITIONS = 10_000, 100_000_000, 2**40
_PARTS = 3  # a configuration in a configuration, and one in that


def require_possible_file(path: Path) -> Mapping[str, Any]:
    """Check a ``config.json``; return what is in it.

    Raises:
        LensLocError: if it is no JSON object, or has numbers that no model can have.
    """
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LensLocError(
            f"{path} is not a configuration that can be read ({error}); fetch or save the model "
            "again."
        ) from error
    if not isinstance(found, dict):
        raise LensLocError(f"{path} is no JSON object; fetch or save the model again.")
    require_possible(found, str(path))
    return found


def require_possible(config: Mapping[str, Any], place: str) -> None:
    """Check the numbers of a configuration, and of those in it.

    Args:
        config: as it is in a ``config.json``.
        place: the file, for the sentence.

    Raises:
        LensLocError: naming the number.
    """
    _check(config, place, _PARTS)


def _check(config: Mapping[str, Any], place: str, depth: int) -> None:
    for name in (*_LAYERS, *_SIZES):
        value = config.get(name)
        if value is None or (name == "n_inner" and value == 0):
            continue
        most = _MOST_LAYERS if name in _LAYERS else _MOST
        if name in ("max_position_embeddings", "n_positions", "n_ctx"):
            most = _MOST_POSITIONS
        numbers = value if isinstance(value, list) else [value]  # one per layer, in some models
        for number in numbers:
            if type(number) is not int or not 1 <= number <= most:
                raise LensLocError(
                    f"{place} says {name} = {str(number)[:30]}, which no model has (1 to {most}); "
                    "correct it, or fetch the model again."
                )
    for width, heads in _HEADS:
        w, h = config.get(width), config.get(heads)
        if type(w) is int and type(h) is int and "head_dim" not in config and h > w:
            raise LensLocError(
                f"{place} says {heads} = {h} in a width of {w}, which no model has; correct it, or "
                "fetch the model again."
            )
    if depth > 1:
        for key, part in config.items():
            if isinstance(part, dict) and key.endswith("config"):
                _check(part, place, depth - 1)


def require_room(config: Any, place: str, n_bytes: int = 4) -> None:
    """Check that the weights of a model that is made anew fit into this machine's memory.

    Args:
        config: a configuration of transformers.
        place: where it is from, for the sentence.
        n_bytes: of a number.

    Raises:
        LensLocError: if they do not.
    """
    text = config.get_text_config()
    width = int(getattr(text, "hidden_size", 0) or 0)
    inner = getattr(text, "intermediate_size", None) or 4 * width
    inner = max(inner) if isinstance(inner, list | tuple) else int(inner)
    layers = int(getattr(text, "num_hidden_layers", 0) or 0)
    words = int(getattr(text, "vocab_size", 0) or 0)
    taken = (words * width + layers * width * (2 * inner + width)) * n_bytes
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # of systems that do not say
        return
    if taken > there:
        raise LensLocError(
            f"The weights of {place} would take at least {taken / 1e9:.0f} GB, and this machine has"
            f" {there / 1e9:.0f} GB of memory; correct its config.json, or take a smaller model."
        )
