"""Language-specific neurons by the entropy of their activation probabilities (LAPE).

Tang et al. 2024, arXiv 2402.16438: :func:`record` how often every MLP neuron is active in texts of
several languages, :func:`identify` the neurons whose activity is confined to few of them, and ask
:func:`null` how confined chance would make them. Scripts, registers or domains do as well. Then
switch them off and measure :func:`perplexity` in every language, let the model :func:`generate`
answers, or :func:`steer` it to another language.
"""

from lensloc.lape.active import Activity, activity
from lensloc.lape.bundled import prose, questions
from lensloc.lape.counts import ActivationCounts, WindowCounts
from lensloc.lape.driving import steer
from lensloc.lape.generating import generate
from lensloc.lape.identifying import Identified, identify
from lensloc.lape.nulls import Null, null
from lensloc.lape.perplexities import perplexity
from lensloc.lape.published import PUBLISHED_LANGUAGES, read_neurons, write_neurons
from lensloc.lape.recording import record

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
