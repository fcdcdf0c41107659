"""Specificity: networks x tasks, what every lesion breaks beside controls, and how specific."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lensloc.display import markup
from lensloc.display.frozen import FrozenMapping
from lensloc.display.savable import Savable
from lensloc.display.sentences import dissociations as words
from lensloc.display.sentences.lesions import control_name
from lensloc.errors import LensLocError, noted
from lensloc.results.dissociation import Dissociation, Index, Lesions, dissociation
from lensloc.results.items import Items, item_drops
from lensloc.results.lesion_cases import NETWORK
from lensloc.results.lesions import LesionStudy

FEW_ITEMS = 20
"""Fewer items of a task are told."""
_VALUES = ("drop", "share", "control_drop", "control_share", "difference", "p_more")


@dataclass(frozen=True, eq=False)
class Specificity(Savable):
    """What :func:`lensloc.specificity` measured: networks x tasks, beside controls.

    Attributes:
        study: every lesion on every task that has room to fall, item by item.
        room: one row per task: ``task``, ``measure``, ``items`` (of the whole task), ``kinds`` and
            ``kinds_answered`` (those that the intact model answers on the half that is not
            measured; NaN if items were not chosen), ``n_items`` (measured), ``intact`` and
            ``chance`` on these, ``room`` (how far the score can fall, by which drops are divided;
            NaN if it cannot).
        domains: network -> the names of its own tasks.
        seed: of the choices of one set per network, where there are too many to try all.
        warnings: what a reader of the figures should know, in sentences.
        call: what made it, as code; empty if it was put together by hand.
        found: kind of control -> the indices and their tests, see
            :mod:`lensloc.results.dissociation`; of the networks that have a task of their own and
            one of others with room to fall.
    """

    study: LesionStudy
    room: pd.DataFrame
    domains: Mapping[str, tuple[str, ...]]
    seed: int = 0
    warnings: tuple[str, ...] = ()
    call: str = ""
    found: Mapping[str, Dissociation] = field(init=False)

    def __post_init__(self) -> None:
        domains = {str(name): tuple(own) for name, own in self.domains.items()}
        object.__setattr__(self, "domains", FrozenMapping(domains))
        object.__setattr__(self, "found", FrozenMapping(dict(self._dissociations())))
        told = [*self.warnings, *self.study.warnings, *self._notes()]
        object.__setattr__(self, "warnings", tuple(dict.fromkeys(told)))

    # -- figures -----------------------------------------------------------------------------------

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks."""
        return tuple(dict.fromkeys(map(str, self.study.table["network"])))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all tasks, those without room to fall too."""
        return tuple(map(str, self.room["task"]))

    @property
    def with_room(self) -> tuple[str, ...]:
        """Names of the tasks that were measured."""
        return tuple(map(str, self.room.loc[self.room["room"].notna(), "task"]))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of control."""
        kinds = dict.fromkeys(map(str, self.study.table["kind"]))
        return tuple(kind for kind in kinds if kind != NETWORK)

    @property
    def table(self) -> pd.DataFrame:
        """One row per network, task and kind of control.

        ``network``, ``task``, ``own`` (whether it is the network's), ``percent``, ``n_units``,
        ``n_items``, ``intact``, ``chance``, ``room``; ``drop`` with ``drop_low`` and ``drop_high``
        (over items), ``share`` (of the room); ``kind`` of control, ``draws``, ``control_drop``,
        ``control_share``, ``difference`` with ``difference_low``, ``difference_high`` and
        ``p_more`` of the rank test over draws, as in
        :class:`~lensloc.results.lesions.LesionStudy`. Of a task without room all but the first few
        are missing.
        """
        compared = self.study.comparisons.set_index(["network", "task", "kind"])
        networks = self.study.table[self.study.table["kind"] == NETWORK]
        lesions = networks.set_index(["network", "task"])
        room = self.room.set_index("task")
        rows = []
        for network in self.networks:
            first = networks[networks["network"] == network].iloc[0]
            for task in self.tasks:
                row = {
                    "network": network,
                    "task": task,
                    "own": task in self.domains.get(network, ()),
                    "percent": first["percent"],
                    "n_units": int(first["n_units"]),
                    **room.loc[task, ["n_items", "intact", "chance", "room"]].to_dict(),
                }
                if task not in self.with_room:
                    rows.append(row)
                    continue
                drops = lesions.loc[(network, task), ["drop", "drop_low", "drop_high"]].to_dict()
                row |= {**drops, "share": drops["drop"] / row["room"]}
                for kind in self.kinds:
                    beside = compared.loc[(network, task, kind)]
                    rows.append({**row, **_beside(kind, beside, row["room"])})
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    @property
    def indices(self) -> pd.DataFrame:
        """One row per kind of control and network, and one for all networks together.

        ``kind``, ``network``, ``index`` (share of the room that its own tasks lose minus that of
        the others), ``control_index`` (the draws' mean), ``draws``, ``without_number``,
        ``difference`` with its interval over draws and items, ``standardised`` (in standard
        deviations of draws), ``p`` of the rank test and ``min_p``, the smallest that so many draws
        can give. ``p`` of all together is over choices of one set per network. ``p_double``, on
        that row: that every network's index exceeds its controls'; ``crossed``: whether every
        network harms its own tasks more than every other network does.
        """
        parts = []
        for kind, found in self.found.items():
            part = found.table.assign(p_double=np.nan, crossed=None)
            last = part.index[-1]
            part.loc[last, "p_double"] = found.p_double
            part["crossed"] = part["crossed"].astype(object)
            part.loc[last, "crossed"] = found.crossed
            part.insert(0, "kind", kind)
            parts.append(part)
        table: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return table

    def matrix(self, value: str = "share", kind: str | None = None) -> pd.DataFrame:
        """Return one number, network (rows) x task (columns); missing where there is no room.

        Args:
            value: ``"drop"``, ``"share"`` (of the room to fall), ``"control_drop"``,
                ``"control_share"`` (means of the draws), ``"difference"`` or ``"p_more"``.
            kind: of control; the first one if None.

        Raises:
            LensLocError: if there is no such number or control.
        """
        kind = self.kind(kind)
        if value not in _VALUES:
            raise LensLocError(f"There is no {value!r} here; there are {', '.join(_VALUES)}.")
        table = self.table
        rows = table[(table["kind"] == kind) | table["kind"].isna()]
        found: pd.DataFrame = rows.set_index(["network", "task"])[value].unstack()
        ordered: pd.DataFrame = found.reindex(index=list(self.networks), columns=list(self.tasks))
        return ordered

    def kind(self, kind: str | None) -> str:
        """Return the kind of control that was asked for; the first one if None.

        Raises:
            LensLocError: if it was not measured.
        """
        if kind is None:
            return self.kinds[0]
        if kind not in self.kinds:
            raise LensLocError(
                f"There is no control {kind!r} here; there are {', '.join(self.kinds)}."
            )
        return kind

    def drawn_kind(self, kind: str | None = None) -> str:
        """Return the kind of drawn control that was asked for; the first one if None.

        Raises:
            LensLocError: if it was not measured, or not drawn, so that it has no index.
        """
        drawn = list(self.found)
        if kind is None:
            return drawn[0]
        if self.kind(kind) not in drawn:
            raise LensLocError(
                f"The control {kind!r} was not drawn, so it has no index; {', '.join(drawn)} "
                f"{'was' if len(drawn) == 1 else 'were'}."
            )
        return kind

    # -- words -------------------------------------------------------------------------------------

    def summary(self) -> list[str]:
        """Say of every network whether its lesion is specific, and whether networks dissociate."""
        sentences = []
        for kind, found in self.found.items():
            cases = [self._case(kind, index) for index in found.networks]
            sentences += [words.specific_sentence(case) for case in cases]
            together = words.Together(
                control_name(kind),
                {case.network: case.relation for case in cases},
                found.crossed,
                found.p_double,
                found.overall.p,
                any(case.by_interval for case in cases),
            )
            sentences += words.together_sentences(together)
        return sentences

    def _case(self, kind: str, index: Index) -> words.Specificness:
        own = tuple(task for task in self.with_room if task in self.domains[index.network])
        return words.Specificness(
            network=index.network,
            own=own,
            others=tuple(task for task in self.with_room if task not in own),
            control=control_name(kind),
            draws=len(index.draws),
            index=index.index,
            control_index=index.control,
            low=index.low,
            high=index.high,
            standardised=index.standardised,
            p=index.p,
            min_p=index.min_p,
            level=1 - self.study.confidence,
        )

    def without_room(self) -> list[str]:
        """Say which tasks have no room to fall."""
        return [
            words.no_room(
                str(row["task"]),
                float(row["intact"]),
                float(row["chance"]),
                int(row["n_items"]),
                0 if np.isnan(row["kinds"]) else int(row["kinds"]),
            )
            for row in _records(self.room)
            if np.isnan(row["room"])
        ]

    def _notes(self) -> Iterator[str]:
        yield from self.without_room()
        for row in _records(self.room):
            if not np.isnan(row["room"]) and row["n_items"] < FEW_ITEMS:
                yield words.few_items(str(row["task"]), int(row["n_items"]))
        for name in self.networks:
            if name not in self._indexed():
                yield words.no_index(name, self.domains.get(name, ()))

    # -- making ------------------------------------------------------------------------------------

    def _indexed(self) -> list[str]:
        return indexed(self.networks, self.domains, self.with_room)

    def _dissociations(self) -> Iterator[tuple[str, Dissociation]]:
        names = self._indexed()
        room = dict(zip(self.room["task"], self.room["room"], strict=True))
        items = self.study.items
        drawn = items[items["seed"].notna()]
        for kind in self.kinds:
            mine = drawn[drawn["kind"] == kind]
            if mine.empty:
                continue
            lesions = {
                name: Lesions(
                    {task: drops[0] for task, drops in _drops(items, name, NETWORK).items()},
                    _drops(mine, name, kind),
                    tuple(task for task in self.domains[name] if task in self.with_room),
                )
                for name in names
            }
            tested = {task: float(room[task]) for task in self.with_room}
            yield (
                kind,
                dissociation(lesions, tested, confidence=self.study.confidence, seed=self.seed),
            )

    def _repr_html_(self) -> str:
        matrix = self.matrix()
        rows = [
            {"network": name, **row}
            for name, row in zip(matrix.index, _records(matrix), strict=True)
        ]
        columns = ["kind", "network", "index", "control_index", "difference", "difference_low",
                   "difference_high", "standardised", "p"]  # fmt: skip
        picture = markup.heatmap(
            np.nan_to_num(matrix.to_numpy(float)).tolist(), label="shares", cell=(28, 20)
        )
        return markup.card(
            self._line(),
            markup.table(rows),
            markup.captioned(picture, "share of the room to fall that is lost; orange: harm"),
            markup.table(_records(self.indices[columns])),
            markup.paragraphs(self.summary()),
            warnings=self.warnings,
        )

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        return (
            f"Specificity(networks {', '.join(self.networks)}; tasks {', '.join(self.tasks)}; "
            f"beside {', '.join(self.kinds)})"
        )


