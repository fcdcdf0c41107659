from .base import Task, TaskResult, texts_of
from .choices import BUNDLED_CHOICES, MultipleChoice, multiple_choice
from .generating import Generation, generation
from .harness import HarnessTask, harness_model, lm_eval
from .pairs import MinimalPairs, minimal_pairs
from .perplexities import Perplexity, bits_per_byte, perplexity
from .seven import domains

__all__ = [
    "BUNDLED_CHOICES",
    "Generation",
    "HarnessTask",
    "MinimalPairs",
    "MultipleChoice",
    "Perplexity",
    "Task",
    "TaskResult",
    "bits_per_byte",
    "domains",
    "generation",
    "harness_model",
    "lm_eval",
    "minimal_pairs",
    "multiple_choice",
    "perplexity",
    "texts_of",
]
