"""Sites: where units live. A site is a hook point per layer, and how its axes become units."""

import re
from collections.abc import Iterable, Sequence

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.forward.site_table import HEAD_SITES as HEAD_SITES
from lensloc.forward.site_table import LAYER
from lensloc.forward.site_table import SITES as SITES
from lensloc.forward.site_table import Axes as Axes
from lensloc.forward.site_table import Site as Site
from lensloc.models.adapting import surface
from lensloc.models.surface import NO_SUCH_POINT, Model
from lensloc.units.provenance import Provenance
from lensloc.units.ragged import Widths

_HOOK_SUFFIX = re.compile(r"^(\w+\.)*hook_\w+$")


def names_of(sites: "str | Site | Sequence[str | Site]") -> list[str]:
    """Return the names of one site or several, each once.

    Args:
        sites: a name, or a list of names; see :func:`get_site`.

    Raises:
        LensLocError: if none was named, or one is none.

    Example:
        >>> names_of("head"), names_of(["blocks.{layer}.attn.hook_q", "q", "head"])
        (['head'], ['q', 'head'])
    """
    if isinstance(sites, str | Site):
        sites = (sites,)
    if not isinstance(sites, Iterable):
        raise LensLocError(
            f"sites is a name or a list of names, not something of type {type(sites).__name__}; "
            "the sites are " + ", ".join(SITES) + "."
        )
    found = list(dict.fromkeys(get_site(site).name for site in sites))
    if not found:
        raise LensLocError("No site was named; name at least one, e.g. resid_post.")
    return found


def get_site(name: "str | Site") -> Site:
    """Return the site of that name, or one at any hook point of the blocks.

    Args:
        name: one of :data:`SITES`; or a hook point's name with ``{layer}`` for the number of the
            layer, ``"blocks.{layer}.ln1.hook_normalized"``; or what stands behind that,
            ``"ln1.hook_normalized"``, which is the name that such a site then has.

    Raises:
        LensLocError: if it is none of these; the known ones are listed.

    Example:
        >>> get_site("mlp_post").hook_name(3)
        'blocks.3.mlp.hook_post'
        >>> get_site("ln1.hook_normalized").unit
        'element of ln1.hook_normalized'
    """
    if isinstance(name, Site):
        return name
    if not isinstance(name, str):
        raise LensLocError(
            f"A site is named by a text, e.g. resid_post; {name!r} is of type "
            f"{type(name).__name__}."
        )
    if name in SITES:
        return SITES[name]
    alone = [site for site in SITES.values() if site.has_one_layer and site.hook == name]
    if alone:
        return alone[0]
    prefix = f"blocks.{LAYER}."
    suffix = name.removeprefix(prefix)
    if _HOOK_SUFFIX.match(suffix) is None:
        raise LensLocError(
            f"There is no site {name!r}; the sites are {', '.join(SITES)}, or any hook point of "
            "the blocks, such as 'ln1.hook_normalized'."
        )
    hook = prefix + suffix
    of_same_hook = [site for site in SITES.values() if site.hook == hook]
    if hook.endswith(("hook_pattern", "hook_attn_scores")):
        raise LensLocError(
            f"The hook point {suffix!r} holds a number for every pair of tokens, not units; use "
            "one of the sites attn_entropy, attn_first, attn_distance."
        )
    if of_same_hook:  # one name per site, so that masks of the same units meet
        return of_same_hook[0]
    return Site(suffix, hook, f"element of {suffix}", "any")


def site_of(name: "str | Site", model: Model) -> Site:
    """Return a model's site of that name: one of its own, or as :func:`get_site`.

    Raises:
        LensLocError: if there is none; the known ones are listed.
    """
    own = surface(model).own_sites
    if not own or isinstance(name, Site):
        return get_site(name)
    if name not in own:
        raise LensLocError(
            f"{surface(model).name} was wrapped without a site {name!r}; its sites are "
            f"{', '.join(own)}."
        )
    return Site(name, f"{name}.{LAYER}", own[name])


def usual_site(model: Model) -> str:
    """Return where a contrast is localized if no site is named: the first of the model's own.

    Of a language model these are the outputs of its blocks.
    """
    return next(iter(surface(model).own_sites), "resid_post")


def unit_in_words(site: str, made: Provenance) -> str:
    """Return what a unit of a result is, of one of a wrapped module's own sites too."""
    return made.place or get_site(site).unit


def sites_of(sites: "str | Site | Sequence[str | Site]", model: Model) -> list[Site]:
    """Return one site or several of a model, each once.

    Raises:
        LensLocError: if none was named, or one is none.
    """
    if not surface(model).own_sites:
        return [get_site(name) for name in names_of(sites)]
    if not isinstance(sites, str | Site | Iterable):
        raise LensLocError(
            f"sites is a name or a list of names, not something of type {type(sites).__name__}; "
            f"the sites are {', '.join(surface(model).own_sites)}."
        )
    several = (sites,) if isinstance(sites, str | Site) else tuple(sites)
    found = {site.name: site for site in (site_of(each, model) for each in several)}
    if not found:
        raise LensLocError(
            f"No site was named; name at least one of {', '.join(surface(model).own_sites)}."
        )
    return list(found.values())


