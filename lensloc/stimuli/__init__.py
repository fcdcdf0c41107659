"""Stimuli: contrasts, the bundled ones, and readers of published formats."""

from lensloc.stimuli import contrasts
from lensloc.stimuli.contrast import Contrast
from lensloc.stimuli.published import read_language

__all__ = ["Contrast", "contrasts", "read_language"]
