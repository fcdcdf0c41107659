"""Tasks: what a model, intact or lesioned, is scored on. ``ll.tasks.minimal_pairs()(model)``."""

from lensloc.tasks.base import Task, TaskResult, texts_of
from lensloc.tasks.choices import BUNDLED_CHOICES, MultipleChoice, multiple_choice
from lensloc.tasks.generating import Generation, generation
from lensloc.tasks.harness import HarnessTask, harness_model, lm_eval
from lensloc.tasks.pairs import MinimalPairs, minimal_pairs
from lensloc.tasks.perplexities import Perplexity, bits_per_byte, perplexity

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
    "generation",
    "harness_model",
    "lm_eval",
    "minimal_pairs",
    "multiple_choice",
    "perplexity",
    "texts_of",
]
