"""A methods paragraph with its references, made from what was run."""

import re

import pandas as pd

from lensloc.contrasts.protocols import ALKHAMISSI2024, Protocol
from lensloc.display.sentences.lesions import control_name
from lensloc.display.sentences.words import counted, listed
from lensloc.results.lesions import NETWORK, LesionStudy
from lensloc.selectivity import Selectivity
from lensloc.studies import Study
from lensloc.units.outliers import OUTLIER_RATIO
from lensloc.units.provenance import Provenance
from lensloc.units.ragged import of_all

_REFERENCES = {
    "AlKhamissi et al. 2024": "AlKhamissi, B., Tuckute, G., Bosselut, A., & Schrimpf, M. (2024). "
    "The LLM Language Network: A Neuroscientific Approach for Identifying Causally Task-Relevant "
    "Units. arXiv:2411.02280.",
    "Benjamini and Hochberg 1995": "Benjamini, Y., & Hochberg, Y. (1995). Controlling the false "
    "discovery rate: a practical and powerful approach to multiple testing. Journal of the Royal "
    "Statistical Society B, 57(1), 289-300.",
    "Besag and Clifford 1991": "Besag, J., & Clifford, P. (1991). Sequential Monte Carlo "
    "p-values. Biometrika, 78(2), 301-304.",
    "Brown 1910": "Brown, W. (1910). Some experimental results in the correlation of mental "
    "abilities. British Journal of Psychology, 3, 296-322.",
    "Cohen 1988": "Cohen, J. (1988). Statistical Power Analysis for the Behavioral Sciences "
    "(2nd ed.). Lawrence Erlbaum.",
    "Dupré la Tour et al. 2022": "Dupré la Tour, T., Eickenberg, M., Nunez-Elizalde, A. O., & "
    "Gallant, J. L. (2022). Feature-space selection with banded ridge regression. NeuroImage, 264, "
    "119728.",
    "Efron and Tibshirani 1993": "Efron, B., & Tibshirani, R. J. (1993). An Introduction to the "
    "Bootstrap. Chapman & Hall.",
    "Feghhi et al. 2024": "Feghhi, E., Hadidi, N., Song, B., Blank, I. A., & Kao, J. C. (2024). "
    "What Are Large Language Models Mapping to in the Brain? A Case Against Over-Reliance on Brain "
    "Scores. arXiv:2406.01538.",
    "Nanda and Bloom 2022": "Nanda, N., & Bloom, J. (2022). TransformerLens. "
    "https://github.com/TransformerLensOrg/TransformerLens.",
    "Oh and Schuler 2024": "Oh, B.-D., & Schuler, W. (2024). Leading Whitespaces of Language "
    "Models' Subword Vocabulary Pose a Confound for Calculating Word Probabilities. EMNLP 2024. "
    "arXiv:2406.10851.",
    "Phipson and Smyth 2010": "Phipson, B., & Smyth, G. K. (2010). Permutation P-values Should "
    "Never Be Zero: Calculating Exact P-values When Permutations Are Randomly Drawn. Statistical "
    "Applications in Genetics and Molecular Biology, 9(1), 39.",
    "Pimentel and Meister 2024": "Pimentel, T., & Meister, C. (2024). How to Compute the "
    "Probability of a Word. EMNLP 2024. arXiv:2406.14561.",
    "Simonsohn et al. 2020": "Simonsohn, U., Simmons, J. P., & Nelson, L. D. (2020). Specification "
    "curve analysis. Nature Human Behaviour, 4, 1208-1214.",
    "Spearman 1910": "Spearman, C. (1910). Correlation calculated from faulty data. British "
    "Journal of Psychology, 3, 271-295.",
    "Speer 2022": "Speer, R. (2022). rspeer/wordfreq: v3.0. Zenodo. "
    "https://doi.org/10.5281/zenodo.7199437.",
    "Steegen et al. 2016": "Steegen, S., Tuerlinckx, F., Gelman, A., & Vanpaemel, W. (2016). "
    "Increasing transparency through a multiverse analysis. Perspectives on Psychological Science, "
    "11(5), 702-712.",
    "Sun et al. 2024": "Sun, M., Chen, X., Kolter, J. Z., & Liu, Z. (2024). Massive Activations in "
    "Large Language Models. arXiv:2402.17762.",
    "Welch 1947": "Welch, B. L. (1947). The generalization of 'Student's' problem when several "
    "different population variances are involved. Biometrika, 34(1-2), 28-35.",
}
_POOLINGS = {
    "last-token": "at the last token",
    "word-end": "as its mean over the last token of every word",
    "mean": "as its mean over all tokens",
    "sum": "as its sum over all tokens",
    "max": "as its maximum over all tokens",
}
_TESTS = {"welch": "Welch's t-test", "paired": "a paired t-test"}
# Kinds of models that run without TransformerLens.
_WITHOUT_LENS = ("transformers", "module")
_MODES = {
    "zero": "set to zero",
    "mean": "set to their mean over reference stimuli",
    "resample": "set to their response to another stimulus",
    "dims-mean": "set to their mean, with their dimensions, in every layer",
}


