"""Are the two sides of a contrast equally long? Measured, and made so."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lensloc.errors import LensLocError
from lensloc.units.stimuli import Stimulus

if TYPE_CHECKING:
    import pandas as pd

    from lensloc.models.surface import Model

log = logging.getLogger(__name__)

Measure = Literal["tokens", "characters", "words"]
MEASURES: tuple[str, ...] = get_args(Measure)
Method = Literal["auto", "subset", "cut"]
METHODS: tuple[str, ...] = get_args(Method)
# Condition, text, and item, where there are items.
Text = tuple[str, str, str]

# Cohen's "medium": from here on, length alone can pass for selectivity.
WARN_ABOVE = 0.5


@dataclass(frozen=True)
class Balance:
    """Lengths of a contrast's conditions, and how far target and control are apart.

    Attributes:
        table: one row per condition: role, number of texts, mean and standard deviation of words,
            characters and (if a model was given) tokens per text.
        differences: measure -> standardised difference, (mean of target - mean of control) over
            the pooled standard deviation.
        of: what the stimuli are; of pictures, brightness and the like are measured
            (:mod:`lensloc.contrasts.measures`).
    """

    table: "pd.DataFrame"
    differences: Mapping[str, float]
    of: str = "text"

    @property
    def warnings(self) -> list[str]:
        """A sentence for every measure in which the sides differ by more than 0.5."""
        return [
            f"Target and control differ by {difference:+.2f} standard deviations in {measure} "
            f"per {self.of}, which can pass for selectivity; "
            + ("compare with Contrast.matched()." if self.of == "text" else "choose others.")
            for measure, difference in self.differences.items()
            if abs(difference) > WARN_ABOVE
        ]


def measure_balance(
    conditions: Mapping[str, Sequence[str]],
    target: Sequence[str],
    control: Sequence[str],
    model: "Model | None" = None,
) -> Balance:
    """Measure how long the texts of every condition are; tokens only with a model.

    Of pictures, sounds and arrays their own measures are taken.

    Raises:
        LensLocError: if stimuli are of several kinds.
    """
    import pandas as pd  # takes long to load, and stimuli are listed without it

    measures = measures_of(conditions, tokens=model is not None)
    rows = []
    lengths: dict[str, dict[str, list[float]]] = {measure: {} for measure in measures}
    for name, texts in conditions.items():
        role = "target" if name in target else "control" if name in control else ""
        row: dict[str, object] = {"condition": name, "role": role, "texts": len(texts)}
        for measure in measures:
            found = [float(measured(text, measure, model)) for text in texts]
            lengths[measure][name] = found
            row[measure] = float(np.mean(found))
            row[f"{measure}_sd"] = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
        rows.append(row)
    differences = {
        measure: standardised_difference(
            [value for name in target for value in by_condition[name]],
            [value for name in control for value in by_condition[name]],
        )
        for measure, by_condition in lengths.items()
    }
    return Balance(pd.DataFrame(rows), differences, _noun(conditions))


def measures_of(conditions: Mapping[str, Sequence[str]], *, tokens: bool = False) -> list[str]:
    """Return what is measured on the stimuli of some conditions.

    Raises:
        LensLocError: if they are of several kinds.
    """
    kinds = {_kind(text): text for texts in conditions.values() for text in texts}
    if len(kinds) > 1:
        raise LensLocError(
            f"The stimuli are of several kinds ({', '.join(sorted(kinds))}); a contrast holds one."
        )
    first = next(iter(kinds.values()), "")
    if isinstance(first, Stimulus):
        return list(first.measures)
    return [measure for measure in MEASURES if measure != "tokens" or tokens]


def measured(text: str, measure: str, model: "Model | None" = None) -> float:
    """Return one measure of a stimulus: a length of a text, or what was measured on another."""
    if isinstance(text, Stimulus):
        return text.measures[measure]
    return length(text, measure, model)


def _kind(text: str) -> str:
    return text.kind if isinstance(text, Stimulus) else "text"


def _noun(conditions: Mapping[str, Sequence[str]]) -> str:
    first = next((text for texts in conditions.values() for text in texts), "")
    return first.noun if isinstance(first, Stimulus) else "text"


@dataclass(frozen=True)
class Matching:
    """How texts are made equally long; see :meth:`lensloc.Contrast.matched`.

    Attributes:
        on: the measure.
        model: counts tokens.
        tolerance: largest difference within a pair.
        method: ``"auto"``, ``"subset"`` or ``"cut"``.

    Raises:
        LensLocError: for unknown settings.
    """

    on: str
    model: "Model | None"
    tolerance: int
    method: str

    def __post_init__(self) -> None:
        if self.on not in MEASURES:
            raise LensLocError(f"There is no measure {self.on!r}; there are {', '.join(MEASURES)}.")
        if self.method not in METHODS:
            raise LensLocError(
                f"There is no method {self.method!r}; there are {', '.join(METHODS)}."
            )
        if self.on == "tokens" and self.model is None:
            raise LensLocError("Matching on tokens needs a model to count them; give one.")
        if self.tolerance < 0:
            raise LensLocError(f"A tolerance is at least 0; {self.tolerance} is not.")


def matched_texts(
    conditions: Mapping[str, Sequence[str]],
    items: Mapping[str, Sequence[str]] | None,
    target: Sequence[str],
    control: Sequence[str],
    how: Matching,
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return texts of equal length by condition, and their items; conditions without any are out.

    Args:
        conditions: condition -> texts.
        items: condition -> item of each text, where there are items; otherwise partners become one.
        target: conditions of that side.
        control: likewise.
        how: what is made equal, and how.

    Raises:
        LensLocError: if no pair can be made, or the stimuli are no texts.
    """
    sides = [
        [
            (name, text, "" if items is None else items[name][row])
            for name in names
            for row, text in enumerate(conditions[name])
        ]
        for names in (target, control)
    ]
    others = [text for side in sides for _, text, _ in side if isinstance(text, Stimulus)]
    if others:
        raise LensLocError(
            f"matched() makes texts equally long, and the stimuli are {others[0].noun}s; choose "
            "stimuli that Contrast.balance() finds alike."
        )
    by_item = items is not None
    texts: dict[str, list[str]] = {name: [] for name in (*target, *control)}
    of: dict[str, list[str]] = {name: [] for name in texts}
    for number, pair in enumerate(_match(sides[0], sides[1], how, by_item=by_item), start=1):
        for name, text, item in pair:
            texts[name].append(text)
            of[name].append(item if by_item else str(number))
    kept = [name for name, found in texts.items() if found]
    lost = [name for name in texts if name not in kept]
    n_pairs, smaller = sum(len(texts[name]) for name in target), min(map(len, sides))
    if lost or n_pairs < smaller / 2:
        log.warning(
            "%d pairs are equally long in %s, of %d that there could be%s; another measure, or a "
            "tolerance, keeps more.",
            *(n_pairs, how.on, smaller),
            f", and none has a text of {', '.join(map(repr, lost))}" if lost else "",
        )
    return {n: tuple(texts[n]) for n in kept}, {n: tuple(of[n]) for n in kept}


