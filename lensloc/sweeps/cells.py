"""The cells of a plan, each an entry of its own in the store, and the jobs that do them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lensloc.contrasts.contrast import Contrast
from lensloc.sweeps.plan import LesionEntry, ModelEntry, Plan

Kind = Literal["localize", "lesion", "specificity"]
VERSION = 1
"""Of what a cell's record holds; entries of another are measured again."""


def shown_name(name: str) -> str:
    """Return what a model goes by in tables: of an absolute path only the last part."""
    path = Path(name)
    return path.name if path.is_absolute() else name


@dataclass(frozen=True, eq=False)
class PlannedModel:
    """One model of a plan, in one revision.

    Attributes:
        entry: as the plan has it.
        revision: branch, tag or commit; None for what its name means.
        place: what is loaded: its name, or the absolute path of its folder or file.
        state: of a local folder or file: its files' names, sizes and times of change.
    """

    entry: ModelEntry
    revision: str | None
    place: str
    state: tuple[tuple[str, int, int], ...] = ()

    @property
    def label(self) -> str:
        """What it is called in tables."""
        untrained = " untrained" if self.entry.untrained else ""
        drawn = f" {self.entry.seed}" if untrained and self.entry.seed is not None else ""
        at = f"@{self.revision}" if self.revision else ""
        return f"{shown_name(self.entry.name)}{at}{untrained}{drawn}"

    @property
    def key(self) -> dict[str, Any]:
        """What its results depend on."""
        given = self.entry.model_dump(mode="json", exclude={"name", "revisions"})
        local = [list(each) for each in self.state]
        name = Path(self.place).name if local else self.place
        return {**given, "model": name, "revision": self.revision, "files": local}

    def arguments(self, device: str | None) -> dict[str, Any]:
        """Return arguments of :func:`lensloc.load_model`."""
        entry = self.entry
        given = {
            "untrained": entry.untrained,
            "seed": entry.seed,
            "dtype": entry.dtype,
            "backend": entry.backend,
            "device_map": entry.device_map,
            "revision": self.revision,
            "trust_remote_code": entry.trust_remote_code,
            "device": None if entry.device_map is not None else device,
            "name": self.label if self.state else None,
        }
        # By identity: a seed of 0 equals False.
        said = {k: v for k, v in given.items() if v is not None and v is not False}
        return {**said, **entry.options}


@dataclass(frozen=True)
class Cell:
    """One measurement of a sweep.

    Attributes:
        kind: what is done.
        model: label of the model.
        contrast: name of the contrast; empty where all of the plan's are meant.
        site: where units live.
        protocol: how they are localized.
        lesion: label of the lesion; empty if there is none.
        key: everything that its result depends on.
    """

    kind: Kind
    model: str
    contrast: str
    site: str
    protocol: str
    lesion: str = ""
    key: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)

    @property
    def name(self) -> str:
        """Short and unlike that of any other cell."""
        text = json.dumps(self.key, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]

    @property
    def words(self) -> str:
        """The cell in words: ``language at resid_post of gpt2 (lensloc), zero 1 %``."""
        of = self.contrast or "specificity"
        lesion = f", {self.lesion}" if self.lesion else ""
        return f"{of} at {self.site} of {self.model} ({self.protocol}){lesion}"


@dataclass(frozen=True, eq=False)
class Job:
    """Cells of one model, which is loaded once for all of them."""

    model: PlannedModel
    cells: tuple[Cell, ...]


def label_of(lesion: LesionEntry) -> str:
    """Return what a lesion is called: its own name, or its mode with its numbers."""
    if lesion.name is not None:
        return lesion.name
    numbers = [
        f"{name}={value:g}"
        for name in ("scale", "value", "quantile")
        if (value := getattr(lesion, name)) is not None
    ]
    at = "" if lesion.positions == "all" else f" at {lesion.positions} positions"
    return " ".join([lesion.mode, *numbers]) + at


def cells_of(
    plan: Plan,
    models: Sequence[PlannedModel],
    contrasts: Mapping[tuple[str, str], Contrast],
    lesions: Mapping[str, Mapping[str, Any]],
    specificity: Mapping[str, Any] | None,
) -> Iterator[tuple[PlannedModel, Cell]]:
    """Yield the cells of a plan, model by model, localizations before what needs them.

    Args:
        plan: the plan.
        models: its models, a revision each.
        contrasts: name and protocol -> the contrast in the form that the protocol asks for.
        lesions: label of a lesion -> what its results depend on.
        specificity: what that of all networks depends on; None if it is not asked for.
    """
    names = list(dict.fromkeys(name for name, _ in contrasts))
    for model in models:
        of_model = {"version": VERSION, "model": model.key, "percent": plan.percent,
                    "pooling": plan.pooling, "bos": plan.bos,
                    "chat_template": plan.chat_template}  # fmt: skip
        for protocol in plan.protocols:
            for name in names:
                contrast = contrasts[name, protocol]
                for site in plan.sites:
                    at = (model.label, name, site, protocol)
                    key = {**of_model, "contrast": _key_of(contrast), "site": site,
                           "protocol": protocol}  # fmt: skip
                    yield model, Cell("localize", *at, key={**key, "kind": "localize"})
                    for label, lesion in lesions.items():
                        more = {"kind": "lesion", "lesion": lesion}
                        yield model, Cell("lesion", *at, label, key={**key, **more})
            if specificity is not None:
                for site in plan.sites:
                    key = {
                        **of_model, "kind": "specificity", "site": site, "protocol": protocol,
                        "contrasts": {name: _key_of(contrasts[name, protocol]) for name in names},
                        "specificity": specificity,
                    }  # fmt: skip
                    yield model, Cell("specificity", model.label, "", site, protocol, key=key)


def _key_of(contrast: Contrast) -> list[Any]:
    return [contrast.name, contrast.content_hash, list(contrast.target), list(contrast.control)]


def jobs_of(cells: Sequence[tuple[PlannedModel, Cell]], workers: int = 1) -> list[Job]:
    """Return the jobs that do some cells, in the order of the plan.

    A model is loaded once per job. Where there are fewer models than workers, a model's cells are
    shared out, those of one contrast staying together, since one forward pass makes all sites.

    Args:
        cells: those to be measured.
        workers: how many jobs there should be at least, if that can be.
    """
    by_model: dict[str, tuple[PlannedModel, list[Cell]]] = {}
    for model, cell in cells:
        by_model.setdefault(model.label, (model, []))[1].append(cell)
    parts = -(-workers // max(1, len(by_model)))
    found = []
    for model, several in by_model.values():
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in several:
            groups.setdefault((cell.protocol, cell.contrast), []).append(cell)
        # What needs all contrasts is done with the last part, whose maps may be there by then.
        shares: list[list[Cell]] = [[] for _ in range(min(parts, len(groups)))]
        for number, group in enumerate(groups.values()):
            shares[number * len(shares) // len(groups)] += group
        found += [Job(model, tuple(share)) for share in shares]
    return found
