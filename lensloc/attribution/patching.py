"""Attribution patching: which units carry the difference between clean and corrupted texts?

A pair's metric is ``m = log P(right) - log P(wrong)`` after its prompt. Corrupting a unit, setting
it at every position to its value in the corrupted text, takes from the clean text's metric about

    sum over positions of (activation_clean - activation_corrupted) * dm / d(activation)

(Nanda 2023; Syed et al. 2023, arXiv 2310.10348), exactly where the metric is linear in the unit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lensloc.arguments import require_a
from lensloc.attribution.gates import Place, frozen
from lensloc.attribution.pair_effects import PATCHING, PairEffects, PairLocalization
from lensloc.attribution.paired_runs import PairedRuns, Row
from lensloc.contrasts.aligning import align
from lensloc.contrasts.clean_corrupted import CLEAN, CORRUPTED, Pairs
from lensloc.display.sentences import clean_corrupted as sentences
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize, require_batch_size
from lensloc.forward.sites import Site, get_site, hook_names, n_layers, names_of, require_one_width
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.identity import provenance_of
from lensloc.models.quantized import require_gradients
from lensloc.models.surface import Model
from lensloc.units.provenance import Provenance
from lensloc.vocabulary import GRADIENTS_AT, GradientAt


def localize_pairs(
    model: Model,
    pairs: Pairs,
    sites: str | Site | Sequence[str | Site] = ("resid_post",),
    *,
    gradient_at: GradientAt = "clean",
    batch_size: BatchSize = "auto",
    progress: bool = True,
) -> PairLocalization:
    """Find how much of the difference between clean and corrupted texts every unit carries.

    The metric of a pair is log P(right) - log P(wrong), natural log-probabilities summed over the
    tokens of each continuation. A unit's score is the mean over pairs of
    ``(clean - corrupted) x gradient of the metric``, summed over all positions that are read, signs
    kept: how much lower the metric would be, to first order, if the unit had its corrupted value at
    every position. Positive units speak for the right continuation. The units of ``head`` are whole
    heads, all dimensions of ``z`` together. All sites are found in one pass over the corrupted
    texts and one forward and backward pass over the clean ones.

    It is exact only where the metric is linear in the unit; :func:`lensloc.faithfulness` compares
    it with exact patching. Gradients are taken in the model's dtype and summed in float32 at
    least. Batches change nothing, the model is left as it was, and open lesions stay in force.

    Args:
        model: a loaded model of any kind with a tokenizer, causal.
        pairs: the pairs; clean and corrupted prompts of each have equally many tokens (see
            :meth:`lensloc.Pairs.aligned`).
        sites: where the units live: a name, or a list of names.
        gradient_at: take the gradient in the run of the ``"clean"`` texts (what is lost when a unit
            is corrupted) or of the ``"corrupted"`` ones (what is won when it is made clean).
        batch_size: pairs per batch, or ``"auto"``; halved when memory runs out.
        progress: show a progress bar.

    Returns:
        The effects of every unit, by site.

    Raises:
        LensLocError: pairs of unequal length, naming the row; pairs whose metric does not differ at
            all; an unknown site or one whose units are no activations; an effect that is not
            finite; a model that is not causal, or whose quantised weights give no gradients.
    """
    require_a(Pairs, pairs, "pairs")
    chosen = require_patchable(model, sites)
    if gradient_at not in GRADIENTS_AT:
        raise LensLocError(
            f"gradient_at is one of {', '.join(GRADIENTS_AT)}; {gradient_at!r} is not."
        )
    require_gradients(model, "Attribution patching")
    require_batch_size(batch_size)
    runs = PairedRuns(model, align(model, pairs.pairs), batch_size, progress)
    places = [place for site in chosen for place in places_of(model, site)]
    found = _Sums(len(pairs))
    at_corrupted = gradient_at == CORRUPTED

    def run(numbers: list[int], groups: list[list[Row]]) -> None:
        batch = _Sums(len(pairs))
        effects = [torch.zeros(0)] * len(places)
        row = {number: i for i, number in enumerate(numbers)}
        for rows in groups:
            others, other_metrics = runs.look(rows, places, corrupted=not at_corrupted)
            slopes, surveys, metrics = runs.slopes(rows, places, others, corrupted=at_corrupted)
            both = (other_metrics, metrics) if at_corrupted else (metrics, other_metrics)
            at = [each.pair for each in rows]
            for name, values in zip((CLEAN, CORRUPTED), both, strict=True):
                np.add.at(batch.metrics[name], at, values)
            local = torch.tensor([row[each.pair] for each in rows])
            for i, slope in enumerate(slopes):
                if not len(effects[i]):
                    effects[i] = torch.zeros(len(numbers), slope.shape[1], dtype=torch.float64)
                effects[i].index_add_(0, local, -slope if at_corrupted else slope)
            sizes = (each.found()[1] for each in surveys)
            batch.add(batch.size, zip(places, sizes, strict=True))
            batch.n_read += sum(len(each.clean) for each in rows)
        batch.add(batch.total, ((p, e.sum(0)) for p, e in zip(places, effects, strict=True)))
        batch.add(
            batch.squares, ((p, e.square().sum(0)) for p, e in zip(places, effects, strict=True))
        )
        found.take(batch)

    with frozen(model):
        runs.run(run, len(places), "pairs, patched")
    clean, corrupted = found.metrics[CLEAN], found.metrics[CORRUPTED]
    _require_difference(clean, corrupted)
    warnings = (*pairs.warnings, *sentences.metric_notes(metric_of(clean, corrupted)))
    made = _provenance(model, pairs, gradient_at).replace(warnings=warnings)
    results = {
        site.name: _effects(places_of(model, site), found, len(pairs), gradient_at, made)
        for site in chosen
    }
    return PairLocalization(pairs, results, clean, corrupted, warnings)


class _Sums:
    """What was summed up so far, by place: float64, on the CPU.

    Attributes:
        total: sum of effects over pairs.
        squares: sum of their squares.
        size: sum of the sizes of activations over tokens.
        n_read: how many tokens these are.
        metrics: of every pair, clean and corrupted.
    """

    def __init__(self, n_pairs: int) -> None:
        self.total: dict[Place, Tensor] = {}
        self.squares: dict[Place, Tensor] = {}
        self.size: dict[Place, Tensor] = {}
        self.n_read = 0
        self.metrics = {name: np.zeros(n_pairs) for name in (CLEAN, CORRUPTED)}

    @staticmethod
    def add(known: dict[Place, Tensor], found: "object") -> None:
        for place, values in found:  # type: ignore[attr-defined]
            known[place] = known[place] + values if place in known else values

    def take(self, other: "_Sums") -> None:
        """Add what a batch gave, which is whole by then."""
        for name in ("total", "squares", "size"):
            self.add(getattr(self, name), getattr(other, name).items())
        self.n_read += other.n_read
        for name, values in other.metrics.items():
            self.metrics[name] += values


def _effects(
    places: Sequence[Place], found: _Sums, n: int, gradient_at: str, made: Provenance
) -> PairEffects:
    total, squares, size = (
        torch.stack([sums[place] for place in places])
        for sums in (found.total, found.squares, found.size)
    )
    mean = total / n
    error = torch.full_like(mean, torch.nan)
    if n > 1:
        error = ((squares / n - mean.square()).clamp(min=0) / (n - 1)).sqrt()
    site = places[0].site.name
    return PairEffects(
        site=site,
        score=mean,
        error=error,
        magnitude=size / found.n_read,
        n_pairs=n,
        gradient_at=gradient_at,
        provenance=made.replace(site=site),
    )


def require_patchable(model: Model, sites: str | Site | Sequence[str | Site]) -> list[Site]:
    """Return the sites, whose units can be exchanged between runs of a causal model.

    Raises:
        LensLocError: if they cannot.
    """
    seen = surface(model)
    if not seen.is_causal:
        raise LensLocError(
            "This model reads texts in both directions, so it predicts no continuation from what "
            "stands before it; take a causal model."
        )
    chosen = [get_site(name) for name in names_of(sites)]
    for site in chosen:
        if site.is_summary:
            raise LensLocError(
                f"The units of {site.name} are computed from attention patterns and nothing reads "
                "them, so they cannot be patched; take head instead."
            )
        hook_names(site, model)
    return chosen


def places_of(model: Model, site: Site) -> list[Place]:
    """Return the layers of a site.

    Raises:
        LensLocError: if they differ in width.
    """
    require_one_width(site, model, "Attribution patching")
    seen = surface(model)
    return [Place(site, layer, seen.n_heads) for layer in range(n_layers(site, model))]


def metric_of(
    clean: Float[np.ndarray, " pair"], corrupted: Float[np.ndarray, " pair"]
) -> sentences.Metric:
    """Return what a model makes of pairs, with the interval of the difference (Student's t)."""
    below = clean - corrupted
    n = len(below)
    low = high = float("nan")
    if n > 1:
        reach = float(stats.t.ppf(0.975, n - 1)) * float(below.std(ddof=1)) / np.sqrt(n)
        low, high = float(below.mean()) - reach, float(below.mean()) + reach
    preferred = int((clean > 0).sum())
    return sentences.Metric(n, float(clean.mean()), float(corrupted.mean()), low, high, preferred)


def _require_difference(
    clean: Float[np.ndarray, " pair"], corrupted: Float[np.ndarray, " pair"]
) -> None:
    scale = max(1.0, float(np.abs(clean).max()), float(np.abs(corrupted).max()))
    if np.abs(clean - corrupted).max() <= 1e-6 * scale:
        raise LensLocError(
            f"The metric of all {len(clean)} pairs is the same after clean and corrupted prompts, "
            "so there is no difference that units could carry; give pairs that the model tells "
            "apart."
        )


def _provenance(model: Model, pairs: Pairs, gradient_at: str) -> Provenance:
    return provenance_of(
        describe(model),
        contrast=pairs.name,
        contrast_hash=pairs.content_hash,
        texts=pairs.text_set.encode(),
        target=(CLEAN,),
        control=(CORRUPTED,),
        n_target=len(pairs),
        n_control=len(pairs),
        pooling="sum",
        protocol=f"{PATCHING}, gradient at the {gradient_at} texts",
        absolute=False,
        test=PATCHING,
        lesion="; ".join(found.description for found in open_lesions(model)),
    )
