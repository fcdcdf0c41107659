"""Plan: what a sweep measures, checked key by key before anything runs."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lensloc.arguments import LARGEST_SEED
from lensloc.errors import LensLocError
from lensloc.sweeps.files import PlanFile, read_plan_file
from lensloc.vocabulary import AnyPooling, Backend, Bos, Dtype, Positions, ProtocolName


def _several(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return value if isinstance(value, list | tuple) or value is None else [value]


def _as_text(value: Any) -> Any:
    """Let a number stand where a name is asked for: a revision may be ``1000``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole else value


Text = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
Percent = Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED)]


class _Part(BaseModel):
    """A part of a plan: no key beside those that it has, and nothing to change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Named(_Part):
    """A part that may be written as its name alone."""

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        value = _as_text(value)
        return {next(iter(cls.model_fields)): value} if isinstance(value, str) else value


class ModelEntry(_Named):
    """A model, or several revisions of it.

    Attributes:
        name: as :func:`lensloc.load_model` takes it.
        revisions: branches, tags or commits of the hub, each a model of its own.
        untrained: its architecture, as transformers initialises it.
        seed: of the initialisation.
        dtype: numbers of its weights.
        backend: the class that it becomes.
        device_map: of transformers.
        trust_remote_code: run Python code that comes with it.
        options: what else load_model takes.
    """

    name: Text
    revisions: Texts = ()
    untrained: bool = False
    seed: Seed | None = None
    dtype: Dtype = "float32"
    backend: Backend = "auto"
    device_map: Any = None
    trust_remote_code: bool = False
    options: dict[str, Any] = Field(default_factory=dict)


class ContrastEntry(_Named):
    """A bundled contrast, or a file.

    Attributes:
        name: of a bundled contrast, or what the file's is called.
        file: of one's own, with columns of texts and conditions.
        target: conditions; the contrast's own if empty, which a file has not.
        control: conditions.
        text: column of texts.
        condition: column of conditions.
        item: column of items.
        sep: between columns.
        encoding: of the file.
        stimuli: folder of the published stimulus files.
    """

    name: Text
    file: Path | None = None
    target: Texts = ()
    control: Texts = ()
    text: Text = "text"
    condition: Text = "condition"
    item: Text | None = None
    sep: Text | None = None
    encoding: Text | None = None
    stimuli: Path | None = None


class TaskEntry(_Named):
    """A task, as ``lensloc evaluate`` writes it, or a domain as ``lensloc specificity`` does.

    Attributes:
        task: ``minimal-pairs``, ``choice=facts``, ``grammar``, ...
        limit: items per paradigm or kind, or texts; of a domain, items in all.
        name: what it is called; as it calls itself if None.
    """

    task: Text
    limit: Count | None = None
    name: Text | None = None


class LesionEntry(_Part):
    """A lesion of every network, beside its controls.

    Attributes:
        mode: what becomes of units.
        scale: of the mode ``scale``.
        value: of ``clamp``.
        quantile: of ``clamp``.
        reference: a contrast for the modes that need one; the network's own if None.
        positions: tokens at which units are lesioned.
        percents: sizes of the network; the plan's if empty.
        tasks: what is measured.
        controls: what is held beside: ``magnitude+outliers:20``.
        exact: measure all draws on all items.
        seed: of the bootstrap and of resampling.
        name: what it is called; as its mode and size if None.
    """

    mode: Text = "zero"
    scale: Number | None = None
    value: Number | None = None
    quantile: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    reference: Text | None = None
    positions: Positions = "all"
    percents: Annotated[tuple[Percent, ...], BeforeValidator(_several)] = ()
    tasks: Annotated[tuple[TaskEntry, ...], BeforeValidator(_several), Field(min_length=1)]
    controls: Texts = ("magnitude+outliers",)
    exact: bool = False
    seed: Seed = 0
    name: Text | None = None


class SpecificityEntry(_Part):
    """Whether the lesion of each of the plan's contrasts harms its own tasks only.

    Attributes:
        tasks: what is measured; the seven bundled domains if empty.
        items: of every bundled domain at most.
        answered: as in :func:`lensloc.specificity`; null for all items as they are.
        percent: size of networks; the plan's if None.
        mode: what becomes of units.
        controls: beside every network.
        own: contrast -> its own tasks; of bundled ones they are known.
        seed: of halves of items, and of intervals.
    """

    tasks: Annotated[tuple[TaskEntry, ...], BeforeValidator(_several)] = ()
    items: Count | None = None
    answered: Annotated[float, Field(strict=True, ge=0, le=1)] | None = 0.4
    percent: Percent | None = None
    mode: Text = "zero"
    controls: Texts = ("magnitude+outliers",)
    own: dict[str, Texts] = Field(default_factory=dict)
    seed: Seed = 0


Quantity = Literal[
    "n_layers", "width", "n_parameters", "n_units", "largest_t", "significant", "depth",
    "score", "intact", "network_drop", "control_drop", "difference",
]  # fmt: skip


class PublishedEntry(_Part):
    """A published number, to stand beside what is measured.

    Attributes:
        model: its name in the plan.
        quantity: a column of the table of results.
        value: the number.
        contrast: of which, as all that follow: any if None.
        site: likewise.
        task: likewise.
        percent: likewise.
        source: where it is published; the plan's if empty.
    """

    model: Text
    quantity: Quantity
    value: Number
    contrast: Text | None = None
    site: Text | None = None
    task: Text | None = None
    percent: Percent | None = None
    source: str = ""


class Plan(_Part):
    """What a sweep measures: models x contrasts x sites x protocols, and lesions of each.

    Attributes:
        name: of the sweep; the file's if empty.
        models: the models.
        contrasts: the contrasts.
        sites: where units live.
        protocols: how they are localized.
        percent: size of networks, in per cent of a site's units.
        pooling: in place of the protocols' own.
        bos: whether a beginning-of-text token stands before every stimulus.
        chat_template: put every text into the chat template of the model.
        lesions: of every network.
        specificity: of all networks together; None if it is not asked for.
        published: numbers to stand beside.
        source: where these are published.
        about: what the plan is, in words.
    """

    name: Text = "sweep"
    models: Annotated[tuple[ModelEntry, ...], BeforeValidator(_several), Field(min_length=1)]
    contrasts: Annotated[
        tuple[ContrastEntry, ...], BeforeValidator(_several), Field(min_length=1)
    ] = (ContrastEntry(name="language"),)
    sites: Annotated[Texts, Field(min_length=1)] = ("resid_post",)
    protocols: Annotated[
        tuple[ProtocolName, ...], BeforeValidator(_several), Field(min_length=1)
    ] = ("lensloc",)
    percent: Percent = 1.0
    pooling: AnyPooling | None = None
    bos: Bos = "model"
    chat_template: bool = False
    lesions: Annotated[tuple[LesionEntry, ...], BeforeValidator(_several)] = ()
    specificity: SpecificityEntry | None = None
    published: Annotated[tuple[PublishedEntry, ...], BeforeValidator(_several)] = ()
    source: str = ""
    about: str = ""


def read_plan(plan: str | Path | Mapping[str, Any] | PlanFile) -> tuple[Plan, PlanFile]:
    """Read a plan and check its keys and values, but not yet the names in it.

    Returns:
        The plan, and the file that it stands in.

    Raises:
        LensLocError: for the first thing that is wrong, with its place in the file.
    """
    file = plan if isinstance(plan, PlanFile) else read_plan_file(plan)
    if not isinstance(file.data, Mapping):
        raise LensLocError(
            f"{file.name} is no plan, which has keys such as models, contrasts and sites; write "
            "e.g. models: [gpt2]."
        )
    data = dict(file.data)
    if "name" not in data and file.lines:
        data["name"] = Path(file.name).stem
    try:
        return Plan.model_validate(data), file
    except ValidationError as error:
        raise LensLocError(_sentence(error, file)) from error


def _sentence(error: ValidationError, file: PlanFile) -> str:
    # A key that there is not is what is mostly wrong, and then others are said to be missing.
    found = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")[0]
    place, kind = found["loc"], found["type"]
    where, key = file.where(place), str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        known = _keys_at(place[:-1])
        close = difflib.get_close_matches(key, known, 1)
        meant = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}."
        return f"{where}: there is no key {key!r} here{meant}"
    if kind == "missing":
        return f"{file.where(place[:-1])}: the key {key!r} is missing; add it."
    if kind == "too_short":
        return f"{where}: {key} has nothing in it; give at least one."
    said = found["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    given = found.get("input")
    shown = f" ({str(given)[:60]!r} is not)" if isinstance(given, str | int | float) else ""
    if kind in ("string_type", "model_type", "dataclass_type"):
        return f"{where}: a text is needed, and {given!s:.60} is none; put it in quotes if it is."
    return f"{where}: {said[:1].lower()}{said[1:]}{shown}."


_PARTS: Mapping[str, type[_Part]] = {
    "models": ModelEntry,
    "contrasts": ContrastEntry,
    "lesions": LesionEntry,
    "tasks": TaskEntry,
    "specificity": SpecificityEntry,
    "published": PublishedEntry,
}


def _keys_at(place: Sequence[str | int]) -> list[str]:
    names = [part for part in place if isinstance(part, str)]
    return list((_PARTS[names[-1]] if names else Plan).model_fields)
