"""What commands that measure tasks share: how tasks score, and what their files are like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from lensloc import vocabulary
from lensloc.cli import seeing
from lensloc.cli.options import BadColumn, GoodColumn, GroupColumn, Separator

Scoring = Annotated[
    vocabulary.PairScoring | None,
    typer.Option(
        help="How --task minimal-pairs scores (default log-likelihood; pseudo-log-likelihood "
        "for models that fill in masked tokens)."
    ),
]
PromptColumn = Annotated[
    str | None,
    typer.Option(help="Column of prompts in generation=PATH, choice=PATH (default prompt)."),
]


@dataclass(frozen=True)
class TaskOptions:
    """What the options say of the tasks that ``--task`` names."""

    separator: Separator = None
    scoring: Scoring = None
    probe_site: seeing.ProbeSite = None
    probe_layer: seeing.ProbeLayer = None
    classes: seeing.Classes = None
    top: seeing.Top = None
    good_column: GoodColumn = None
    bad_column: BadColumn = None
    group_column: GroupColumn = None
    prompt_column: PromptColumn = None

    @property
    def of_pictures(self) -> seeing.Seeing:
        """What is said of tasks on pictures."""
        return seeing.Seeing(self.probe_site, self.probe_layer, self.classes, self.top)

    @property
    def columns(self) -> Mapping[str, str | None]:
        """What columns are called, each for the tasks that read such a one."""
        return {
            "good": self.good_column, "bad": self.bad_column, "group": self.group_column,
            "prompt": self.prompt_column,
        }  # fmt: skip
