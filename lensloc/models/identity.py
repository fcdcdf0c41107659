"""ModelCard: what a loaded model is, kept on the model itself; and what makes it another one."""

import dataclasses
import datetime
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
import xxhash

from lensloc.models.adapting import surface
from lensloc.models.changes import Snapshot, in_parts, offloaded
from lensloc.models.quantized import is_quantized
from lensloc.models.surface import Model
from lensloc.models.tokens import added_around
from lensloc.units.provenance import Provenance, known_hashes

_ATTRIBUTE = "lensloc_card"
_HASHED = "lensloc_hash"
_WEIGHTS = "lensloc_weights"

# What a configuration says beside how activations come about: names, origin, training, devices,
# which of its activations are offered to hooks, and special tokens (which the tokenizer has).
_NO_MATTER = frozenset(
    """
    model_name name_or_path tokenizer_name tokenizer_class transformers_version architectures
    original_architecture auto_map id2label label2id num_labels problem_type task_specific_params
    finetuning_task device n_devices dtype torch_dtype seed init_weights init_mode n_params
    from_checkpoint checkpoint_index checkpoint_label_type checkpoint_value trust_remote_code
    default_prepend_bos tokenizer_prepends_bos tokenizer_appends_eos
    use_attn_result use_attn_in use_split_qkv_input use_hook_mlp_in use_hook_tokens
    ungroup_grouped_query_attention output_attentions output_hidden_states return_dict use_cache
    torchscript attn_implementation experts_implementation
    """.split()
)
_TRAINING = ("dropout", "pdrop", "initializer", "aux_loss")


@dataclass(frozen=True)
class ModelCard:
    """What a loaded model is.

    Attributes:
        name: what it was asked for by.
        revision: commit of the hub, where it comes from one; that which was asked for, if it was,
            stands in the name (``EleutherAI/pythia-70m@step3000``).
        architecture: class that transformers gives it, e.g. ``LlamaForCausalLM``.
        backend: ``"hooked"``, ``"bridge"`` or ``"transformers"``.
        dtype: of the weights, e.g. ``"float32"``.
        processing: ``"raw"`` weights, or how they were changed (folded LayerNorm).
        untrained: whether its weights are as initialised.
        prepends_bos: whether its tokenizer puts a beginning-of-text token before a text.
        weights_hash: hash of all parameters, names and values.
        check: outcome of :func:`lensloc.models.check.check_model`, in words.
        config_hash: hash of the configuration, as far as it matters to what is computed.
        tokenizer_hash: hash of the tokenizer; empty if there is none.
        quantization: how its weights were stored if not as numbers, e.g. ``"Q4_1, dequantised to
            float32"``; empty if they were.
        about: what it is, in words, where its name does not say it.
        device: where its weights are, e.g. ``"cpu"``.
        seed: of the initialisation of an untrained model.
        warnings: what a user of the model should know, in sentences.
    """

    name: str
    revision: str
    architecture: str
    backend: str
    dtype: str
    processing: str
    untrained: bool
    prepends_bos: bool
    weights_hash: str
    check: str
    config_hash: str = ""
    tokenizer_hash: str = ""
    quantization: str = ""
    about: str = ""
    device: str = ""
    seed: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def hashes(self) -> dict[str, str]:
        """What makes the model another one: name of the part -> its hash."""
        return known_hashes(self.weights_hash, self.config_hash, self.tokenizer_hash)


def card_of(model: Model) -> ModelCard | None:
    """Return the card that :func:`attach` put on the model, if there is one."""
    card = getattr(model, _ATTRIBUTE, None)
    return card if isinstance(card, ModelCard) else None


def attach(model: Model, card: ModelCard) -> None:
    """Keep the card on the model."""
    # Past nn.Module's and the bridge's own __setattr__, which look for parameters in it.
    object.__setattr__(model, _ATTRIBUTE, card)


