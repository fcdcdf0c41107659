"""What commands that localize share: contrasts, how units are localized, and networks by name."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli.options import (
    Activations,
    AnyPooling,
    ChatTemplate,
    ConditionColumn,
    ControlConditions,
    Encoding,
    ItemColumn,
    MaxTokens,
    OwnContrast,
    Protocol,
    Sep,
    Stimuli,
    SystemPrompt,
    TargetConditions,
    Test,
    TextColumn,
    Truncate,
    file_form,
    load_mask,
    own_contrast,
)
from lensloc.cli.seeing import default_network, of_folder
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.readers import TableForm
from lensloc.errors import LensLocError, refuse_idle
from lensloc.vocabulary import CONTROL_KINDS, WITHOUT_OUTLIERS

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.selectivity import Selectivity
    from lensloc.studies.store import Store
    from lensloc.units.mask import UnitMask

OWN_MASK, NO_UNITS = "mask", "none"
"""Of control units: one of one's own, ``mask=FILE``, and none at all."""

_MASKS_HAVE = "masks are localized already; leave it out"


def refuse_control_units(given: Iterable[str] | None, conditions: Iterable[str] = ()) -> None:
    """Refuse kinds of control units in ``--control``, which is of conditions.

    Args:
        given: what ``--control`` says.
        conditions: those that there are; they may be called as control units are.

    Raises:
        LensLocError: for the first; the option that it belongs to is named.
    """
    known = {*CONTROL_KINDS, WITHOUT_OUTLIERS, NO_UNITS}
    for text in given or ():
        kind = text.partition(":")[0]
        units = text.startswith(f"{OWN_MASK}=") or all(part in known for part in kind.split("+"))
        if units and text not in conditions:
            raise LensLocError(
                f"--control is of conditions of a contrast, and {text!r} is a kind of control "
                f"units; write --control-units {text}."
            )


@dataclass(frozen=True)
class ContrastOptions:
    """What the options say of a contrast: a bundled one, or a file."""

    contrast: OwnContrast = None
    target: TargetConditions = None
    control: ControlConditions = None
    text_column: TextColumn = None
    condition_column: ConditionColumn = None
    item_column: ItemColumn = None
    sep: Sep = None
    encoding: Encoding = None
    stimuli: Stimuli = None
    chat_template: ChatTemplate = False
    system_prompt: SystemPrompt = None

    @property
    def files(self) -> list[Path]:
        """The file of one's own, if one is given; a folder of pictures is none."""
        return [self.contrast] if self.contrast and not self.contrast.is_dir() else []

    def form(self, *others: Path) -> TableForm:
        """Read ``--sep`` and ``--encoding``, of this file and others.

        Raises:
            LensLocError: something that is none, or for none of the files.
        """
        return file_form(self.sep, self.encoding, [*others, *self.files])

    def read(
        self,
        network: str | None,
        protocol: vocabulary.ProtocolName,
        seed: int,
        form: TableForm,
        model_name: str = "",
    ) -> Contrast:
        """Return the contrast, with the roles that were asked for.

        Args:
            network: a bundled contrast; ``language`` if neither it nor a file is given, and
                ``faces`` of models of pictures.
            protocol: ``--protocol``.
            seed: of random answers.
            form: how files are written.
            model_name: ``--model-name``.

        Raises:
            LensLocError: a file beside a bundled contrast, conditions that there are not, a file
                that cannot be read.
        """
        if self.system_prompt is not None and not self.chat_template:
            raise LensLocError(
                "--system-prompt has no effect without --chat-template; say that, or leave it out."
            )
        if self.contrast is None:
            columns = {"--text-column": self.text_column,
                       "--condition-column": self.condition_column,
                       "--item-column": self.item_column}  # fmt: skip
            for option in (name for name, title in columns.items() if title is not None):
                raise LensLocError(f"{option} is for --contrast, a file of your own; leave it out.")
            (usual,) = default_network(model_name, ["language"])
            bundled = contrasts.get(network or usual, self.stimuli, protocol=protocol, seed=seed)
            refuse_control_units(self.control, bundled.conditions)
            if not (self.target or self.control):
                return bundled
            return bundled.with_roles(
                target=self.target or bundled.target, control=self.control or bundled.control
            )
        if network is not None:
            raise LensLocError(
                f"--network {network} and --contrast {self.contrast} are two contrasts; give one."
            )
        if self.stimuli is not None:
            raise LensLocError(
                "--stimuli is of bundled contrasts, and --contrast is given; leave one out."
            )
        if self.contrast.is_dir():
            refuse_idle(
                f"--contrast {self.contrast} is a folder of pictures, not a table; leave it out",
                **{
                    "--text-column": self.text_column is not None,
                    "--condition-column": self.condition_column is not None,
                    "--item-column": self.item_column is not None,
                },
            )
            return of_folder(self.contrast, self.target, self.control)
        return own_contrast(
            self.contrast,
            self.target,
            self.control,
            form,
            text=self.text_column or "text",
            condition=self.condition_column or "condition",
            item=self.item_column,
        )

    def templated(self, contrast: Contrast, model: "Model") -> Contrast:
        """Put a contrast into the chat template of a model, if ``--chat-template`` says so.

        Raises:
            LensLocError: a model without one.
        """
        if self.chat_template:
            return contrast.with_template(model, self.system_prompt)
        return contrast

    def refuse_all(self, reason: str) -> None:
        """Refuse whatever is given, where no contrast is read.

        Raises:
            LensLocError: for the first.
        """
        refuse_control_units(self.control)
        # How files are written may be said of other files.
        refuse_idle(reason, **_given(self, without=("sep", "encoding")))


