"""Where does selectivity live? The same contrast at many sites, one row per site."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from lensloc.arguments import require_named, require_numbers
from lensloc.attribution.attributing import Baseline, Method, attribute
from lensloc.attribution.pair_effects import PairLocalization
from lensloc.attribution.patching import localize_pairs
from lensloc.attribution.result import Attribution
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError, refuse_idle, unwarned
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import Pooling
from lensloc.forward.sites import get_site, hook_names, site_of, sites_of, unit_in_words
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesion_cases import lesion_warnings
from lensloc.results.lesions import NETWORK, mean_drop
from lensloc.selectivity import Selectivity, Test, split_half
from lensloc.studies.lesions import lesion_study
from lensloc.studies.localization import Localization, localize
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, minimal_pairs
from lensloc.units.control_sets import controls, units_of
from lensloc.units.mask import UnitMask
from lensloc.units.outliers import outliers
from lensloc.units.selection import count_from_percent

log = logging.getLogger(__name__)

_POOLING: Pooling = "last-token"

COMPARED: tuple[str, ...] = (
    *("resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_pre", "mlp_post", "z", "head"),
)
_FEWEST = 10


def compare_granularities(
    model: Model,
    contrast: Contrast | Mapping[str, Contrast],
    sites: Sequence[str] | None = None,
    percent: float = 1,
    *,
    pooling: Pooling | Mapping[str, Pooling] = _POOLING,
    absolute: bool = True,
    test: Test = "welch",
    n_splits: int = 10,
    n_permutations: int = 0,
    attribution: Method | None = None,
    baseline: Baseline = "zero",
    attribution_limit: int | None = None,
    pairs: Pairs | Mapping[str, Pairs] | None = None,
    lesion: bool = False,
    task: Task | None = None,
    number: int | None = None,
    control_seeds: Iterable[int] = range(3),
    seed: int = 0,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    store: StoreLike = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare units of several kinds: how many are selective, how much, how surely, and where.

    All sites are captured in one pass per contrast. ``attrs["warnings"]`` of the table are what a
    reader should know, in sentences. Its columns, one row per network and site:

    - ``network``, ``site``, ``unit`` (what one is), ``model``, ``n_layers``, ``units_per_layer``,
      ``n_units``; ``n_selected``: the top ``percent`` of all, truncated, at least 1;
    - ``significant_target``, ``significant_control``: shares of all units with a false discovery
      rate below 0.05 that prefer the target, the control; ``significant_max_t``: share with a
      family-wise permutation p below 0.05, in either direction (with ``n_permutations``);
    - ``best_t`` (largest ``|t|``), ``median_abs_t``; ``selected_d``: mean Cohen's d of the selected
      units, too large since the same stimuli selected them; ``selected_d_cv``: the same for units
      picked on one half of the stimuli and measured on the other;
    - ``reliability``: split-half reliability of t over all units (Spearman's correlation of halves,
      stepped up by Spearman and Brown's formula, mean over splits), ``reliability_low``, ``_high``
      (2.5th and 97.5th percentile over splits); ``dice``, ``dice_chance``: overlap of the units
      that the two halves select;
    - ``layer_entropy``: evenness of the selected units over layers (0: one layer; 1: all alike);
      ``layer_centre``: their mean depth (0: first layer, 1: last); ``resid_overlap``: how much of
      their distribution over layers is shared with that at ``resid_post`` (1 minus the total
      variation distance; needs that site);
    - ``outliers``: selected units that are large whatever the stimulus (above five times their
      layer's median); ``distinct_dims``, ``repeats``: in the residual stream, different dimensions
      among the selected units, and how many of these recur in another layer;
    - ``agreement``: Spearman's correlation of t with an attribution (with ``attribution``);
    - ``pairs_agreement``, ``pairs_overlap``: Spearman's correlation of t with the effects of
      clean/corrupted pairs (:func:`lensloc.localize_pairs`), and the share of the selected units
      that are also among as many of largest effect (with ``pairs``);
    - ``drop_fraction``, ``drop_number`` (with ``lesion``): how much zeroing the selected units
      costs on the task, for the top ``percent`` and for the top ``number`` (``n_number``) of every
      site, each with ``_low``, ``_high`` (95 % over items) and ``_control`` (mean of random draws
      from outside; ``control`` says whether they have as many units in every layer, which is done
      if all sites have room for it); ``task``; ``took_effect``. Sites that summarise attention
      are lesioned as whole heads.

    Args:
        model: a loaded model.
        contrast: the stimuli; or network -> stimuli, for several networks in one table.
        sites: names of sites (see :func:`lensloc.forward.sites.get_site`); the eight of
            :data:`COMPARED` that the model has if None.
        percent: how many units to select at a site.
        pooling: over which tokens, as in :func:`localize`; or network -> pooling. Sites of a
            wrapped module say it themselves.
        absolute: test absolute responses.
        test: as in :func:`localize`; halves keep pairs together.
        n_splits: seeded splits of the stimuli into halves.
        n_permutations: of the permutation test; 0 for none.
        attribution: method of :func:`lensloc.attribution.attributing.attribute` to compare t with.
        baseline: of the attribution (refused without one).
        attribution_limit: use only so many texts per condition for it (as ``baseline``).
        pairs: clean/corrupted pairs to compare t with; or network -> pairs, where those without
            pairs get none.
        lesion: also switch the selected units off and score the task.
        task: what to score under lesions (refused without ``lesion``); the bundled minimal pairs,
            four per paradigm, if None.
        number: equal number of units to lesion (as ``task``); that of the smallest selection, but
            at least 10, if None. Sites with fewer than twice as many units get none.
        control_seeds: draws of the control.
        seed: of splits, permutations and bootstrap.
        batch_size: texts per batch.
        max_tokens: cut stimuli off after so many tokens.
        truncate: cut stimuli that are longer than the context window.
        store: where scores of lesions are kept and looked up.
        progress: show progress bars.

    Raises:
        LensLocError: no contrast or site, a number that makes no sense, or what localizing refuses.
    """
    require_numbers(seed=seed, n_permutations=n_permutations, n_splits=n_splits)
    surface(model)
    given = {contrast.name: contrast} if isinstance(contrast, Contrast) else contrast
    like = "{name: contrast}, or one contrast"
    networks = dict(require_named(Contrast, given, "Contrasts", like=like))
    if not networks:
        raise LensLocError("No contrast was given; give at least one.")
    store = Store.of(store)
    if n_splits < 1 or n_permutations < 0:
        raise LensLocError("n_splits is at least 1, and n_permutations at least 0.")
    if attribution is None:
        refuse_idle(
            "no attribution was asked for; leave it out, or name a method, e.g. "
            "attribution='grad_x_act'",
            baseline=baseline != "zero",
            attribution_limit=attribution_limit is not None,
        )
    if not lesion:
        refuse_idle(
            "nothing is lesioned; leave it out, or say lesion=True",
            task=task is not None,
            number=number is not None,
        )
    if not surface(model).takes_tokens:
        refuse_idle("sites of a wrapped module say it; leave it out", pooling=pooling != _POOLING)
    of_pairs = _pairs_of_networks(pairs, networks)
    chosen = _sites(model, sites)
    patchable = [site for site in chosen if not site_of(site, model).is_summary]
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    tops: dict[tuple[str, str], Selectivity] = {}
    patched: dict[int, PairLocalization] = {}
    for name, stimuli in networks.items():
        found = localize(
            model,
            stimuli,
            chosen,
            pooling=_of_network(pooling, name) if surface(model).takes_tokens else None,
            absolute=absolute,
            test=test,
            keep_responses=True,
            batch_size=batch_size,
            max_tokens=max_tokens,
            truncate=truncate,
            progress=progress,
        )
        gradients: Mapping[str, Attribution] = {}
        if attribution is not None:
            gradients = attribute(
                model,
                stimuli,
                attribution,
                patchable,
                limit=attribution_limit,
                baseline=baseline,
                batch_size=batch_size,
                max_tokens=max_tokens,
                truncate=truncate,
                progress=progress,
            )
        measured = _rows(name, found, percent, n_splits, n_permutations, seed, gradients)
        if name in of_pairs:
            known = patched.get(id(of_pairs[name])) or localize_pairs(
                model, of_pairs[name], patchable, batch_size=batch_size, progress=progress
            )
            patched[id(of_pairs[name])] = known
            for row in measured:
                row |= _beside_pairs(found[row["site"]], percent, known)
            told += [f"{name}, {known.pairs.name}: {sentence}" for sentence in known.warnings]
        rows += measured
        tops |= {(name, site): found[site] for site in found}
        told += [f"{name}: {sentence}" for sentence in found.warnings]
    table: pd.DataFrame = pd.DataFrame(rows)
    for column in ("distinct_dims", "repeats"):
        table[column] = table[column].astype("Int64")
    if lesion:
        table = _with_drops(
            model,
            table,
            tops,
            task or minimal_pairs(limit=4),
            number,
            tuple(control_seeds),
            seed,
            store,
            progress,
        )
    table.attrs["warnings"] = [*told, *table.attrs.get("warnings", [])]
    return table


