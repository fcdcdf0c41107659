"""Switching units off and reading what the model writes then: ``lensloc lesion``."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli.modes import mode_arguments
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
)
from lensloc.cli.options import (
    AsJson,
    Masks,
    ModelOptions,
    Reference,
    Site,
    cached_store,
    load_mask,
    network_names,
    reference_contrast,
    reference_files,
    require_one_of,
    require_percentage,
    require_sites,
)
from lensloc.cli.output import collected_warnings, print_json, readable, show_notes
from lensloc.cli.seeing import refuse_writing
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.readers import TableForm
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.units.provenance import Provenance
from lensloc.units.rules import count_from_percent, count_units

if TYPE_CHECKING:
    from lensloc.lesions.lesioning import Lesion
    from lensloc.models.surface import Model
    from lensloc.tasks import TaskResult
    from lensloc.units.mask import UnitMask

_PROMPT = "The quick brown fox"
_RANDOM, _NONE = "random", "none"


def lesion_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    masks: Masks = None,
    network: Annotated[
        str | None,
        typer.Option(
            autocompletion=network_names,
            help=f"Network to lesion instead of masks: {', '.join(contrasts.NAMES)}; random for "
            "as many random units, none for the intact model alone (default language).",
        ),
    ] = None,
    percent: Annotated[
        float | None,
        typer.Option(
            "--percent",
            "--percentage",
            help="Per cent of units to lesion (default 1; of a mask, its own size).",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help=f"Text to continue; repeatable (default: {_PROMPT})."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to write, at most.")] = 40,
    temperature: Annotated[
        float, typer.Option(help="0 takes the most probable token; above 0, tokens are drawn.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of drawn tokens, units and stimuli.")] = 42,
    mode: Annotated[vocabulary.TaskMode, typer.Option(help="What happens to the units.")] = "zero",
    scale: Annotated[
        float | None, typer.Option(help="Factor of --mode scale; above 1 turns units up.")
    ] = None,
    value: Annotated[
        float | None, typer.Option(help="What --mode clamp sets, in activation units.")
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(help="What --mode clamp sets: 0 to 1, over --reference.")
    ] = None,
    reference: Reference = None,
    positions: Annotated[
        vocabulary.Positions, typer.Option(help="Tokens lesioned: all, or the last of each pass.")
    ] = "all",
    site: Site = None,
    as_json: AsJson = False,
) -> None:
    """Let a model continue prompts, intact and lesioned, side by side."""
    refuse_writing(loading.model_name)
    require_sites([] if site is None else [site])
    numbers = mode_arguments(mode, scale=scale, value=value, quantile=quantile, reference=reference)
    form = texts.form(*reference_files(reference))
    with collected_warnings() as told:
        target = _Target.parse(masks, network, percent, site, seed, texts, how, form)
    held = reference_contrast(reference, form)
    task = ll.tasks.generation(
        prompt or [_PROMPT], max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
    )

    with collected_warnings() as notes:
        model = loading.load(quiet=as_json)
        units = target.units(model, progress=not as_json)
        for sentence in dict.fromkeys(note for mask in units for note in mask.warnings):
            warnings.warn(sentence, LensLocWarning, stacklevel=2)
        opened = lesioned = None
        if units:
            opened = ll.lesion(
                model, units, mode, reference=held, seed=seed, positions=positions, **numbers
            )
        intact = task(model, progress=not as_json)
        if opened is not None:
            with opened:
                lesioned = task(model, progress=not as_json)
    notes = list(dict.fromkeys([*told, *notes]))
    result = {
        "model": loading.model_name,
        **target.label,
        "mode": mode if units else None,
        **_counts(units),
        "fired": dict(opened.effect.fired) if opened else {},
        "moved": opened.effect.moved if opened else None,
        "outputs": _outputs(task.prompts, intact, lesioned),
        "warnings": notes,
    }
    if as_json:
        print_json(result)
    else:
        _show(result, opened, intact, lesioned)
        show_notes(notes)


# -- what to lesion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """What ``--mask``, ``--network``, ``--contrast`` and ``--percent`` ask for."""

    masks: "Mapping[Path, UnitMask]"
    network: str
    contrast: Contrast | None
    percent: float
    site: str
    seed: int
    texts: ContrastOptions
    how: Localizing

    @classmethod
    def parse(
        cls,
        paths: Sequence[Path] | None,
        network: str | None,
        percent: float | None,
        site: str | None,
        seed: int,
        texts: ContrastOptions,
        how: Localizing,
        form: TableForm,
    ) -> "_Target":
        if paths and network is not None:
            raise LensLocError("--mask and --network both say what is lesioned; give one of them.")
        if paths and texts.contrast is not None:
            raise LensLocError("--mask and --contrast both say what is lesioned; give one of them.")
        if percent is not None:
            require_percentage(percent)
        masks = {path: load_mask(path, site) for path in paths or ()}
        if percent is not None:
            masks = {path: mask.resized(percent=percent) for path, mask in masks.items()}
        contrast = None
        if masks or network in (_RANDOM, _NONE):
            idle = "masks are localized already" if masks else f"--network {network} localizes none"
            texts.refuse_all(f"{idle}; leave it out")
            how.refuse_all(f"{idle}; leave it out")
        else:
            if network is not None:
                require_one_of("network", network, (*contrasts.NAMES, _RANDOM, _NONE))
            contrast = texts.read(network, how.protocol, seed, form)
        name = network or (contrast.name if contrast is not None else "language")
        return cls(
            masks, name, contrast, 1.0 if percent is None else percent, site or "resid_post", seed,
            texts, how,
        )  # fmt: skip

    @property
    def label(self) -> dict[str, Any]:
        """What is lesioned, for the JSON object."""
        if self.masks:
            return {"masks": [str(path) for path in self.masks]}
        return {"network": self.network}

    def units(self, model: "Model", *, progress: bool) -> "list[UnitMask]":
        """Return the masks to lesion together; none for the intact model alone."""
        if self.masks:
            return _without_overlap(list(self.masks.values()))
        if self.network == _NONE:
            return []
        if self.contrast is None:
            return [self._random(model)]
        from lensloc.forward.sites import get_site, shape

        known = shape(get_site(self.site), model)
        if known is not None:
            count_from_percent(self.percent, known[0] * known[1])
        store = cached_store("results")
        found = ll.localize(
            model, self.texts.templated(self.contrast, model), [self.site], progress=progress,
            store=store, **self.how.arguments,
        )  # fmt: skip
        return [found.top(percent=self.percent)]

    def _random(self, model: "Model") -> "UnitMask":
        """Draw units from the whole site."""
        import torch

        from lensloc.forward.sites import get_site, hook_names, shape
        from lensloc.models import describe
        from lensloc.units.selection import draw

        site, card = get_site(self.site), describe(model)
        hook_names(site, model)
        known = shape(site, model)
        if known is None:
            raise LensLocError(
                f"How many units {card.name} has at {self.site} is not in its configuration, so "
                "none can be drawn; choose another --site."
            )
        total = known[0] * known[1]
        count, words = count_units(self.percent, None, total, self.site)
        drawn = draw(torch.arange(total), count, self.seed, f"at {self.site}")
        made = Provenance(
            model=card.name,
            weights_hash=card.weights_hash,
            config_hash=card.config_hash,
            tokenizer_hash=card.tokenizer_hash,
            site=self.site,
            selection=f"random, seed {self.seed}, {words}",
            seeds=(f"selection {self.seed}",),
        )
        return ll.UnitMask.from_indices(self.site, drawn, known, made)


def _without_overlap(masks: "Sequence[UnitMask]") -> "list[UnitMask]":
    """Leave out of every mask what an earlier one holds, so that no unit is lesioned twice."""
    kept: list[UnitMask] = []
    for mask in masks:
        rest = mask
        for other in kept:
            if (other.site, other.shape) == (mask.site, mask.shape):
                rest = rest - other
        if len(rest) or not len(mask):  # an empty mask is refused by the lesion
            kept.append(rest)
    return kept


# -- output ----------------------------------------------------------------------------------------


def _counts(units: "Sequence[UnitMask]") -> dict[str, Any]:
    """Return how many units are lesioned, and where; by site if they are at several."""
    per_site: dict[str, Any] = {}
    for mask in units:
        per_site[mask.site] = per_site.get(mask.site, 0) + mask.per_layer()
    lists = {site: found.tolist() for site, found in per_site.items()}
    return {
        "n_units": sum(map(len, units)),
        "per_layer": next(iter(lists.values()), []) if len(lists) < 2 else lists,
    }


def _n_layers(per_layer: Any) -> int:
    """Return how many layers hold a lesioned unit."""
    lists = per_layer.values() if isinstance(per_layer, dict) else [per_layer]
    return sum(any(counts) for counts in itertools.zip_longest(*lists, fillvalue=0))


def _outputs(
    prompts: Sequence[str], intact: "TaskResult", lesioned: "TaskResult | None"
) -> list[dict[str, Any]]:
    columns = {"intact": intact, "lesioned": lesioned}
    outputs: list[dict[str, Any]] = [{"prompt": prompt} for prompt in prompts]
    for name, result in columns.items():
        for row, output in enumerate(outputs):
            output[name] = None if result is None else str(result.items["text"][row])
    for name, result in columns.items():
        for row, output in enumerate(outputs):
            output[f"fluency_{name}"] = None if result is None else _fluency(result, row)
    return outputs


def _fluency(result: "TaskResult", row: int) -> float | None:
    """Return the mean log-probability per token of one continuation; None of an empty one."""
    item = result.items.iloc[row]
    return float(item["value"]) / float(item["weight"]) if item["weight"] else None


def _score(result: "TaskResult") -> str:
    return f"{result.score:.2f}" if math.isfinite(result.score) else "none, as nothing was written"


def _show(
    result: Mapping[str, Any],
    opened: "Lesion | None",
    intact: "TaskResult",
    lesioned: "TaskResult | None",
) -> None:
    console = Console()
    columns = ["intact"] if lesioned is None else ["intact", "lesioned"]
    for output in result["outputs"]:
        title = Text(readable(output["prompt"]), style="bold")
        table = Table(title=title, title_justify="left", expand=True)
        for name in columns:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*(Text(readable(output[name])) for name in columns))
        console.print(table)
    fluency = f"intact {_score(intact)}"
    if opened is not None and lesioned is not None:
        fluency += f", lesioned {_score(lesioned)}"
        fired, moved = opened.effect.fired, opened.effect.moved
        console.print(
            f"{opened.description}, in {_n_layers(result['per_layer'])} layers. "
            f"Hooks fired {sum(fired.values())} times at {len(fired)} hook points; "
            f"largest change of a logit: {'unknown' if moved is None else f'{moved:.3g}'}.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"Fluency (mean log-probability per token under the intact model): {fluency}.",
        highlight=False,
        soft_wrap=True,
    )
