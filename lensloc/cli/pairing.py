"""Units that carry a difference between clean and corrupted texts: ``lensloc pairs``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import lensloc as ll
from lensloc.cli.localizing import show_layers
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Encoding,
    Limit,
    ModelOptions,
    Percent,
    Sep,
    batch_size_of,
    require_percentage,
    require_sites,
    site_names,
)
from lensloc.cli.output import collected_warnings, print_json, show_notes
from lensloc.cli.tables import FIGURES, MASKS, require_place
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.readers import TABLE_KINDS
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.site_table import SITES
from lensloc.vocabulary import BUNDLED_PAIRS, GradientAt

if TYPE_CHECKING:
    from lensloc.attribution.pair_effects import PairLocalization
    from lensloc.results.faithful import Faithfulness
    from lensloc.units.mask import UnitMask

_N_RANDOM, _N_EXACT = 5, 20


def pairs_command(
    loading: ModelOptions,
    pairs: Annotated[
        str,
        typer.Option(
            help=f"Bundled pairs ({', '.join(BUNDLED_PAIRS)}), or a file ({', '.join(TABLE_KINDS)})"
            " with columns clean, corrupted, right, wrong, and, if known, group."
        ),
    ] = "agreement",
    site: Annotated[
        str, typer.Option(autocompletion=site_names, help=f"Where units live: {', '.join(SITES)}.")
    ] = "resid_post",
    percent: Percent = None,
    num_units: Annotated[
        int | None, typer.Option(help="Units to select, instead of --percent.")
    ] = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Rank by the size of effects, whatever their sign.")
    ] = False,
    gradient_at: Annotated[
        GradientAt, typer.Option(help="The run in which the gradient is taken.")
    ] = "clean",
    limit: Limit = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out",
            help="Leave out pairs of unequal length in tokens (bundled ones always are).",
        ),
    ] = False,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Also measure faithfulness and completeness: units are found on one half of the "
            "pairs, and measured on the other.",
        ),
    ] = False,
    n_random: Annotated[
        int | None, typer.Option(help=f"Random rankings of --curves (default {_N_RANDOM}).")
    ] = None,
    n_exact: Annotated[
        int | None,
        typer.Option(help=f"Units that --curves patches by themselves (default {_N_EXACT})."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the halves and of random rankings.")] = 0,
    figure: Annotated[
        Path | None, typer.Option(help=f"Where to draw the curves: {', '.join(FIGURES)}.")
    ] = None,
    sep: Sep = None,
    encoding: Encoding = None,
    batch_size: BatchSize = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out or --figure.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Mask file, .safetensors or .npy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the units that carry the difference between clean and corrupted texts."""
    require_sites([site])
    percent = _percent(percent, num_units)
    if not curves:
        given = {"--n-random": n_random, "--n-exact": n_exact, "--figure": figure}
        reason = "nothing but --curves uses it"
        refuse_idle(reason, **{name: value is not None for name, value in given.items()})
    rows = batch_size_of(batch_size)
    if out is not None:
        require_place(out, "--out", MASKS, overwrite)
    if figure is not None:
        require_place(figure, "--figure", FIGURES, overwrite)
    asked = _read(pairs, sep, encoding)
    if limit is not None:
        asked = asked.limited(limit)

    with collected_warnings() as more:
        model = loading.load(quiet=as_json)
        if leave_out or pairs in BUNDLED_PAIRS:
            asked = asked.aligned(model)
        used, held_out = asked.split(seed) if curves else (asked, asked)
        found = ll.localize_pairs(
            model, used, site, gradient_at=gradient_at, batch_size=rows, progress=not as_json
        )
        mask = found.top(percent=percent, k=num_units, absolute=absolute)
        measured: Faithfulness | None = None
        if curves:
            measured = ll.faithfulness(
                model, held_out, found, absolute=absolute, seed=seed, batch_size=rows,
                n_random=_N_RANDOM if n_random is None else n_random,
                n_exact=_N_EXACT if n_exact is None else n_exact, progress=not as_json,
            )  # fmt: skip
    if out is not None:
        mask.save(out, overwrite=overwrite)
    if figure is not None and measured is not None:
        ll.plot.save(ll.plot.faithfulness(measured), figure, overwrite=overwrite)
    told = [*found.warnings, *(measured.warnings if measured is not None else ()), *more]
    notes = list(dict.fromkeys(told))
    if as_json:
        print_json(_result(found, mask, measured, out, notes))
        return
    console = Console()
    _show(console, found, mask)
    if measured is not None:
        _show_curves(console, measured)
    if out is not None:
        console.print(f"Mask: {out}", highlight=False, soft_wrap=True)
    show_notes(notes)


