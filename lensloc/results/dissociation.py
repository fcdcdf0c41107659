"""Dissociations: does a network's lesion harm its own tasks more than others, beyond its controls?

**Index.** A drop is counted as a share of the task's room to fall (intact score minus chance, or
what the caller says), so that tasks compare. A network's index is the mean of these shares over its
own tasks minus the mean over all others: 0 for damage that spares no task, 1 if its own tasks fall
to chance and nothing else falls. Tasks differ in how easily anything breaks them, and a control
shows that: its index is taken in the same way from the same tasks. The claim is about the
difference, network minus control draws.

**Tests.** The index is one number per lesion, so a network is compared with its draws as in
:mod:`lensloc.results.draws`: exact rank p, interval over draws and items. Room is the intact
model's, the same for all lesions, so the rank test stays exact.

**Several networks.** The overall index is the mean of the networks' indices; for two networks with
a task each, twice that is the interaction contrast of the 2 x 2 table. Under the null every network
is one of its own k + 1 sets, independently, so every choice of one set per network is equally
likely and p is the share of the choices whose index is at least the observed one: exact, and down
to ``1 / (k + 1)`` a network multiplied. The overall index may be carried by one network. A **double
dissociation** is that every network's index exceeds its controls', with p the largest of theirs
(intersection-union test, Berger 1982).

Draws of different networks have to be drawn apart, as :mod:`lensloc.units.matching` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from lensloc.errors import LensLocError
from lensloc.results.draws import at_least, draw_variance, half_width, item_excess, rank_p

_NAN = float("nan")
_ALL_CHOICES = 200_000


@dataclass(frozen=True, eq=False)
class Lesions:
    """One network's lesion and those of its control draws, on every task.

    Attributes:
        network: task -> item drops, as many as the task has items.
        draws: task -> item drops of every draw, ``[draw, item]``, draws in one order in all tasks.
        own: the tasks of the network's domain.
    """

    network: Mapping[str, Float[np.ndarray, " _"]]
    draws: Mapping[str, Float[np.ndarray, "_ _"]]
    own: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """How much more a network harms its own tasks than others, beside its control draws.

    Attributes:
        network: name; "all" for all together.
        index: of the network, a share of the room to fall; positive if its own tasks fall more.
        draws: of the draws that gave numbers on all tasks; of all networks together, the mean of
            their first draws, of their second ones, and so on.
        without_number: how many did not.
        difference: index minus the draws' mean.
        low: its interval over draws and items; NaN with fewer than two draws.
        high: likewise.
        standardised: the difference in standard deviations of the draws' indices.
        p: of the rank test, one-sided.
        min_p: the smallest that so many draws can give.
    """

    network: str
    index: float
    draws: tuple[float, ...]
    without_number: int
    difference: float
    low: float
    high: float
    standardised: float
    p: float
    min_p: float

    @property
    def control(self) -> float:
        """The draws' mean index."""
        return self.index - self.difference


