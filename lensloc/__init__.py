"""lensloc: functional localizers for language models.

Pick a contrast, find the units of a language model that are selective for it.
"""

from lensloc import contrasts, plot
from lensloc.capture import capture
from lensloc.errors import LensLocError
from lensloc.models import load_model
from lensloc.profiles import ResponseProfile
from lensloc.responses import Responses
from lensloc.selectivity import Selectivity, welch
from lensloc.sites import SITES, Site
from lensloc.stimuli import Contrast
from lensloc.studies import Localization, localize, response_profile
from lensloc.units import UnitMask

__all__ = [
    "SITES",
    "Contrast",
    "LensLocError",
    "Localization",
    "ResponseProfile",
    "Responses",
    "Selectivity",
    "Site",
    "UnitMask",
    "capture",
    "contrasts",
    "load_model",
    "localize",
    "plot",
    "response_profile",
    "welch",
]
