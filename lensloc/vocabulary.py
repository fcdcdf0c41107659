"""The words that arguments take: as types, and as tuples of what these hold.

They stand in one light module, so that the command line offers them without loading a library.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

Backend = Literal["hooked", "bridge", "transformers", "auto"]
"""The class that a model becomes."""
BACKENDS: tuple[str, ...] = get_args(Backend)

Dtype = Literal["float32", "float64", "bfloat16", "float16", "auto"]
"""The numbers that weights are held in; ``auto`` for what the checkpoint says."""

ONE_LAYER_SITES: tuple[str, ...] = ("embed", "ln_final")
"""Sites before and behind the blocks, whose units have no layer in their addresses."""

Bos = Literal["model", "add", "none"]
"""Whether a beginning-of-text token stands before a text."""
BOS: tuple[str, ...] = get_args(Bos)

Pooling = Literal["last-token", "word-end", "mean", "sum", "max"]
"""The tokens of a text over which a response is pooled."""
POOLINGS: tuple[str, ...] = get_args(Pooling)

PlacePooling = Literal["mean", "sum", "max", "centre", "class-token", "last-token"]
"""The places of a feature map, or tokens, of a wrapped module over which a response is pooled."""
PLACE_POOLINGS: tuple[str, ...] = get_args(PlacePooling)

AnyPooling = Literal["last-token", "word-end", "mean", "sum", "max", "centre", "class-token"]
"""All of these words; which of them a model takes is found out when it is there."""

StimulusPooling = Literal["last-token", "mean"]
"""The tokens of a stimulus, after what was read before it, over which a response is pooled."""
STIMULUS_POOLINGS: tuple[str, ...] = get_args(StimulusPooling)

Context = Literal["passage", "none"]
"""What a model reads before a stimulus that people saw."""
CONTEXTS: tuple[str, ...] = get_args(Context)

PairScoring = Literal["log-likelihood", "pseudo-log-likelihood"]
"""By what the sentences of a pair are compared."""
PAIR_SCORINGS: tuple[str, ...] = get_args(PairScoring)

Split = Literal["grouped", "shuffled"]
"""How samples are held out: whole passages, or single ones."""
SPLITS: tuple[str, ...] = get_args(Split)

ProtocolName = Literal["lensloc", "alkhamissi2024"]
"""A published way to localize, or our own."""
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)

TaskMode = Literal["zero", "mean", "resample", "scale", "clamp", "write"]
"""What becomes of a lesioned unit, whatever the model reads."""
TASK_MODES: tuple[str, ...] = get_args(TaskMode)

Mode = Literal[TaskMode, "corrupt"]
"""What becomes of a lesioned unit; the last is for the texts of pairs only."""
MODES: tuple[str, ...] = get_args(Mode)
OF_PAIRS = "corrupt"

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
MOST_DRAWS = 10_000
"""More are a slip of the finger; each is a lesion to be measured."""

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

SELECTIONS = ("t", "d", "gradient", "pairs")
"""What units are ranked by; see :mod:`lensloc.studies.selections`."""
Activations = Literal["absolute", "signed"]
"""Whether the size of a response counts, or its sign too."""
ACTIVATIONS: tuple[str, ...] = get_args(Activations)
TestName = Literal["welch", "paired"]
"""How target and control are compared."""
TESTS: tuple[str, ...] = get_args(TestName)

SPECIFICATION: Mapping[str, Any] = MappingProxyType(
    {
        "selection": "t",
        "activations": "absolute",
        "test": "welch",
        "pooling": "last-token",
        "max_tokens": None,
        "bos": "model",
        "site": "resid_post",
        "percent": 1.0,
        "mode": "zero",
        "control": "magnitude+outliers",
    }
)
"""What an analyst chooses, and what :func:`lensloc.multiverse` takes where nothing is said."""

ANALYSTS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "selection": ("t", "gradient"),
        "activations": ("absolute", "signed"),
        "test": ("welch", "paired"),
        "pooling": ("last-token", "mean"),
        "max_tokens": (None, 12),
        "site": ("resid_post", "mlp_post"),
        "percent": (0.5, 1.0),
        "mode": ("zero", "mean"),
        "control": ("magnitude+outliers",),
    }
)
"""The choices of :func:`lensloc.multiverse` if none are given."""
BUNDLED_PAIRS = ("agreement", "belief", "sums")
"""The bundled clean/corrupted pairs."""

GradientAt = Literal["clean", "corrupted"]
"""The run in which the gradient of attribution patching is taken."""
GRADIENTS_AT: tuple[str, ...] = get_args(GradientAt)
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
