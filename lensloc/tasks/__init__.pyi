from .base import Task, TaskResult, texts_of
from .choices import BUNDLED_CHOICES, MultipleChoice, multiple_choice
from .classes import Classification, classification
from .generating import Generation, generation
from .harness import HarnessTask, harness_model, lm_eval
from .of_functions import OwnTask, of_function, plugged
from .pairs import MinimalPairs, minimal_pairs
from .perplexities import Perplexity, bits_per_byte, perplexity
from .probes import LinearProbe, Verification, embedding_verification, linear_probe
from .seven import domains

__all__ = [
    "BUNDLED_CHOICES",
    "Classification",
    "Generation",
    "HarnessTask",
    "LinearProbe",
    "MinimalPairs",
    "MultipleChoice",
    "OwnTask",
    "Perplexity",
    "Task",
    "TaskResult",
    "Verification",
    "bits_per_byte",
    "classification",
    "domains",
    "embedding_verification",
    "generation",
    "harness_model",
    "linear_probe",
    "lm_eval",
    "minimal_pairs",
    "multiple_choice",
    "of_function",
    "perplexity",
    "plugged",
    "texts_of",
]
