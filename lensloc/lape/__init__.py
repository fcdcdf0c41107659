"""Language-specific neurons by the entropy of their activation probabilities (LAPE).

Tang et al. 2024, arXiv 2402.16438: :func:`record` how often every MLP neuron is active in texts of
several languages, :func:`identify` the neurons whose activity is confined to few of them, and ask
:func:`null` how confined chance would make them. Scripts, registers or domains do as well.
"""

from lensloc.lape.counts import ActivationCounts, WindowCounts
from lensloc.lape.identifying import Identified, identify
from lensloc.lape.null import Null, null
from lensloc.lape.published import PUBLISHED_LANGUAGES, read_neurons, write_neurons
from lensloc.lape.recording import record

__all__ = [
    "PUBLISHED_LANGUAGES",
    "ActivationCounts",
    "Identified",
    "Null",
    "WindowCounts",
    "identify",
    "null",
    "read_neurons",
    "record",
    "write_neurons",
]