def _percent(percent: float | None, num_units: int | None) -> float | None:
    if percent is None:
        return 1.0 if num_units is None else None
    require_percentage(percent)
    refuse_idle("--percent says how many", **{"--num-units": num_units is not None})
    return percent


def _result(
    found: "PairLocalization",
    mask: "UnitMask",
    measured: "Faithfulness | None",
    out: Path | None,
    notes: list[str],
) -> dict[str, Any]:
    best = found[mask.site].to_dataframe(mask).head(5)
    result: dict[str, Any] = {
        "model": mask.provenance.model,
        "pairs": found.pairs.name,
        "n_pairs": len(found.pairs),
        "metric_clean": float(found.clean.mean()),
        "metric_corrupted": float(found.corrupted.mean()),
        "site": mask.site,
        "selection": mask.provenance.selection,
        "n_units": len(mask),
        "shape": list(mask.shape),
        "per_layer": mask.per_layer().tolist(),
        "best": best[["address", "score", "error"]].to_dict("records"),
        "mask": None if out is None else str(out),
        "warnings": notes,
    }
    if measured is not None:
        result |= {
            "n_pairs_measured": measured.n_pairs,
            "carried_by_site": measured.carried,
            "curves": measured.table.to_dict("records"),
            "summary": measured.summary().to_dict("records"),
            "exact": measured.exact.to_dict("records"),
        }
    return result


def _show(console: Console, found: "PairLocalization", mask: "UnitMask") -> None:
    """Print what the model makes of the pairs, where the units are, and the best of them."""
    console.print(
        f"{len(found.pairs)} pairs of {found.pairs.name}: log P(right) - log P(wrong) is "
        f"{found.clean.mean():.2f} nats after clean and {found.corrupted.mean():.2f} after "
        "corrupted prompts.",
        highlight=False,
    )
    show_layers(console, mask)
    console.print("Units of largest effect (nats):")
    table = Table("address", "effect", "standard error", box=None)
    for row in found[mask.site].to_dataframe(mask).head(5).itertuples(index=False):
        table.add_row(row.address, f"{row.score:.3g}", f"{row.error:.2g}")
    console.print(table)


def _read(pairs: str, sep: str | None, encoding: str | None) -> ll.Pairs:
    if pairs in BUNDLED_PAIRS:
        options = {"--sep": sep is not None, "--encoding": encoding is not None}
        refuse_idle("it says how a file is read, and bundled pairs are none", **options)
    elif Path(pairs).exists():
        TableForm.of(None, sep, encoding).require_fits(Path(pairs))
    return read_pairs(pairs, TableForm.of(None, sep, encoding))


def read_pairs(pairs: str, form: TableForm) -> ll.Pairs:
    """Read bundled pairs, or a file of some.

    Raises:
        LensLocError: neither of them; what reading the file refuses.
    """
    if pairs not in BUNDLED_PAIRS:
        path = Path(pairs)
        if not path.exists():
            raise LensLocError(
                f"There are no pairs {pairs!r}, bundled or in a file; the bundled ones are "
                f"{', '.join(BUNDLED_PAIRS)}."
            )
        return ll.Pairs.from_file(path, **form.fitted(path).said)
    return ll.Pairs.bundled(pairs)


def _show_curves(console: Console, measured: "Faithfulness") -> None:
    """Print how much the first k units recover, and how well estimates agree with patching."""
    console.print(
        f"On {measured.n_pairs} other pairs, {measured.site} carries "
        f"{100 * measured.carried:.0f} % of the difference; of that, the first k units",
        highlight=False,
    )
    table = Table("k", "recover alone", "take away", box=None)
    (both,) = measured.curves.values()
    kept, taken = both.values()
    for k, share, lost in zip(kept.sizes, kept.share, taken.share, strict=True):
        table.add_row(f"{k:,}", f"{100 * share:.0f} %", f"{100 * lost:.0f} %")
    console.print(table)
    for name, rho in measured.agreement.items():
        alike = "no rank correlation" if math.isnan(rho) else f"rho {rho:.2f}"
        console.print(
            f"Estimated and exact effects of {len(measured.exact)} units ({name}): {alike}",
            highlight=False,
        )
