"""Nouns -> plotly figures. Every function returns a Figure and shows nothing."""

from lensloc.plot.depth import layer_profile
from lensloc.plot.distributions import t_histogram
from lensloc.plot.granularities import granularity
from lensloc.plot.lesions import ablation_modes, dose_response, lesion_bars
from lensloc.plot.maps import head_heatmap, layer_heatmap, unit_heatmap
from lensloc.plot.matrices import language_layers, language_matrix, steering
from lensloc.plot.overlaps import overlap
from lensloc.plot.profiles import response_profile
from lensloc.plot.saving import save
from lensloc.plot.themes import DIVERGING, SEQUENTIAL, themed

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "ablation_modes",
    "dose_response",
    "granularity",
    "head_heatmap",
    "language_layers",
    "language_matrix",
    "layer_heatmap",
    "layer_profile",
    "lesion_bars",
    "overlap",
    "response_profile",
    "save",
    "steering",
    "t_histogram",
    "themed",
    "unit_heatmap",
]