@dataclass(frozen=True, eq=False)
class Dissociation:
    """Networks x tasks: drops, and whether they dissociate.

    Attributes:
        drops: ``[network, task]``, drops as measured.
        control_drops: the draws' mean drops.
        room: ``[task]``, how far each can fall.
        own: ``[network, task]``, whether the task is of the network's domain.
        networks: one index each.
        overall: of all networks together; its ``p`` is over choices of one set per network.
        p_double: that every network dissociates: the largest of their p.
        crossed: whether every network harms its own tasks more than every other network does.
        confidence: of the intervals.
    """

    drops: pd.DataFrame
    control_drops: pd.DataFrame
    room: pd.Series
    own: pd.DataFrame
    networks: tuple[Index, ...]
    overall: Index
    p_double: float
    crossed: bool
    confidence: float

    @property
    def shares(self) -> pd.DataFrame:
        """Drops as shares of the room to fall, ``[network, task]``."""
        shares: pd.DataFrame = self.drops / self.room
        return shares

    @property
    def interaction(self) -> tuple[float, float, float]:
        """The interaction contrast of a 2 x 2 table minus the controls', and its interval.

        ``(A's drop on its task - on B's) - (the same of B)``, in shares of room.

        Raises:
            LensLocError: unless there are two networks and two tasks, one for each.
        """
        if self.drops.shape != (2, 2):
            raise LensLocError(
                f"An interaction contrast is of two networks and two tasks; there are "
                f"{self.drops.shape[0]} and {self.drops.shape[1]}."
            )
        return 2 * self.overall.difference, 2 * self.overall.low, 2 * self.overall.high

    @property
    def table(self) -> pd.DataFrame:
        """One row per network, and one for all together."""
        rows = [
            {
                "network": found.network,
                "index": found.index,
                "control_index": found.control,
                "draws": len(found.draws),
                "without_number": found.without_number,
                "difference": found.difference,
                "difference_low": found.low,
                "difference_high": found.high,
                "standardised": found.standardised,
                "p": found.p,
                "min_p": found.min_p,
            }
            for found in (*self.networks, self.overall)
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table


def dissociation(
    lesions: Mapping[str, Lesions],
    room: Mapping[str, float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Dissociation:
    """Hold networks x tasks against control draws.

    Args:
        lesions: network -> what was measured; all on the same tasks and items.
        room: task -> how far its score can fall: intact minus chance for an accuracy.
        confidence: of the intervals.
        seed: of the choices of one set per network, where there are too many to try all.

    Raises:
        LensLocError: no network, one task, a task without room, networks measured on different
            tasks or items, or a network without a task of its own or of others.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> def measured(own: str, other: str) -> Lesions:
        ...     drops = {own: rng.binomial(1, 0.5, 200), other: rng.binomial(1, 0.1, 200)}
        ...     draws = {task: rng.binomial(1, 0.1, (20, 200)) * 1.0 for task in drops}
        ...     return Lesions({task: items * 1.0 for task, items in drops.items()}, draws, (own,))
        >>> language, demand = measured("grammar", "sums"), measured("sums", "grammar")
        >>> room = {"grammar": 0.4, "sums": 0.5}
        >>> found = dissociation({"language": language, "demand": demand}, room)
        >>> found.crossed, round(found.p_double, 3), round(found.overall.p, 4)
        (True, 0.048, 0.0023)
    """
    tasks = _checked(lesions, room, confidence)
    room_of = pd.Series({task: float(room[task]) for task in tasks}, name="room")
    weights = {name: _weights(name, given.own, room_of) for name, given in lesions.items()}
    pieces = {name: _pieces(given, weights[name], tasks) for name, given in lesions.items()}
    indices = tuple(_index(name, piece, confidence) for name, piece in pieces.items())
    names = list(lesions)
    drops = pd.DataFrame(np.stack([p.drops for p in pieces.values()]), names, tasks)
    controls = pd.DataFrame(np.stack([p.control_drops for p in pieces.values()]), names, tasks)
    own = pd.DataFrame([[task in lesions[n].own for task in tasks] for n in names], names, tasks)
    return Dissociation(
        drops=drops,
        control_drops=controls,
        room=room_of,
        own=own,
        networks=indices,
        overall=_overall(lesions, pieces, weights, indices, tasks, confidence, seed),
        p_double=float(np.max([found.p for found in indices])),
        crossed=_crossed(drops, own),
        confidence=confidence,
    )


# -- one network -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Pieces:
    """What a network's index is made of.

    Attributes:
        index: its own.
        draws: those of the draws that gave numbers on all tasks.
        kept: which draws these are.
        drops: the network's, a task each.
        control_drops: the draws' mean.
        item_excess: what a task's items add to the variance between draws, not yet cut off at 0;
            empty where there is no interval.
        item_df: degrees of freedom of that.
    """

    index: float
    draws: Float[np.ndarray, " draw"]
    kept: Bool[np.ndarray, " all"]
    drops: Float[np.ndarray, " task"]
    control_drops: Float[np.ndarray, " task"]
    item_excess: dict[str, float]
    item_df: int


def _weights(name: str, own: tuple[str, ...], room: pd.Series) -> Float[np.ndarray, " task"]:
    inside = np.array([task in own for task in room.index])
    if not inside.any() or inside.all():
        missing = "its own" if not inside.any() else "others"
        raise LensLocError(
            f"The network {name!r} was measured on no task of {missing}, and a dissociation needs "
            f"both; the tasks are {', '.join(room.index)}."
        )
    signs = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    weights: Float[np.ndarray, " task"] = signs / room.to_numpy(dtype=np.float64)
    return weights


def _pieces(given: Lesions, weights: Float[np.ndarray, " task"], tasks: list[str]) -> _Pieces:
    kept = np.all([np.isfinite(given.draws[task]).all(axis=1) for task in tasks], axis=0)
    draws = {task: given.draws[task][kept] for task in tasks}
    network = np.array([_mean(given.network[task]) for task in tasks])
    drops = np.stack([draws[task].mean(axis=1) for task in tasks], axis=1)
    excess = {}
    if kept.sum() > 1 and np.isfinite(network).all():
        excess = {
            task: float(weight**2 * item_excess(given.network[task], draws[task]))
            for task, weight in zip(tasks, weights, strict=True)
        }
    return _Pieces(
        index=float(network @ weights),
        draws=drops @ weights,
        kept=kept,
        drops=network,
        control_drops=drops.mean(axis=0) if len(drops) else np.full(len(tasks), _NAN),
        item_excess=excess,
        item_df=min(len(given.network[task]) for task in tasks) - 1,
    )


def _index(name: str, piece: _Pieces, confidence: float) -> Index:
    k = len(piece.draws)
    mean = float(piece.draws.mean()) if k else _NAN
    difference, low, high, standardised = piece.index - mean, _NAN, _NAN, _NAN
    if piece.item_excess:
        sd = float(piece.draws.std(ddof=1))
        standardised = difference / sd if sd > 0 else _NAN
        parts = [float(draw_variance(piece.draws)), max(0.0, sum(piece.item_excess.values()))]
        low, high = _limits(difference, parts, [k - 1, piece.item_df], confidence)
    return Index(
        network=name,
        index=piece.index,
        draws=tuple(piece.draws.tolist()),
        without_number=int((~piece.kept).sum()),
        difference=difference,
        low=low,
        high=high,
        standardised=standardised,
        p=rank_p(piece.index, piece.draws)[0],
        min_p=1 / (k + 1),
    )


# -- all together ----------------------------------------------------------------------------------


def _overall(
    lesions: Mapping[str, Lesions],
    pieces: Mapping[str, _Pieces],
    weights: Mapping[str, Float[np.ndarray, " task"]],
    indices: tuple[Index, ...],
    tasks: list[str],
    confidence: float,
    seed: int,
) -> Index:
    several = list(pieces.values())
    n = len(several)
    index = float(np.mean([piece.index for piece in several]))
    difference = float(np.mean([found.difference for found in indices]))
    low, high, standardised = _NAN, _NAN, _NAN
    if all(piece.item_excess for piece in several):
        of_draws = [float(draw_variance(piece.draws)) / n**2 for piece in several]
        spread = np.sqrt(sum(piece.draws.var(ddof=1) for piece in several)) / n
        standardised = difference / float(spread) if spread > 0 else _NAN
        excess = [_shared_excess(lesions, pieces, weights, t, at) for at, t in enumerate(tasks)]
        parts = [sum(of_draws), max(0.0, sum(excess)) / n**2]
        df = [_pooled_df(of_draws, several), several[0].item_df]
        low, high = _limits(difference, parts, df, confidence)
    sums, exact = _choices([np.append(p.draws, p.index) for p in several], seed)
    fewest = 1 / float(np.prod([len(piece.draws) + 1.0 for piece in several]))
    at_or_above = int(at_least(sums / n, index).sum())
    p = at_or_above / len(sums) if exact else (1 + at_or_above) / (len(sums) + 1)
    pairs = zip(*(piece.draws for piece in several), strict=False)
    return Index(
        network="all",
        index=index,
        draws=tuple(float(np.mean(pair)) for pair in pairs),
        without_number=sum(found.without_number for found in indices),
        difference=difference,
        low=low,
        high=high,
        standardised=standardised,
        p=float(p) if np.isfinite(index) else _NAN,
        min_p=fewest if exact else max(fewest, 1 / (len(sums) + 1)),
    )


def _pooled_df(variances: list[float], several: list[_Pieces]) -> float:
    """Return the degrees of freedom of the networks' summed draw variances (Satterthwaite 1946)."""
    below = sum(v * v / (len(p.draws) - 1) for v, p in zip(variances, several, strict=True))
    return sum(variances) ** 2 / below if below > 0 else float("inf")


def _shared_excess(
    lesions: Mapping[str, Lesions],
    pieces: Mapping[str, _Pieces],
    weights: Mapping[str, Float[np.ndarray, " task"]],
    task: str,
    at: int,
) -> float:
    """Return what a task's items add, all networks having been measured on the same items.

    The networks' paired differences are summed item by item before their variance is taken, since
    an item that is hard for one lesion may be for another.
    """
    paired = np.zeros(len(next(iter(lesions.values())).network[task]))
    inside = 0.0
    for name, given in lesions.items():
        draws = given.draws[task][pieces[name].kept]
        own = weights[name][at] * (given.network[task] - draws.mean(axis=0))
        paired = paired + own
        # What is in the draws' variance already: own variance minus the excess above it.
        inside += float(own.var(ddof=1)) / len(own) - pieces[name].item_excess[task]
    return float(paired.var(ddof=1)) / len(paired) - inside


def _choices(
    indices: list[Float[np.ndarray, " _"]], seed: int
) -> tuple[Float[np.ndarray, " combination"], bool]:
    """Return the sums of one index per network, of all choices or of many drawn at random."""
    if np.prod([float(len(one)) for one in indices]) <= _ALL_CHOICES:
        return reduce(lambda a, b: np.add.outer(a, b).ravel(), indices), True
    rng = np.random.default_rng(seed)
    return np.sum([rng.choice(one, size=_ALL_CHOICES) for one in indices], axis=0), False


def _limits(
    difference: float, variances: list[float], df: list[float], confidence: float
) -> tuple[float, float]:
    half = float(half_width([np.asarray(v) for v in variances], df, confidence))
    return difference - half, difference + half


def _crossed(drops: pd.DataFrame, own: pd.DataFrame) -> bool:
    """Say whether every network's mean drop on its tasks is above every other network's there."""
    return all(
        float(drops.loc[name, tasks].mean()) > float(drops.loc[other, tasks].mean())
        for name in drops.index
        for tasks in [own.columns[own.loc[name].to_numpy(dtype=bool)]]
        for other in drops.index
        if other != name
    )


def _mean(drops: Float[np.ndarray, " item"]) -> float:
    return float(drops.mean()) if np.isfinite(drops).all() else _NAN


def _checked(
    lesions: Mapping[str, Lesions], room: Mapping[str, float], confidence: float
) -> list[str]:
    if not lesions:
        raise LensLocError("There is no network to dissociate; give at least one.")
    if not 0 < confidence < 1:
        raise LensLocError(f"confidence lies between 0 and 1; {confidence:g} does not.")
    tasks = list(next(iter(lesions.values())).network)
    if len(tasks) < 2:
        raise LensLocError("A dissociation is between tasks; measure at least two.")
    sizes = {task: len(next(iter(lesions.values())).network[task]) for task in tasks}
    for task in tasks:
        if not float(room.get(task, _NAN)) > 0:
            raise LensLocError(
                f"The task {task!r} has no room to fall (room {room.get(task)}): intact, the model "
                "is no better than chance; leave it out, or take items that the model answers."
            )
    for name, given in lesions.items():
        if set(given.network) != set(tasks) or set(given.draws) != set(tasks):
            raise LensLocError(
                f"The network {name!r} or its draws were measured on other tasks than "
                f"{', '.join(tasks)}; measure all on all."
            )
        unknown = [task for task in given.own if task not in sizes]
        if unknown:
            raise LensLocError(
                f"{unknown[0]!r}, a task of the network {name!r}, was not measured; the tasks are "
                f"{', '.join(tasks)}."
            )
        if len({len(given.draws[task]) for task in tasks}) > 1:
            raise LensLocError(
                f"The network {name!r} has different numbers of draws in different tasks; every "
                "draw needs every task."
            )
        for task, n_items in sizes.items():
            if {len(given.network[task]), given.draws[task].shape[1]} != {n_items} or n_items < 2:
                raise LensLocError(
                    f"The task {task!r} was measured on different items, or on fewer than two, "
                    f"under {name!r}; measure every lesion on the same."
                )
    return tasks
