from ._model import UnitResponses
from .contexts import stimulus_responses
from .datasets import BrainResponses, Dataset, Stimuli
from .encoding import Encoding, by_layer, encode, encode_features
from .evaluating import Features
from .fetching import fetch
from .published import (
    brainscore_assembly,
    natural_stories,
    natural_stories_gpt3,
    pereira2018,
    tuckute2024,
)
from .reading import ReadingStudy, predict_times, reading_times
from .reading_data import ReadingTimes
from .surprisal import WordSurprisals, word_surprisals

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
