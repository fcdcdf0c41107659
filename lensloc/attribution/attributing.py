"""Attribution: how much every unit matters for predicting the texts, by gradients or by trying.

There is one quantity, the effect of a unit on a stimulus, in nats per token: how much lower the
stimulus' mean log-probability would be without the unit. Every unit has a gate, which puts
``baseline + gate * (activation - baseline)`` in place of its activation at every position; with
``L(gate)`` for the mean log-probability of the tokens 2 to n, each given what stands before it, the
effect is ``L(1) - L(0)``. The three methods find it from the gates:

- ``ablation_effect``: ``L(1) - L(0)`` itself, by closing one gate at a time;
- ``grad_x_act``: the slope at 1: ``(activation - baseline) * dL/d(activation)``, summed over
  positions (gradient times input, Shrikumar et al. 2016; attribution patching, Nanda 2023, Syed et
  al. 2023);
- ``integrated_gradients``: the mean slope from 0 to 1, all gates of a layer moving together
  (Sundararajan et al. 2017).
"""

from collections.abc import Sequence
from typing import Literal, get_args, overload

import torch

from lensloc.arguments import require_a
from lensloc.attribution.gates import Place
from lensloc.attribution.result import Attribution
from lensloc.attribution.running import Found, Runner, Texts
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import (
    BatchSize,
    require_batch_size,
)
from lensloc.forward.sites import (
    Site,
    get_site,
    hook_names,
    n_layers,
    names_of,
    require_one_width,
    shape,
)
from lensloc.forward.tokenizing import tokenize
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.identity import provenance_of
from lensloc.models.quantized import require_gradients
from lensloc.models.surface import Model
from lensloc.models.tokens import prepends_bos, shortened
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.vocabulary import Bos

Method = Literal["grad_x_act", "integrated_gradients", "ablation_effect"]


METHODS: tuple[str, ...] = get_args(Method)


Baseline = Literal["zero", "mean"]


BASELINES: tuple[str, ...] = get_args(Baseline)


_STEPS = 16


@overload
def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = ...,
    site: str = ...,
    *,
    limit: int | None = ...,
    n_steps: int = ...,
    baseline: Baseline = ...,
    units: UnitMask | None = ...,
    batch_size: BatchSize = ...,
    max_tokens: int | None = ...,
    truncate: bool = ...,
    bos: Bos = ...,
    progress: bool = ...,
) -> Attribution: ...


@overload
def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = ...,
    site: list[str] | tuple[str, ...] = ...,
    *,
    limit: int | None = ...,
    n_steps: int = ...,
    baseline: Baseline = ...,
    units: UnitMask | None = ...,
    batch_size: BatchSize = ...,
    max_tokens: int | None = ...,
    truncate: bool = ...,
    bos: Bos = ...,
    progress: bool = ...,
) -> dict[str, Attribution]: ...


