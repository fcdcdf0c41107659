"""What of a model acts only late in a text, by its configuration: how far must a check read?

A window that slides, a rotary embedding that is scaled beyond the context it was made for, a block
of attention: before their length nothing of them shows, and a model that has them wrong is right.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Names under which configurations keep such lengths. One too many costs a few tokens.
_LENGTHS = re.compile(
    r"window|chunk|local|block_size|original_max|original_context|floor_scale|seq_length|train_len"
)
_NO_LENGTHS = re.compile(r"feed_forward|layers|pattern|experts|num_|_heads|theta|freq|_base")
_WINDOWS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")

# So many tokens are read of every model, for what no name gives away.
_LEAST = 64
# Far enough behind a length for what begins there to show.
_MARGIN = 16
# The most that a check at load is worth: attention to more tokens takes gigabytes, and so many
# operations take about a minute on a few CPU cores.
MOST_TOKENS = 4096 + _MARGIN
MOST_OPERATIONS = 1e13


@dataclass(frozen=True)
class Reach:
    """How far a check reads.

    Attributes:
        n_tokens: length of the row that is read.
        missed: what acts later than that though texts can be as long: ``(name, from how many
            tokens on)``, the earliest first.
    """

    n_tokens: int
    missed: tuple[tuple[str, int], ...] = ()


def reach(config: Any, n_parameters: int) -> Reach:
    """Say how many tokens a check must read of a model to see everything that its texts may meet.

    Args:
        config: transformers' configuration.
        n_parameters: of the model, which says what a token costs.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    fields = text.to_dict()
    window = context_window(fields)
    affordable = min(MOST_TOKENS, int(MOST_OPERATIONS / (2 * max(1, n_parameters))))
    most = max(_LEAST, affordable) if window is None else min(window, max(_LEAST, affordable))
    begins = {
        name: length
        for name, length in _lengths(fields)
        if length > 1 and (window is None or length < window)
    }
    needed = [length for length in begins.values() if length < most]
    late = sorted((length, name) for name, length in begins.items() if length >= most)
    n_tokens = min(most, max([_LEAST, *(length + _MARGIN for length in needed)]))
    return Reach(n_tokens, tuple((name, length) for length, name in late))


def earliest(config: Any) -> float:
    """Return from how many tokens on the first thing acts that acts late; infinity if none does.

    Args:
        config: transformers' configuration.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return min((length for _, length in _lengths(text.to_dict()) if length > 1), default=math.inf)


def context_window(fields: dict[str, Any]) -> int | None:
    """Return how long a text may be by a configuration; None if it does not say."""
    for name in _WINDOWS:
        length = fields.get(name)
        if isinstance(length, int) and length > 0:
            return length
    return None


def steady_length(config: Any) -> float:
    """Return up to how many tokens a rotary embedding does not follow from the length itself.

    Args:
        config: transformers' configuration.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    parameters = getattr(text, "rope_parameters", None) or {}
    kinds = [parameters, *(kind for kind in parameters.values() if isinstance(kind, dict))]
    return min(
        (
            float(kind.get("original_max_position_embeddings") or text.max_position_embeddings)
            for kind in kinds
            if kind.get("rope_type") in ("longrope", "dynamic")
        ),
        default=math.inf,
    )


def _lengths(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield every length in a configuration under a name that stands for one, at any depth."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _lengths(inside, str(key) if _is_length(str(key)) else "")
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _lengths(inside, name)
    elif name and isinstance(value, int) and not isinstance(value, bool):
        yield name, value


def _is_length(name: str) -> bool:
    return bool(_LENGTHS.search(name)) and not _NO_LENGTHS.search(name)
