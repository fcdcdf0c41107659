"""What several commands share: options, and checks of what was given for them."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli.seeing import of_folder
from lensloc.cli.tables import FIGURES, TABLES
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.lines import kind_of
from lensloc.contrasts.readers import TABLE_KINDS, TableForm, read_rows
from lensloc.contrasts.texts import label
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.site_table import SITES
from lensloc.models.cache import cache_folder

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.studies.store import Store
    from lensloc.units.mask import UnitMask

DEFAULT_MODEL = "smollm2-135m"
_PLAIN = TableForm()

ModelName = Annotated[
    str,
    typer.Option(
        help="Bundled model, hub name, folder or .gguf file; of pictures, efficientnet-lite0 or "
        "timm:NAME."
    ),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option("--mask", help="Mask file, .safetensors or .npy; repeatable."),
]
Site = Annotated[
    str | None,
    typer.Option(
        help=f"Where units live, and .npy masks belong: {', '.join(SITES)} (default resid_post)."
    ),
]
Pooling = Annotated[
    vocabulary.Pooling | None,
    typer.Option(
        help="Over which tokens (default: the protocol's; last-token, but mean for theory of mind "
        "and multiple demand under alkhamissi2024)."
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
        help=f"Contrast that defines the network: {', '.join(contrasts.NAMES)} (default language); "
        f"of pictures {', '.join(contrasts.OF_PICTURES)}."
    ),
]
OwnContrast = Annotated[
    Path | None,
    typer.Option(
        help=f"A contrast of your own instead: {', '.join(TABLE_KINDS)}, a row a text; or a folder "
        "with a folder of pictures for every condition."
    ),
]
TargetConditions = Annotated[
    list[str] | None, typer.Option(help="Condition that selective units prefer; repeatable.")
]
ControlConditions = Annotated[
    list[str] | None, typer.Option(help="Condition to compare with; repeatable.")
]
TextColumn = Annotated[str, typer.Option(help="Column of --contrast with texts.")]
ConditionColumn = Annotated[str, typer.Option(help="Column of --contrast with conditions.")]
ItemColumn = Annotated[
    str | None,
    typer.Option(help="Column of --contrast that says which texts belong together."),
]
Sep = Annotated[
    str | None,
    typer.Option(help="What separates the cells of a .csv, e.g. ';' or tab (default: found out)."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Of files of text, e.g. cp1252 (default: UTF-8).")
]
GoodColumn = Annotated[
    str | None,
    typer.Option(help="Column of good sentences in minimal-pairs=PATH (default sentence_good)."),
]
BadColumn = Annotated[str | None, typer.Option(help="That of bad ones (default sentence_bad).")]
GroupColumn = Annotated[str | None, typer.Option(help="That of paradigms (default UID).")]
MaxTokens = Annotated[int | None, typer.Option(help="Use only so many tokens of every stimulus.")]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="Cut stimuli longer than the context window.")
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
    typer.Option(help="Numbers that weights are held in; auto for what the checkpoint says."),
]
Backend = Annotated[
    vocabulary.Backend,
    typer.Option(
        help="The class that the model becomes; auto for the first of these that can hold it."
    ),
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
BatchSize = Annotated[str, typer.Option(help="Texts a batch, or auto.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")]
PlotOut = Annotated[
    Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


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


def templated(
    contrast: "Contrast", model: "Model", chat_template: bool, system_prompt: str | None
) -> "Contrast":
    """Put a contrast into the chat template of a model, if ``--chat-template`` says so.

    Raises:
        LensLocError: a system prompt without template, or a model without one.
    """
    if chat_template:
        return contrast.with_template(model, system_prompt)
    if system_prompt is not None:
        raise LensLocError(
            "--system-prompt has no effect without --chat-template; say that, or leave it out."
        )
    return contrast


def load(
    name: str,
    device: str | None,
    dtype: vocabulary.Dtype,
    backend: vocabulary.Backend,
    revision: str | None,
    trust_remote_code: bool,
    quiet: bool,
    **untrained: Any,
) -> "Model":
    """Load the model that was named; or, with ``untrained`` and ``seed``, one of its kind."""
    model: Model = ll.load_model(
        name,
        dtype=dtype,
        device=device,
        backend=backend,
        revision=revision,
        trust_remote_code=trust_remote_code,
        progress=not quiet,
        **untrained,
    )
    return model


def store() -> "Store":
    """Return where studies keep what they have measured."""
    return ll.Store.at(cache_folder() / "studies")


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


def require_percentage(percentage: float, option: str = "--percentage") -> None:
    """Check that a percentage of units makes sense.

    Raises:
        LensLocError: unless it is above 0 and at most 100.
    """
    if not (math.isfinite(percentage) and 0 < percentage <= 100):
        raise LensLocError(f"{option} must be above 0 and at most 100; {percentage:g} is not.")


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


def whole_number(text: str) -> int | None:
    """Read a whole number above 0; None if it is something else."""
    return int(text) if text.isdecimal() and int(text) >= 1 else None


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


@dataclass(frozen=True)
class ContrastOptions:
    """What the options say of a contrast: a bundled one, or a file."""

    network: str
    file: Path | None
    target: list[str] | None
    control: list[str] | None
    text_column: str
    condition_column: str
    stimuli: Path | None
    protocol: vocabulary.ProtocolName
    seed: int
    item_column: str | None
    form: TableForm

    def read(self) -> Contrast:
        """Return the contrast, with the roles that were asked for.

        Raises:
            LensLocError: conditions that there are not, or a file that cannot be read.
        """
        if self.file is not None and self.file.is_dir():
            refuse_idle(
                f"--contrast {self.file} is a folder of pictures, not a table; leave it out",
                **{
                    "--text-column": self.text_column != "text",
                    "--condition-column": self.condition_column != "condition",
                    "--item-column": self.item_column is not None,
                    "--sep": self.form.sep is not None,
                    "--encoding": self.form.encoding is not None,
                },
            )
            return of_folder(self.file, self.target, self.control)
        if self.file is not None:
            columns = {"text": self.text_column, "condition": self.condition_column}
            return own_contrast(
                self.file, self.target, self.control, self.form, **columns, item=self.item_column
            )
        if self.item_column is not None:
            raise LensLocError("--item-column is for --contrast, a file of your own; leave it out.")
        bundled = contrasts.get(self.network, self.stimuli, protocol=self.protocol, seed=self.seed)
        if not (self.target or self.control):
            return bundled
        return bundled.with_roles(
            target=self.target or bundled.target, control=self.control or bundled.control
        )


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
            "with a folder of pictures for every condition."
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
        known = sorted(each.name for each in path.iterdir() if each.is_dir())
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
    if len(conditions) < 2:
        raise LensLocError(f"--reference {name} has fewer than two conditions; give it two.")
    # Which is the target does not matter to a reference.
    return Contrast.from_file(
        path, target=conditions[:1], control=conditions[1:],
        sep=fitted.sep, encoding=fitted.encoding,
    )  # fmt: skip


def reference_files(name: str | None) -> list[Path]:
    """Return the file that ``--reference`` names, if it is one."""
    return [] if name is None or name in contrasts.list() or Path(name).is_dir() else [Path(name)]
