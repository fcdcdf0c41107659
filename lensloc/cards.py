"""ModelCard: what a loaded model is, kept on the model itself."""

import datetime
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
import xxhash

from lensloc.provenance import Provenance

_ATTRIBUTE = "lensloc_card"


@dataclass(frozen=True)
class ModelCard:
    """What a loaded model is.

    Attributes:
        name: what it was asked for by.
        revision: commit of the hub, where it comes from one.
        architecture: class that transformers gives it, e.g. ``LlamaForCausalLM``.
        backend: ``"hooked"`` or ``"bridge"``.
        dtype: of the weights, e.g. ``"float32"``.
        processing: ``"raw"`` weights, or how they were changed (folded LayerNorm).
        untrained: whether its weights are as initialised.
        prepends_bos: whether its tokenizer puts a beginning-of-text token before a text.
        weights_hash: hash of all parameters, names and values.
        check: outcome of :func:`lensloc.models.check.check_model`, in words.
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


def card_of(model: Any) -> ModelCard | None:
    """Return the card that :func:`attach` put on the model, if there is one."""
    card = getattr(model, _ATTRIBUTE, None)
    return card if isinstance(card, ModelCard) else None


def attach(model: Any, card: ModelCard) -> None:
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
        "revision": card.revision,
        "weights_hash": card.weights_hash,
        "architecture": card.architecture,
        "backend": card.backend,
        "dtype": card.dtype,
        "processing": card.processing,
        "untrained": card.untrained,
        "check": card.check,
        "prepends_bos": card.prepends_bos,
        "lensloc": metadata.version("lensloc"),
        "transformer_lens": metadata.version("transformer-lens"),
        "torch": metadata.version("torch"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    return Provenance(**{**known, **procedure})


def weights_hash(model: torch.nn.Module) -> str:
    """Return an XXH3 hash of all parameters: names, dtypes, shapes and bytes."""
    digest = xxhash.xxh3_128()
    for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
        tensor = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"xxh3:{digest.hexdigest()}"
