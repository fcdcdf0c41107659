"""lensloc: functional localizers for language models.

Pick a contrast, find the units of a language model that are selective for it, switch them off, and
measure what breaks.
"""

from lensloc import alignment, contrasts, lape, plot, tasks
from lensloc.attribution import Attribution, attribute
from lensloc.capture import capture
from lensloc.controls import Controls, controls
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.explorer import explore
from lensloc.lesion import Lesion, lesion
from lensloc.lesion_table import LesionStudy
from lensloc.models import load_model
from lensloc.overlaps import overlap
from lensloc.profiles import ResponseProfile
from lensloc.report import report
from lensloc.responses import Responses
from lensloc.selectivity import (
    MaxT,
    Selectivity,
    bootstrap_d,
    discrimination,
    max_t,
    paired,
    welch,
)
from lensloc.sites import SITES, Site
from lensloc.stimuli import Contrast
from lensloc.store import Store
from lensloc.studies import (
    Localization,
    Study,
    compare_granularities,
    lesion_study,
    localize,
    response_profile,
    study,
)
from lensloc.tasks import TaskResult
from lensloc.units import UnitMask

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
    "ResponseProfile",
    "Responses",
    "Selectivity",
    "Site",
    "Store",
    "Study",
    "TaskResult",
    "UnitMask",
    "alignment",
    "attribute",
    "bootstrap_d",
    "capture",
    "compare_granularities",
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
