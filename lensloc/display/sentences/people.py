"""How well units predict brains, and surprisal reading times: what the figures say, every case.

These sentences state figures; what speaks against a network stands among a result's warnings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lensloc.display.sentences.words import capital, counted, interval, known, listed, number


@dataclass(frozen=True)
class Beside:
    """What a network is held beside.

    Attributes:
        label: what it is, e.g. ``"control units (layer)"``.
        value: its figure; of several draws, their mean.
        draws: how many draws it is the mean of.
        p: rank of the network among the draws; NaN where nothing was drawn.
    """

    label: str
    value: float
    draws: int = 1
    p: float = float("nan")

    def words(self, digits: int, *, sign: bool = False) -> str:
        """Return it as a part of a list."""
        drawn = f", {counted(self.draws, 'draw')}" if known(self.p) or self.draws > 1 else ""
        rank = f", p = {number(self.p)}" if known(self.p) else ""
        return f"{self.label} {number(self.value, digits, sign=sign)}{drawn}{rank}"


@dataclass(frozen=True)
class Predicted:
    """How well one network's units predict brain responses.

    Attributes:
        network: its name; empty if it has none.
        n_units: how many units it has.
        n_responses: how many responses are predicted.
        split: how samples were held out.
        r: mean correlation; NaN if there is none.
        low: lower end of its interval over passages; NaN without one.
        high: upper end.
        normalised: mean correlation over mean ceiling; NaN without ceilings.
        beside: what it is held beside.
        unique: R2 beyond the baselines; NaN if there is none.
        unique_low: lower end of its interval.
        unique_high: upper end.
    """

    network: str
    n_units: int
    n_responses: int
    split: str
    r: float
    low: float
    high: float
    normalised: float
    beside: Sequence[Beside]
    unique: float
    unique_low: float
    unique_high: float


def predicted_sentences(found: Predicted) -> list[str]:
    """Say how well one network predicts, beside what, and what it adds to the baselines."""
    name = f"of {found.network}" if found.network else "given"
    units = f"{counted(found.n_units, 'unit')} {name}"
    how = {
        "grouped": "on whole passages that were held out",
        "given": "on passages held out in the folds that were given",
        "shuffled": "on single samples, with their neighbours trained on",
    }.get(found.split, f"by the split {found.split!r}")
    responses = counted(found.n_responses, "response")
    if not known(found.r):
        return [f"For the {units} there is no correlation with the {responses} {how}."]
    verb = "predicts" if found.n_units == 1 else "predict"
    ends = interval(found.low, found.high)
    told = f"The {units} {verb} {responses} with a mean r of {number(found.r)}"
    told += f" {ends} {how}" if ends else f" {how}"
    if known(found.normalised):
        told += f", which is {number(found.normalised)} of the ceiling"
    sentences = [f"{told}."]
    if found.beside:
        others = listed(each.words(2) for each in found.beside)
        sentences.append(f"Held beside: {others}.")
    if known(found.unique):
        ends = interval(found.unique_low, found.unique_high, 3)
        sentences.append(
            f"With the baselines, they explain {number(found.unique, 3, sign=True)} of the "
            f"variance {ends + ' ' if ends else ''}more than the baselines alone (R2)."
        )
    return sentences


@dataclass(frozen=True)
class Gained:
    """What one kind of surprisal tells about reading times, and what lesions take away of it.

    Attributes:
        surprisal: which, in words.
        gain: nats per time, intact; NaN if there is none.
        low: lower end of its interval over stories; NaN without one.
        high: upper end.
        lesions: name of a network, loss of gain, ends of its interval, and the change of gain
            under what is held beside.
    """

    surprisal: str
    gain: float
    low: float
    high: float
    lesions: Sequence[tuple[str, float, float, float, Sequence[Beside]]] = ()


def gained_sentences(found: Gained) -> list[str]:
    """Say what surprisal tells beyond length and frequency, and what lesions take away of that."""
    if not known(found.gain):
        return [f"For {found.surprisal} there is no gain: reading times could not be predicted."]
    ends = interval(found.low, found.high, 4)
    sentences = [
        f"{capital(found.surprisal)} adds {number(found.gain, 4, sign=True)} nats per time "
        f"{ends + ' ' if ends else ''}to what length and frequency tell about reading times."
    ]
    for name, loss, low, high, beside in found.lesions:
        if not known(loss):
            sentences.append(f"With {name} lesioned there is no figure.")
            continue
        ends = interval(-high, -low, 4)
        others = listed(each.words(4, sign=True) for each in beside) if beside else ""
        sentences.append(
            f"The lesion of {name} changes that gain by {number(-loss, 4, sign=True)}"
            f"{' ' + ends if ends else ''}{'; lesions of ' + others if others else ''}."
        )
    return sentences