def provenance_of(card: ModelCard, **procedure: Any) -> Provenance:
    """Return what is known of a result of the model here and now: model, versions, date.

    Args:
        card: of the model.
        procedure: the other fields, of stimuli and procedure.
    """
    known = {
        "model": card.name,
        "about": card.about,
        "revision": card.revision,
        "weights_hash": card.weights_hash,
        "config_hash": card.config_hash,
        "tokenizer_hash": card.tokenizer_hash,
        "architecture": card.architecture,
        "backend": card.backend,
        "dtype": card.dtype,
        "quantization": card.quantization,
        "device": card.device,
        "processing": card.processing,
        "untrained": card.untrained,
        "check": card.check,
        "prepends_bos": card.prepends_bos,
        "seeds": () if card.seed is None else (f"weights {card.seed}",),
        "lensloc": metadata.version("lensloc"),
        "transformer_lens": metadata.version("transformer-lens"),
        "transformers": metadata.version("transformers"),
        "torch": metadata.version("torch"),
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    return Provenance(**{**known, **procedure})


# -- identity --------------------------------------------------------------------------------------


def weights_hash(model: torch.nn.Module) -> str:
    """Return an XXH3 hash of all parameters: names, dtypes, shapes and bytes.

    It is kept on the model, and made again only where something changed since
    (:class:`lensloc.models.changes.Snapshot`). Of a model with packed weights, all that belongs to
    them counts.
    """
    kept = getattr(model, "__dict__", {}).get(_WEIGHTS)
    if isinstance(kept, Snapshot) and kept.still_holds(model):
        return kept.hash
    found = Snapshot.of(model, f"xxh3:{_hashed(model)}")
    object.__setattr__(model, _WEIGHTS, found)
    return found.hash


def _hashed(model: torch.nn.Module) -> str:
    digest = xxhash.xxh3_128()
    elsewhere = offloaded(model)
    for name, weight in sorted(_named_weights(model), key=lambda item: item[0]):
        if not isinstance(weight, torch.Tensor):
            continue
        tensor = weight.detach()
        if weight.is_meta and name in elsewhere:
            kept, key = elsewhere[name]
            tensor = kept[key]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        for part in in_parts(tensor):
            digest.update(part.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _named_weights(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield what is hashed; of packed weights, also what they are unpacked with."""
    if not surface(model).takes_tokens:  # running means of a wrapped module are buffers
        yield from model.state_dict(keep_vars=True).items()
        return
    if not is_quantized(model):
        # What moves a weight from disk puts another object in its place, so that one which two
        # modules share would count twice.
        shared = dict(getattr(model, "all_tied_weights_keys", None) or {})
        for name, weight in model.named_parameters():
            if not (weight.is_meta and name in shared):
                yield name, weight
        return
    states = {n: getattr(weight, "quant_state", None) for n, weight in model.named_parameters()}
    if not any(getattr(state, "packing_format_for_cpu", False) for state in states.values()):
        yield from model.state_dict(keep_vars=True).items()
        return
    # bitsandbytes packs such weights anew for the CPU when they are first used. To make a
    # state_dict, it unpacks them in the model itself, which does not give what there was before.
    yield from model.named_parameters()
    yield from model.named_buffers()
    for name, state in states.items():
        if state is not None:
            yield from ((f"{name}.{key}", value) for key, value in state.as_dict().items())


def config_hash(model: Model) -> str:
    """Return a hash of a model's configuration: what it computes with its weights.

    Names, folders, versions and devices do not count, nor does what only training reads.
    """
    content = json.dumps(
        _kept(_fields(surface(model).config)), sort_keys=True, ensure_ascii=False, default=str
    )
    return f"xxh3:{xxhash.xxh3_128_hexdigest(content.encode())}"


def _fields(config: Any) -> dict[str, Any]:
    """Return what a configuration says other than its class' defaults."""
    if hasattr(config, "to_diff_dict"):
        try:
            found = config.to_diff_dict()
        except (AttributeError, TypeError, ValueError):  # a class that has no defaults
            found = config.to_dict()
        return {"model_type": config.model_type, **found}
    fields = dict(vars(config))
    if dataclasses.is_dataclass(config):
        for known in dataclasses.fields(config):
            if fields.get(known.name) == known.default:
                fields.pop(known.name, None)
    return fields


def _kept(value: Any) -> Any:
    """Leave out of a configuration, at any depth, what does not matter."""
    if isinstance(value, dict):
        return {
            str(key): _kept(inside)
            for key, inside in value.items()
            if not str(key).startswith("_")
            and key not in _NO_MATTER
            and not any(word in str(key) for word in _TRAINING)
        }
    return [_kept(inside) for inside in value] if isinstance(value, list | tuple) else value


def tokenizer_hash(tokenizer: Any) -> str:
    """Return a hash of a tokenizer: vocabulary, rules and special tokens; empty for None.

    It is kept on the tokenizer, and made again only where something changed since.
    """
    if tokenizer is None:
        return ""
    state = _tokenizer_state(tokenizer)
    kept = getattr(tokenizer, _HASHED, None)
    if kept is not None and kept[0] == state:
        return str(kept[1])
    digest = xxhash.xxh3_128(state.encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        text = backend.to_str()
        # Before that stand padding and truncation, which change from call to call.
        digest.update(text[max(0, text.find('"added_tokens"')) :].encode())
    else:
        vocabulary = sorted(tokenizer.get_vocab().items()) if _has_vocabulary(tokenizer) else []
        settings = {
            key: value
            for key, value in getattr(tokenizer, "init_kwargs", {}).items()
            if isinstance(value, bool | int | float)
        }
        digest.update(json.dumps([vocabulary, settings], sort_keys=True, default=str).encode())
        pieces = getattr(getattr(tokenizer, "sp_model", None), "serialized_model_proto", None)
        digest.update(pieces() if callable(pieces) else b"")
    found = f"xxh3:{digest.hexdigest()}"
    object.__setattr__(tokenizer, _HASHED, (state, found))
    return found


def _has_vocabulary(tokenizer: Any) -> bool:
    return callable(getattr(tokenizer, "get_vocab", None))


def _tokenizer_state(tokenizer: Any) -> str:
    """Return what can change on a tokenizer in use, in as far as it is quick to read."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = [
        len(tokenizer) if hasattr(tokenizer, "__len__") else 0,
        *(getattr(tokenizer, f"{name}_token", None) for name in ("bos", "eos", "unk")),
        added_around(tokenizer),
        *(repr(getattr(backend, name, None)) for name in ("normalizer", "pre_tokenizer")),
    ]
    return json.dumps(parts, default=str)
