"""Stimuli: contrasts, the bundled ones, readers of published formats, balance of lengths."""

from lensloc.stimuli.balance import Balance
from lensloc.stimuli.contrast import Contrast
from lensloc.stimuli.protocols import Protocol
from lensloc.stimuli.published import read_language, read_theory_of_mind

__all__ = ["Balance", "Contrast", "Protocol", "read_language", "read_theory_of_mind"]
