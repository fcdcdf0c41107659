from .depth import layer_profile
from .dissociations import specificity
from .distributions import t_histogram
from .granularities import granularity
from .lesions import ablation_modes, dose_response, lesion_bars
from .maps import head_heatmap, layer_heatmap, unit_heatmap
from .matrices import language_layers, language_matrix, steering
from .overlaps import overlap
from .people import alignment, reading_times
from .profiles import response_profile
from .recoveries import faithfulness
from .saving import save
from .specification_curves import multiverse
from .sweeps import sweep_depths, sweep_drops, sweep_specificity
from .themes import DIVERGING, SEQUENTIAL, themed

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "ablation_modes",
    "alignment",
    "dose_response",
    "faithfulness",
    "granularity",
    "head_heatmap",
    "language_layers",
    "language_matrix",
    "layer_heatmap",
    "layer_profile",
    "lesion_bars",
    "multiverse",
    "overlap",
    "reading_times",
    "response_profile",
    "save",
    "specificity",
    "steering",
    "sweep_depths",
    "sweep_drops",
    "sweep_specificity",
    "t_histogram",
    "themed",
    "unit_heatmap",
]
