"""What was found, in sentences that are made from the figures; bad news too.

The sentences stand in :mod:`lensloc.display.sentences`; here their numbers are taken from a study.
"""

from lensloc.display.sentences.selection import Selected, halves_sentence, selected_sentences
from lensloc.display.sentences.verdicts import verdict
from lensloc.display.sentences.words import listed
from lensloc.results.lesion_cases import cases_of
from lensloc.results.lesions import LesionStudy
from lensloc.selectivity import Selectivity
from lensloc.studies import Study
from lensloc.units.mask import UnitMask

_FDR = 0.05


def sides(found: Selectivity) -> tuple[str, str]:
    """Return the names of target and control."""
    made = found.provenance
    return " + ".join(made.target) or "the target", " + ".join(made.control) or "the control"


def verdict_of(study: Study) -> str:
    """Say in one sentence what a study found."""
    target, control = sides(study.selectivity)
    lesions = study.lesions
    return verdict(
        study.site,
        target,
        control,
        int((study.selectivity.q[study.network.mask] < _FDR).sum()),
        study.halves,
        () if lesions is None else cases_of(lesions.table, study.percent, lesions.confidence),
    )


def summary(study: Study) -> list[str]:
    """Say what a study found, in paragraphs: the units, how sure that is, what lesions cost."""
    selectivity, network = study.selectivity, study.network
    units = [*_selected(selectivity, network), _layers(network), *_dimensions(network)]
    sure = []
    if study.halves is not None:
        sure.append(halves_sentence(study.halves))
    if study.profile is not None:
        sure += study.profile.summary()
    lesions = ["No lesion was made, so whether the model needs these units is open."]
    if study.lesions is not None:
        lesions = lesion_summary(study.lesions, study.percent)
    return [" ".join(part) for part in (units, sure, lesions) if part]


def _selected(selectivity: Selectivity, network: UnitMask) -> list[str]:
    target, control = sides(selectivity)
    t, q = selectivity.t[network.mask], selectivity.q[network.mask]
    return selected_sentences(
        Selected(
            site=network.site,
            n=len(network),
            total=network.n_units,
            positive=int((t > 0).sum()),
            lowest=float(t.min()),
            highest=float(t.max()),
            significant=int((q < _FDR).sum()),
            share=float((selectivity.q < _FDR).double().mean()),
            target=target,
            control=control,
        )
    )


def _layers(network: UnitMask) -> str:
    counts = network.per_layer()
    if len(counts) == 1:
        return f"The site {network.site} has one layer."
    order = counts.argsort(descending=True, stable=True)
    busiest = [layer for layer in order[:3].tolist() if counts[layer] > 0]
    words = listed(f"{layer} ({int(counts[layer])})" for layer in busiest)
    half = int((counts[order].cumsum(0) * 2 < len(network)).sum()) + 1
    return (
        f"The layers with most of them are {words}; half of them lie in {half} of the "
        f"{len(counts)} layers."
    )


def _dimensions(network: UnitMask) -> list[str]:
    if not network.site.startswith("resid_"):
        return []
    distinct = len(network.unique_dims())
    if distinct == len(network):
        return []
    return [
        f"They are {distinct:,} different dimensions of the residual stream, counted again in "
        "every layer that they survive."
    ]


def lesion_summary(lesions: LesionStudy, percent: float | None = None) -> list[str]:
    """Say what the lesions of every network do to every task, beside their controls.

    Args:
        lesions: the study.
        percent: at which size; of every network the nearest one that it has; 1 if None.
    """
    level = f"In brackets: {100 * lesions.confidence:g} % intervals."
    found = lesions.summary(percent)
    return [*found, level] if any("[" in sentence for sentence in found) else found
