"""A model -> its card: the one that it has, renewed where something changed, or a new one."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from lensloc.models.adapting import surface
from lensloc.models.check import check_model
from lensloc.models.evaluation import evaluating
from lensloc.models.identity import (
    ModelCard,
    attach,
    card_of,
    config_hash,
    tokenizer_hash,
    weights_hash,
)
from lensloc.models.module import OfModule
from lensloc.models.surface import Model

log = logging.getLogger(__name__)

_UNCHECKED = "not run: no example of an input was given yet"


def describe(model: Model) -> ModelCard:
    """Return a model's card; a model that came from elsewhere is checked and gets one.

    A model of the user's own may be odd on purpose, so what its check finds is a warning. A model
    whose weights, configuration, tokenizer or setting for BOS were changed since gets a new card.
    Weights are read when a model is first described, and again only after they changed.
    """
    seen = surface(model)
    card = card_of(model)
    now: dict[str, Any] = {
        "weights_hash": weights_hash(model),
        "config_hash": config_hash(model),
        "tokenizer_hash": tokenizer_hash(seen.tokenizer),
        "prepends_bos": seen.prepends_bos,
    }
    where = devices_of(model)
    unchecked = card is not None and card.check == _UNCHECKED and has_example(model)
    if (
        card is not None
        and not unchecked
        and all(getattr(card, name) == value for name, value in now.items())
    ):
        if card.device != where:
            card = dataclasses.replace(card, device=where)
            attach(model, card)
        return card
    name = seen.name or "model given in Python"
    if Path(name).is_dir():
        name = Path(name).name
    checked = _UNCHECKED
    if has_example(model):
        with evaluating(model):
            check = check_model(model)
        if check.failures:
            log.warning("%s did not pass its check: %s", name, "; ".join(check.failures))
        checked = str(check)
    if card is not None and card.weights_hash == now["weights_hash"]:
        # Its weights are still those that were loaded, with all that is known of them.
        card = dataclasses.replace(card, **now, device=where, check=checked)
        attach(model, card)
        return card
    if seen.processing.startswith("folded"):
        log.warning(
            "%s has folded weights, so its residual stream differs from the raw model's; "
            "load it with lensloc.load_model for the published units",
            name,
        )
    card = ModelCard(
        name=name,
        revision="",
        architecture=seen.architecture,
        backend=seen.kind,
        dtype=dtype_of(model),
        processing=seen.processing,
        untrained=False,
        check=checked,
        device=where,
        **now,
    )
    attach(model, card)
    return card


def has_example(model: Model) -> bool:
    """Say whether there is something to check a model with; tokens there always are."""
    seen = surface(model)
    return not isinstance(seen, OfModule) or seen.has_example


def dtype_of(model: Model) -> str:
    """Return what a model computes in, e.g. ``"float32"``: the type of most of its numbers."""
    counts: dict[str, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            name = str(parameter.dtype).removeprefix("torch.")
            counts[name] = counts.get(name, 0) + parameter.numel()
    return max(counts, key=lambda name: counts[name], default="")


def devices_of(model: Model) -> str:
    """Return the devices that a model's weights are on, in their order."""
    return ", ".join(dict.fromkeys(str(parameter.device) for parameter in model.parameters()))
