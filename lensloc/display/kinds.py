"""What may stand in a kept file: every kind by name, and the class that it is read into.

A file names kinds, never classes or modules, and no other class than one of these is ever made of
what a file holds.
"""

import importlib
from typing import Any

from lensloc.display.sealed import Format

# Kind -> module of its class. Kinds of results first, then what they are made of.
RESULTS = {
    "Activity": "lensloc.lape.active",
    "Answers": "lensloc.results.matrices",
    "ActivationCounts": "lensloc.lape.counts",
    "Attribution": "lensloc.attribution.result",
    "Contrast": "lensloc.contrasts.contrast",
    "Discrimination": "lensloc.selectivity.effects",
    "Encoding": "lensloc.results.encodings",
    "Faithfulness": "lensloc.results.faithful",
    "Identified": "lensloc.lape.identifying",
    "Interval": "lensloc.selectivity.effects",
    "LanguageMatrix": "lensloc.results.matrices",
    "LesionStudy": "lensloc.results.lesions",
    "Localization": "lensloc.studies.localization",
    "MaxT": "lensloc.selectivity.permutation",
    "Multiverse": "lensloc.results.specification_curves",
    "Null": "lensloc.lape.nulls",
    "PairEffects": "lensloc.attribution.pair_effects",
    "PairLocalization": "lensloc.attribution.pair_effects",
    "Pairs": "lensloc.contrasts.clean_corrupted",
    "ReadingStudy": "lensloc.results.readings",
    "ResponseProfile": "lensloc.results.profiles",
    "Responses": "lensloc.units.responses",
    "Selectivity": "lensloc.selectivity.maps",
    "Specificity": "lensloc.results.specificities",
    "Steering": "lensloc.results.matrices",
    "Study": "lensloc.studies.contrast_study",
    "Sweep": "lensloc.results.sweeps",
    "TaskResult": "lensloc.tasks.base",
    "TokenResponses": "lensloc.units.token_responses",
    "UnitMask": "lensloc.units.mask",
    "UnitResponses": "lensloc.alignment._model",
    "WordSurprisals": "lensloc.alignment.surprisal",
}
_PARTS = {
    "Balance": "lensloc.contrasts.balance",
    "Captured": "lensloc.forward.capturing",
    "Pair": "lensloc.contrasts.clean_corrupted",
    "Protocol": "lensloc.contrasts.protocols",
    "Provenance": "lensloc.units.provenance",
    "Recovery": "lensloc.results.recovery",
    "Reliability": "lensloc.selectivity.reliability",
    "Seconds": "lensloc.studies.localization",
    "SelectionRule": "lensloc.units.rules",
    "Sides": "lensloc.display.sentences.profiles",
    "Stimulus": "lensloc.units.stimuli",
    "Verbatim": "lensloc.units.verbatim",
    "WindowCounts": "lensloc.lape.counts",
}
KINDS = RESULTS | _PARTS
# What is no class of ours, but can be kept by itself.
TABLE, NAMED = "table", "named"
# Raise one of these when a field is taken away or means something else; older ones stay readable.
_VERSIONS: dict[str, int] = {}
# What differs from run to run, and makes no other result.
OF_THE_RUN = {
    "Localization": ("from_store",),
    "Provenance": ("date",),
    "Seconds": ("forward", "statistics"),
}


def form_of(kind: str) -> Format:
    """Return the format of a file of one kind."""
    return Format(f"lensloc.{kind}", _VERSIONS.get(kind, 1))


def class_of(kind: str) -> Any:
    """Return the class of a kind.

    Raises:
        KeyError: if there is no such kind.
    """
    return getattr(importlib.import_module(KINDS[kind]), kind)


def kind_of(value: Any) -> str | None:
    """Return the kind of a value; None if it is of none."""
    made = type(value)
    return made.__name__ if KINDS.get(made.__name__) == made.__module__ else None
