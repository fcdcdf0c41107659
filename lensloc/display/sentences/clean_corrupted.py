"""Clean and corrupted texts: does the model tell them apart, and how much do k units carry?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lensloc.display.sentences.words import counted, interval, known, listed, number, percentage

# From here on pairs are few: what they select seldom holds on others.
FEW_PAIRS = 10

Told = Literal["no number", "reversed", "not told apart", "told apart"]
TOLD: tuple[Told, ...] = get_args(Told)


@dataclass(frozen=True)
class Metric:
    """What a model makes of pairs.

    Attributes:
        n_pairs: how many.
        clean: mean metric after the clean prompts, in nats.
        corrupted: after the corrupted ones.
        low: of the 95 % interval of the mean difference; NaN with one pair.
        high: likewise.
        preferred: after how many clean prompts the right continuation is the more probable one.
    """

    n_pairs: int
    clean: float
    corrupted: float
    low: float
    high: float
    preferred: int

    @property
    def case(self) -> Told:
        """Which case this is."""
        if not known(self.low, self.high):
            return "no number"
        if self.high < 0:
            return "reversed"
        return "told apart" if self.low > 0 else "not told apart"


_METRIC = (
    "The right continuation's log-probability less the wrong one's is {clean} nats after clean and "
    "{corrupted} after corrupted prompts"
)
METRIC_NOTES: Mapping[Told, str] = {
    "no number": _METRIC + ", of {pairs}: whether that holds on other pairs is open.",
    "reversed": _METRIC + " (difference {interval}): the pairs are the wrong way round for this "
    "model, which favours the right continuation more after corrupted prompts.",
    "not told apart": _METRIC + " (difference {interval}, {pairs}): the model cannot be said to "
    "tell them apart, so effects of units say nothing.",
    "told apart": "",
}
PREFERS_WRONG = (
    "The model prefers the right continuation after only {preferred} of {n} clean prompts, so it "
    "may not do what the pairs ask for."
)
FEW = "There are {pairs} only, so other pairs may select other units."


def metric_notes(found: Metric) -> list[str]:
    """Say what stands against effects that were found on pairs."""
    pairs = counted(found.n_pairs, "pair")
    notes = []
    if METRIC_NOTES[found.case]:
        notes.append(
            METRIC_NOTES[found.case].format(
                clean=number(found.clean),
                corrupted=number(found.corrupted),
                interval=interval(found.low, found.high),
                pairs=pairs,
            )
        )
    if 2 * found.preferred < found.n_pairs:
        notes.append(PREFERS_WRONG.format(preferred=found.preferred, n=found.n_pairs))
    if 1 < found.n_pairs < FEW_PAIRS:
        notes.append(FEW.format(pairs=pairs))
    return notes


# -- curves ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Carried:
    """A ranking of units beside random ones.

    Attributes:
        ranking: its name.
        site: where the units are.
        kept: mean height of its faithfulness curve (logarithmic in sizes).
        chance: the same of every random ranking.
        agreement: rank correlation of estimated and exact effects of single units; NaN without.
    """

    ranking: str
    site: str
    kept: float
    chance: tuple[float, ...]
    agreement: float = float("nan")


LITTLE_CARRIED = (
    "Corrupting all units of {site} takes away {share} of the difference between clean and "
    "corrupted texts; shares of the curves are of that part."
)
NO_BETTER = (
    "The units of {ranking} at {site} recover no more than random ones: {atleast} of {counted} "
    "random rankings recover at least as much (p = {p})."
)
POOR_ESTIMATE = (
    "The effects of {ranking} at {site} rank single units otherwise than exact patching does "
    "(rho {agreement})."
)
SAME_PAIRS = (
    "The units of {rankings} were chosen on pairs that the curves are measured on, which makes "
    "them too good; choose on one half, pairs.split(seed), and measure on the other."
)
# A site that carries less than this is worth a word.
FEW_CARRIED = 0.5


def site_notes(site: str, share: float) -> list[str]:
    """Say so if a site carries little of the difference."""
    if not known(share) or share >= FEW_CARRIED:
        return []
    return [LITTLE_CARRIED.format(site=site, share=percentage(max(0.0, share)))]


def ranking_notes(found: Carried) -> list[str]:
    """Say so if a ranking is no better than random ones, or its estimates are poor."""
    notes = []
    chance = [height for height in found.chance if known(height)]
    at_least = sum(height >= found.kept for height in chance)
    p = (1 + at_least) / (1 + len(chance))
    if chance and known(found.kept) and p > max(0.05, 1 / (1 + len(chance))):
        notes.append(
            NO_BETTER.format(
                ranking=found.ranking,
                site=found.site,
                atleast=at_least,
                counted=len(chance),
                p=number(p),
            )
        )
    if known(found.agreement) and found.agreement < 0.5:
        notes.append(
            POOR_ESTIMATE.format(
                ranking=found.ranking, site=found.site, agreement=number(found.agreement)
            )
        )
    return notes


def same_pairs_notes(rankings: Sequence[str]) -> list[str]:
    """Say which rankings were made on pairs that they are measured on."""
    return [SAME_PAIRS.format(rankings=listed(rankings))] if rankings else []
