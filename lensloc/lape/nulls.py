"""How low an entropy does chance reach, with texts as they are and languages shuffled?"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from lensloc.arguments import require_a, require_numbers
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.lape.counts import ActivationCounts
from lensloc.lape.entropy import entropies, kept_by_filter, percentile
from lensloc.units.mask import UnitMask

_ELEMENTS_AT_ONCE = 2**23
# Fewer ways to deal out the labels than this cannot tell 1 % from nothing.
_FEWEST_LABELLINGS = 100


@dataclass(frozen=True, eq=False)
class Null(Savable):
    """Entropies when the labels of the windows are shuffled; made by :func:`null`.

    Attributes:
        minimum: ``[permutation]``, lowest entropy of any neuron that passed the filter, nats.
        lowest: ``[permutation]``, the entropy that the share ``alpha`` of the neurons that passed
            the filter did not exceed, nats.
        p: ``[layer, neuron]``, for every neuron by itself, the share of shuffles in which its
            entropy was as low as it is, ``(1 + how often) / (1 + permutations)``.
        alpha: the share, 0.01 for "the null's 1 %".
    """

    minimum: Float[Tensor, " permutation"]
    lowest: Float[Tensor, " permutation"]
    p: Float[Tensor, "layer neuron"]
    alpha: float

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per permutation: ``minimum`` and ``lowest``, in nats."""
        table: pd.DataFrame = pd.DataFrame(
            {"minimum": self.minimum.numpy(), "lowest": self.lowest.numpy()}
        )
        return table

    @property
    def n_permutations(self) -> int:
        """How often labels were shuffled."""
        return len(self.minimum)

    @property
    def threshold(self) -> float:
        """The null's 1 %: below it lies, in the median shuffle, the share alpha of neurons; nats.

        A threshold per neuron: of many neurons, that share lies below by chance. For one that
        hardly any neuron passes by chance, see :meth:`familywise`.
        """
        return float(self.lowest.median())

    def familywise(self, alpha: float = 0.05) -> float:
        """Return the entropy that any neuron at all goes below in a share alpha of shuffles; nats.

        Raises:
            LensLocError: if so small an alpha needs more permutations.
        """
        k = int(np.floor(alpha * (self.n_permutations + 1) + 1e-9))
        if not 0 < alpha < 1 or k < 1:
            raise LensLocError(
                f"alpha = {alpha:g} cannot be told from {self.n_permutations} permutations; it "
                f"lies between {1 / (self.n_permutations + 1):.2g} and 1, or needs more of them."
            )
        return float(self.minimum.kthvalue(k).values)

    def significant(self, site: str = "mlp_post", alpha: float | None = None) -> UnitMask:
        """Return the neurons whose own p is at most ``alpha`` (the null's, if None)."""
        return UnitMask(site, self.p <= (self.alpha if alpha is None else alpha))

    def require_same(self, counts: ActivationCounts) -> None:
        """Check that the null is one of these neurons.

        Raises:
            LensLocError: if it is of other ones.
        """
        if tuple(self.p.shape) != counts.shape:
            raise LensLocError(
                f"The null is of {'x'.join(map(str, self.p.shape))} neurons, but the counts of "
                f"{'x'.join(map(str, counts.shape))}; make it from the same counts."
            )


