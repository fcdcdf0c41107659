"""One pass over the stimuli, several tests of what it gave: the maps of every way to compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lensloc.contrasts.contrast import Contrast
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import Pooling, capture
from lensloc.forward.sites import get_site, hook_names
from lensloc.lesions.lesioning import has_other_hooks, open_lesions
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import prepends_bos, require_tokenizer
from lensloc.selectivity import Selectivity, Test, paired, welch
from lensloc.studies.kept_maps import (
    as_told,
    cut_at_window,
    key_of,
    looked_up,
    provenance_for,
    with_warnings,
)
from lensloc.studies.stimulus_warnings import (
    lengths_in_tokens,
    map_warnings,
    stimulus_warnings,
)
from lensloc.studies.store import Store
from lensloc.units.responses import Responses
from lensloc.vocabulary import Bos

Way = tuple[bool, Test]
"""Whether absolute responses are compared, and by which test."""


@dataclass(frozen=True)
class View:
    """What of the stimuli is seen.

    Attributes:
        pooling: over which tokens.
        max_tokens: so many tokens of a stimulus; None for whole ones.
        bos: whether a beginning-of-text token stands before it.
        truncate: cut what is longer than the context window.
        batch_size: texts per batch.
    """

    pooling: Pooling
    max_tokens: int | None = None
    bos: Bos = "model"
    truncate: bool = False
    batch_size: BatchSize = field(default="auto", compare=False)


def localize_ways(
    model: Model,
    contrast: Contrast,
    sites: Sequence[str],
    ways: Sequence[Way],
    view: View,
    *,
    store: Store | None = None,
    progress: bool = True,
) -> Mapping[Way, Mapping[str, Selectivity]]:
    """Test every site in several ways, as :func:`lensloc.localize` does in one.

    The stimuli are run through the model once, for all sites and ways that the store does not
    know, under the keys of :func:`lensloc.localize`.

    Raises:
        LensLocError: what :func:`lensloc.localize` refuses.
    """
    for name in sites:
        hook_names(get_site(name), model)
    require_tokenizer(model)
    lesions, card = open_lesions(model), describe(model)
    max_tokens = view.max_tokens
    window = surface(model).window if view.truncate else None
    if store is not None and has_other_hooks(model):
        store = None
    made, keys = {}, {}
    for way in ways:
        absolute, test = way
        if test == "paired":
            contrast.require_pairs()
        made[way] = provenance_for(
            card, contrast, view.pooling, "lensloc", absolute, max_tokens
        ).replace(
            test=test,
            lesion="; ".join(each.description for each in lesions),
            prepends_bos=prepends_bos(model, view.bos),
        )
        items = contrast.item_labels if test == "paired" else None
        for site in sites:
            keys[way, site] = key_of(made[way], items, lesions, site, window)
    places = {place: place[1] for place in keys}
    with looked_up(store, keys, model, places) as known:
        found = {place: as_told(hit[0], made[place[0]]) for place, hit in known.items()}
        missing = [place for place in keys if place not in found]
        if view.truncate:
            max_tokens = cut_at_window(model, contrast, max_tokens, found.values())
            made = {way: of.replace(max_tokens=max_tokens) for way, of in made.items()}
        lengths = lengths_in_tokens(model, contrast, max_tokens, found.values())
        made = {way: of.replace(lengths=lengths) for way, of in made.items()}
        if missing:
            wanted = list(dict.fromkeys(site for _, site in missing))
            captured = capture(
                model, contrast.texts, contrast.labels, wanted, pooling=view.pooling,
                batch_size=view.batch_size, max_tokens=max_tokens, truncate=view.truncate,
                bos=view.bos, progress=progress,
            )  # fmt: skip
        for way, site in missing:
            responses = captured.responses[site]
            held = Responses(site, responses.values, responses.conditions, contrast.item_labels)
            test_of = paired if way[1] == "paired" else welch
            found[way, site] = test_of(
                held,
                contrast.target,
                contrast.control,
                absolute=way[0],
                provenance=made[way].replace(site=site),
            )
            if store is not None:
                store.save(keys[way, site], found[way, site], captured.n_tokens)
    told: dict[Way, dict[str, Selectivity]] = {}
    for way in ways:
        general = (*card.warnings, *stimulus_warnings(model, contrast, made[way], lengths))
        told[way] = {
            site: with_warnings(found[way, site], (*general, *map_warnings(found[way, site])))
            for site in sites
        }
    return told