def methods(study: Study) -> str:
    """Describe what was done, in a paragraph that can go into a paper."""
    sentences = [
        _localizer(study),
        _stimuli(study.network.provenance, study.balance.of if study.balance else "text"),
        _activations(study),
        _test(study),
        _selection(study),
    ]
    found = study.reliability
    if found is not None:
        sentences.append(
            f"How far the selection depends on the stimuli was measured on {found.n_splits} random "
            "splits of the stimuli into halves, as the correlation of t between halves over units, "
            "stepped up to the whole set (Spearman 1910; Brown 1910), and as the share of units "
            "that both halves select."
        )
    if study.profile is not None:
        sentences.append(_profile(study))
    if study.lesions is not None:
        sentences.append(lesion_methods(study.lesions))
        if study.modes is not None:
            sentences.append(_other_modes(study.lesions, study.modes))
    return " ".join(sentences)


def _other_modes(first: LesionStudy, every: LesionStudy) -> str:
    known = set(first.table["mode"])
    others = [mode for mode in dict.fromkeys(every.table["mode"]) if mode not in known]
    size = every.table["percent"].iloc[0]
    return (
        f"The lesion of {size:g} % of the units was repeated for comparison, with activations "
        f"{listed(_MODES.get(mode, f'changed ({mode})') for mode in others)}."
    )


def references(text: str) -> list[str]:
    """Return what a text cites, in the order of the alphabet."""
    return [full for short, full in sorted(_REFERENCES.items()) if _cited(short, text)]


def _cited(short: str, text: str) -> bool:
    authors, year = short.rsplit(" ", 1)
    return f"{authors} {year}" in text or f"{authors} ({year})" in text


def _localizer(study: Study) -> str:
    made = study.network.provenance
    protocol = published(study)
    source = re.sub(r" (\d{4})$", r" (\1)", protocol.citation) or f"{protocol.name!r}"
    differs = differences(study)
    how = (
        f"which was followed except that {'; '.join(differs)}"
        if differs
        else "which was followed exactly as published"
    )
    return (
        f"Units of {made.model} ({what_the_model_is(made)}) were localized with {_software(made)}, "
        f"after the functional localizer of {source}, {how}."
    )


def what_the_model_is(made: Provenance) -> str:
    """Say what a model is: its full name, architecture, weights and what was made of them."""
    stored = f"weights stored as {made.quantization}" if made.quantization else ""
    if made.untrained:
        weights = f"untrained {made.dtype} weights"
    elif stored:
        # The full name of a bundled model says so itself.
        kind = made.quantization.split(",")[0]
        weights = "" if made.about and kind in made.about else stored
    else:
        weights = f"{made.dtype} weights" if made.dtype else ""
    processing = {"raw": "neither folded nor centred", "": ""}.get(made.processing, made.processing)
    revision = f"revision {made.revision}" if made.revision else ""
    parts = (made.about, made.architecture, weights, processing, revision)
    return ", ".join(part for part in parts if part)


