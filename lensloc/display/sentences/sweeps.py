"""What a sweep says over its models: how far it is, where networks lie, what their lesions do.

A case is made of counts and numbers only. A sentence counts models; it passes no verdict over all
of them, since each was tested by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from lensloc.display.sentences.lesions import control_name
from lensloc.display.sentences.specifications import VERDICTS
from lensloc.display.sentences.words import counted, listed, number

_NAMED = 5


def progress_sentence(done: int, failed: int, waiting: int) -> str:
    """Say how far a sweep is.

    Example:
        >>> progress_sentence(4, 0, 0)
        'All 4 cells are done.'
        >>> progress_sentence(2, 1, 3)
        '2 of 6 cells are done; 1 failed, 3 are waiting.'
    """
    total = done + failed + waiting
    if done == total:
        return f"All {counted(total, 'cell')} are done." if total != 1 else "The one cell is done."
    rest = [f"{failed} failed"] * bool(failed)
    rest += [f"{waiting} {'is' if waiting == 1 else 'are'} waiting"] * bool(waiting)
    verb = "is" if done == 1 else "are"
    return f"{done} of {counted(total, 'cell')} {verb} done; {', '.join(rest)}."


@dataclass(frozen=True)
class Depths:
    """Where the networks of one contrast lie in several models.

    Attributes:
        network: name of the contrast.
        site: where its units live.
        protocol: how it was localized.
        percent: its size.
        depth: model -> mean relative depth of its units, 0 for the first layer, 1 for the last.
    """

    network: str
    site: str
    protocol: str
    percent: float
    depth: Mapping[str, float]


def depth_sentence(found: Depths) -> str:
    """Say where networks lie."""
    what = (
        f"The units of {found.network} (top {found.percent:g} % of {found.site}, "
        f"{found.protocol}) lie at a mean relative depth of"
    )
    if len(found.depth) == 1:
        ((model, depth),) = found.depth.items()
        return f"{what} {number(depth)} in {model} (0: first layer, 1: last)."
    order = sorted(found.depth, key=lambda model: found.depth[model])
    low, high = order[0], order[-1]
    middle = number(median(found.depth.values()))
    if number(found.depth[low]) == number(found.depth[high]):
        models = counted(len(order), "model")
        return f"{what} {middle} in each of {models} (0: first layer, 1: last)."
    return (
        f"{what} {number(found.depth[low])} ({low}) to {number(found.depth[high])} ({high}) in "
        f"{counted(len(order), 'model')}, {middle} in the middle (0: first layer, 1: last)."
    )


@dataclass(frozen=True)
class Harms:
    """What the same lesion of the same network did in several models, beside the same control.

    Attributes:
        network: name of the contrast.
        lesion: label of the lesion.
        percent: its size.
        task: what was measured.
        control: kind of control.
        where: site and protocol.
        verdicts: model -> what its own test says, one of
            :data:`~lensloc.display.sentences.specifications.VERDICTS`.
    """

    network: str
    lesion: str
    percent: float
    task: str
    control: str
    where: str
    verdicts: Mapping[str, str] = field(default_factory=dict)

    def models(self, verdict: str) -> list[str]:
        """Return the models of which that is said."""
        return [model for model, said in self.verdicts.items() if said == verdict]


_SAID: Mapping[str, str] = {
    "holds": "more harm than the control in {models}",
    "not told apart": "not told apart from it in {models}",
    "reversed": "less harm than it in {models}",
    "no harm": "no harm, where the control even helped, in {models}",
    "open": "nothing to conclude in {models}",
}


def harm_sentence(found: Harms) -> str:
    """Say in how many models a lesion does more harm than its control."""
    total = len(found.verdicts)
    parts = []
    for verdict in VERDICTS:
        models = found.models(verdict)
        if not models:
            continue
        named = f" ({listed(models)})" if len(models) <= _NAMED and total > 1 else ""
        of = f"{len(models)} of {total}" if total > 1 else models[0]
        parts.append(_SAID[verdict].format(models=of + named))
    return (
        f"Lesion of {found.network} ({found.lesion}, {found.percent:g} %, {found.where}) on "
        f"{found.task}, beside {control_name(found.control)}: {'; '.join(parts)}."
    )


UNCORRECTED = (
    "Every model was tested by itself: p is not corrected for the number of models, tasks and "
    "sizes."
)


def failed_sentences(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which cells failed, and why; cells of one reason together.

    Args:
        reasons: why -> cells in words.
    """
    return [
        f"{cells[0] if len(cells) == 1 else counted(len(cells), 'cell')} failed"
        + ("" if len(cells) == 1 else f" ({', '.join(cells[:2])}{', …' * (len(cells) > 2)})")
        + f": {reason.rstrip('.')}."
        for reason, cells in reasons.items()
    ]


def noted_at(sentence: str, places: Sequence[str]) -> str:
    """Say of which cells something is told, which is told once.

    Example:
        >>> noted_at("It is noise.", ["a", "b", "c", "d"])
        'a, b, c and 1 more: It is noise.'
    """
    more = len(places) - 3
    named = [*places[:3], f"{more} more"] if more > 0 else places
    return f"{listed(named)}: {sentence}"


def versions_sentence(name: str, versions: Sequence[str]) -> str:
    """Say that cells were measured with different versions of a package."""
    return (
        f"Cells were measured with different versions of {name} ({listed(versions)}), so that "
        "their numbers need not compare; measure them again in an empty store."
    )


def another_model(model: str, quantity: str, published: float, measured: float) -> str:
    """Say that a model is not of the size that was published."""
    return (
        f"{model} has {quantity} {measured:g}, and {published:g} was published: it is another "
        "model, so its other numbers are none of the published one's."
    )
