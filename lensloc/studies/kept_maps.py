"""What made a map, and under which key it is kept: for maps that are looked up."""

import contextlib
import dataclasses
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from lensloc.contrasts.balance import length
from lensloc.contrasts.contrast import Contrast
from lensloc.forward.sites import get_site, shape
from lensloc.lesions.lesioning import Lesion, has_other_hooks
from lensloc.models import ModelCard
from lensloc.models.adapting import surface
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Model
from lensloc.models.tokens import prepends_bos, require_tokenizer
from lensloc.selectivity import Selectivity
from lensloc.studies.store import Store
from lensloc.units.provenance import Provenance
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import Bos

log = logging.getLogger(__name__)

_Place = TypeVar("_Place", bound=Hashable)
_Known = dict[_Place, tuple[Selectivity, int]]


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
    window: int | None,
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that a result depends on, and nothing that it does not (name, date, device).

    Args:
        made: what made it; its ``max_tokens`` are those that were asked for.
        items: of the stimuli, where they count.
        lesions: that are open.
        site: where.
        window: at which longer stimuli are cut; None where they are refused.
        own: settings of a statistic of the user's.
    """
    statistic = {"statistic": dict(own)} if own else {}  # one of the user's
    return statistic | {
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
        "truncate": window or False,  # so that without it, long texts are refused as ever
        "versions": [made.lensloc, made.transformer_lens, made.torch],
    }


@contextlib.contextmanager
def looked_up(
    store: Store | None,
    keys: Mapping[_Place, Mapping[str, Any]],
    model: Model,
    sites: Mapping[_Place, str],
    *,
    look: bool = True,
) -> Iterator[_Known[_Place]]:
    """Yield the maps that a store has, and hold those that it lacks, for them to be made once.

    What another process was making meanwhile is waited for, and is among them.

    Args:
        store: where to look; None for nowhere.
        keys: place in what is asked for -> what its map depends on.
        model: whose units the maps are of.
        sites: place -> site.
        look: whether kept maps are used at all.

    Yields:
        Place -> map and number of tokens.
    """
    known: _Known[_Place] = {}
    if store is None:
        yield known
        return
    shapes = {
        site: shape(get_site(site), model) if surface(model).takes_tokens else None
        for site in set(sites.values())
    }

    def find(places: Sequence[_Place]) -> None:
        for place in places:
            hit = store.load(keys[place], shape=shapes[sites[place]])
            if hit is not None:
                known[place] = hit

    if look:
        find(list(keys))
    missing = [place for place in keys if place not in known]
    words = f"the map of {', '.join(dict.fromkeys(sites[place] for place in missing))}"
    with store.making([keys[place] for place in missing], words) as waited:
        if look and waited:
            find(missing)
        yield known


def cut_at_window(
    model: Model, contrast: Contrast, max_tokens: int | None, known: Iterable[Selectivity] = ()
) -> int | None:
    """Return after how many tokens stimuli are cut, where the window cuts some of them.

    Args:
        model: that runs them.
        contrast: the stimuli.
        max_tokens: how many tokens of a stimulus were asked for; all if None.
        known: maps of the same stimuli, cut in the same way, which say it; then none is tokenized.
    """
    for found in known:
        return found.provenance.max_tokens
    if surface(model).tokenizer is None:  # which capturing tells
        return max_tokens
    window = surface(model).window
    longest = max(length(text, "tokens", model) for text in contrast.texts)
    used = longest if max_tokens is None else min(longest, max_tokens)
    return max_tokens if used <= window else window


def as_told(found: Selectivity, made: Provenance) -> Selectivity:
    """Return what was kept, under the names that model and contrast go by now."""
    known = found.provenance
    now = known.replace(
        model=made.model, contrast=made.contrast, texts=made.texts, revision=made.revision
    )
    return dataclasses.replace(found, provenance=now)


def with_lengths(found: Selectivity, lengths: tuple[str, ...]) -> Selectivity:
    """Return a map that says how long its stimuli are, so that they are not tokenized again."""
    return dataclasses.replace(found, provenance=found.provenance.replace(lengths=lengths))


def with_warnings(found: Selectivity, warnings: tuple[str, ...]) -> Selectivity:
    """Return a map with what is to be told of it."""
    return dataclasses.replace(found, provenance=found.provenance.replace(warnings=warnings))


def usable(kept: Store | None, model: Model, own: Mapping[str, Any] | None) -> Store | None:
    """Return the store, if everything that the maps depend on is known."""
    why = "hooks are open on the model" if has_other_hooks(model) else ""
    if own is None:
        why = "the statistic does not say what it depends on"
    if kept is not None and why:
        log.info("%s: its results are neither looked up nor kept", why)
        return None
    return kept