def _software(made: Provenance) -> str:
    parts = [
        f"lensloc {made.lensloc}",
        *(
            []
            if made.backend in _WITHOUT_LENS
            else [f"TransformerLens {made.transformer_lens} (Nanda and Bloom 2022)"]
        ),
        *([f"transformers {made.transformers}"] if made.transformers else []),
        f"PyTorch {made.torch.split('+')[0]}",
        *([f"NumPy {made.numpy}"] if made.numpy else []),
        *([f"Python {made.python}"] if made.python else []),
    ]
    device = f" on a device of kind {made.device.split(':')[0]}" if made.device else ""
    return f"{listed(parts)}{device}"


def published(study: Study) -> Protocol:
    """Return the published protocol of a study's contrast; for stimuli of one's own the general."""
    return study.contrast.protocol or ALKHAMISSI2024


def differences(study: Study) -> list[str]:
    """Say in what a study departs from the published protocol; nothing if it is followed exactly.

    Every field of the protocol counts, the stimuli among them.
    """
    made, protocol = study.network.provenance, published(study)
    found = []
    if not protocol.stimuli or study.contrast.content_hash != protocol.stimuli:
        found.append("the stimuli are not the published ones")
    if study.site not in protocol.sites:
        found.append(f"units are those of {study.site}, not of {listed(protocol.sites)}")
    if made.pooling != protocol.pooling and not made.place:
        found.append(f"activations were taken {_pooled(made)}, not {_pooled(protocol)}")
    if made.max_tokens != protocol.max_tokens:
        found.append(f"stimuli were {_cut(made)}, not {_cut(protocol)}")
    if made.absolute != protocol.absolute:
        kinds = {True: "absolute", False: "signed"}
        found.append(
            f"{kinds[made.absolute]} activations were compared, not {kinds[protocol.absolute]} ones"
        )
    if made.test != protocol.test:
        found.append(
            f"the test was {_TESTS.get(made.test, made.test)}, not {_TESTS[protocol.test]}"
        )
    rule = study.network.rule
    if rule is None or not rule.same_way(protocol.selection):
        found.append(f"units were selected as {made.selection}")
    if made.processing not in ("", "raw"):
        found.append(f"weights were {made.processing}, not raw")
    if made.dtype not in ("", "float32"):
        found.append(f"weights were in {made.dtype}, not in float32")
    if made.lesion:
        found.append(f"a lesion was open ({made.lesion})")
    return found


def _pooled(made: Provenance | Protocol) -> str:
    return _POOLINGS.get(made.pooling, f"pooled by {made.pooling}")


def _cut(made: Provenance | Protocol) -> str:
    return "whole" if made.max_tokens is None else f"cut off after {made.max_tokens} tokens"


def _stimuli(made: Provenance, of: str) -> str:
    if made.place:  # of a wrapped module, which reads no tokens
        return (
            f"The stimuli of the contrast {made.contrast!r} were {made.n_target:,} {of}s "
            f"({listed(made.target)}; target) and {made.n_control:,} {of}s "
            f"({listed(made.control)}; control), run one by one or in batches that do not change "
            "the result."
        )
    bos = "with" if made.prepends_bos else "without"
    return (
        f"The stimuli of the contrast {made.contrast!r} were {made.n_target:,} texts "
        f"({listed(made.target)}; target) and {made.n_control:,} texts ({listed(made.control)}; "
        f"control), run one by one or in batches that do not change the result, {_cut(made)} and "
        f"{bos} a "
        "beginning-of-text token."
    )


def _widths(found: Selectivity) -> str:
    widths = of_all(found.shape, found.widths)
    low, high = min(widths), max(widths)
    return f"{high:,}" if low == high else f"{low:,} to {high:,}"


def _activations(study: Study) -> str:
    made = study.network.provenance
    places = "; ".join(
        f"{site}, {found.shape[0]} layers of {_widths(found)} units"
        for site, found in study.found.items()
    )
    if made.place:
        pooled = f", pooled over places ({made.pooling})" if made.pooling else ""
        unit = f"a unit is a {made.place}{pooled}"
        return f"The activation of every unit was taken at {places}; {unit}."
    return f"The activation of every unit was taken {_pooled(made)} of a stimulus, at {places}."


