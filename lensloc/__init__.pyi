from . import alignment, contrasts, lape, plot, tasks
from .attribution.attributing import attribute
from .attribution.curves import faithfulness
from .attribution.pair_effects import PairEffects, PairLocalization
from .attribution.patching import localize_pairs
from .attribution.result import Attribution
from .contrasts.clean_corrupted import Pairs
from .contrasts.contrast import Contrast
from .contrasts.protocols import Protocol
from .display.keeping import save
from .display.opening import concat, load
from .errors import LensLocError, LensLocWarning
from .forward.by_token import capture_tokens
from .forward.capturing import capture
from .forward.sites import SITES, Site
from .installed import __version__, versions
from .lesions.lesioning import Lesion, lesion
from .models import load_model
from .models.module_sites import ModuleSite
from .models.wrapping import Wrapped, wrap
from .pages.explorer import explore
from .pages.report import report
from .results.faithful import Faithfulness
from .results.lesions import LesionStudy
from .results.profiles import ResponseProfile
from .results.specification_curves import Multiverse
from .results.specificities import Specificity
from .results.sweeps import Sweep
from .selectivity import (
    MaxT,
    SelectionRule,
    Selectivity,
    bootstrap_d,
    discrimination,
    max_t,
    paired,
    welch,
)
from .selectivity.adjusting import adjusted_for
from .selectivity.statistics import Statistic, statistic
from .studies import (
    Localization,
    Study,
    compare_granularities,
    lesion_study,
    localize,
    multiverse,
    response_profile,
    study,
)
from .studies.confounds import confound_check
from .studies.dissociating import specificity
from .studies.measured_nuisances import nuisances
from .studies.store import Store
from .sweeps.sweeping import sweep
from .tasks import TaskResult
from .units.control_sets import Controls, controls
from .units.mask import UnitMask
from .units.overlaps import overlap
from .units.responses import Responses
from .units.token_responses import TokenResponses

__all__ = [
    "SITES",
    "Attribution",
    "Contrast",
    "Controls",
    "Faithfulness",
    "LensLocError",
    "LensLocWarning",
    "Lesion",
    "LesionStudy",
    "Localization",
    "MaxT",
    "ModuleSite",
    "Multiverse",
    "PairEffects",
    "PairLocalization",
    "Pairs",
    "Protocol",
    "ResponseProfile",
    "Responses",
    "SelectionRule",
    "Selectivity",
    "Site",
    "Specificity",
    "Statistic",
    "Store",
    "Study",
    "Sweep",
    "TaskResult",
    "TokenResponses",
    "UnitMask",
    "Wrapped",
    "__version__",
    "adjusted_for",
    "alignment",
    "attribute",
    "bootstrap_d",
    "capture",
    "capture_tokens",
    "compare_granularities",
    "concat",
    "confound_check",
    "contrasts",
    "controls",
    "discrimination",
    "explore",
    "faithfulness",
    "lape",
    "lesion",
    "lesion_study",
    "load",
    "load_model",
    "localize",
    "localize_pairs",
    "max_t",
    "multiverse",
    "nuisances",
    "overlap",
    "paired",
    "plot",
    "report",
    "response_profile",
    "save",
    "specificity",
    "statistic",
    "study",
    "sweep",
    "tasks",
    "versions",
    "welch",
    "wrap",
]