def indexed(
    networks: Iterable[str], domains: Mapping[str, Sequence[str]], tasks: Sequence[str]
) -> list[str]:
    """Return the networks that have a task of their own, and one of others.

    Args:
        networks: names.
        domains: network -> names of its own tasks.
        tasks: those that have room to fall.

    Raises:
        LensLocError: if there is none, or there are fewer than two tasks.
    """
    if len(tasks) < 2:
        raise LensLocError(
            "A dissociation is between tasks, and fewer than two have room to fall "
            f"({', '.join(tasks) or 'none'}); give more tasks, or easier ones."
        )
    own = {name: [task in domains.get(name, ()) for task in tasks] for name in networks}
    found = [name for name, mine in own.items() if any(mine) and not all(mine)]
    if not found:
        raise LensLocError(
            f"No network ({', '.join(own)}) has both a task of its own and one of others with room "
            f"to fall (those with room: {', '.join(tasks)}); say which tasks are whose, e.g. "
            "domains={'language': ['grammar']}."
        )
    return found


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _beside(kind: str, row: pd.Series, room: float) -> dict[str, Any]:
    names = ["draws", "control_drop", "difference", "difference_low", "difference_high", "p_more"]
    found: dict[str, Any] = {name: row[name] for name in names}
    return {"kind": kind, **found, "control_share": found["control_drop"] / room}


def _drops(items: pd.DataFrame, network: str, kind: str) -> dict[str, Float[np.ndarray, "draw _"]]:
    """Return item drops of a network's lesion, or of all draws beside it, task by task."""
    rows = items[(items["network"] == network) & (items["kind"] == kind)]
    found: dict[str, list[Float[np.ndarray, " _"]]] = {}
    keys = [rows["task"].astype(str), rows["seed"].fillna(-1)]
    for (task, _), one in rows.groupby(keys, sort=False):
        higher = bool(one["higher_is_better"].iloc[0])
        intact, lesioned = (
            Items(one[value].to_numpy(), one[weight].to_numpy(), higher)
            for value, weight in (("intact", "intact_weight"), ("value", "weight"))
        )
        found.setdefault(str(task), []).append(item_drops(lesioned, intact))
    return {task: np.stack(drops) for task, drops in found.items()}
