"""What several commands share: options, and checks of what was given for them."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli.seeing import conditions_of, of_folder
from lensloc.cli.tables import FIGURES, TABLES
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.lines import kind_of, remedy_of
from lensloc.contrasts.readers import TABLE_KINDS, TableForm, read_rows
from lensloc.contrasts.texts import label
from lensloc.errors import LensLocError
from lensloc.forward.site_table import SITES
from lensloc.models.cache import StoreName, store_folder

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.studies.store import Store
    from lensloc.units.mask import UnitMask

DEFAULT_MODEL = "smollm2-135m"
_PLAIN = TableForm()


# -- what a shell completes ------------------------------------------------------------------------


def model_names(incomplete: str) -> list[str]:
    """Return the names of models that begin so."""
    from lensloc.models.names import known_names

    return [name for name in known_names() if name.startswith(incomplete.lower())]


def network_names(incomplete: str) -> list[str]:
    """Return the names of bundled contrasts that begin so."""
    known = (*contrasts.NAMES, *contrasts.OF_PICTURES)
    return [name for name in known if name.startswith(incomplete)]


def site_names(incomplete: str) -> list[str]:
    """Return the names of sites that begin so."""
    return [name for name in SITES if name.startswith(incomplete)]


# -- options ---------------------------------------------------------------------------------------


ModelName = Annotated[
    str,
    typer.Option(
        autocompletion=model_names,
        help="Bundled model, hub name, folder or .gguf file; of pictures, efficientnet-lite0 or "
        "timm:NAME.",
    ),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option("--mask", help="Mask file, .safetensors or .npy; repeatable."),
]
Site = Annotated[
    str | None,
    typer.Option(
        autocompletion=site_names,
        help=f"Where units live, and .npy masks belong: {', '.join(SITES)} (default resid_post).",
    ),
]
AnyPooling = Annotated[
    vocabulary.AnyPooling | None,
    typer.Option(
        help="Over which tokens (default: the protocol's; last-token, but mean for theory of mind "
        "and multiple demand under alkhamissi2024), or places of a picture (default: mean)."
    ),
]
Protocol = Annotated[vocabulary.ProtocolName, typer.Option(help="How units are localized.")]
Stimuli = Annotated[Path | None, typer.Option(help="Folder of the published stimulus files.")]
Reference = Annotated[
    str | None,
    typer.Option(
        help="Contrast whose responses mean, resample and quantiles are taken from: a bundled "
        f"one, a file ({', '.join(TABLE_KINDS)}) with columns text and condition, or a folder with "
        "a folder of pictures for every condition."
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        autocompletion=network_names,
        help=f"Contrast that defines the network: {', '.join(contrasts.NAMES)}; of pictures "
        f"{', '.join(contrasts.OF_PICTURES)} (default language).",
    ),
]
OwnContrast = Annotated[
    Path | None,
    typer.Option(
        help=f"A contrast of your own instead: {', '.join(TABLE_KINDS)}, a row per text; or a "
        "folder with a folder of pictures for every condition."
    ),
]
TargetConditions = Annotated[
    list[str] | None, typer.Option(help="Condition that selective units prefer; repeatable.")
]
ControlConditions = Annotated[
    list[str] | None,
    typer.Option(help="Condition to compare with; repeatable. (Units are --control-units.)"),
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column of --contrast with texts (default text).")
]
ConditionColumn = Annotated[
    str | None, typer.Option(help="Column of --contrast with conditions (default condition).")
]
Activations = Annotated[
    vocabulary.Activations | None,
    typer.Option(help="Whether the size of a response counts, or its sign too (default absolute)."),
]
Test = Annotated[
    vocabulary.TestName | None,
    typer.Option(help="paired where stimuli belong together, by item (default welch)."),
]
ItemColumn = Annotated[
    str | None,
    typer.Option(help="Column of --contrast that says which texts belong together."),
]
Sep = Annotated[
    str | None,
    typer.Option(help="What separates the cells of a .csv, e.g. ';' or tab (default: found out)."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of files of text, e.g. cp1252 (default: UTF-8).")
]
GoodColumn = Annotated[
    str | None,
    typer.Option(help="Column of good sentences in minimal-pairs=PATH (default sentence_good)."),
]
BadColumn = Annotated[
    str | None, typer.Option(help="Column of bad sentences (default sentence_bad).")
]
GroupColumn = Annotated[str | None, typer.Option(help="Column of paradigms (default UID).")]
MaxTokens = Annotated[int | None, typer.Option(help="Use only so many tokens of every stimulus.")]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="Cut stimuli longer than the context window.")
]
Percent = Annotated[
    float | None,
    typer.Option("--percent", "--percentage", help="Per cent of units to select (default 1)."),
]
Sites = Annotated[
    list[str] | None,
    typer.Option(
        "--site",
        autocompletion=site_names,
        help=f"Where units live; repeatable, the first is described and lesioned: "
        f"{', '.join(SITES)} (default resid_post).",
    ),
]
Untrained = Annotated[bool, typer.Option("--untrained", help="Freshly initialised weights.")]
Limit = Annotated[
    int | None, typer.Option(help="Use only so many items of every paradigm or kind, or texts.")
]
Separator = Annotated[
    str | None,
    typer.Option(
        help="What stands between prompt and choice of --task choice, \\n for a new line "
        "(default a space, where neither has one)."
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[
    vocabulary.Dtype,
    typer.Option(help="Type of numbers of the weights; auto for what the checkpoint says."),
]
Backend = Annotated[
    vocabulary.Backend,
    typer.Option(help="Kind of model to load it as; auto for the first of these that can hold it."),
]
Bos = Annotated[vocabulary.Bos, typer.Option(help="Beginning-of-text token before every text.")]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a model on the hub, e.g. step3000.")
]
ChatTemplate = Annotated[
    bool,
    typer.Option(
        "--chat-template", help="Put every text into the chat template of the model's tokenizer."
    ),
]
SystemPrompt = Annotated[
    str | None, typer.Option(help="What stands as the system's turn in --chat-template.")
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with the model."),
]
BatchSize = Annotated[str, typer.Option(help="Texts per batch, or auto.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")]
PlotOut = Annotated[
    Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model_name: ModelName = DEFAULT_MODEL
    device: Device = None
    dtype: Dtype = "float32"
    backend: Backend = "auto"
    revision: Revision = None
    trust_remote_code: TrustRemoteCode = False

    def load(self, *, quiet: bool, **untrained: Any) -> "Model":
        """Load the model that was named; or, with ``untrained`` and ``seed``, one of its kind."""
        model: Model = ll.load_model(
            self.model_name,
            dtype=self.dtype,
            device=self.device,
            backend=self.backend,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            progress=not quiet,
            **untrained,
        )
        return model


def require_one_of(what: str, name: str, known: Collection[str]) -> None:
    """Check that a name is among those that exist.

    Raises:
        LensLocError: if it is not; the known ones are listed.
    """
    if name not in known:
        raise LensLocError(f"There is no {what} {name!r}; there are {', '.join(known)}.")


def require_sites(names: Sequence[str]) -> None:
    """Check names of sites.

    Raises:
        LensLocError: for the first that does not exist.
    """
    from lensloc.forward.sites import get_site

    for name in names:
        get_site(name)


def cached_store(name: StoreName = "studies") -> "Store":
    """Return a store of the cache: of what studies measured, or of other results."""
    return ll.Store.at(store_folder(name))


def load_mask(path: Path, site: str | None) -> "UnitMask":
    """Read a mask of ``--mask``; ``--site`` says where those that do not know it belong.

    Raises:
        LensLocError: a file that is no mask, or a mask of another site than was asked for.
    """
    from lensloc.forward.sites import get_site
    from lensloc.units.mask import UnitMask

    mask = UnitMask.load(path, site=site or "resid_post")
    if site is not None and mask.site not in (site, get_site(site).name if site in SITES else ""):
        raise LensLocError(
            f"--site {site} was asked for, but the mask {path} is of {mask.site}; leave --site out."
        )
    return mask


def require_percentage(percent: float, option: str = "--percent") -> None:
    """Check that a percentage of units makes sense.

    Raises:
        LensLocError: unless it is above 0 and at most 100.
    """
    if not (math.isfinite(percent) and 0 < percent <= 100):
        raise LensLocError(f"{option} must be above 0 and at most 100; {percent:g} is not.")


def batch_size_of(text: str) -> int | Literal["auto"]:
    """Read ``--batch-size``.

    Raises:
        LensLocError: unless it is auto or a whole number above 0.
    """
    if text == "auto":
        return "auto"
    number = whole_number(text)
    if number is None:
        raise LensLocError(f"--batch-size is auto or a whole number above 0; {text!r} is neither.")
    return number


_DIGITS = 18


def whole_number(text: str) -> int | None:
    """Read a whole number above 0; None if it is something else."""
    # Of more digits there are none that anybody means, and Python reads so many only.
    plain = text.isdecimal() and len(text) <= _DIGITS
    return int(text) if plain and int(text) >= 1 else None


# -- files of one's own --------------------------------------------------------------------------


def file_form(sep: str | None, encoding: str | None, files: Iterable[Path]) -> TableForm:
    """Read ``--sep`` and ``--encoding``, of the files that were given.

    Raises:
        LensLocError: something that is none, or for none of the files.
    """
    form = TableForm.of(None, sep, encoding)
    form.require_fits(*files)
    return form


# -- contrasts -----------------------------------------------------------------------------------


def own_contrast(
    path: Path,
    target: list[str] | None,
    control: list[str] | None,
    form: TableForm,
    **columns: str | None,
) -> Contrast:
    """Read a contrast of one's own; ``columns`` as in :meth:`lensloc.Contrast.from_file`.

    Raises:
        LensLocError: another suffix, no roles, or a file that cannot be read.
    """
    if kind_of(path) not in TABLE_KINDS:
        raise LensLocError(
            f"{path} must end in {', '.join(TABLE_KINDS)} to be read as a contrast, or be a folder "
            f"with a folder of pictures for every condition{remedy_of(path)}."
        )
    if not target or not control:
        raise LensLocError(f"{path} needs --target and --control: conditions of the file.")
    fitted, known = form.fitted(path), cast(dict[str, Any], columns)
    return Contrast.from_file(
        path, target=target, control=control, sep=fitted.sep, encoding=fitted.encoding, **known
    )


def reference_contrast(name: str | None, form: TableForm = _PLAIN) -> Contrast | None:
    """Read ``--reference``: a bundled contrast, or a file, all of whose texts are used.

    Raises:
        LensLocError: neither a bundled contrast nor a file that can be read.
    """
    if name is None or name in contrasts.list():
        return None if name is None else contrasts.get(name)
    path = Path(name)
    if path.is_dir():
        known = conditions_of(path)
        _require_two(known, name)
        return of_folder(path, known[:1], known[1:])
    if kind_of(path) not in TABLE_KINDS:
        raise LensLocError(
            f"--reference {name} is neither a bundled contrast ({', '.join(contrasts.list())}) nor "
            f"a file that ends in {', '.join(TABLE_KINDS)}, nor a folder of folders of pictures."
        )
    fitted = form.fitted(path)
    conditions = list(
        dict.fromkeys(
            label(row.cells["condition"], f"{path}, row {row.number}", "condition")
            for row in read_rows(path, ("text", "condition"), form=fitted)
        )
    )
    _require_two(conditions, name)
    # Which is the target does not matter to a reference.
    return Contrast.from_file(
        path, target=conditions[:1], control=conditions[1:],
        sep=fitted.sep, encoding=fitted.encoding,
    )  # fmt: skip


def _require_two(conditions: Collection[str], name: str) -> None:
    if len(conditions) < 2:
        raise LensLocError(f"--reference {name} has fewer than two conditions; give it two.")


def reference_files(name: str | None) -> list[Path]:
    """Return the file that ``--reference`` names, if it is one."""
    return [] if name is None or name in contrasts.list() or Path(name).is_dir() else [Path(name)]
