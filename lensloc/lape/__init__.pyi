from .active import Activity, activity
from .bundled import prose, questions
from .counts import ActivationCounts, WindowCounts
from .driving import steer
from .generating import generate
from .identifying import Identified, identify
from .nulls import Null, null
from .perplexities import perplexity
from .published import PUBLISHED_LANGUAGES, read_neurons, write_neurons
from .recording import record

__all__ = [
    "PUBLISHED_LANGUAGES",
    "ActivationCounts",
    "Activity",
    "Identified",
    "Null",
    "WindowCounts",
    "activity",
    "generate",
    "identify",
    "null",
    "perplexity",
    "prose",
    "questions",
    "read_neurons",
    "record",
    "steer",
    "write_neurons",
]