def _test(study: Study) -> str:
    made = study.network.provenance
    size = "absolute activations" if made.absolute else "activations"
    if made.test == "paired":
        pairs = "item" if study.contrast.items is not None else "position"
        test = f"{size} to target and control, paired by {pairs}, by a paired t-test"
    elif made.test == "welch":
        test = f"{size} to target and control by Welch's t-test (Welch 1947)"
    elif made.test.startswith("adjusted for "):
        test = (
            f"{size} to target and control by the t of the side in a linear regression, {made.test}"
        )
    else:
        test = f"{size} to target and control by the statistic {made.test!r}"
    return (
        f"For every unit we compared {test}, with effect sizes as Cohen's d (Cohen 1988) and "
        "two-sided p corrected over the units of a site by the false discovery rate (Benjamini and "
        "Hochberg 1995)."
    )


def _selection(study: Study) -> str:
    network = study.network
    excluded = study.selectivity.excluded
    without = ""
    if excluded is not None and excluded.any():
        without = f"; {counted(int(excluded.sum()), 'unit')} were excluded beforehand"
    return (
        f"The {len(network):,} units of largest t at {study.site} ({study.percent:g} %, ties "
        f"broken by layer and unit{without}) make the network. Units whose mean absolute response "
        f"exceeds {OUTLIER_RATIO:g} times the median of their layer are called outliers in size "
        "(cf. Sun et al. 2024)."
    )


def _profile(study: Study) -> str:
    profile = study.profile
    assert profile is not None
    held = (
        "Response profiles are those of units that were picked in the same way on one half of the "
        "stimuli and measured on the other"
        if profile.cross_validated
        else f"Response profiles are those of {profile.how}"
    )
    return (
        f"{held}, with {100 * profile.confidence:g} % percentile bootstrap intervals over stimuli "
        "(Efron and Tibshirani 1993)."
    )


def _elsewhere(table: pd.DataFrame) -> str:
    """Say that controls used none of the network's dimensions, where that is so."""
    shared = table["dimensions_shared"].dropna()
    if shared.empty or (shared > 0).any():
        return ""
    return ", none of which lie on the network's dimensions of the residual stream"


def _in_turn(table: pd.DataFrame) -> str:
    """Say that draws were measured on parts of the items, or stopped, where that is so."""
    place = ["model", "network", "mode", "percent", "task"]
    whole = table[table["kind"] == NETWORK].set_index(place)["n_items"].to_dict()
    controls = table[(table["kind"] != NETWORK) & table["seed"].notna()]
    parts = any(
        row["n_items"] < whole.get(tuple(row[name] for name in place), 0)
        for row in controls.to_dict("records")
    )
    draws = controls.groupby([*place, "kind"]).size().groupby("kind").nunique()
    if not parts and not (draws > 1).any():
        return ""
    return (
        "; draws were measured in turn, on a part of the items where that settled which of the two "
        "is more harmful, and stopped when the answer was known (Besag and Clifford 1991)"
    )


def lesion_methods(lesions: LesionStudy) -> str:
    """Describe how lesions were made and compared."""
    table = lesions.table
    modes = listed(_MODES.get(mode, f"changed ({mode})") for mode in dict.fromkeys(table["mode"]))
    sizes = listed(f"{size:g}" for size in sorted(set(table["percent"])))
    tasks = listed(
        f"{row.task} ({row.measure}, {counted(int(row.n_items), 'item')})"
        for row in table.drop_duplicates("task").itertuples(index=False)
    )
    text = (
        f"Lesions took {sizes} % of the units, whose activations were {modes} while the model was "
        f"scored on {tasks}. Drops are differences to the intact model with "
        f"{100 * lesions.confidence:g} % bootstrap intervals "
        "over items (Efron and Tibshirani 1993)"
    )
    kinds = table[table["kind"] != NETWORK].groupby("kind", sort=False)["seed"].nunique()
    if kinds.empty:
        return f"{text}."
    controls = listed(
        f"{control_name(str(kind))}{f' ({n} draws)' if n > 1 else ''}" for kind, n in kinds.items()
    )
    return (
        f"{text}. Controls have as many units: {controls}{_elsewhere(table)}. Whether the network "
        "does more harm was tested by its place among the draws, p = (1 + draws at least as "
        f"harmful) / (1 + draws), one-sided (Phipson and Smyth 2010){_in_turn(table)}. Differences "
        f"have {100 * lesions.confidence:g} % intervals over draws and items."
    )
