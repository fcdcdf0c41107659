"""Doing the cells of a job: load its model once, measure, keep each cell as soon as it is there."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lensloc.display.files import require_writable_folder
from lensloc.display.sentences.specifications import verdict_of
from lensloc.errors import LensLocError, unwarned
from lensloc.models import describe, load_model
from lensloc.models.surface import Model
from lensloc.results.lesion_cases import cases_of
from lensloc.results.lesions import NETWORK, LesionStudy
from lensloc.selectivity import Selectivity
from lensloc.studies.dissociating import specificity
from lensloc.studies.lesion_modes import needs_reference
from lensloc.studies.lesions import lesion_study
from lensloc.studies.localization import localize
from lensloc.studies.store import Store
from lensloc.sweeps.cells import Cell, Job
from lensloc.sweeps.checking import ReadyPlan

_PACKAGES = ("lensloc", "torch", "transformers", "transformer-lens")
Done = Callable[[Cell], None]
Measure = Callable[[Any, Cell], dict[str, Any]]


def versions_here() -> dict[str, str]:
    """Return the versions of what results depend on."""
    return {name: metadata.version(name) for name in _PACKAGES}


def require_same_versions(here: Mapping[str, str], there: Mapping[str, str], who: str) -> None:
    """Refuse to work beside others of other versions, since cells would not compare.

    Args:
        here: versions of this process.
        there: versions of another.
        who: the other, as the subject of a sentence.

    Raises:
        LensLocError: if any differs; names it.
    """
    for name, version in here.items():
        if there.get(name) != version:
            raise LensLocError(
                f"{who} has {name} {there.get(name, 'of an unknown version')}, and this process "
                f"{name} {version}; a sweep is measured with one version of each, so use one "
                "environment for all."
            )


def sweep_store(folder: Path) -> Store:
    """Return the store of a sweep, which must be one that keeps what is given to it.

    Raises:
        LensLocError: if nothing can be written there.
    """
    return Store.at(require_writable_folder(folder, "The sweep's store"))


def record_of(store: Store, cell: Cell) -> dict[str, Any] | None:
    """Return what is kept of a cell: its result, or why it failed; None if it is waiting."""
    found = store.load_record(cell.key)
    if found is None or not {"result", "failed", "versions"} <= found.keys():
        return None
    return found


@dataclass(frozen=True, eq=False)
class Worker:
    """Does jobs of a plan.

    Attributes:
        plan: the plan.
        store: where cells are kept.
        device: of models that the plan puts nowhere; a GPU if there is one, if None.
        progress: show progress bars within a cell.
    """

    plan: ReadyPlan
    store: Store
    device: str | None = None
    progress: bool = False

    def do(self, job: Job, done: Done = lambda cell: None) -> None:
        """Do the cells of a job that are not done yet, and tell each.

        What goes wrong with a model or a cell is kept in the cell's place, and the others go on.

        Raises:
            LensLocError: if the store takes nothing more.
        """
        if not any(self._waits(cell) for cell in job.cells):  # done by another meanwhile
            for cell in job.cells:
                done(cell)
            return
        try:
            with unwarned():
                model = load_model(
                    job.model.place, progress=False, **job.model.arguments(self.device)
                )
        except Exception as error:  # of whatever library: the other models are to go on
            for cell in job.cells:  # of which others may have done some meanwhile
                self._once(cell, None, partial(_fail, error))
                done(cell)
            return
        try:
            with unwarned():
                for cell in self._localized(model, job):
                    done(cell)
                for cell in job.cells:
                    if cell.kind != "localize":
                        self._once(cell, model, self._measured)
                        done(cell)
        finally:
            del model
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    # -- localizing --------------------------------------------------------------------------------

    def _localized(self, model: Model, job: Job) -> Iterator[Cell]:
        """Localize, all sites of a contrast and protocol in one pass."""
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in job.cells:
            if cell.kind == "localize":
                groups.setdefault((cell.contrast, cell.protocol), []).append(cell)
        for cells in groups.values():
            waiting = [cell for cell in cells if self._waits(cell)]
            if len(waiting) > 1:
                # The model may lack one of the sites: each is tried by itself below.
                with contextlib.suppress(Exception):
                    self._maps(model, waiting[0], [cell.site for cell in waiting])
            for cell in cells:
                self._once(cell, model, self._localization)
                yield cell

    def _maps(self, model: Model, cell: Cell, sites: Sequence[str]) -> Mapping[str, Selectivity]:
        plan = self.plan.plan
        contrast = self.plan.contrasts[cell.contrast, cell.protocol]
        if plan.chat_template:
            contrast = contrast.with_template(model, None)
        return localize(
            model, contrast, list(sites), protocol=cell.protocol, pooling=plan.pooling,
            bos=plan.bos, store=self.store, progress=self.progress,
        )  # fmt: skip

    def _localization(self, model: Model, cell: Cell) -> dict[str, Any]:
        found = self._maps(model, cell, [cell.site])[cell.site]
        network = found.top(percent=self.plan.plan.percent)
        n_layers, width = found.shape
        per_layer = network.per_layer().tolist()
        depth = [layer / max(1, n_layers - 1) for layer in range(n_layers)]
        return {
            "n_layers": n_layers,
            "width": width,
            "n_units": len(network),
            "largest_t": found.range_of_t[1],
            "significant": len(found.significant(0.05)) / found.n_units,
            "depth": sum(n * d for n, d in zip(per_layer, depth, strict=True)) / len(network),
            "n_outliers": len(network & found.outliers()),
            "per_layer": network.percent_per_layer().tolist(),
            "warnings": list(network.warnings),
        }

    # -- lesioning ---------------------------------------------------------------------------------

    def _measured(self, model: Model, cell: Cell) -> dict[str, Any]:
        return self._lesion(model, cell) if cell.kind == "lesion" else self._together(model, cell)

    def _lesion(self, model: Model, cell: Cell) -> dict[str, Any]:
        lesion = self.plan.lesions[cell.lesion]
        reference = lesion.reference
        if needs_reference(lesion.mode) and reference is None:
            reference = self.plan.contrasts[cell.contrast, cell.protocol]
        study = lesion_study(
            model, {cell.contrast: self._maps(model, cell, [cell.site])[cell.site]},
            lesion.tasks, lesion.controls, lesion.percents, [lesion.mode], reference=reference,
            positions=lesion.entry.positions, seed=lesion.entry.seed, exact=lesion.entry.exact,
            store=self.store, progress=self.progress,
        )  # fmt: skip
        return {
            "networks": _rows(study.table[study.table["kind"] == NETWORK]),
            "compared": [
                {**row, "verdict": verdict}
                for row, verdict in zip(_rows(study.comparisons), _verdicts(study), strict=True)
            ],
            "summary": study.summary(),
            "warnings": list(study.warnings),
        }

    def _together(self, model: Model, cell: Cell) -> dict[str, Any]:
        plan, asked = self.plan.plan, self.plan.specificity
        assert asked is not None
        names = [entry.name for entry in plan.contrasts]
        maps = {
            name: self._maps(model, Cell("localize", cell.model, name, cell.site, cell.protocol),
                             [cell.site])[cell.site]
            for name in names
        }  # fmt: skip
        entry = asked.entry
        found = specificity(
            model, maps, asked.tasks, asked.controls,
            {name: list(own) for name, own in entry.own.items()} or None,
            percent=entry.percent or plan.percent, mode=entry.mode, answered=entry.answered,
            seed=entry.seed, store=self.store, progress=self.progress,
        )  # fmt: skip
        return {
            "table": _rows(found.table),
            "indices": _rows(found.indices),
            "summary": found.summary(),
            "warnings": list(found.warnings),
        }

    # -- keeping -----------------------------------------------------------------------------------

    def _waits(self, cell: Cell) -> bool:
        known = record_of(self.store, cell)
        return known is None or bool(known["failed"])

    def _once(self, cell: Cell, model: Model | None, measure: Measure) -> None:
        """Measure a cell, unless another process does: then wait for it."""
        if not self._waits(cell):
            return
        with self.store.making([{"cell": cell.name}], cell.words) as waited:
            if waited and not self._waits(cell):
                return
            start = time.monotonic()
            try:
                result, failed = measure(model, cell), ""
            except Exception as error:  # of whatever library: the other cells are to go on
                result, failed = None, _reason(error)
            self._keep(cell, model, result, time.monotonic() - start, failed=failed)

    def _keep(
        self,
        cell: Cell,
        model: Model | None,
        result: Mapping[str, Any] | None,
        seconds: float,
        *,
        failed: str,
    ) -> None:
        record = {
            "result": result,
            "failed": failed,
            "seconds": seconds,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions_here(),
            "model": {} if model is None else _about(model),
        }
        if self.store.save_record(cell.key, record) is None:
            raise LensLocError(
                f"{cell.words} was measured and cannot be kept in {self.store.folder}, which takes "
                "nothing more; make room or choose another store, and run the sweep again: what "
                "was kept stays."
            )


def _about(model: Model) -> dict[str, Any]:
    card = describe(model)
    parameters = getattr(model, "parameters", None)
    return {
        "commit": card.revision,
        "architecture": card.architecture,
        "backend": card.backend,
        "dtype": card.dtype,
        "device": card.device,
        "weights_hash": card.weights_hash,
        "n_parameters": 0 if parameters is None else sum(p.numel() for p in parameters()),
        "warnings": list(card.warnings),
    }


def _verdicts(study: LesionStudy) -> list[str]:
    """Return what the test beside every control says, in the order of the comparisons."""
    by_place: dict[tuple[float, str], list[str]] = {}
    for change, beside in cases_of(study.table, confidence=study.confidence):
        by_place[change.percent, change.task] = [
            verdict_of(each, change.drop, took_effect=change.took_effect) for each in beside
        ]
    compared = study.comparisons
    if compared.empty:
        return []
    turns = compared.groupby(["percent", "task"], sort=False).cumcount()
    places = zip(compared["percent"], compared["task"], turns, strict=True)
    return [by_place[percent, task][turn] for percent, task, turn in places]


def _rows(table: Any) -> list[dict[str, Any]]:
    """Return a table's rows as plain data; what is missing is None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _fail(error: Exception, model: None, cell: Cell) -> dict[str, Any]:
    """Stand for the measure of a cell whose model could not be loaded."""
    raise error


def _reason(error: Exception) -> str:
    """Return why something failed, in a line."""
    if isinstance(error, LensLocError):
        return " ".join(str(error).split())
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"[:500]