def n_layers(site: Site, model: Model) -> int:
    """Return the number of layers of a site: the model's, or one before and behind its blocks."""
    seen = surface(model)
    return 1 if site.has_one_layer and not seen.own_sites else seen.n_layers_at(site.name)


def hook_names(site: Site, model: Model) -> list[str]:
    """Return the site's hook point names in ``model``, one per layer.

    Raises:
        LensLocError: if the model lacks one of them.
    """
    seen = surface(model)
    if seen.own_sites:
        site = site_of(site.name, model)
    names = [site.hook_name(layer) for layer in range(n_layers(site, model))]
    missing = {name: why for name in names if (why := seen.lacks(name))}
    if not missing:
        return names
    first = next(iter(missing))
    where = "has no" if len(missing) == len(names) else f"lacks in {len(missing)} layers the"
    why = f" ({missing[first]})" if missing[first] != NO_SUCH_POINT else ""
    raise LensLocError(
        f"This model {where} hook point {first!r}{why}, so the site {site.name!r} is not "
        "defined in it; choose another site."
    )


def shape(site: Site, model: Model) -> tuple[int, int] | None:
    """Return the number of layers and of units per layer, where that is known beforehand."""
    own = _by_layer(site, model)
    return None if own is None else (len(own), max(own))


def widths(site: Site, model: Model) -> Widths:
    """Return the units of every layer, where it is known that layers differ in width."""
    own = _by_layer(site, model)
    return None if own is None or len(set(own)) == 1 else own


def require_one_width(site: Site, model: Model, doing: str) -> None:
    """Check that a site has as many units in every layer.

    Args:
        site: the site.
        model: a model.
        doing: what needs that, to begin a sentence with.

    Raises:
        LensLocError: if it has not.
    """
    own = widths(site, model)
    if own is not None:
        raise LensLocError(
            f"{doing} needs as many units in every layer, but the layers of this model have "
            f"{min(own)} to {max(own)} at {site.name}; choose another site."
        )


def _by_layer(site: Site, model: Model) -> tuple[int, ...] | None:
    """Return the units of every layer, where that is known beforehand."""
    seen = surface(model)
    own = seen.widths(site.name)
    if own is not None:
        return own
    if site.axes == "any" or seen.own_sites:
        return None
    layers = range(n_layers(site, model))
    if site.axes == "head_norm" or site.is_summary:
        return (seen.n_heads,) * len(layers)
    found = [seen.width(site.hook_name(layer)) for layer in layers]
    return tuple(width for width in found if width) if found and all(found) else None


def activation_width(site: Site, model: Model, n_tokens: int) -> int:
    """Return how many numbers a token takes at the site's hook point, at most.

    Args:
        site: the site.
        model: a model.
        n_tokens: length of the text, as long as a row of an attention pattern.
    """
    seen = surface(model)
    if site.is_summary:
        return seen.n_heads * n_tokens
    own = _by_layer(site, model) if site.axes == "width" else None
    if own is not None:
        return max(own)
    neurons = get_site("mlp_post").hook_name(0)
    return seen.width(site.hook_name(0)) or max(seen.d_model, seen.width(neurons) or 0)


def to_units(site: Site, activation: Tensor, n_heads: int) -> Float[Tensor, "batch pos unit"]:
    """Turn a site's activation ``[batch, pos, ...]`` into ``[batch, pos, unit]``.

    Args:
        site: the site that the activation was captured at.
        activation: ``[batch, pos, width]`` or ``[batch, pos, head, d_head]``, or for summaries of
            attention ``[batch, head, query, key]``.
        n_heads: number of attention heads, to split an activation that comes flattened.
    """
    if site.is_summary:
        return _attention_summary(site, upcast(activation))
    if site.axes == "head_norm":
        if activation.ndim == 3:
            activation = einops.rearrange(
                activation, "batch pos (head d_head) -> batch pos head d_head", head=n_heads
            )
        norms: Tensor = torch.linalg.vector_norm(upcast(activation), dim=-1)
        return norms
    if activation.ndim == 4:
        return einops.rearrange(activation, "batch pos head d_head -> batch pos (head d_head)")
    return activation


def _attention_summary(
    site: Site, pattern: Float[Tensor, "batch head query key"]
) -> Float[Tensor, "batch query head"]:
    if site.axes == "pattern_first":
        summary = pattern[..., 0]
    elif site.axes == "pattern_entropy":
        summary = torch.special.entr(pattern).sum(dim=-1)
    else:
        query, key = (torch.arange(n, device=pattern.device) for n in pattern.shape[2:])
        distance = (query[:, None] - key).abs().to(pattern.dtype)
        summary = einops.einsum(
            pattern, distance, "batch head query key, query key -> batch head query"
        )
    return einops.rearrange(summary, "batch head query -> batch query head")


def upcast(activation: Tensor) -> Tensor:
    """Return half-precision values as float32, so that sums over them keep their digits."""
    return activation if activation.dtype == torch.float64 else activation.float()