def _sites(model: Model, sites: Sequence[str] | None) -> list[str]:
    if sites is not None:
        return [found.name for found in sites_of(sites, model)]
    own = list(surface(model).own_sites)
    if own:
        return own
    kept = []
    for name in COMPARED:
        try:
            hook_names(get_site(name), model)
        except LensLocError as reason:
            log.info("left out: %s", reason)
        else:
            kept.append(name)
    return kept


def _of_network(pooling: Pooling | Mapping[str, Pooling], name: str) -> Pooling:
    if not isinstance(pooling, Mapping):
        return pooling
    if name not in pooling:
        raise LensLocError(
            f"No pooling was given for the network {name!r}, only for {', '.join(pooling)}."
        )
    return pooling[name]


# -- measuring -------------------------------------------------------------------------------------


def _rows(
    network: str,
    found: Localization,
    percent: float,
    n_splits: int,
    n_permutations: int,
    seed: int,
    gradients: Mapping[str, Attribution],
) -> list[dict[str, Any]]:
    contrast = found.contrast
    halves = [halves_of(contrast, seed + split) for split in range(n_splits)]
    rows = []
    for site, selectivity in found.items():
        responses = found.responses[site]
        mask = _selected(selectivity, percent)
        reliability = split_half(
            responses,
            contrast.target,
            contrast.control,
            halves,
            k=len(mask),
        )
        row = {
            "network": network,
            "site": site,
            "unit": unit_in_words(site, selectivity.provenance),
            "model": selectivity.provenance.model,
            "n_layers": selectivity.shape[0],
            "units_per_layer": selectivity.shape[1],
            "n_units": selectivity.n_units,
            "n_selected": len(mask),
            **_strength(selectivity, mask),
            "selected_d_cv": reliability.d_held_out,
            "reliability": reliability.t,
            "reliability_low": reliability.t_low,
            "reliability_high": reliability.t_high,
            "dice": reliability.dice,
            "dice_chance": reliability.dice_chance,
            **_place(mask),
            "resid_overlap": _shared_layers(mask, found, percent),
            **_repeats(selectivity, mask),
        }
        if n_permutations:
            null = found.max_t(site, n_permutations=n_permutations, seed=seed)
            row["significant_max_t"] = int((null.p < 0.05).sum()) / null.n_units
        if gradients:
            known = gradients.get(site)
            row["agreement"] = np.nan if known is None else known.agreement(selectivity.t)
        rows.append(row)
    return rows


