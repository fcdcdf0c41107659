"""What lesions break, more than their controls do: ``lensloc evaluate``."""

import dataclasses
import importlib.util
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lensloc import contrasts, plot
from lensloc.cli.modes import parse_modes
from lensloc.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    Backend,
    BatchSize,
    Device,
    Dtype,
    Masks,
    ModelName,
    Reference,
    Site,
    batch_size_of,
    reference_contrast,
    require_known,
    require_percentage,
    whole_number,
)
from lensloc.cli.output import collected_warnings, plain, print_json, show_notes
from lensloc.controls import LEAST_SELECTIVE, MATCHES, WITHOUT_OUTLIERS, Controls, controls
from lensloc.errors import LensLocError
from lensloc.files import write_atomically
from lensloc.lesion import MODES
from lensloc.lesion_table import NETWORK, LesionStudy
from lensloc.models import load_model, writable_cache_folder
from lensloc.models.quiet import stdout_to_stderr
from lensloc.stimuli import Contrast
from lensloc.store import Store
from lensloc.studies import PERCENTS, lesion_study
from lensloc.tasks import (
    BUNDLED_CHOICES,
    HarnessTask,
    Task,
    bits_per_byte,
    generation,
    lm_eval,
    minimal_pairs,
    multiple_choice,
    perplexity,
)
from lensloc.tokens import BOS
from lensloc.units import UnitMask, count_from_percent

_TASKS: dict[str, Any] = {
    "minimal-pairs": minimal_pairs,
    "perplexity": perplexity,
    "bits-per-byte": bits_per_byte,
    "choice": multiple_choice,
    "generation": generation,
    "lm-eval": lm_eval,
}
_NEED = {
    "choice": f"a .jsonl file, {' or '.join(BUNDLED_CHOICES)}, e.g. choice={BUNDLED_CHOICES[0]}",
    "lm-eval": "the harness' name of a task, e.g. lm-eval=blimp_anaphor_gender_agreement",
}
_SEEDS = 5
_TABLES, _FIGURES = (".parquet", ".csv", ".json"), (".html", ".png", ".svg", ".pdf")
_SELECTION = re.compile(r"^\w+ (\d+(?:\.\d+)?(?:e[+-]?\d+)?) % \(")


def evaluate_command(
    model_name: ModelName = DEFAULT_MODEL,
    masks: Masks = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Network to localize and lesion: {', '.join(contrasts.NAMES)}; repeatable "
            "(default language, without --mask)."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure: minimal-pairs, perplexity, bits-per-byte or generation, each "
            "with =PATH for texts of your own; choice=PATH, choice=arithmetic, "
            "choice=commonsense; lm-eval=NAME. Repeatable (default minimal-pairs, perplexity)."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use only so many items of every paradigm or kind, or texts.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to hold beside every network: {', '.join(MATCHES)}, each with :N for N "
            f"draws (default {_SEEDS}); {LEAST_SELECTIVE}; {WITHOUT_OUTLIERS}. Repeatable."
        ),
    ] = None,
    percents: Annotated[
        str | None,
        typer.Option(help="Sizes in per cent of units, e.g. 0.5,1,2 (default: a mask's own)."),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What happens to the units: {', '.join(MODES)}; with a number, scale:0.5, "
            "clamp:3. Repeatable (default zero)."
        ),
    ] = None,
    reference: Reference = None,
    bos: Annotated[
        str, typer.Option(help=f"Beginning-of-text token before every text: {', '.join(BOS)}.")
    ] = "model",
    site: Site = "resid_post",
    seed: Annotated[int, typer.Option(help="Of intervals and of resampled stimuli.")] = 42,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    batch_size: BatchSize = "auto",
    out: Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(_TABLES)}.")] = None,
    plot_out: Annotated[
        Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(_FIGURES)}.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out and --plot.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what lesions of networks break, beside lesions of control units.

    An interrupted run goes on where it stopped.
    """
    require_known(sites=[site], backend=backend)
    modes = parse_modes(mode or ["zero"], reference)
    several = _controls(control or [])
    sizes = None if percents is None else _percents(percents)
    _require_place(out, "--out", _TABLES, overwrite)
    _require_place(plot_out, "--plot", _FIGURES, overwrite)
    tasks = _tasks(task or ["minimal-pairs", "perplexity"], limit, bos, batch_size)
    held = reference_contrast(reference)
    networks = _networks(masks or [], network or [], site)
    networks, sizes = _sized(networks, sizes)
    for given in networks.values():
        if isinstance(given, UnitMask):
            _require_possible(given, sizes, several)
    store = Store.at(writable_cache_folder("studies"))

    with collected_warnings() as notes, stdout_to_stderr():
        model: Any = load_model(
            model_name, dtype=dtype, device=device, backend=backend,  # type: ignore[arg-type]
            progress=not as_json,
        )  # fmt: skip
        study = lesion_study(
            model, networks, tasks, several, sizes, modes,
            reference=held, seed=seed, store=store, progress=not as_json,
        )  # fmt: skip
    notes = list(dict.fromkeys([*notes, *study.warnings]))
    if out is not None:
        write_atomically(out, _encoded(study.table, out.suffix))
    if plot_out is not None:
        plot.save(plot.dose_response(study), plot_out)
    if as_json:
        print_json(
            {
                "model": model_name,
                "rows": _records(study.table),
                "comparisons": _records(study.comparisons),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    _show(study)
    show_notes(notes)
    for path in (out, plot_out):
        if path is not None:
            Console().print(f"Wrote {path}.", markup=False, highlight=False, soft_wrap=True)


# -- networks --------------------------------------------------------------------------------------


def _networks(
    paths: Sequence[Path], names: Sequence[str], site: str
) -> dict[str, UnitMask | Contrast]:
    """Read what is lesioned, by name; a mask goes by its file's stem, or path if that is taken."""
    if not paths and not names:
        names = ["language"]
    networks: dict[str, UnitMask | Contrast] = {name: contrasts.get(name) for name in names}
    for path in dict.fromkeys(paths):
        name = str(path) if path.stem in networks else path.stem
        networks[name] = UnitMask.load(path, site=site)
    return networks


