"""Faithfulness and completeness: units put into the corrupted state, many or one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.arguments import require_a, require_numbers
from lensloc.attribution.gates import Hooks, Place
from lensloc.attribution.pair_effects import PairEffects, PairLocalization
from lensloc.attribution.paired_runs import PairedRuns, Patch, Row
from lensloc.attribution.patching import metric_of, places_of, require_patchable
from lensloc.attribution.result import Attribution
from lensloc.contrasts.aligning import align
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.display.sentences import clean_corrupted as sentences
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize, require_batch_size
from lensloc.models import describe
from lensloc.models.surface import Model
from lensloc.results.faithful import COMPLETENESS, FAITHFULNESS, RANDOM, Faithfulness, height
from lensloc.results.recovery import Recovery, rank_agreement, recovery
from lensloc.selectivity import Selectivity
from lensloc.units.mask import UnitAddress, UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.selection import ranked

Ranking = PairLocalization | PairEffects | Selectivity | Attribution | UnitMask
_POINTS = 9
_CURVES = (FAITHFULNESS, COMPLETENESS)


@dataclass(frozen=True)
class _Ranked:
    """A ranking of a site's units.

    Attributes:
        values: ``[layer, unit]``, what units are ranked by, largest first.
        effects: ``[layer, unit]``, what is compared with exact patching, with its signs.
        is_effect: whether these are effects of pairs, in nats.
        made: where it comes from.
    """

    site: str
    values: Float[Tensor, "layer unit"]
    effects: Float[Tensor, "layer unit"]
    is_effect: bool
    made: Provenance


@dataclass
class _Conditions:
    """Sets of units that are corrupted together, each once."""

    masks: list[Bool[Tensor, "layer unit"]] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    def number(self, mask: Bool[Tensor, "layer unit"]) -> int:
        """Return which set it is."""
        key = np.packbits(mask.numpy()).tobytes()
        if key not in self.known:
            self.known[key] = len(self.masks)
            self.masks.append(mask)
        return self.known[key]


def faithfulness(
    model: Model,
    pairs: Pairs,
    rankings: Ranking | Mapping[str, Ranking],
    *,
    sizes: Sequence[int] | None = None,
    absolute: bool = False,
    n_random: int = 5,
    n_exact: int = 20,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: bool = True,
) -> Faithfulness:
    """Measure how much of the difference between clean and corrupted texts k units carry.

    Units of one site are corrupted, set at every position to their value in the corrupted text,
    while the model reads the clean one. With ``m`` for the mean metric (log P(right) - log
    P(wrong)), ``m(none)`` with all units of the site corrupted and ``m(all)`` with all of them
    clean, the curves are

    - faithfulness: ``(m(first k clean) - m(none)) / (m(all) - m(none))``, what the first k
      units of a ranking recover by themselves;
    - completeness: ``(m(all) - m(first k corrupted)) / (m(all) - m(none))``, what is lost with
      them: if it stays below faithfulness, other units carry the difference too

    (Wang et al. 2023; normalised as by Marks et al. 2024). Beside them stand random rankings; and
    single units and whole layers that are corrupted by themselves, which is exact, to see whether
    estimated effects rank units rightly.

    Args:
        model: a loaded model of any kind with a tokenizer, causal.
        pairs: what is measured on; better not the pairs that chose the units (``pairs.split``).
        rankings: what orders the units, largest first: effects of pairs, of one site; statistics
            of a contrast (by t), an attribution (by score), a mask that keeps the scores of all
            units; or name -> ranking, for several at one site.
        sizes: numbers of units; nine from 1 to all of the site if None.
        absolute: rank by the size of the values, whatever their sign.
        n_random: random rankings; 0 for none. With fewer than 19 no p reaches 5 %.
        n_exact: units to patch by themselves: half of them the first of the first ranking, half
            drawn from the others; with 0, no layers either.
        seed: of random rankings and of that draw.
        batch_size: pairs per batch, or ``"auto"``.
        progress: show a progress bar.

    Returns:
        Both curves of every ranking and of random ones, exact effects, and how they agree.

    Raises:
        LensLocError: rankings of several sites or of another model; sizes that do not ascend or
            that the site does not have; pairs of unequal length, or whose difference the site does
            not carry; fewer than two pairs.
    """
    require_numbers(seed=seed, n_random=n_random, n_exact=n_exact)
    require_a(Pairs, pairs, "pairs")
    named = _named(rankings, absolute)
    site = next(iter(named.values())).site
    (place_site,) = require_patchable(model, site)
    require_batch_size(batch_size)
    shape = tuple(next(iter(named.values())).values.shape)
    total = shape[0] * shape[1]
    grid = _sizes(sizes, total, site)
    _require_counts(n_random, n_exact, len(pairs))
    rng = np.random.default_rng(seed)
    draws = [torch.from_numpy(rng.permutation(total)) for _ in range(n_random)]
    orders = {name: ranked(each.values) for name, each in named.items()}
    alone = _sample(next(iter(orders.values())), n_exact, total, rng)

    conditions = _Conditions()
    every = torch.ones(shape, dtype=torch.bool)
    none = conditions.number(every)
    wanted = {
        (name, curve): [conditions.number(_corrupted(curve, order, int(k), every)) for k in grid]
        for name, order in [*orders.items(), *enumerate(draws)]
        for curve in _CURVES
    }
    single = [conditions.number(_only(unit, every)) for unit in alone]
    whole = [conditions.number(_layer(layer, every)) for layer in range(shape[0] if n_exact else 0)]
    runs = PairedRuns(model, align(model, pairs.pairs), batch_size, progress)
    clean, corrupted, found = _measure(runs, places_of(model, place_site), conditions.masks)
    _require_carried(clean, found[none], site)

    def curve_of(name: Any, curve: str) -> Recovery:
        scores = np.stack([found[number] for number in wanted[name, curve]])
        return recovery(curve, grid, scores, clean, found[none])

    curves = {name: {curve: curve_of(name, curve) for curve in _CURVES} for name in named}
    random = {curve: tuple(curve_of(draw, curve) for draw in range(n_random)) for curve in _CURVES}
    exact = _exact_units(site, alone, shape, clean, [found[number] for number in single], named)
    layers = _exact_layers(clean, [found[number] for number in whole], named)
    agreement = {name: _agreement(exact, name) for name in named if len(exact)}
    by_layer = {name: _agreement(layers, name) for name in named if name in layers.columns}
    result = Faithfulness(
        site=site,
        n_units=total,
        curves=curves,
        random=random,
        clean=float(clean.mean()),
        corrupted=float(corrupted.mean()),
        without=float(found[none].mean()),
        exact=exact,
        layers=layers,
        agreement=agreement,
        layer_agreement=by_layer,
        pairs=pairs.name,
        n_pairs=len(pairs),
        model=describe(model).name,
    )
    metric = sentences.metric_notes(metric_of(clean, corrupted))
    object.__setattr__(
        result, "warnings", (*pairs.warnings, *metric, *_notes(result, pairs, named))
    )
    return result


# -- what is measured ------------------------------------------------------------------------------


def _named(rankings: Ranking | Mapping[str, Ranking], absolute: bool) -> dict[str, _Ranked]:
    single = isinstance(rankings, PairLocalization) or not isinstance(rankings, Mapping)
    given: Mapping[str, Any] = (
        {_name_of(rankings): rankings} if single else rankings  # type: ignore[assignment]
    )
    if not given:
        raise LensLocError("No ranking was given; give at least one, e.g. found['mlp_post'].")
    named = {str(name): _ranked(each, str(name), absolute) for name, each in given.items()}
    if RANDOM in named:
        raise LensLocError(f"{RANDOM!r} is what random rankings are called; take another name.")
    first = next(iter(named.values()))
    for name, each in named.items():
        if each.site != first.site or each.values.shape != first.values.shape:
            raise LensLocError(
                f"The ranking {name!r} is of {_described(each)}, the first of {_described(first)}; "
                "measure one site at a time."
            )
    return named


def _described(ranking: _Ranked) -> str:
    layers, units = ranking.values.shape
    return f"{layers}x{units} units at {ranking.site}"


def _name_of(ranking: Any) -> str:
    if isinstance(ranking, PairLocalization | PairEffects):
        return "pairs"
    return "t" if isinstance(ranking, Selectivity) else "units"


def _ranked(given: Any, name: str, absolute: bool) -> _Ranked:
    if isinstance(given, PairLocalization):
        if len(given) != 1:
            raise LensLocError(
                f"{name!r} was localized at {len(given)} sites; say which, e.g. "
                f"found[{next(iter(given))!r}]."
            )
        given = next(iter(given.values()))
    require_a((PairEffects, Selectivity, Attribution, UnitMask), given, f"rankings[{name!r}]")
    values = given.t if isinstance(given, Selectivity) else given.score
    if values is None:
        raise LensLocError(
            f"The mask {name!r} does not keep scores of all units, so they have no order; give the "
            "map that it was taken from."
        )
    effects = values.detach().cpu().double()
    values = effects.abs() if absolute else effects
    values = values.masked_fill(~torch.isfinite(values), -torch.inf)
    return _Ranked(given.site, values, effects, isinstance(given, PairEffects), given.provenance)


def _sizes(sizes: Sequence[int] | None, total: int, site: str) -> np.ndarray:
    if sizes is None:
        return np.unique(np.geomspace(1, total, min(_POINTS, total)).round().astype(np.int64))
    try:
        grid = np.asarray([int(k) for k in sizes], dtype=np.int64)
        whole = all(int(k) == k for k in sizes)
    except (TypeError, ValueError) as error:
        raise LensLocError(
            f"sizes are numbers of units, e.g. [1, 10, 100], not {sizes!r}."
        ) from error
    if not whole or not len(grid) or (np.diff(grid) <= 0).any() or grid[0] < 1 or grid[-1] > total:
        raise LensLocError(
            f"sizes are whole numbers of units that ascend within 1 to {total}, as many as {site} "
            f"has; {list(sizes)} are not."
        )
    return grid


def _require_counts(n_random: int, n_exact: int, n_pairs: int) -> None:
    for name, value in (("n_random", n_random), ("n_exact", n_exact)):
        if value < 0:
            raise LensLocError(f"{name} is at least 0; {value} is not.")
    if n_pairs < 2:
        raise LensLocError("Curves need at least two pairs, for an interval; give more.")


def _sample(order: Tensor, n: int, total: int, rng: np.random.Generator) -> list[int]:
    """Return the flat indices of the units to patch by themselves."""
    n = min(n, total)
    first: list[int] = order[: (n + 1) // 2].tolist()
    others = order[(n + 1) // 2 :].numpy()
    drawn: list[int] = rng.choice(others, size=n - len(first), replace=False).tolist()
    return [*first, *drawn]


def _corrupted(
    curve: str, order: Tensor, k: int, every: Bool[Tensor, "layer unit"]
) -> Bool[Tensor, "layer unit"]:
    """Return the units that are corrupted at one point of a curve."""
    first = torch.zeros(every.numel(), dtype=torch.bool)
    first[order[:k]] = True
    first = first.reshape(every.shape)
    return ~first if curve == FAITHFULNESS else first


def _only(unit: int, every: Bool[Tensor, "layer unit"]) -> Bool[Tensor, "layer unit"]:
    mask = torch.zeros(every.numel(), dtype=torch.bool)
    mask[unit] = True
    return mask.reshape(every.shape)


def _layer(layer: int, every: Bool[Tensor, "layer unit"]) -> Bool[Tensor, "layer unit"]:
    mask = torch.zeros_like(every)
    mask[layer] = True
    return mask


def _measure(
    runs: PairedRuns, places: Sequence[Place], masks: Sequence[Bool[Tensor, "layer unit"]]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the metric of every pair: clean, corrupted, and with every set of units corrupted."""
    n = len(runs.pairs)
    clean, corrupted = np.zeros(n), np.zeros(n)
    found = [np.zeros(n) for _ in masks]

    def run(numbers: list[int], groups: list[list[Row]]) -> None:
        batch = np.zeros((2 + len(masks), n))
        for rows in groups:
            at = [row.pair for row in rows]
            others, metrics = runs.look(rows, places, corrupted=True)
            np.add.at(batch[1], at, metrics)
            np.add.at(batch[0], at, runs.metrics(rows, []))
            width = next(iter(others.values())).shape[2]
            if width != masks[0].shape[1] or len(places) != masks[0].shape[0]:
                a, b = ("x".join(map(str, s)) for s in (masks[0].shape, (len(places), width)))
                raise LensLocError(
                    f"The rankings are of {a} units, but {places[0].site.name} has {b} in this "
                    "model; rank them on this model."
                )
            for number, mask in enumerate(masks):
                hooks: Hooks = []
                for place, units in zip(places, mask, strict=True):
                    if units.any():
                        hooks += Patch(place, units, others[place]).hooks
                np.add.at(batch[2 + number], at, runs.metrics(rows, hooks))
        clean[numbers] = batch[0, numbers]
        corrupted[numbers] = batch[1, numbers]
        for number, values in enumerate(found):
            values[numbers] = batch[2 + number, numbers]

    runs.run(run, len(places), "pairs, patched")
    return clean, corrupted, found