def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = "grad_x_act",
    site: str | list[str] | tuple[str, ...] = "resid_post",
    *,
    limit: int | None = None,
    n_steps: int = _STEPS,
    baseline: Baseline = "zero",
    units: UnitMask | None = None,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    bos: Bos = "model",
    progress: bool = True,
) -> Attribution | dict[str, Attribution]:
    """Find how much every unit matters for predicting the target's texts and the control's.

    The effect of a unit on a text, in nats per token, is how much lower the text's mean
    log-probability per token would be (tokens 2 to n, given what stands before each) if the unit
    were at its baseline at every position of its layer:

    - ``grad_x_act`` estimates it to first order, for all units of all sites in one forward and one
      backward pass per batch. Exact only where the model is linear in the unit: of a unit that is
      far from its baseline, or whose effect saturates, it can have the wrong size or sign;
    - ``integrated_gradients`` averages the gradient along the straight path on which a layer's
      whole site goes from the baseline to its activation, at ``n_steps`` Gauss-Legendre points. The
      effects of a layer's units then sum to the effect of the whole site (completeness); ``gap``
      says how far they miss it;
    - ``ablation_effect`` measures it, one unit at a time: one forward pass over the texts per unit.
      Of few texts, several units share a pass, each with a copy of the texts.

    A path from zero suits what is added to the residual stream (``mlp_out``, ``attn_out``, ``z``,
    ``mlp_post``). The stream itself is normalised before it is read, so scaling all of it changes
    nothing until it is nearly zero, where everything happens at once: at ``resid_*`` the integral
    from zero misses most of the effect and first-order effects of the last layer sum to nearly 0.
    There, use ``baseline="mean"``. The units of ``head`` are whole heads: one gate for all
    dimensions of its ``z``.

    Gradients are taken in the model's dtype and summed over tokens in float32 at least; load the
    model in float32 if digits matter. Batches change nothing, the model is left as it was, and
    lesions that are open stay in force.

    Args:
        model: a loaded model of any kind with a tokenizer, causal.
        contrast: the stimuli; only the target's and the control's conditions are run.
        method: how effects are found.
        site: where the units live (see :func:`lensloc.forward.sites.get_site`), or a list of sites.
        limit: use only so many texts per condition, the first ones.
        n_steps: points of the path, of ``integrated_gradients`` only.
        baseline: what a unit without effect is taken to be: ``"zero"``, or ``"mean"``, its mean
            over all tokens of the stimuli that are read (all but each text's last), of its layer.
        units: find the effects of these units only; all others have NaN. It is what makes
            ``ablation_effect`` affordable; ``integrated_gradients`` leaves out layers without any.
        batch_size: texts per batch, copies included, or ``"auto"``; halved when memory runs out.
        max_tokens: use only so many tokens of each text, special tokens included.
        truncate: cut texts that are longer than the context window, instead of refusing them.
        bos: whether a beginning-of-text token stands before every text, as in
            :func:`lensloc.localize`.
        progress: show a progress bar.

    Returns:
        The effects of every unit; for a list of sites, one :class:`Attribution` per site, by name.

    Raises:
        LensLocError: an unknown method, baseline or site; a site that the model lacks or whose
            units are no activations; units of another site or shape, or none; a text of one token
            or longer than the context window; an effect that is not finite; a model that is not
            causal, or whose quantised weights give no gradients (``ablation_effect`` needs none).
    """
    seen = surface(model)
    require_a(Contrast, contrast, "contrast")
    if not seen.is_causal:
        raise LensLocError(
            "This model reads texts in both directions, so it does not predict a token from what "
            "stands before it and units have no effect on that; take a causal model."
        )
    names = names_of(site)
    sites = _require_sites(model, names)
    _require_arguments(method, baseline, limit, n_steps)
    if method != "ablation_effect":
        require_gradients(model, f"The method {method}")
    require_batch_size(batch_size)
    _require_units(units, sites, model)
    used = contrast if limit is None else _first(contrast, limit)
    if truncate:
        max_tokens = min(max_tokens or seen.window, seen.window)
    texts = _texts(model, used, max_tokens, bos)
    steps = f", {n_steps} steps" if method == "integrated_gradients" else ""
    made = _provenance(model, used, max_tokens).replace(
        protocol=f"attribution by {method}, baseline {baseline}{steps}",
        prepends_bos=prepends_bos(model, bos),
    )
    runner = Runner(model, texts, units, baseline, batch_size, progress)
    places = [place for each in sites for place in _places(model, each)]
    if method == "grad_x_act":
        found = runner.gradients_times_activations(places)
    elif method == "integrated_gradients":
        found = runner.integrated_gradients(places, n_steps)
    else:
        found = runner.ablation_effects(places)
    results = {}
    for each in sites:
        mine = [place for place in places if place.site == each]
        results[each.name] = _result(mine, found, texts, units, method, baseline, made)
    return results[site] if isinstance(site, str) else results


def _require_arguments(method: str, baseline: str, limit: int | None, n_steps: int) -> None:
    if method not in METHODS:
        raise LensLocError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    if baseline not in BASELINES:
        raise LensLocError(f"There is no baseline {baseline!r}; there are {', '.join(BASELINES)}.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 text per condition; {limit} is not.")
    if n_steps < 1:
        raise LensLocError(f"A path has at least one step; n_steps={n_steps} has none.")
    if method != "integrated_gradients":
        reason = f"{method} follows no path; leave it out, or take integrated_gradients"
        refuse_idle(reason, n_steps=n_steps != _STEPS)


