"""The words that arguments take: as types, and as tuples of what these hold.

They stand in one light module, so that the command line offers them without loading a library.
"""

from typing import Literal, get_args

Backend = Literal["hooked", "bridge", "transformers", "auto"]
"""The class that a model becomes."""
BACKENDS: tuple[str, ...] = get_args(Backend)

Dtype = Literal["float32", "float64", "bfloat16", "float16", "auto"]
"""The numbers that weights are held in; ``auto`` for what the checkpoint says."""

Bos = Literal["model", "add", "none"]
"""Whether a beginning-of-text token stands before a text."""
BOS: tuple[str, ...] = get_args(Bos)

Pooling = Literal["last-token", "word-end", "mean", "sum", "max"]
"""The tokens of a text over which a response is pooled."""
POOLINGS: tuple[str, ...] = get_args(Pooling)

StimulusPooling = Literal["last-token", "mean"]
"""The tokens of a stimulus, after what was read before it, over which a response is pooled."""
STIMULUS_POOLINGS: tuple[str, ...] = get_args(StimulusPooling)

Context = Literal["passage", "none"]
"""What a model reads before a stimulus that people saw."""
CONTEXTS: tuple[str, ...] = get_args(Context)

Split = Literal["grouped", "shuffled"]
"""How samples are held out: whole passages, or single ones."""
SPLITS: tuple[str, ...] = get_args(Split)

ProtocolName = Literal["lensloc", "alkhamissi2024"]
"""A published way to localize, or our own."""
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)

Mode = Literal["zero", "mean", "resample", "scale", "clamp", "write"]
"""What becomes of a lesioned unit."""
MODES: tuple[str, ...] = get_args(Mode)

Positions = Literal["all", "last"]
"""The tokens at which units are lesioned."""
POSITIONS: tuple[str, ...] = get_args(Positions)

RANDOM = "random"
LAYER, MAGNITUDE, OUTLIERS, DIMENSION = "layer", "magnitude", "outliers", "dimension"
LEAST_ACTIVE, LEAST_SELECTIVE, OWN_DIMENSIONS = "least-active", "least-selective", "own-dimensions"
MATCHED = (LAYER, MAGNITUDE, OUTLIERS, DIMENSION)
"""In what control units may be like a network's; several are joined by ``+``."""
UNSEEDED = (LEAST_ACTIVE, LEAST_SELECTIVE)
"""Controls of which there is one only."""
CONTROL_KINDS = (RANDOM, *MATCHED, *UNSEEDED, OWN_DIMENSIONS)
WITHOUT_OUTLIERS = "without-outliers"
DRAWS = 20
"""As many draws of a control as the rank test at 5 % needs, and one more."""

THROUGHOUT = "dims-"
"""Before a mode's name: it acts on the network's dimensions in every layer."""

PERCENTS = (0.125, 0.25, 0.5, 1.0, 2.0, 5.0)
"""The sizes of networks that are lesioned if none is given, in per cent of units."""

BUNDLED_CHOICES = (
    "arithmetic",
    "code",
    "commonsense",
    "facts",
    "other-languages",
    "theory-of-mind",
)
"""The bundled multiple choice tasks."""

GRAMMAR = "grammar"
DOMAINS = (
    GRAMMAR,
    "other-languages",
    "theory-of-mind",
    "arithmetic",
    "code",
    "commonsense",
    "facts",
)
"""The bundled tasks that a study of specificity measures: minimal pairs, and the choices."""
