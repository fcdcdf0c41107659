"""lensloc: functional localizers for language models.

Pick a contrast, find the units of a language model that are selective for it, switch them off, and
measure what breaks.
"""

from lensloc import contrasts, lape, plot, tasks
from lensloc.attribution.attributing import Attribution, attribute
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.protocols import Protocol
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.capturing import capture
from lensloc.forward.sites import SITES, Site
from lensloc.lesions.lesioning import Lesion, lesion
from lensloc.models import load_model
from lensloc.pages.explorer import explore
from lensloc.pages.report import report
from lensloc.results.lesions import LesionStudy
from lensloc.results.profiles import ResponseProfile
from lensloc.selectivity import (
    MaxT,
    SelectionRule,
    Selectivity,
    bootstrap_d,
    discrimination,
    max_t,
    paired,
    welch,
)
from lensloc.studies import (
    Localization,
    Study,
    compare_granularities,
    lesion_study,
    localize,
    response_profile,
    study,
)
from lensloc.studies.confounds import confound_check
from lensloc.studies.store import Store
from lensloc.tasks import TaskResult
from lensloc.units.control_sets import Controls, controls
from lensloc.units.mask import UnitMask
from lensloc.units.overlaps import overlap
from lensloc.units.responses import Responses

__all__ = [
    "SITES",
    "Attribution",
    "Contrast",
    "Controls",
    "LensLocError",
    "LensLocWarning",
    "Lesion",
    "LesionStudy",
    "Localization",
    "MaxT",
    "Protocol",
    "ResponseProfile",
    "Responses",
    "SelectionRule",
    "Selectivity",
    "Site",
    "Store",
    "Study",
    "TaskResult",
    "UnitMask",
    "attribute",
    "bootstrap_d",
    "capture",
    "compare_granularities",
    "confound_check",
    "contrasts",
    "controls",
    "discrimination",
    "explore",
    "lape",
    "lesion",
    "lesion_study",
    "load_model",
    "localize",
    "max_t",
    "overlap",
    "paired",
    "plot",
    "report",
    "response_profile",
    "study",
    "tasks",
    "welch",
]