def _pairs_of_networks(
    pairs: Pairs | Mapping[str, Pairs] | None, networks: Mapping[str, Contrast]
) -> Mapping[str, Pairs]:
    if pairs is None:
        return {}
    if isinstance(pairs, Pairs):
        return dict.fromkeys(networks, pairs)
    given = require_named(Pairs, pairs, "Pairs", like="{network: pairs}, or one set of pairs")
    for name in given:
        if name not in networks:
            raise LensLocError(
                f"Pairs were given for {name!r}, which is no network; these are: "
                f"{', '.join(networks)}."
            )
    return given


def _beside_pairs(
    selectivity: Selectivity, percent: float, patched: PairLocalization
) -> dict[str, float]:
    """Return how a map of t agrees with the effects of pairs."""
    if selectivity.site not in patched:
        return {"pairs_agreement": np.nan, "pairs_overlap": np.nan}
    effects = patched[selectivity.site]
    mask = _selected(selectivity, percent)
    return {
        "pairs_agreement": effects.agreement(selectivity.t),
        "pairs_overlap": len(mask & effects.top(k=len(mask))) / len(mask),
    }


def _selected(selectivity: Selectivity, percent: float) -> UnitMask:
    # Not by percent, since sites of a table differ in size: less than one unit is no news there.
    with unwarned():  # the table has it
        return selectivity.top(k=count_from_percent(percent, selectivity.n_units))


def _strength(selectivity: Selectivity, mask: UnitMask) -> dict[str, float]:
    units = selectivity.units
    significant, t = selectivity.q[units] < 0.05, selectivity.t[units]
    return {
        "significant_target": float((significant & (t > 0)).double().mean()),
        "significant_control": float((significant & (t < 0)).double().mean()),
        "best_t": float(t.abs().max()),
        "median_abs_t": float(t.abs().median()),
        "selected_d": float(selectivity.d[mask.mask].mean()),
    }


