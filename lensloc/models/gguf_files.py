"""A ``.gguf`` file -> a plain transformers model that is really the one in the file."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import quantization_config

from lensloc.errors import LensLocError
from lensloc.models.failures import gist_of, require_failure
from lensloc.models.gguf_parts import QuickReader, quick_parts
from lensloc.models.possible import require_possible
from lensloc.models.quiet import quiet, untrained_like
from lensloc.models.weights import require_complete, unused_weights

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_PLAIN = frozenset({"F64", "F32", "F16", "BF16"})
# The rotary embedding's factors: a part of the configuration that is kept as a tensor.
_ROPE = re.compile(r"rope_(freqs|factors_long|factors_short)\.weight")


@dataclass(frozen=True)
class GgufModel:
    """What was read from a ``.gguf`` file.

    Attributes:
        hf_model: a transformers model, which no longer knows that its weights were quantised.
        tokenizer: its tokenizer.
        quantization: how the weights are stored in the file, e.g. ``"Q4_K and Q6_K, dequantised to
            float32"``; empty if they are plain numbers.
        warnings: what a user of the model should know, in sentences.
    """

    hf_model: Any
    tokenizer: Any
    quantization: str
    warnings: tuple[str, ...] = ()


def read_gguf(path: Path, dtype: torch.dtype, *, untrained_seed: int | None = None) -> GgufModel:
    """Read a ``.gguf`` file as a plain transformers model and its tokenizer.

    Args:
        path: the file.
        dtype: of the dequantised weights.
        untrained_seed: initialise the weights with this seed instead of reading them.

    Raises:
        LensLocError: if the file is not a GGUF checkpoint that transformers can read whole: one
            shard of several, weights that are missing, settings that transformers does not read.
    """
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    with _told(path):
        reader = QuickReader(path)
    with _told(path):
        _require_whole(reader, path)
        _require_possible(reader, path)
    with _told(path), quiet(), quick_parts(reader, path):
        tokenizer = AutoTokenizer.from_pretrained(**source, trust_remote_code=False)
        config = AutoConfig.from_pretrained(**source, trust_remote_code=False)
    with _told(path):
        _require_read(reader, config, path)
    if untrained_seed is not None:
        with _told(path):
            return GgufModel(untrained_like(_plain(config), untrained_seed, dtype), tokenizer, "")
    with _told(path), quiet(), quick_parts(reader, path):
        packed, info = AutoModelForCausalLM.from_pretrained(
            **source,
            **_dequantised(),
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told below
            output_loading_info=True,
        )
    warnings = require_complete(info, packed, config, str(path))
    with _told(path), quiet():
        # Of the weights themselves, without one that knows that they were packed.
        plain = type(packed).from_pretrained(
            None, config=_plain(packed.config), state_dict=packed.state_dict(), dtype=dtype
        )
        del packed
    warnings += unused_weights(_unused(reader, plain), type(plain).__name__, str(path))
    return GgufModel(plain.eval(), tokenizer, stored_as(reader), warnings)


def file_type(path: Path) -> str:
    """Return what a ``.gguf`` file says that its weights are stored as, e.g. ``"Q4_1"``.

    Raises:
        LensLocError: if the file is no GGUF file.
    """
    with _told(path):
        number = _setting(QuickReader(path), "general.file_type")
    try:
        return gguf.LlamaFileType(int(number)).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (TypeError, ValueError):
        return ""


def stored_as(reader: Any) -> str:
    """Say how the tensors of a file are stored, those that make up most of it first."""
    counts: dict[str, int] = {}
    for tensor in reader.tensors:
        kind = tensor.tensor_type.name
        if kind not in _PLAIN:
            counts[kind] = counts.get(kind, 0) + int(tensor.n_elements)
    kinds = sorted(counts, key=lambda kind: -counts[kind])
    return f"{' and '.join(kinds)}, dequantised to float32" if kinds else ""


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in a sentence what transformers and gguf raise about a file."""
    try:
        yield
    except BaseException as error:  # each library has its own
        require_failure(error)
        raise LensLocError(
            f"{path} cannot be read as a GGUF checkpoint ({gist_of(error)}); check that it is "
            "complete and of an architecture that transformers reads."
        ) from error