def null(
    counts: ActivationCounts,
    permutations: int = 1000,
    seed: int = 0,
    *,
    filter_rate: float = 0.95,
    alpha: float = 0.01,
) -> Null:
    """Shuffle which window belongs to which language and recompute all entropies.

    Every shuffle deals the blocks of windows out to the languages anew, as many to each as it had,
    and applies the published filter to the probabilities that result. The sums of all neurons under
    all shuffles are matrix products of labels with counts, in float64.

    Windows of one text are more alike than windows of two, so chance is somewhat underestimated
    where texts are longer than windows.

    Args:
        counts: recorded with ``keep_windows=True``.
        permutations: how often to shuffle.
        seed: of the shuffles (numpy's PCG64).
        filter_rate: as in :func:`lensloc.lape.identify`.
        alpha: the share of neurons that marks the null's low end, 1 %.

    Returns:
        The lowest entropies of every shuffle, and a p for every neuron.

    Raises:
        LensLocError: counts without windows, with one language, or with so few windows that
            shuffling says nothing.
    """
    require_numbers(seed=seed, permutations=permutations)
    require_a(ActivationCounts, counts, "counts")
    windows = counts.windows
    if windows is None:
        raise LensLocError(
            "The counts hold no windows to shuffle; record with keep_windows=True (every shard)."
        )
    if permutations < 1:
        raise LensLocError(f"At least one permutation is needed; {permutations} is not.")
    if not 0 < alpha < 1:
        raise LensLocError(f"alpha lies between 0 and 1; {alpha:g} does not.")
    n_languages = len(counts.languages)
    _require_shuffling(windows.language, n_languages)
    random = np.random.default_rng(seed)
    shuffled = random.permuted(np.tile(windows.language.numpy(), (permutations, 1)), axis=1)
    observed = entropies(counts.probabilities).flatten()
    by_block = rearrange(windows.counts, "block layer neuron -> block (layer neuron)")
    as_low = torch.zeros_like(observed)
    minima, lowest = [], []
    at_once = max(1, _ELEMENTS_AT_ONCE // (n_languages * len(observed)))
    for labels in torch.from_numpy(shuffled).split(at_once):
        p = _probabilities(labels, by_block, windows.tokens, n_languages)
        entropy = entropies(p)
        as_low += (entropy <= observed).sum(dim=0)
        kept = kept_by_filter(p, percentile(p.flatten(1), filter_rate, "filter_rate"))
        entropy = torch.where(kept, entropy, torch.inf)
        minima.append(entropy.amin(dim=1))
        lowest.append(_share_lowest(entropy, kept.sum(dim=1), alpha))
    p_values = (1 + as_low) / (1 + permutations)
    return Null(torch.cat(minima), torch.cat(lowest), p_values.reshape(counts.shape), alpha)


def _require_shuffling(language: Int64[Tensor, " block"], n_languages: int) -> None:
    sizes = torch.bincount(language, minlength=n_languages).tolist()
    ways = math.lgamma(sum(sizes) + 1) - sum(math.lgamma(size + 1) for size in sizes)
    if n_languages < 2 or ways < math.log(_FEWEST_LABELLINGS):
        raise LensLocError(
            f"{sum(sizes)} blocks of windows in {n_languages} languages can be labelled in only "
            f"{round(math.exp(ways))} ways, too few to say what chance does; record with a "
            "smaller window, more blocks or more text."
        )


def _probabilities(
    labels: Int64[Tensor, "permutation block"],
    counts: Int32[Tensor, "block unit"],
    tokens: Int64[Tensor, " block"],
    n_languages: int,
) -> Float[Tensor, "permutation unit language"]:
    """Return every neuron's activation probabilities under every labelling of the blocks."""
    dealt = torch.nn.functional.one_hot(labels, n_languages).double()
    total = einsum(
        dealt, tokens.double(), "permutation block language, block -> permutation language"
    )
    # Languages last from the start, so that nothing this large is turned over afterwards.
    rows = rearrange(dealt, "permutation block language -> (permutation language) block")
    found = torch.empty(len(labels), counts.shape[1], n_languages, dtype=torch.float64)
    width = max(1, _ELEMENTS_AT_ONCE // max(len(counts), len(rows)))
    for start in range(0, counts.shape[1], width):
        part = slice(start, start + width)
        sums = rows @ counts[:, part].double()
        found[:, part] = rearrange(
            sums, "(permutation language) unit -> permutation unit language", language=n_languages
        )
    return found / total[:, None]


def _share_lowest(
    entropy: Float[Tensor, "permutation unit"], n_kept: Int64[Tensor, " permutation"], alpha: float
) -> Float[Tensor, " permutation"]:
    """Return the entropy that the share alpha of each shuffle's kept neurons does not exceed."""
    k = (n_kept * alpha).round().long().clamp(min=1)
    smallest = entropy.topk(int(k.max()), dim=1, largest=False, sorted=True).values
    return smallest.gather(1, k[:, None] - 1).squeeze(1)