def _sized(
    networks: dict[str, UnitMask | Contrast], sizes: list[float] | None
) -> tuple[dict[str, UnitMask | Contrast], list[float] | None]:
    """Return networks and sizes such that masks keep their own size if none was asked for."""
    masks = [given for given in networks.values() if isinstance(given, UnitMask)]
    if sizes is not None or not masks:
        return networks, sizes
    if any(mask.score is None for mask in masks):
        # What has no ranking has one size only; beside it, the others keep theirs.
        return {name: _unranked(given) for name, given in networks.items()}, None
    own = [_own_percent(mask) for mask in masks]
    common = [p for p in own if all(_count(p, mask) == len(mask) for mask in masks)]
    return networks, common[:1] or [*PERCENTS]


def _unranked(given: UnitMask | Contrast) -> UnitMask | Contrast:
    return dataclasses.replace(given, score=None) if isinstance(given, UnitMask) else given


def _own_percent(mask: UnitMask) -> float:
    """Return the percentage that gives a mask's number of units, as it was asked for if known."""
    total = mask.mask.numel()
    exact = 100 * len(mask) / total
    asked = _SELECTION.match(mask.provenance.selection)
    candidates = [float(asked[1])] if asked else []
    candidates += [exact, math.nextafter(exact, math.inf), 100 * (len(mask) + 0.5) / total]
    return next(p for p in candidates if 0 < p <= 100 and _count(p, mask) == len(mask))


def _count(percent: float, mask: UnitMask) -> int:
    return int((percent / 100) * mask.mask.numel())  # as count_from_percent, but 0 is no error


def _require_possible(
    mask: UnitMask, sizes: Sequence[float] | None, several: Sequence[Controls]
) -> None:
    """Refuse sizes and controls that a mask cannot have, before a model is loaded."""
    for size in sizes or ():
        count_from_percent(size, mask.mask.numel())
    cut = [mask.resized(percent=size) for size in sizes or ()] or [mask]
    for wanted in several:
        once = dataclasses.replace(wanted, seeds=wanted.seeds[:1])
        for network in cut:
            list(once(network))


def _percents(text: str) -> list[float]:
    sizes = []
    for part in text.split(","):
        try:
            size = float(part)
        except ValueError as error:
            raise LensLocError(
                f"--percents {text!r} is not a list of numbers; write e.g. 0.5,1,2."
            ) from error
        require_percentage(size, "Every size in --percents")
        sizes.append(size)
    return list(dict.fromkeys(sizes))


# -- tasks and controls ----------------------------------------------------------------------------


def _tasks(texts: Sequence[str], limit: int | None, bos: str, batch_size: str) -> list[Task]:
    """Read ``--task``; tasks that would have one name are called as they were written."""
    if bos not in BOS:
        raise LensLocError(f"--bos is one of {', '.join(BOS)}; {bos!r} is not.")
    options = {"limit": limit, "bos": bos, "batch_size": batch_size_of(batch_size)}
    made = {text: _task(text, options) for text in dict.fromkeys(texts)}
    names = Counter(task.name for task in made.values())
    return [
        task
        if names[task.name] == 1 or isinstance(task, HarnessTask)
        else dataclasses.replace(task, name=text)
        for text, task in made.items()
    ]


def _task(text: str, options: Mapping[str, Any]) -> Any:
    kind, equals, argument = text.partition("=")
    if kind not in _TASKS:
        raise LensLocError(
            f"There is no task {kind!r} (--task {text}); there are {', '.join(_TASKS)}."
        )
    if not argument and kind in _NEED:
        raise LensLocError(f"--task {kind} needs {_NEED[kind]}.")
    if equals and not argument:
        raise LensLocError(f"--task {text} names no file; write {kind} or {kind}=PATH.")
    return _TASKS[kind](argument, **options) if argument else _TASKS[kind](**options)