def _require_carried(clean: np.ndarray, without: np.ndarray, site: str) -> None:
    found = metric_of(clean, without)
    if not found.low > 0:
        raise LensLocError(
            f"With all units of {site} corrupted the metric is {found.clean - found.corrupted:.3g} "
            f"nats lower on average, which cannot be told from nothing over {found.n_pairs} pairs, "
            "so there is no difference to recover; take another site, or pairs that the model "
            "tells apart."
        )


# -- exact patching --------------------------------------------------------------------------------


def _exact_units(
    site: str,
    units: Sequence[int],
    shape: tuple[int, ...],
    clean: np.ndarray,
    found: Sequence[np.ndarray],
    named: Mapping[str, _Ranked],
) -> pd.DataFrame:
    places = [divmod(unit, shape[1]) for unit in units]
    table: pd.DataFrame = pd.DataFrame(
        {
            "address": [str(UnitAddress(layer, site, unit)) for layer, unit in places],
            "layer": [layer for layer, _ in places],
            "unit": [unit for _, unit in places],
            "exact": [float((clean - metric).mean()) for metric in found],
            **{
                name: [float(ranking.effects[place]) for place in places]
                for name, ranking in named.items()
            },
        }
    )
    return table


def _exact_layers(
    clean: np.ndarray, found: Sequence[np.ndarray], named: Mapping[str, _Ranked]
) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(
        {
            "layer": range(len(found)),
            "exact": [float((clean - metric).mean()) for metric in found],
            **{
                name: ranking.effects.sum(dim=1).tolist()
                for name, ranking in named.items()
                if ranking.is_effect and len(found)
            },
        }
    )
    return table


def _agreement(table: pd.DataFrame, name: str) -> float:
    return rank_agreement(table["exact"].to_numpy(), table[name].to_numpy())[0]


def _notes(found: Faithfulness, pairs: Pairs, named: Mapping[str, _Ranked]) -> list[str]:
    notes = sentences.site_notes(found.site, found.carried)
    chance = tuple(height(each) for each in found.random[FAITHFULNESS])
    for name, both in found.curves.items():
        estimated = found.agreement.get(name, np.nan) if named[name].is_effect else np.nan
        kept = height(both[FAITHFULNESS])
        notes += sentences.ranking_notes(
            sentences.Carried(name, found.site, kept, chance, estimated)
        )
    texts = pairs.text_set
    notes += sentences.same_pairs_notes(
        [
            name
            for name, each in named.items()
            if each.made.texts and len(each.made.text_set & texts)
        ]
    )
    return notes