def _match(
    target: Sequence[Text], control: Sequence[Text], how: Matching, *, by_item: bool
) -> list[tuple[Text, Text]]:
    """Pair texts of equal length; those that are cut are paired by item, or by position."""
    on, model, tolerance = how.on, how.model, how.tolerance
    target_in_turn, control_in_turn = _in_turn(target), _in_turn(control)
    found: list[tuple[Text, Text]] = []
    if how.method in ("auto", "subset"):
        found = _best_subset(target_in_turn, control_in_turn, on, model, tolerance)
    few = len(found) < min(len(target), len(control)) / 2
    if how.method == "cut" or (how.method == "auto" and few):
        pairs = _by_item(target, control) if by_item else list(zip(target, control, strict=False))
        cut = _cut_pairs(pairs, on, model, tolerance)
        # Of what has no spaces, Chinese say, no beginning can be cut off, and the subset is larger.
        found = cut if how.method == "cut" or len(cut) > len(found) else found
    if not found:
        raise LensLocError(
            f"No text of the target can be matched in {on} with one of the control within "
            f"{tolerance}; raise the tolerance."
        )
    return found


def _in_turn(rows: Sequence[Text]) -> list[Text]:
    """Order texts so that conditions take turns."""
    seen: dict[str, int] = {}
    turns = []
    for row in rows:
        turns.append(seen.get(row[0], 0))
        seen[row[0]] = turns[-1] + 1
    return [row for _, row in sorted(zip(turns, rows, strict=True), key=lambda pair: pair[0])]


