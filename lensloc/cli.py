"""The command line: a thin layer over studies."""

import hashlib
import json
import logging
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lensloc import contrasts, fetching, plot, report
from lensloc.capture import POOLINGS
from lensloc.errors import LensLocError
from lensloc.files import require_writable_folder
from lensloc.models import (
    BACKENDS,
    BUNDLED,
    DTYPES,
    cache_folder,
    fetch,
    is_ready,
    known_names,
    load_model,
    pull_from_hub,
    writable_cache_folder,
)
from lensloc.selectivity import Selectivity
from lensloc.sites import SITES, get_site
from lensloc.stimuli import Contrast
from lensloc.stimuli.balance import measure_balance
from lensloc.store import Store
from lensloc.studies import PROTOCOLS, Localization, localize
from lensloc.units import UnitMask, count_from_percent

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find the units of a language model that are selective for a contrast.",
)
models_app = typer.Typer(no_args_is_help=True, help="Models: list them, fetch them.")
stimuli_app = typer.Typer(no_args_is_help=True, help="Stimuli: list them, show them.")
app.add_typer(models_app, name="models")
app.add_typer(stimuli_app, name="stimuli")

_DEFAULT_MODEL = "smollm2-135m"
_RANGE = re.compile(r"^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 and one sentence on bad input."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="lensloc: %(message)s")
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="lensloc")
    except LensLocError as error:
        Console(stderr=True).print(f"lensloc: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


@app.command("localize")
def localize_command(
    model_name: Annotated[
        str, typer.Option(help="Bundled model, hub name, folder or .gguf file.")
    ] = _DEFAULT_MODEL,
    network: Annotated[
        str, typer.Option(help=f"Contrast that defines the network: {', '.join(contrasts.NAMES)}.")
    ] = "language",
    contrast: Annotated[
        Path | None,
        typer.Option(
            help="A contrast of your own instead: .csv, .jsonl or .parquet, a row a text."
        ),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Condition that selective units prefer; repeatable.")
    ] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="Condition to compare with; repeatable.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of --contrast with texts.")] = "text",
    condition_column: Annotated[
        str, typer.Option(help="Column of --contrast with conditions.")
    ] = "condition",
    percentage: Annotated[
        float | None, typer.Option(help="Per cent of units to select (default 1).")
    ] = None,
    num_units: Annotated[
        int | None, typer.Option(help="Units to select; --percentage wins over it.")
    ] = None,
    localize_range: Annotated[
        str,
        typer.Option(
            help="Percentiles of t to select from: 100-100 for the top, 0-0 for the bottom, "
            "otherwise drawn at random, e.g. 40-60."
        ),
    ] = "100-100",
    pooling: Annotated[str, typer.Option(help=f"One of {', '.join(POOLINGS)}.")] = "last-token",
    site: Annotated[
        list[str] | None, typer.Option(help=f"Where units live; repeatable: {', '.join(SITES)}.")
    ] = None,
    protocol: Annotated[str, typer.Option(help=f"One of {', '.join(PROTOCOLS)}.")] = "lensloc",
    stimuli: Annotated[
        Path | None, typer.Option(help="Folder of the published stimulus files.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of untrained weights and of random draws.")] = 42,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = "float32",
    backend: Annotated[str, typer.Option(help="hooked, bridge or auto.")] = "auto",
    batch_size: Annotated[str, typer.Option(help="Texts a batch, or auto.")] = "auto",
    max_tokens: Annotated[
        int | None, typer.Option(help="Use only so many tokens of every stimulus.")
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut stimuli longer than the context window.")
    ] = False,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Freshly initialised weights.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Compute again; replace what is at --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Mask file, .safetensors or .npy (the published format).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find a network: the units most selective for a contrast; write their mask."""
    sites = list(dict.fromkeys(site or ["resid_post"]))
    _require_known(sites, pooling, protocol, backend)
    selection = _Selection.parse(percentage, num_units, localize_range, seed)
    if contrast is not None:
        columns = {"text": text_column, "condition": condition_column}
        texts = _own_contrast(contrast, target, control, columns)
    else:
        texts = contrasts.get(network, stimuli, protocol=protocol, seed=seed)
        if target or control:
            texts = texts.with_roles(
                target=target or texts.target, control=control or texts.control
            )
    rows: int | str = "auto" if batch_size == "auto" else _positive(batch_size, "--batch-size")
    if out is not None:
        _require_mask_suffix(out)
    store = Store.at(writable_cache_folder("results"))

    start = time.perf_counter()
    model: Any = load_model(
        model_name, untrained=untrained, seed=seed, dtype=dtype, device=device, backend=backend,  # type: ignore[arg-type]
        progress=not as_json,
    )  # fmt: skip
    load_seconds = time.perf_counter() - start
    for name in sites:
        selection.require_possible(model, name)
    found = localize(
        model, texts, sites, pooling=pooling, protocol=protocol, batch_size=rows,  # type: ignore[arg-type]
        progress=not as_json, store=store, recompute=overwrite,
        max_tokens=max_tokens, truncate=truncate,
    )  # fmt: skip
    masks = {name: selection.apply(found[name]) for name in sites}
    paths = {name: _mask_path(mask, out, many=len(sites) > 1) for name, mask in masks.items()}
    for name, mask in masks.items():
        _require_free(paths[name], mask, overwrite)
    for name, mask in masks.items():
        mask.save(paths[name])
    result = _result(model_name, found, masks, paths, load_seconds)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        _show(found, masks, paths)


@app.command("heatmap")
def heatmap_command(
    masks: Annotated[list[Path], typer.Argument(help="Mask files, .safetensors or .npy.")],
    out: Annotated[Path, typer.Option(help="Figure to write: .html, .png, .svg or .pdf.")],
    title: Annotated[str | None, typer.Option(help="Of the figure.")] = None,
) -> None:
    """Draw the percentage of units in every layer, one column a mask."""
    labelled: dict[str, UnitMask] = {}
    for path in masks:
        mask = UnitMask.load(path)
        made = mask.provenance
        label = " ".join(part for part in (made.model, made.contrast, mask.site) if part)
        if not made.model or label in labelled:
            label = path.stem
        labelled[label if label not in labelled else str(path)] = mask
    plot.save(plot.layer_heatmap(labelled, title=title), out)
    Console().print(f"Wrote {out}.", highlight=False, soft_wrap=True)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("lensloc-demo"),
    model_name: Annotated[str, typer.Option(help="Model to localize.")] = _DEFAULT_MODEL,
    percentage: Annotated[float, typer.Option(help="Per cent of units to select.")] = 1.0,
) -> None:
    """Find the language network of the bundled model and draw it."""
    require_writable_folder(out, "The folder")
    console = Console()
    store = Store.at(writable_cache_folder("results"))
    model = load_model(model_name, backend="auto")
    sites = ["resid_post", "attn_out", "mlp_out", "mlp_post"]
    found = localize(model, contrasts.language(), sites, store=store)
    masks = {name: found[name].top(percent=percentage) for name in sites}
    network = masks["resid_post"]
    mask_path = network.save(out / "language.safetensors")
    figure = plot.layer_heatmap(masks, title=f"Language network of {network.provenance.model}")
    plot.save(figure, out / "heatmap.html")
    page = report.write_page(found, masks, out / "index.html")
    _show_layers(console, network)
    _show_units(console, found, network, top=8)
    console.print(report.summary(found, network), highlight=False)
    console.print(f"\nMask: {mask_path}\nPage: {page}", highlight=False, soft_wrap=True)
    console.print(
        "Next: lensloc localize --protocol alkhamissi2024 --site resid_post --site head --json",
        highlight=False,
        soft_wrap=True,
    )


@models_app.command("list")
def models_list(
    pattern: Annotated[str, typer.Argument(help="Show only names that contain this.")] = "",
) -> None:
    """List the models that have a name here."""
    console = Console()
    for model in BUNDLED.values():
        if pattern.lower() in model.name:
            state = (
                "ready" if is_ready(model, cache_folder() / "models" / model.name) else "to fetch"
            )
            console.print(f"{model.name}  [{state}]  {model.about}", markup=False, highlight=False)
    others = [name for name in known_names() if name not in BUNDLED and pattern.lower() in name]
    if not pattern:
        console.print(
            f"{len(others)} names and aliases that TransformerLens knows, from the model hub: "
            "lensloc models list PATTERN shows those that contain PATTERN.",
            highlight=False,
            soft_wrap=True,
        )
        return
    for name in others:
        console.print(name, highlight=False, markup=False)


@models_app.command("pull")
def models_pull(name: Annotated[str, typer.Argument(help="Bundled model or hub name.")]) -> None:
    """Fetch a model, so that it loads without network afterwards."""
    bundled = BUNDLED.get(name.lower())
    folder = fetch(bundled) if bundled else pull_from_hub(name)
    Console().print(f"{name} is ready in {folder}.", highlight=False, soft_wrap=True)


@stimuli_app.command("list")
def stimuli_list() -> None:
    """List the bundled stimuli."""
    table = Table("name", "conditions", "contrast", box=None)
    for name in contrasts.NAMES:
        contrast = contrasts.get(name)
        conditions = ", ".join(f"{key} {len(value)}" for key, value in contrast.conditions.items())
        table.add_row(name, conditions, _sides(contrast))
    Console().print(table)


@stimuli_app.command("show")
def stimuli_show(
    name: Annotated[str, typer.Argument(help="A bundled set.")],
    items: Annotated[int, typer.Option(help="Texts a condition.")] = 5,
) -> None:
    """Show the first texts of every condition."""
    console = Console()
    for condition, texts in contrasts.get(name).conditions.items():
        console.print(f"{condition} ({len(texts)})", style="bold", markup=False, highlight=False)
        for text in texts[:items]:
            console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


@stimuli_app.command("check")
def stimuli_check(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Bundled sets, files, published folders; all bundled sets if none."),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="Condition of a file.")] = None,
    control: Annotated[list[str] | None, typer.Option(help="Condition of a file.")] = None,
    text_column: Annotated[str, typer.Option(help="Column with texts.")] = "text",
    condition_column: Annotated[str, typer.Option(help="Column with conditions.")] = "condition",
    model_name: Annotated[
        str, typer.Option(help="Model whose tokens are counted; none for no tokens.")
    ] = _DEFAULT_MODEL,
) -> None:
    """Count texts, words, characters and tokens; find duplicates; compare target and control.

    Ends with status 1 if a text occurs twice.
    """
    columns = {"text": text_column, "condition": condition_column}
    checked = [
        contrasts.get(name)
        if name in contrasts.NAMES
        else _published_contrast(Path(name))
        if Path(name).is_dir()
        else _own_contrast(Path(name), target, control, columns)
        for name in paths or contrasts.NAMES
    ]
    model = None if model_name == "none" else load_model(model_name, backend="auto")
    repeated = [_show_check(Console(), contrast, model) for contrast in checked]
    if any(repeated):
        raise typer.Exit(1)


@stimuli_app.command("fetch")
def stimuli_fetch(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(fetching.SOURCES)}.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: the name).")] = None,
) -> None:
    """Fetch published stimuli from their public address."""
    folder = fetching.fetch(name, out or Path(name))
    Console().print(f"{name} is in {folder}.", highlight=False, soft_wrap=True)


def _sides(contrast: Contrast) -> str:
    return f"{' + '.join(contrast.target)} > {' + '.join(contrast.control)}"


def _show_check(console: Console, contrast: Contrast, model: Any) -> bool:
    """Print what a check found; say whether a text occurs twice."""
    found = measure_balance(contrast.conditions, contrast.target, contrast.control, model)
    measures = list(found.differences)
    console.print(f"{contrast.name}: {_sides(contrast)}", style="bold", markup=False)
    table = Table("condition", "role", "texts", *(f"{m} (sd)" for m in measures), box=None)
    for row in found.table.to_dict("records"):
        cells = [f"{row[m]:.1f} ({row[f'{m}_sd']:.1f})" for m in measures]
        table.add_row(str(row["condition"]), str(row["role"]), str(row["texts"]), *cells)
    console.print(table)
    differences = ", ".join(f"{m} {value:+.2f}" for m, value in found.differences.items())
    console.print(f"  standardised difference, target - control: {differences}", highlight=False)
    repeated = contrast.duplicates()
    for sentence in [*found.warnings, *repeated]:
        console.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
    if not repeated:
        console.print("  no text occurs twice", highlight=False)
    return bool(repeated)


# -- what to select ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Selection:
    """What ``--percentage``, ``--num-units`` and ``--localize-range`` ask for."""

    percent: float | None
    k: int | None
    low: float
    high: float
    seed: int

    @classmethod
    def parse(
        cls, percentage: float | None, num_units: int | None, span: str, seed: int
    ) -> "_Selection":
        match = _RANGE.match(span.strip())
        if match is None:
            raise LensLocError(
                f"--localize-range {span!r} is not a range; write two percentiles, e.g. 40-60."
            )
        low, high = float(match[1]), float(match[2])
        extremes = (low, high) in ((100, 100), (0, 0))
        if not extremes and not 0 <= low < high <= 100:
            raise LensLocError(
                f"--localize-range {span} does not go from a lower to a higher percentile within "
                "0-100 (100-100 selects the top, 0-0 the bottom)."
            )
        if percentage is None and num_units is None:
            percentage = 1.0
        if percentage is not None:
            if not (math.isfinite(percentage) and 0 < percentage <= 100):
                raise LensLocError(
                    f"--percentage must be above 0 and at most 100; {percentage:g} is not."
                )
            num_units = None
        if num_units is not None and num_units < 1:
            raise LensLocError(f"--num-units must be at least 1; {num_units} is not.")
        return cls(percentage, num_units, low, high, seed)

    def require_possible(self, model: Any, site: str) -> None:
        """Refuse more units than the model has, or less than one, before it is run."""
        total = _n_units(model, site)
        if total is None:
            return
        if self.percent is not None:
            count_from_percent(self.percent, total)
        elif self.k is not None and self.k > total:
            raise LensLocError(
                f"--num-units {self.k} is more than the {total} units that the model has at {site}."
            )

    def apply(self, found: Selectivity) -> UnitMask:
        if self.low == self.high == 100:
            return found.top(percent=self.percent, k=self.k)
        if self.low == self.high == 0:
            return found.bottom(percent=self.percent, k=self.k)
        count = len(found.top(percent=self.percent, k=self.k))
        return found.between(self.low, self.high, count, self.seed)


def _n_units(model: Any, site: str) -> int | None:
    """Return how many units the model has at the site, where its configuration says so."""
    widths = {
        "d_model": ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"),
        "d_mlp": ("mlp_pre", "mlp_post"),
        "n_heads": ("head",),
    }
    for field, sites in widths.items():
        width = getattr(model.cfg, field, None)
        if site in sites and width:
            return int(model.cfg.n_layers * width)
    return None


def _require_known(sites: Sequence[str], pooling: str, protocol: str, backend: str) -> None:
    for name in sites:
        get_site(name)
    if pooling not in POOLINGS:
        raise LensLocError(f"There is no pooling {pooling!r}; there are {', '.join(POOLINGS)}.")
    if protocol not in PROTOCOLS:
        raise LensLocError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    if backend not in BACKENDS:
        raise LensLocError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")


def _published_contrast(folder: Path) -> Contrast:
    """Read a folder of published stimuli, of whichever kind it holds."""
    stories = [*folder.glob("*_story.txt"), *folder.glob("tomloc/*_story.txt")]
    return contrasts.get("theory-of-mind" if stories else "language", folder)


def _own_contrast(
    path: Path, target: list[str] | None, control: list[str] | None, columns: dict[str, str]
) -> Contrast:
    readers = {
        ".csv": Contrast.from_csv,
        ".jsonl": Contrast.from_jsonl,
        ".parquet": Contrast.from_parquet,
    }
    if path.suffix not in readers:
        raise LensLocError(f"{path} must end in {', '.join(readers)} to be read as a contrast.")
    if not target or not control:
        raise LensLocError(f"{path} needs --target and --control: conditions of the file.")
    return readers[path.suffix](path, target=target, control=control, **columns)


def _positive(text: str, option: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise LensLocError(f"{option} is auto or a whole number above 0; {text!r} is neither.")
    return int(text)


# -- masks on disk -------------------------------------------------------------------------------


def _require_mask_suffix(out: Path) -> None:
    if out.suffix not in (".safetensors", ".npy"):
        raise LensLocError(f"--out {out} must end in .safetensors or .npy (the published format).")
    if out.is_dir():
        raise LensLocError(f"--out {out} is a folder; name a file in it.")


def _mask_path(mask: UnitMask, out: Path | None, *, many: bool) -> Path:
    if out is not None:
        return out.with_name(f"{out.stem}.{mask.site}{out.suffix}") if many else out
    made = mask.provenance
    model = re.sub(r"[^\w.-]+", "-", made.model) + ("-untrained" if made.untrained else "")
    content = _hash_of(mask)[:8]
    return Path("lensloc-masks") / f"{model}_{made.contrast}_{mask.site}_{content}.safetensors"


def _hash_of(mask: UnitMask) -> str:
    """Return a hash of what a mask was made from and which units it holds."""
    made = mask.provenance
    parts = (made.weights_hash, made.contrast_hash, made.protocol, made.pooling, made.selection)
    return hashlib.sha256(("\0".join(parts)).encode() + mask.mask.numpy().tobytes()).hexdigest()


def _require_free(path: Path, mask: UnitMask, overwrite: bool) -> None:
    if path.exists() and not overwrite and UnitMask.load(path, site=mask.site) != mask:
        raise LensLocError(
            f"{path} holds another mask; add --overwrite to replace it, or change --out."
        )


# -- output --------------------------------------------------------------------------------------


def _result(
    model_name: str,
    found: Localization,
    masks: dict[str, UnitMask],
    paths: dict[str, Path],
    load_seconds: float,
) -> dict[str, Any]:
    per_site = {
        name: {
            "n_units": len(mask),
            "shape": list(mask.shape),
            "per_layer": mask.per_layer().tolist(),
            "mask": str(paths[name]),
            "cached": name in found.from_store,
        }
        for name, mask in masks.items()
    }
    made = next(iter(masks.values())).provenance
    result: dict[str, Any] = {
        "model": model_name,
        "network": made.contrast,
        "protocol": made.protocol,
        "pooling": made.pooling,
        "selection": made.selection,
        "untrained": made.untrained,
        "tokens": found.n_tokens,
        "seconds": {
            "load": round(load_seconds, 3),
            "forward": round(found.seconds.forward, 3),
            "statistics": round(found.seconds.statistics, 3),
        },
        "sites": per_site,
        "warnings": list(found.warnings),
    }
    if len(per_site) == 1:
        result |= next(iter(per_site.values()))
    return result


def _show(found: Localization, masks: dict[str, UnitMask], paths: dict[str, Path]) -> None:
    console = Console()
    for name, mask in masks.items():
        _show_layers(console, mask)
        _show_units(console, found, mask, top=5)
        known = "  (from earlier results)" if name in found.from_store else ""
        console.print(f"Mask: {paths[name]}{known}\n", highlight=False, soft_wrap=True)
    for warning in found.warnings:
        console.print(f"Note: {warning}", highlight=False, soft_wrap=True)


def _show_layers(console: Console, mask: UnitMask) -> None:
    counts = mask.per_layer()
    console.print(
        f"{mask.provenance.model}: {len(mask)} units at {mask.site}. Layers with most of them:",
        highlight=False,
    )
    table = Table("layer", "units", "% of the layer", box=None)
    shares = mask.percent_per_layer()
    for layer in counts.argsort(descending=True, stable=True)[:5].tolist():
        if counts[layer] > 0:
            table.add_row(str(layer), str(int(counts[layer])), f"{shares[layer]:.1f}")
    console.print(table)


def _show_units(console: Console, found: Localization, mask: UnitMask, *, top: int) -> None:
    rows = report.strongest(found, mask, top)
    console.print("Units of largest t:")
    table = Table(*rows.columns, box=None)
    for row in rows.itertuples(index=False):
        table.add_row(*(str(cell) for cell in row))
    console.print(table)


if __name__ == "__main__":
    main()
