"""What commands on language neurons share: their options, and what these give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lensloc as ll
from lensloc.cli.tables import TABLES
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.lines import kind_of
from lensloc.contrasts.readers import read_prompts
from lensloc.errors import LensLocError
from lensloc.lape.bundled import LANGUAGES

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.units.mask import UnitMask

Neurons = Annotated[
    Path,
    typer.Argument(
        help="What identify wrote (.safetensors), or a published file (.pth), with --names."
    ),
]
Names = Annotated[
    str | None,
    typer.Option(help="Languages of a .pth file, in its order, e.g. en,zh,fr."),
]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", help="Use only this language; repeatable."),
]
AnswersOut = Annotated[
    Path | None,
    typer.Option("--answers", help=f"Also write every answer: {', '.join(TABLES)}."),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="LANGUAGE=FILE: a .txt, a prompt per line (\\n for a new line), or a table with a "
        "column prompt; repeatable. The bundled questions if not given."
    ),
]
Code = Annotated[
    list[str] | None,
    typer.Option(help="LANGUAGE=ISO, for a language whose name is no ISO 639-1 code; repeatable."),
]
ReferenceTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        help="LANGUAGE=FILE: text on which the recall of the identifier of languages is measured; "
        "repeatable. The bundled prose if not given.",
    ),
]
Corpus = Annotated[
    list[str] | None,
    typer.Option(
        help="LANGUAGE=SOURCE: a .txt, .csv, .jsonl or .parquet file, a folder of them, a file of "
        "token ids, or a data set, hf:NAME[:CONFIG][@SPLIT]; repeatable. The bundled prose if not "
        "given."
    ),
]
TextColumnName = Annotated[
    str | None, typer.Option("--text-column", help="Column of texts in files (default text).")
]
PromptColumn = Annotated[
    str | None, typer.Option(help="Column of prompts in files of --prompts (default prompt).")
]
DRAWS = 5
"""Of a control that says nothing of them: each is measured in every language."""
NewTokens = Annotated[int, typer.Option(help="Tokens of an answer, at most.")]
Penalty = Annotated[
    float, typer.Option(help="Penalty of tokens that are there already; 1 for none.")
]
Limit = Annotated[int | None, typer.Option(help="Use only so many texts or prompts per language.")]
OldControl = Annotated[
    list[str] | None, typer.Option("--control", hidden=True, help="Now --control-units.")
]
ControlUnits = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Control units: random, layer, each with :N for N draws ({DRAWS}); repeatable.",
    ),
]


def refuse_old_control(given: Sequence[str] | None) -> None:
    """Refuse ``--control``, which is of conditions of a contrast everywhere.

    Raises:
        LensLocError: if it is given.
    """
    if given:
        units = " ".join(f"--control-units {text}" for text in given)
        raise LensLocError(f"Control units are --control-units here, not --control; write {units}.")


# -- what was given --------------------------------------------------------------------------------


def named_values(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read ``NAME=VALUE``, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise LensLocError(f"{option} {text} is not of the form LANGUAGE=VALUE; write it so.")
        if name in found:
            raise LensLocError(f"{option} names {name} twice; give every language once.")
        found[name] = value
    return found


def form_of(
    sep: str | None, encoding: str | None, *given: Mapping[str, str], **columns: str | None
) -> TableForm:
    """Read how files are written, and what a column of theirs is called.

    Args:
        sep: ``--sep``.
        encoding: ``--encoding``.
        given: the sources that were given, by language.
        columns: name of a column -> what ``--NAME-column`` says.
    """
    named = {name: title for name, title in columns.items() if title is not None}
    form = TableForm.of(named, sep, encoding)
    form.require_fits(*(Path(source) for sources in given for source in sources.values()))
    return form


def said_of(form: TableForm, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments that say how some of these sources are written."""
    return {
        name: value
        for source in sources.values()
        for name, value in form.fitted(Path(source)).said.items()
    }


def prompts_of(
    files: Mapping[str, str], limit: int | None, form: TableForm
) -> dict[str, list[str]]:
    """Return the prompts in files, by language; as many of each as ``--limit`` says."""
    if limit is not None and limit < 1:
        raise LensLocError(f"--limit is at least 1; {limit} is not.")
    found = {}
    for name, file in files.items():
        path = Path(file)
        read = read_prompts(path, form=form.fitted(path))
        if kind_of(path) == ".txt":
            read = [line.replace("\\n", "\n") for line in read]
        found[name] = read[:limit]
    return found


def bundled_questions(
    masks: "Mapping[str, UnitMask]", limit: int | None, *, instruction: bool
) -> dict[str, list[str]]:
    """Return the bundled questions in the languages whose neurons are given."""
    own = [name for name in masks if name in LANGUAGES]
    if not own:
        raise LensLocError(
            f"There are no bundled questions in {', '.join(masks)}; give --prompts LANGUAGE=FILE."
        )
    return ll.lape.questions(own, limit=limit, instruction=instruction)


@dataclass(frozen=True)
class GivenNeurons:
    """What NEURONS, ``--names`` and ``--language`` name; a file that says all itself is read."""

    path: Path
    names: str | None
    languages: Sequence[str] | None
    masks: "Mapping[str, UnitMask] | None"

    @classmethod
    def parse(
        cls, path: Path, names: str | None, languages: Sequence[str] | None
    ) -> "GivenNeurons":
        """Read what the options say, and the file where it holds all."""
        if path.suffix.lower() == ".pth":
            return cls(path, names, languages, None)
        if names is not None:
            raise LensLocError(f"{path} names its languages itself; leave --names out.")
        masks = _chosen(ll.lape.Identified.load(path).masks, languages, path)
        return cls(path, names, languages, masks)

    def of(self, model: "Model") -> "Mapping[str, UnitMask]":
        """Return the neurons of the languages that are wanted, as many as have any."""
        if self.masks is not None:
            return self.masks
        from lensloc.forward.sites import get_site, shape

        known = shape(get_site("mlp_post"), model)
        if known is None:
            raise LensLocError(
                f"The model's configuration does not say how many neurons it has, so {self.path} "
                "cannot be read for it; use --backend hooked."
            )
        named = None if self.names is None else [name.strip() for name in self.names.split(",")]
        masks = ll.lape.read_neurons(self.path, known[1], names=named)
        return _chosen(masks, self.languages, self.path)


def _chosen(
    masks: "Mapping[str, UnitMask]", languages: Sequence[str] | None, path: Path
) -> "dict[str, UnitMask]":
    unknown = [name for name in languages or () if name not in masks]
    if unknown:
        raise LensLocError(
            f"{path} holds no neurons of {', '.join(unknown)} (--language); it holds those of "
            f"{', '.join(masks)}."
        )
    return {name: masks[name] for name in languages or masks}