def _by_item(target: Sequence[Text], control: Sequence[Text]) -> list[tuple[Text, Text]]:
    """Pair every text of the target with the next one of the control that has its item."""
    waiting: dict[str, list[Text]] = {}
    for text in control:
        waiting.setdefault(text[2], []).append(text)
    return [(text, waiting[text[2]].pop(0)) for text in target if waiting.get(text[2])]


def length(text: str, measure: str, model: "Model | None" = None) -> int:
    """Return how many tokens, characters or words a text has."""
    if measure == "tokens":
        from lensloc.models.tokens import token_ids  # which loads torch

        if model is None:
            raise LensLocError("Counting tokens needs a model; give one.")
        return len(token_ids(model, text))
    return len(text) if measure == "characters" else len(text.split())


def standardised_difference(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the difference of two means over the pooled standard deviation (Cohen's d).

    Example:
        >>> standardised_difference([12, 13, 14], [24, 25, 26])
        -12.0
    """
    difference = float(np.mean(a) - np.mean(b))
    if len(a) + len(b) < 3:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    squares = np.var(a) * len(a) + np.var(b) * len(b)
    spread = math.sqrt(squares / (len(a) + len(b) - 2))
    if spread == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / spread


def _best_subset(
    target: Sequence[Text], control: Sequence[Text], on: str, model: "Model | None", tolerance: int
) -> list[tuple[Text, Text]]:
    """Pair texts sorted by length, greedily, which gives the most pairs that there can be."""
    a = sorted(((length(text[1], on, model), i) for i, text in enumerate(target)))
    b = sorted(((length(text[1], on, model), i) for i, text in enumerate(control)))
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if abs(a[i][0] - b[j][0]) <= tolerance:
            pairs.append((target[a[i][1]], control[b[j][1]]))
            i, j = i + 1, j + 1
        elif a[i][0] < b[j][0]:
            i += 1
        else:
            j += 1
    return pairs


def _cut_pairs(
    pairs: Sequence[tuple[Text, Text]], on: str, model: "Model | None", tolerance: int
) -> list[tuple[Text, Text]]:
    cut = []
    for (a_name, a, a_item), (b_name, b, b_item) in pairs:
        best: tuple[int, str, str] | None = None
        b_prefixes = _prefixes(b, on, model)
        for a_length, a_text in _prefixes(a, on, model):
            for b_length, b_text in b_prefixes:
                shorter = min(a_length, b_length)
                near = abs(a_length - b_length) <= tolerance
                if near and (best is None or shorter > best[0]):
                    best = (shorter, a_text, b_text)
        if best is not None:
            cut.append(((a_name, best[1], a_item), (b_name, best[2], b_item)))
    return cut


def _prefixes(text: str, on: str, model: "Model | None") -> list[tuple[int, str]]:
    """Every beginning of the text that ends with a whole word, with its length."""
    ends = [i for i in range(1, len(text) + 1) if i == len(text) or text[i].isspace()]
    beginnings = [text[:end] for end in ends if not text[end - 1].isspace()]
    return [(length(beginning, on, model), beginning) for beginning in beginnings]
