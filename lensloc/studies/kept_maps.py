"""What made a map, and under which key it is kept: for maps that are looked up."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from lensloc.contrasts.contrast import Contrast
from lensloc.lesions.lesioning import Lesion
from lensloc.models import ModelCard
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Model
from lensloc.models.tokens import prepends_bos, require_tokenizer
from lensloc.selectivity import Selectivity
from lensloc.units.provenance import Provenance
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import Bos


def provenance_for(
    card: ModelCard,
    contrast: Contrast,
    pooling: str,
    protocol: str,
    absolute: bool,
    max_tokens: int | None,
) -> Provenance:
    """Return what made the maps of a contrast, whatever their site and test."""
    return provenance_of(
        card,
        contrast=contrast.name,
        contrast_hash=contrast.content_hash,
        texts=TextSet.of(contrast.texts).encode(),
        target=contrast.target,
        control=contrast.control,
        pooling=pooling,
        protocol=protocol,
        absolute=absolute,
        max_tokens=max_tokens,
    )


def with_bos(made: Provenance, model: Model, bos: Bos) -> Provenance:
    """Say whether a beginning-of-text token stands first, where that is not the model's setting."""
    if bos == "model":
        return made
    require_tokenizer(model)
    return made.replace(prepends_bos=prepends_bos(model, bos))


def key_of(
    made: Provenance,
    items: Sequence[str] | None,
    lesions: Sequence[Lesion],
    site: str,
    truncate: bool,
) -> dict[str, Any]:
    """Everything that a result depends on, and nothing that it does not (name, date, device)."""
    return {
        "weights": made.weights_hash,
        "config": made.config_hash,
        "tokenizer": made.tokenizer_hash,
        "backend": made.backend,
        "bos": made.prepends_bos,
        "lesions": [found.settings for found in lesions],
        "stimuli": made.contrast_hash,
        "items": None if items is None else list(items),
        "site": site if not made.place else [site, made.place],
        "pooling": made.pooling,
        "protocol": made.protocol,
        "absolute": made.absolute,
        "test": made.test,
        "max_tokens": made.max_tokens,
        "kurtosis": True,  # is among what is kept, as it was not at first
        "truncate": truncate,  # so that without it, long texts are refused as ever
        "versions": [made.lensloc, made.transformer_lens, made.torch],
    }


def as_told(found: Selectivity, made: Provenance) -> Selectivity:
    """Return what was kept, under the names that model and contrast go by now."""
    known = found.provenance
    now = known.replace(
        model=made.model, contrast=made.contrast, texts=made.texts, revision=made.revision
    )
    return dataclasses.replace(found, provenance=now)


def with_warnings(found: Selectivity, warnings: tuple[str, ...]) -> Selectivity:
    """Return a map with what is to be told of it."""
    return dataclasses.replace(found, provenance=found.provenance.replace(warnings=warnings))