def _controls(texts: Sequence[str]) -> list[Controls]:
    found: dict[str, Controls] = {}
    for text in texts:
        kind, colon, number = text.partition(":")
        if kind in found:
            raise LensLocError(f"--control {kind} is given twice; give it once.")
        if kind in MATCHES:
            draws = whole_number(number) if colon else _SEEDS
            if draws is None:
                raise LensLocError(
                    f"--control {text} has no number of draws behind the colon; write e.g. "
                    f"{kind}:{_SEEDS}."
                )
            found[kind] = controls(kind, seeds=range(draws))  # type: ignore[arg-type]
        elif kind not in (LEAST_SELECTIVE, WITHOUT_OUTLIERS):
            known = ", ".join((*MATCHES, LEAST_SELECTIVE, WITHOUT_OUTLIERS))
            raise LensLocError(f"There is no control {kind!r}; there are {known}.")
        elif colon:
            raise LensLocError(f"--control {kind} draws nothing; write it without :{number}.")
        else:
            found[kind] = controls(
                (),
                least_selective=kind == LEAST_SELECTIVE,
                without_outliers=kind == WITHOUT_OUTLIERS,
            )
    return list(found.values())


# -- files -----------------------------------------------------------------------------------------


def _require_place(
    path: Path | None, option: str, suffixes: Sequence[str], overwrite: bool
) -> None:
    """Refuse a file that could not be written, or must not, before anything is computed."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise LensLocError(f"{option} {path} must end in {', '.join(suffixes)}.")
    if path.is_dir():
        raise LensLocError(f"{option} {path} is a folder; name a file in it.")
    if path.exists() and not overwrite:
        raise LensLocError(f"{path} exists; add --overwrite to replace it, or change {option}.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise LensLocError(f"{option} {path} cannot be written in {above}; choose another place.")
    if path.suffix in _FIGURES[1:] and importlib.util.find_spec("kaleido") is None:
        raise LensLocError(
            f"{option} {path} needs kaleido, which draws pictures; install it with "
            "`pip install 'lensloc[png]'`, or write .html."
        )


def _encoded(table: pd.DataFrame, suffix: str) -> bytes:
    if suffix == ".csv":
        return str(table.to_csv(index=False)).encode()
    if suffix == ".json":
        return json.dumps(_records(table), allow_nan=False, ensure_ascii=False).encode()
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows; what is missing is None."""
    return [plain(row) for row in table.to_dict("records")]


# -- output ----------------------------------------------------------------------------------------


def _show(study: LesionStudy) -> None:
    console = Console()
    table, level = study.table, f"{100 * study.confidence:g} %"
    console.print(f"{table['model'].iloc[0]}, intact:", markup=False, highlight=False)
    columns = ["task", "measure", "n_items", "intact", "chance"]
    _show_rows(console, table, columns, {"n_items": "items", "intact": "score"})
    compared = study.comparisons
    if compared.empty:
        rows = table[table["kind"] == NETWORK].copy()
        words = f"intervals ({level}) over items"
        shown = ["percent", "task", "network drop"]
        rows["network drop"] = _with_interval(rows, "drop")
    else:
        rows = compared.assign(
            difference=_with_interval(compared, "difference"),
            control=[f"{row.kind} ({row.draws})" for row in compared.itertuples()],
        )
        words = f"differences with intervals ({level}) over items and draws"
        shown = ["percent", "task", "control", "network_drop", "control_drop", "difference"]
    constant = [name for name in ("network", "mode") if rows[name].nunique() > 1]
    names = ", ".join(map(str, rows["network"].unique()))
    modes = ", ".join(map(str, rows["mode"].unique()))
    console.print(
        f"\nHow much worse with {names} lesioned ({modes}); {words}:",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    titles = {"percent": "%", "network_drop": "network drop", "control_drop": "control drop"}
    _show_rows(console, rows, [*constant, *shown], titles)


def _show_rows(
    console: Console, rows: pd.DataFrame, columns: Sequence[str], titles: Mapping[str, str]
) -> None:
    """Print columns of a table, each different row once."""
    shown = Table(box=None)
    for name in columns:
        right = pd.api.types.is_numeric_dtype(rows[name])
        shown.add_column(titles.get(name, name), justify="right" if right else "left")
    for row in rows[list(columns)].drop_duplicates().itertuples(index=False):
        shown.add_row(*(Text(_cell(value, name)) for value, name in zip(row, columns, strict=True)))
    console.print(shown)


def _with_interval(rows: pd.DataFrame, name: str) -> list[str]:
    """Write values with their intervals, e.g. ``0.120 [0.050, 0.190]``."""
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    return [
        f"{_cell(value)} [{_cell(a)}, {_cell(b)}]"
        for value, a, b in zip(rows[name], low, high, strict=True)
    ]


def _cell(value: Any, name: str = "") -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:g}" if name == "percent" else f"{value:.3f}"
