"""Alignment with people: do units predict what brains do, and surprisal how long people read?"""

from lensloc.alignment._model import UnitResponses
from lensloc.alignment.contexts import stimulus_responses
from lensloc.alignment.datasets import BrainResponses, Dataset, ReadingTimes, Stimuli
from lensloc.alignment.encoding import by_layer, encode, encode_features
from lensloc.alignment.evaluating import Features
from lensloc.alignment.fetching import fetch
from lensloc.alignment.published import (
    brainscore_assembly,
    natural_stories,
    natural_stories_gpt3,
    pereira2018,
    tuckute2024,
)
from lensloc.alignment.reading import predict_times, reading_times
from lensloc.alignment.surprisal import WordSurprisals, word_surprisals
from lensloc.results.encodings import Encoding
from lensloc.results.readings import ReadingStudy

__all__ = [
    "BrainResponses",
    "Dataset",
    "Encoding",
    "Features",
    "ReadingStudy",
    "ReadingTimes",
    "Stimuli",
    "UnitResponses",
    "WordSurprisals",
    "brainscore_assembly",
    "by_layer",
    "encode",
    "encode_features",
    "fetch",
    "natural_stories",
    "natural_stories_gpt3",
    "pereira2018",
    "predict_times",
    "reading_times",
    "stimulus_responses",
    "tuckute2024",
    "word_surprisals",
]
