"""Did a checkpoint hold the weights that its configuration asks for? What transformers reports.

transformers fills a weight that it does not find with random numbers and says so in a log only.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from transformers.models.auto import modeling_auto

from lensloc.errors import LensLocError

# Left in old checkpoints, and made anew by every model: masks and tables, no weights.
_NO_WEIGHTS = re.compile(r"(^|\.)(inv_freq|masked_bias|position_ids|num_batches_tracked)$")
_ADAPTER = re.compile(r"lora_|\.base_layer\.|\.modules_to_save\.")
_SHOWN = 3
_HEADLESS = (
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
)


def require_language_model(config: Any, place: str) -> None:
    """Check that a checkpoint was saved with an output layer over tokens.

    One without goes unnoticed where the output layer is tied to the embedding.

    Raises:
        LensLocError: for a classifier, a reward model and the like.
    """
    kind = _headless(config)
    if kind:
        raise LensLocError(
            f"{place} holds a {kind}, which predicts no tokens (a classifier or a reward model); "
            "give the language model that it was made from."
        )


def _headless(config: Any) -> str:
    """Return the class that a configuration names if it is one that predicts no tokens."""
    headless: set[str] = set()
    for name in _HEADLESS:
        for found in getattr(modeling_auto, name, {}).values():
            headless.update([found] if isinstance(found, str) else found)
    classes = list(getattr(config, "architectures", None) or [])
    return str(classes[0]) if classes and all(name in headless for name in classes) else ""


def require_complete(
    info: Mapping[str, Any], hf_model: Any, saved_as: Any, place: str
) -> tuple[str, ...]:
    """Check a loading report of transformers.

    Args:
        info: what ``from_pretrained(..., output_loading_info=True)`` gave beside the model.
        hf_model: the model.
        saved_as: the configuration in its files.
        place: folder, file or hub name, to begin the sentence with.

    Returns:
        Sentences on weights that were left unused.

    Raises:
        LensLocError: weights that are missing, or of another shape; tied ones are not missing.
    """
    architecture = type(hf_model).__name__
    missing = sorted(info["missing_keys"])
    unused = sorted(name for name in info["unexpected_keys"] if not _NO_WEIGHTS.search(name))
    mismatched = sorted(info["mismatched_keys"], key=lambda found: str(found[0]))
    if missing:
        raise LensLocError(
            f"{place} lacks {counted_weights(len(missing))} of the {architecture} that its "
            f"configuration describes ({listed(missing)}), which would be drawn at random"
            f"{_hint(missing, unused, _headless(saved_as))}."
        )
    if mismatched:
        name, in_file, wanted = mismatched[0]
        others = f" ({len(mismatched) - 1:,} more)" if len(mismatched) > 1 else ""
        raise LensLocError(
            f"{place} and its configuration do not belong together: {name} is {_shape(in_file)} in "
            f"the file, and {_shape(wanted)} by the configuration{others}; give the weights their "
            "own config.json, and all of them."
        )
    errors = list(info.get("error_msgs") or ())
    if errors:
        raise LensLocError(f"{place} could not be read: {str(errors[0]).splitlines()[0]}.")
    return unused_weights(unused, architecture, place)


def unused_weights(unused: Collection[str], architecture: str, place: str) -> tuple[str, ...]:
    """Return a sentence on weights of a checkpoint that no part of the model takes, if any."""
    if not unused:
        return ()
    return (
        f"{counted_weights(len(unused))} of {place} {'is' if len(unused) == 1 else 'are'} left "
        f"unused by the {architecture} that its configuration describes ({listed(sorted(unused))}),"
        " so it may not be the model that was saved.",
    )


def counted_weights(n: int) -> str:
    """Return a number of weight matrices and vectors in words."""
    return f"{n:,} weight{'' if n == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many there are beside them."""
    found = list(names)
    rest = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + rest


def _hint(missing: Collection[str], unused: Collection[str], headless: str) -> str:
    """Return what may have gone wrong when the checkpoint was saved, and what to do."""
    if headless:
        return (
            f"; it was saved as a {headless}, which predicts no tokens (a classifier or a reward "
            "model): give the language model that it was made from"
        )
    if any(map(_ADAPTER.search, unused)):
        return (
            "; its weights are those of an adapter (LoRA) around a model: merge them into it "
            "(merge_and_unload) and save it again"
        )
    prefix = _common_prefix(missing, unused)
    if prefix:
        return (
            f"; in the file their names begin with {prefix!r}, as those of a wrapped model do: "
            "take it off and save them again"
        )
    if unused:
        return f"; the file has others that it does not take ({listed(sorted(unused))})"
    return "; check that all files are there, and that config.json is theirs"


def _common_prefix(missing: Collection[str], unused: Collection[str]) -> str:
    """Return what stands before the missing names in the file, if it is one thing before most."""
    wanted = set(missing)
    counts: dict[str, int] = {}
    for name in unused:
        parts = name.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in wanted:
                prefix = ".".join(parts[:cut]) + "."
                counts[prefix] = counts.get(prefix, 0) + 1
                break
    best = max(counts, key=lambda prefix: counts[prefix], default="")
    return best if best and 2 * counts[best] > len(wanted) else ""


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(str(int(size)) for size in sizes)