def _require_possible(reader: Any, path: Path) -> None:
    """Check the numbers of which a model is built, before it is.

    Raises:
        LensLocError: naming the number.
    """
    architecture = str(_setting(reader, "general.architecture"))
    named = {
        "block_count": "num_hidden_layers",
        "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size",
        "attention.head_count": "num_attention_heads",
        "vocab_size": "vocab_size",
        "context_length": "max_position_embeddings",
    }
    for key, name in named.items():
        value = _setting(reader, f"{architecture}.{key}")
        value = [int(each) for each in value] if isinstance(value, list) else value
        require_possible({name: value}, f"{path}: {architecture}.{key}")
    n_blocks = _setting(reader, f"{architecture}.block_count")
    if isinstance(n_blocks, int) and n_blocks > len(reader.tensors):
        raise LensLocError(
            f"{path} says that it has {n_blocks} blocks, but holds {len(reader.tensors)} tensors; "
            "fetch or make it again."
        )


def _dequantised() -> dict[str, Any]:
    """Return what asks a transformers that could keep weights packed for plain numbers."""
    settings = getattr(quantization_config, "GgufConfig", None)
    return {} if settings is None else {"quantization_config": settings(dequantize=True)}


def _plain(config: Any) -> Any:
    fields = config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        fields.pop(key, None)
    return type(config).from_dict(fields)


# -- is all of it there, and read? -----------------------------------------------------------------


def _require_whole(reader: Any, path: Path) -> None:
    """Check that a file is not one shard of several, which transformers would read by itself.

    Raises:
        LensLocError: naming the shards that are not beside it, and how to join them.
    """
    named = _SHARD.fullmatch(path.name)
    count = int(_setting(reader, "split.count") or 0) or (int(named["count"]) if named else 1)
    if count <= 1:
        return
    advice = "join them (`llama-gguf-split --merge FIRST.gguf WHOLE.gguf`) and give the whole"
    if named is None:
        raise LensLocError(f"{path} is one of {count} parts of a model; {advice}.")
    shards = [f"{named['stem']}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    missing = [shard for shard in shards if not (path.parent / shard).is_file()]
    beside = f" {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not beside it;"
    raise LensLocError(
        f"{path} is part {int(named['number'])} of {count} of a model, and transformers reads "
        f"whole files only;{beside if missing else ''} {advice}."
    )


def _require_read(reader: Any, config: Any, path: Path) -> None:
    """Check that what the file says of positions got into transformers' configuration.

    Raises:
        LensLocError: naming what was passed over.
    """
    architecture = str(_setting(reader, "general.architecture"))
    text = config.get_text_config()
    passed_over = []
    scaling = _setting(reader, f"{architecture}.rope.scaling.type")
    factors = [t for t in reader.tensors if _ROPE.fullmatch(t.name) and (t.data != 1).any()]
    if not _is_scaled(text):
        if scaling not in (None, "", "none"):
            passed_over.append(f"{architecture}.rope.scaling ({scaling})")
        passed_over += [tensor.name for tensor in factors]
    window = _setting(reader, f"{architecture}.attention.sliding_window")
    longest = _setting(reader, f"{architecture}.context_length") or 0
    acts = isinstance(window, int) and 0 < window < int(longest)
    if acts and getattr(text, "sliding_window", None) != window:
        passed_over.append(f"{architecture}.attention.sliding_window ({window})")
    if passed_over:
        raise LensLocError(
            f"transformers does not read {', '.join(passed_over)} of {path}, so the model would "
            "not be the one in the file; give its transformers checkpoint instead."
        )


def _is_scaled(config: Any) -> bool:
    """Say whether a rotary embedding is scaled by the configuration, in whatever layers."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(p for p in parameters.values() if isinstance(p, dict))]
    return any(kind.get("rope_type", "default") not in ("default", None) for kind in kinds)


def _unused(reader: Any, hf_model: Any) -> list[str]:
    """Return tensors of a file that no part of the model takes; transformers passes them over."""
    stored = {t.name: int(t.n_elements) for t in reader.tensors if not _ROPE.fullmatch(t.name)}
    taken = {p.data_ptr(): p.numel() for p in hf_model.state_dict(keep_vars=True).values()}
    if sum(stored.values()) <= sum(taken.values()):
        return []
    architecture = str(_setting(reader, "general.architecture"))
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in kinds:
        return []
    n_layers = int(hf_model.config.get_text_config().num_hidden_layers)
    names = gguf.get_tensor_name_map(kinds[architecture], n_layers)
    known = set()
    for name in hf_model.state_dict():
        stem, _, suffix = name.rpartition(".")
        known.add(f"{names.get_name(stem)}.{suffix}")
    return sorted(set(stored) - known)


def _setting(reader: Any, name: str) -> Any:
    found = reader.fields.get(name)
    return None if found is None else found.contents()
