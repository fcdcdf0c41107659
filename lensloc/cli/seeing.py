"""Pictures on the command line: tasks of folders of pictures, and what their models take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lensloc as ll
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.lines import read_text, split_lines
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.names import sees_surely

if TYPE_CHECKING:
    from lensloc.models.surface import Model

CLASSIFICATION = "classification"
OF_PICTURES: Mapping[str, str] = MappingProxyType(
    {
        CLASSIFICATION: "classification",
        "linear-probe": "linear_probe",
        "embedding-verification": "embedding_verification",
    }
)
"""What a task on pictures is called here -> in ll.tasks."""

NEED = "a folder that holds a folder of pictures for every label"
HELP = f"{', '.join(OF_PICTURES)}, each =FOLDER, {NEED}"

ProbeSite = Annotated[
    str | None,
    typer.Option(
        help="Site whose activations --task linear-probe and embedding-verification read "
        "(default: the model's last one)."
    ),
]
ProbeLayer = Annotated[
    int | None, typer.Option(help="Which of its layers (default -1, the last one).")
]
Classes = Annotated[
    Path | None,
    typer.Option(
        help="Names of all classes of the model in order, one per line, for --task classification; "
        "without, folders are called by the numbers of classes."
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        help="A picture of --task classification counts as right if its class is among so many "
        "highest scores (default 1)."
    ),
]


@dataclass(frozen=True)
class Seeing:
    """What is said of tasks on pictures.

    Attributes:
        site: ``--probe-site``.
        layer: ``--probe-layer``.
        classes: ``--classes``.
        top: ``--top``.
    """

    site: str | None = None
    layer: int | None = None
    classes: Path | None = None
    top: int | None = None

    def require_used(self, texts: Sequence[str]) -> None:
        """Check that every option is of a task that was asked for.

        Raises:
            LensLocError: if one is not.
        """
        kinds = {text.partition("=")[0] for text in texts}
        if not kinds & (set(OF_PICTURES) - {CLASSIFICATION}):
            refuse_idle(
                "it is of --task linear-probe and embedding-verification, of which none was asked "
                "for; leave it out",
                **{"--probe-site": self.site is not None, "--probe-layer": self.layer is not None},
            )
        if CLASSIFICATION not in kinds:
            refuse_idle(
                "it is of --task classification, which was not asked for; leave it out",
                **{"--classes": self.classes is not None, "--top": self.top is not None},
            )

    def task(self, kind: str, folder: str, limit: int | None, batch_size: Any) -> Any:
        """Make a task of the pictures in a folder.

        Raises:
            LensLocError: no such folder, no pictures, labels without a class.
        """
        from lensloc.tasks.labelled import labelled

        if limit is not None and limit < 1:
            raise LensLocError(f"--limit is at least 1 picture a label; {limit} is not.")
        data = labelled(Path(folder), None, f"--task {kind}").first(limit)
        options: dict[str, Any] = {"batch_size": batch_size}
        if kind == CLASSIFICATION:
            options |= {} if self.top is None else {"top": self.top}
            options |= {} if self.classes is None else {"classes": _names_in(self.classes)}
        else:
            options |= {} if self.layer is None else {"layer": self.layer}
            options["site"] = self.site
        made: Any = getattr(ll.tasks, OF_PICTURES[kind])(data, **options)
        return made


def _names_in(file: Path) -> list[str]:
    return [line.strip() for line in split_lines(read_text(file, None)) if line.strip()]


def conditions_of(folder: Path) -> list[str]:
    """Return the names of the folders in a folder of pictures."""
    return sorted(each.name for each in folder.iterdir() if each.is_dir())


def of_folder(folder: Path, target: list[str] | None, control: list[str] | None) -> Contrast:
    """Make a contrast of a folder that holds a folder of pictures for every condition.

    Raises:
        LensLocError: no roles, or pictures that cannot be read.
    """
    if not target or not control:
        names = conditions_of(folder)
        raise LensLocError(
            f"{folder} needs --target and --control: of its folders, which are the conditions "
            f"({', '.join(names) or 'there are none'})."
        )
    name = folder.resolve().name or "custom"
    return Contrast.from_images(folder, target=target, control=control, name=name)


def default_network(model_name: str, usual: Sequence[str]) -> list[str]:
    """Return the networks that are localized if none is named."""
    return ["faces"] if sees_surely(model_name) else list(usual)


def require_task(model_name: str, task: Sequence[str] | None) -> None:
    """Check that a model of pictures is asked for tasks on pictures, before it is loaded.

    Raises:
        LensLocError: if it is asked for another, or for none.
    """
    if not sees_surely(model_name):
        return
    kinds = [text.partition("=")[0] for text in task or ["no --task"]]
    for kind in kinds:
        if kind not in OF_PICTURES:
            asked = (
                "no --task is named" if kind == "no --task" else f"--task {kind} is not for them"
            )
            raise LensLocError(
                f"{model_name} sees pictures, and {asked}; name one that is: {HELP}."
            )


def refuse_writing(model_name: str) -> None:
    """Refuse to let a model of pictures write.

    Raises:
        LensLocError: of a name that is of such a model.
    """
    if sees_surely(model_name):
        raise LensLocError(
            f"{model_name} sees pictures and writes no text; what a lesion of it breaks is "
            "measured by lensloc evaluate --task classification=FOLDER (or linear-probe, "
            "embedding-verification)."
        )


def sites_of_model(model: "Model", given: Sequence[str] | None) -> list[str]:
    """Return the sites that were asked for, by the model's own names; its own if none was."""
    from lensloc.forward.sites import sites_of
    from lensloc.models.adapting import surface

    wanted = list(given or ()) or list(surface(model).own_sites) or ["resid_post"]
    return [site.name for site in sites_of(wanted, model)]
