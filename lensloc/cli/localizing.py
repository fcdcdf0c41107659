"""Finding networks: ``lensloc localize``."""

import contextlib
import hashlib
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import lensloc as ll
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    ModelOptions,
    Network,
    Percent,
    Untrained,
    batch_size_of,
    cached_store,
    require_percentage,
    require_sites,
    site_names,
)
from lensloc.cli.output import collected_warnings, show_notes
from lensloc.cli.seeing import sites_of_model
from lensloc.cli.tables import MASKS, require_place, require_room
from lensloc.errors import LensLocError
from lensloc.forward.site_table import SITES
from lensloc.models.names import may_see
from lensloc.units.rules import count_from_percent

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.selectivity import Selectivity
    from lensloc.studies import Localization
    from lensloc.units.mask import UnitMask

_FOLDER = Path("lensloc-masks")
_RANGE = re.compile(r"^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$")


def localize_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    network: Network = None,
    percent: Percent = None,
    num_units: Annotated[
        int | None, typer.Option(help="Units to select; --percent wins over it.")
    ] = None,
    localize_range: Annotated[
        str,
        typer.Option(
            help="Percentiles of t to select from: 100-100 for the top, 0-0 for the bottom, "
            "otherwise drawn at random, e.g. 40-60."
        ),
    ] = "100-100",
    site: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=site_names,
            help=f"Where units live; repeatable: {', '.join(SITES)} (default resid_post; of a "
            "model of pictures, all sites that it has).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of untrained weights and of random draws.")] = 42,
    batch_size: BatchSize = "auto",
    untrained: Untrained = False,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute again what is known already.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Mask file, .safetensors or .npy (the published format).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find a network: the units most selective for a contrast; write their mask."""
    sites = list(dict.fromkeys(site or ["resid_post"]))
    if not may_see(loading.model_name):  # whose sites are known once it is there
        require_sites(sites)
    selection = _Selection.parse(percent, num_units, localize_range, seed)
    contrast = texts.read(network, how.protocol, seed, texts.form(), loading.model_name)
    rows = batch_size_of(batch_size)
    if out is not None:
        for name in sites:
            require_place(_named(out, name, many=len(sites) > 1), "--out", MASKS, overwrite)
    else:
        require_room(_FOLDER / "mask", "The mask in")
    store = cached_store("results")

    start = time.perf_counter()
    model = loading.load(quiet=as_json, untrained=untrained, seed=seed if untrained else None)
    load_seconds = time.perf_counter() - start
    contrast = texts.templated(contrast, model)
    sites = sites_of_model(model, site)
    for name in sites:
        if out is not None:
            require_place(_named(out, name, many=len(sites) > 1), "--out", MASKS, overwrite)
        selection.require_possible(model, name)
    with collected_warnings() as more:
        found = ll.localize(
            model, contrast, sites, batch_size=rows, progress=not as_json, store=store,
            recompute=recompute, **how.arguments,
        )  # fmt: skip
        masks = {name: selection.apply(found[name]) for name in sites}
    notes = _notes(found, masks, more)
    paths = {name: _mask_path(mask, out, many=len(sites) > 1) for name, mask in masks.items()}
    if out is None:
        for name, mask in masks.items():
            _require_same(paths[name], mask, overwrite)
    for name, mask in masks.items():
        mask.save(paths[name], overwrite=True)  # what must stay was refused
    result = _result(loading.model_name, found, masks, paths, load_seconds, notes)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        _show(found, masks, paths, notes)


# -- what to select ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Selection:
    """What ``--percent``, ``--num-units`` and ``--localize-range`` ask for."""

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
            require_percentage(percentage)
            num_units = None
        if num_units is not None and num_units < 1:
            raise LensLocError(f"--num-units must be at least 1; {num_units} is not.")
        return cls(percentage, num_units, low, high, seed)

    def require_possible(self, model: "Model", site: str) -> None:
        """Refuse more units than the model has, before it is run."""
        from lensloc.forward.sites import shape, site_of, widths

        where = site_of(site, model)
        known = shape(where, model)
        if known is None:
            return
        total = sum(widths(where, model) or (known[1],) * known[0])
        if self.percent is not None:
            count_from_percent(self.percent, total)
        elif self.k is not None and self.k > total:
            raise LensLocError(
                f"--num-units {self.k} is more than the {total} units that the model has at {site}."
            )

    def apply(self, found: "Selectivity") -> "UnitMask":
        if self.low == self.high == 100:
            return found.top(percent=self.percent, k=self.k)
        if self.low == self.high == 0:
            return found.bottom(percent=self.percent, k=self.k)
        count = len(found.top(percent=self.percent, k=self.k))
        return found.between(self.low, self.high, count, self.seed)


# -- masks on disk -------------------------------------------------------------------------------


def _named(out: Path, site: str, *, many: bool) -> Path:
    """Return where the mask of a site goes."""
    return out.with_name(f"{out.stem}.{site}{out.suffix}") if many else out


def _mask_path(mask: "UnitMask", out: Path | None, *, many: bool) -> Path:
    if out is not None:
        return _named(out, mask.site, many=many)
    made = mask.provenance
    model = re.sub(r"[^\w.-]+", "-", made.model) + ("-untrained" if made.untrained else "")
    contrast = re.sub(r"[^\w.-]+", "-", made.contrast)
    content = _hash_of(mask)[:8]
    name = f"{model[-80:]}_{contrast[:80]}_{mask.site[:40]}_{content}.safetensors"
    return _FOLDER / name


def _hash_of(mask: "UnitMask") -> str:
    """Return a hash of what a mask was made from and which units it holds."""
    made = mask.provenance
    model = "".join(made.model_hashes.values())
    parts = (model, made.contrast_hash, made.protocol, made.pooling, made.selection)
    return hashlib.sha256(("\0".join(parts)).encode() + mask.mask.numpy().tobytes()).hexdigest()


def _require_same(path: Path, mask: "UnitMask", overwrite: bool) -> None:
    """Refuse a file under a name of ours that holds something else."""
    if overwrite or not path.exists():
        return
    with contextlib.suppress(LensLocError):
        if ll.UnitMask.load(path) == mask:
            return
    raise LensLocError(f"{path} holds another mask; add --overwrite to replace it, or give --out.")


# -- output --------------------------------------------------------------------------------------


def _result(
    model_name: str,
    found: "Localization",
    masks: "dict[str, UnitMask]",
    paths: dict[str, Path],
    load_seconds: float,
    notes: list[str],
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
        "warnings": notes,
    }
    if len(per_site) == 1:
        result |= next(iter(per_site.values()))
    return result


def _show(
    found: "Localization", masks: "dict[str, UnitMask]", paths: dict[str, Path], notes: list[str]
) -> None:
    console = Console()
    for name, mask in masks.items():
        show_layers(console, mask)
        show_units(console, found, mask, top=5)
        known = "  (from earlier results)" if name in found.from_store else ""
        console.print(f"Mask: {paths[name]}{known}\n", highlight=False, soft_wrap=True)
    show_notes(notes)


def _notes(found: "Localization", masks: "dict[str, UnitMask]", more: list[str]) -> list[str]:
    """Return what to mind in the localization and in the masks, each sentence once."""
    told = [*found.warnings, *(note for mask in masks.values() for note in mask.warnings), *more]
    return list(dict.fromkeys(told))


def show_layers(console: Console, mask: "UnitMask") -> None:
    """Print the layers with most of a mask's units."""
    counts = mask.per_layer()
    if len(counts) == 1:
        console.print(
            f"{mask.provenance.model}: {len(mask)} of {mask.n_units:,} units at {mask.site}, "
            "which has one layer.",
            highlight=False,
        )
        return
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


def show_units(console: Console, found: "Localization", mask: "UnitMask", *, top: int) -> None:
    """Print a mask's units of largest t."""
    from lensloc.pages.report import strongest

    rows = strongest(found, mask, top)
    console.print("Units of largest t:")
    table = Table(*rows.columns, box=None)
    for row in rows.itertuples(index=False):
        table.add_row(*(str(cell) for cell in row))
    console.print(table)