@dataclass(frozen=True)
class Localizing:
    """How units are localized, with what the protocol says where nothing is given."""

    pooling: AnyPooling = None
    protocol: Protocol = "lensloc"
    activations: Activations = None
    test: Test = None
    max_tokens: MaxTokens = None
    truncate: Truncate = False

    @property
    def arguments(self) -> dict[str, Any]:
        """What :func:`lensloc.localize` is given."""
        return {
            "pooling": self.pooling,
            "protocol": self.protocol,
            "absolute": None if self.activations is None else self.activations == "absolute",
            "test": self.test,
            "max_tokens": self.max_tokens,
            "truncate": self.truncate,
        }

    @property
    def usual(self) -> bool:
        """Whether nothing is given."""
        return self == Localizing()

    def refuse_all(self, reason: str) -> None:
        """Refuse whatever is given, where nothing is localized.

        Raises:
            LensLocError: for the first.
        """
        refuse_idle(reason, **_given(self))


def _given(group: Any, without: Sequence[str] = ()) -> dict[str, bool]:
    """Return which options of a group are given."""
    return {
        f"--{field.name.replace('_', '-')}": getattr(group, field.name) != field.default
        for field in dataclasses.fields(group)
        if field.name not in without
    }


@dataclass(frozen=True)
class Networks:
    """What ``--mask``, ``--network`` and ``--contrast`` name; masks are read already.

    Attributes:
        masks: by name.
        contrasts: by name.
        texts: how contrasts are read.
        how: how they are localized.
        site: where; the usual one of the model if None.
    """

    masks: "Mapping[str, UnitMask]"
    contrasts: Mapping[str, Contrast]
    texts: ContrastOptions
    how: Localizing
    site: str | None = None

    @classmethod
    def parse(
        cls,
        paths: Sequence[Path] | None,
        names: Sequence[str] | None,
        texts: ContrastOptions,
        how: Localizing,
        site: str | None,
        seed: int,
        form: TableForm,
        default: Sequence[str] = ("language",),
    ) -> "Networks":
        """Read what was given.

        A mask goes by its file's stem, or by its contrast if ``localize`` made that stem up; by
        its path if the name is taken.

        Args:
            paths: ``--mask``.
            names: ``--network``.
            texts: ``--contrast`` and what is said of it.
            how: ``--pooling`` and the like.
            site: ``--site``.
            seed: of random answers.
            form: how files are written.
            default: networks if nothing is named.

        Raises:
            LensLocError: options that nothing uses, masks and contrasts that there are not.
        """
        if not paths and not names and texts.contrast is None:
            names = default
        by_name = list(dict.fromkeys(names or ()))
        roles = bool(texts.target or texts.control)
        found: dict[str, Contrast] = {}
        if not by_name and texts.contrast is None:
            texts.refuse_all(_MASKS_HAVE)
            how.refuse_all(_MASKS_HAVE)
        if roles and texts.contrast is None and len(by_name) > 1:
            refuse_control_units(texts.control)
            raise LensLocError(
                f"--target and --control are of one contrast, and there are {len(by_name)}: "
                f"{', '.join(by_name)}; name one."
            )
        of_file = texts.contrast is not None
        unused: dict[str, Any] = {"contrast": None}
        if of_file:
            unused |= dict.fromkeys(
                ("target", "control", "text_column", "condition_column", "item_column")
            )
        bundled = dataclasses.replace(texts, **unused)
        for name in by_name:
            found[name] = bundled.read(name, how.protocol, seed, form)
        if of_file:
            own = dataclasses.replace(texts, stimuli=None if by_name else texts.stimuli)
            read = own.read(None, how.protocol, seed, form)
            found[read.name if read.name not in found else str(texts.contrast)] = read
        return cls(named_masks(paths or (), site, found), found, texts, how, site)

    def of(
        self, model: "Model", *, store: "Store | None", progress: bool, batch_size: Any
    ) -> "dict[str, UnitMask | Selectivity | Contrast]":
        """Return every network as a study takes it.

        A contrast that is localized in the usual way is left to the study, which keeps its texts
        apart from those of its tasks.
        """
        if self.how.usual:
            asked = {
                name: self.texts.templated(contrast, model)
                for name, contrast in self.contrasts.items()
            }
            return {**asked, **self.masks}
        options: dict[str, Any] = {"store": store, "progress": progress, "batch_size": batch_size}
        return {**self.localized(model, **options), **self.masks}

    def localized(
        self, model: "Model", *, store: "Store | None", progress: bool, batch_size: Any
    ) -> "dict[str, Selectivity]":
        """Localize every contrast as the options say."""
        from lensloc.forward.sites import usual_site

        at = self.site or usual_site(model)
        return {
            name: ll.localize(
                model, self.texts.templated(contrast, model), [at], store=store,
                progress=progress, batch_size=batch_size, **self.how.arguments,
            )[at]
            for name, contrast in self.contrasts.items()
        }  # fmt: skip

    @property
    def to_localize(self) -> str | None:
        """The site that a study localizes contrasts at; None if it localizes none."""
        return self.site if self.contrasts and self.how.usual else None


def named_masks(
    paths: Iterable[Path], site: str | None, taken: Iterable[str] = ()
) -> "dict[str, UnitMask]":
    """Read masks, and call each by a name that can be read.

    Args:
        paths: their files.
        site: of those that do not know it.
        taken: names that others have.
    """
    read = {path: load_mask(path, site) for path in dict.fromkeys(paths)}
    known = [readable_name(path, mask) for path, mask in read.items()]
    found: dict[str, UnitMask] = {}
    for (path, mask), name in zip(read.items(), known, strict=True):
        # Names that two would have tell nothing; a stem goes to the first that has it.
        wanted = [name] if known.count(name) == 1 else []
        free = [each for each in (*wanted, path.stem) if each not in {*taken, *found}]
        found[free[0] if free else str(path)] = mask
    return found


def readable_name(path: Path, mask: "UnitMask") -> str:
    """Return what a mask is called: its file's stem, unless that is one that ``localize`` made up.

    Such a stem holds the model, the contrast, the site and a hash; the contrast is its name.
    """
    made = mask.provenance
    if made.contrast and path.stem.endswith(f"_{mask.site[:40]}{path.stem[-9:]}"):
        return made.contrast
    return path.stem