def _require_sites(model: Model, names: Sequence[str]) -> list[Site]:
    if not names:
        raise LensLocError("No site was named; name at least one, e.g. resid_post.")
    sites = [get_site(name) for name in names]
    for site in sites:
        if site.is_summary:
            raise LensLocError(
                f"The units of {site.name} are computed from attention patterns and nothing reads "
                "them, so they have no effect of their own; attribute head instead."
            )
        hook_names(site, model)
    return sites


def _require_units(units: UnitMask | None, sites: Sequence[Site], model: Model) -> None:
    if units is None:
        return
    names = [site.name for site in sites]
    if names != [units.site]:
        raise LensLocError(
            f"The units are of {units.site}, but effects were asked for at {', '.join(names)}; "
            f"say site={units.site!r}."
        )
    if len(units) == 0:
        raise LensLocError("units holds no unit, so there is nothing to find; select some.")
    # Where the configuration does not say how many there are, a forward pass will.
    known = shape(sites[0], model) or (n_layers(sites[0], model), units.shape[1])
    units.require_shape(known, "this model")


def _first(contrast: Contrast, limit: int) -> Contrast:
    return contrast.keep(
        {name: list(range(len(texts)))[:limit] for name, texts in contrast.conditions.items()}
    )


def _texts(model: Model, contrast: Contrast, max_tokens: int | None, bos: Bos) -> Texts:
    ids = [text.ids for text in tokenize(model, contrast.texts, max_tokens=max_tokens, bos=bos)]
    counts: dict[str, int] = {}
    names = []
    for text, label, tokens in zip(contrast.texts, contrast.labels, ids, strict=True):
        counts[label] = counts.get(label, 0) + 1
        name = f"text {counts[label]} of the condition {label!r} ({shortened(text)})"
        if len(tokens) < 2:
            raise LensLocError(
                f"T{name[1:]} has one token, so nothing of it is predicted from what stands "
                "before; leave it out."
            )
        names.append(name)
    roles = [
        [float(label in conditions) for label in contrast.labels]
        for conditions in (contrast.target, contrast.control)
    ]
    weights = torch.tensor(roles, dtype=torch.float64)
    return Texts(ids, names, weights / weights.sum(dim=1, keepdim=True))


def _places(model: Model, site: Site) -> list[Place]:
    require_one_width(site, model, "Attribution")
    seen = surface(model)
    return [Place(site, layer, seen.n_heads) for layer in range(n_layers(site, model))]


def _result(
    places: Sequence[Place],
    found: Found,
    texts: Texts,
    units: UnitMask | None,
    method: str,
    baseline: str,
    made: Provenance,
) -> Attribution:
    size = torch.stack([found.size[place] for place in places]) / texts.n_read
    missing = torch.full_like(size[:1].expand(2, -1), torch.nan)
    means = torch.stack([found.means.get(place, missing) for place in places], dim=1)
    if units is not None:
        units.require_shape((len(places), size.shape[1]), "this model")
        means = means.masked_fill(~units.mask, torch.nan)
    mean_target, mean_control = means
    gap = None
    if method == "integrated_gradients":
        gaps = [found.gap.get(place, float("nan")) for place in places]
        gap = torch.tensor(gaps, dtype=torch.float64)
    n_target, n_control = ((texts.weights > 0).sum(dim=1)).tolist()
    site = places[0].site.name
    return Attribution(
        site=site,
        method=method,
        baseline=baseline,
        score=mean_target - mean_control,
        mean_target=mean_target.clone(),
        mean_control=mean_control.clone(),
        n_target=n_target,
        n_control=n_control,
        magnitude=size,
        gap=gap,
        provenance=made.replace(site=site, n_target=n_target, n_control=n_control),
    )


def _provenance(model: Model, contrast: Contrast, max_tokens: int | None) -> Provenance:
    return provenance_of(
        describe(model),
        contrast=contrast.name,
        contrast_hash=contrast.content_hash,
        target=contrast.target,
        control=contrast.control,
        absolute=False,
        test="attribution",
        max_tokens=max_tokens,
        lesion="; ".join(found.description for found in open_lesions(model)),
    )
