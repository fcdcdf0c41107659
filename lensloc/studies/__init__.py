"""Studies: short compositions of loading, capturing, testing, selecting and lesioning."""

from lensloc.studies.confounds import confound_check
from lensloc.studies.contrast_study import Study, study
from lensloc.studies.granularities import COMPARED, compare_granularities
from lensloc.studies.lesions import PERCENTS, lesion_study, own_percent
from lensloc.studies.localization import PROTOCOLS, Localization, Seconds, localize
from lensloc.studies.response_profiles import profile_of, response_profile
from lensloc.studies.specification_runs import multiverse

__all__ = [
    "COMPARED",
    "PERCENTS",
    "PROTOCOLS",
    "Localization",
    "Seconds",
    "Study",
    "compare_granularities",
    "confound_check",
    "lesion_study",
    "localize",
    "multiverse",
    "own_percent",
    "profile_of",
    "response_profile",
    "study",
]