def _place(mask: UnitMask) -> dict[str, float]:
    """Return how evenly the units lie over layers, and how deep on average."""
    share = mask.per_layer().double() / len(mask)
    n_layers = len(share)
    if n_layers == 1:
        return {"layer_entropy": 0.0, "layer_centre": 0.0}
    depth = torch.arange(n_layers, dtype=torch.float64) / (n_layers - 1)
    return {
        "layer_entropy": float(torch.special.entr(share).sum() / np.log(n_layers)),
        "layer_centre": float((share * depth).sum()),
    }


def _shared_layers(mask: UnitMask, found: Localization, percent: float) -> float:
    if "resid_post" not in found:
        return float("nan")
    residual = _selected(found["resid_post"], percent)
    if mask.shape[0] != residual.shape[0]:  # before or behind the blocks
        return float("nan")
    shares = [m.per_layer().double() / len(m) for m in (mask, residual)]
    return float(torch.minimum(*shares).sum())


def _repeats(selectivity: Selectivity, mask: UnitMask) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "outliers": int((outliers(selectivity.magnitude) & mask.mask).sum()),
        "distinct_dims": pd.NA,
        "repeats": pd.NA,
    }
    if mask.site.startswith("resid_"):
        distinct = len(mask.unique_dims())
        counts |= {"distinct_dims": distinct, "repeats": len(mask) - distinct}
    return counts


def halves_of(contrast: Contrast, seed: int) -> tuple[list[int], list[int]]:
    """Return the rows of :attr:`Contrast.texts` in either half."""
    rows: tuple[list[int], list[int]] = ([], [])
    offsets, total = {}, 0
    for name in dict.fromkeys(contrast.labels):
        offsets[name] = total
        total += len(contrast.conditions[name])
    for half, found in zip(rows, contrast.split_rows(seed), strict=True):
        half += [offsets[name] + row for name in offsets for row in found[name]]
    return rows


# -- lesioning -------------------------------------------------------------------------------------

_Size = Literal["fraction", "number"]


def _with_drops(
    model: Model,
    table: pd.DataFrame,
    tops: Mapping[tuple[str, str], Selectivity],
    task: Task,
    number: int | None,
    seeds: Sequence[int],
    seed: int,
    store: StoreLike,
    progress: bool,
) -> pd.DataFrame:
    number = number or max(_FEWEST, int(table["n_selected"].min()))
    masks: dict[str, UnitMask] = {}
    places: dict[str, tuple[int, _Size]] = {}
    selected = zip(table["network"], table["site"], table["n_selected"], strict=True)
    for row, (network, site, n_selected) in enumerate(selected):
        sizes: dict[_Size, int] = {"fraction": int(n_selected), "number": number}
        for size, k in sizes.items():
            if 2 * k > tops[network, site].n_units:
                continue
            label = f"{network} at {site}, {k} units ({size})"
            with unwarned():
                mask = _to_lesion(tops[network, site].top(k=k))
            if units_of(mask).candidates.sum() >= k:
                masks[label], places[label] = mask, (row, size)
    if not masks:
        raise LensLocError(
            f"No site of {describe(model).name} has as many units elsewhere as were to be "
            "lesioned; use a smaller percent or number."
        )
    # One kind of control for the whole table, so that its rows compare.
    roomy = all(
        (units_of(mask).candidates.sum(axis=1) >= mask.per_layer().numpy()).all()
        for mask in masks.values()
    )
    match = "layer" if roomy else "random"
    study = lesion_study(
        model,
        masks,
        [task],
        controls(match, seeds=seeds),
        seed=seed,
        exact=True,  # drops of control and network stand side by side, on the same items
        store=store,
        progress=progress,
    )
    drops: list[dict[str, Any]] = [
        {"n_number": number, "task": task.name, "control": match, "took_effect": True}
        for _ in range(len(table))
    ]
    for label, (row, size) in places.items():
        found = study.table[study.table["network"] == label]
        mine = found[found["kind"] == NETWORK].to_dict("records")[0]
        drops[row] |= {
            f"drop_{size}": mine["drop"],
            f"drop_{size}_low": mine["drop_low"],
            f"drop_{size}_high": mine["drop_high"],
            f"drop_{size}_control": mean_drop(found[found["kind"] != NETWORK]["drop"]),
            "took_effect": drops[row]["took_effect"] and bool(mine["took_effect"]),
        }
    result: pd.DataFrame = pd.concat([table, pd.DataFrame(drops)], axis=1)
    result.attrs["warnings"] = lesion_warnings(study.table)
    return result


def _to_lesion(mask: UnitMask) -> UnitMask:
    """Return the mask as it is lesioned: whole heads for what summarises their attention."""
    own = bool(mask.provenance.place)  # of a wrapped module
    site = "head" if not own and get_site(mask.site).is_summary else mask.site
    return dataclasses.replace(mask, site=site)
