"""Counting how often neurons are active: ``lensloc lape record``."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import lensloc as ll
from lensloc.cli.neurons.options import Corpus, TextColumnName, form_of, named_values, said_of
from lensloc.cli.options import (
    AsJson,
    Encoding,
    ModelOptions,
    Overwrite,
    Sep,
    require_sites,
)
from lensloc.cli.output import collected_warnings, print_json, show_notes, tell
from lensloc.cli.tables import require_place
from lensloc.errors import LensLocError


def record_command(
    loading: ModelOptions,
    out: Annotated[Path, typer.Option(help="Counts to write, .safetensors.")] = Path(
        "lape-counts.safetensors"
    ),
    corpus: Corpus = None,
    text_column: TextColumnName = None,
    sep: Sep = None,
    encoding: Encoding = None,
    site: Annotated[str, typer.Option(help="Where activations are read.")] = "mlp_pre",
    threshold: Annotated[
        float, typer.Option(help="Activation above which a neuron is active.")
    ] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Count at most so many tokens of each language.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens read at once (default: the context, at most 1024).")
    ] = None,
    keep_windows: Annotated[
        bool, typer.Option(help="Keep counts of stretches of text too, for identify's null.")
    ] = True,
    checkpoint_every: Annotated[
        int, typer.Option(help="Tokens between two checkpoints.")
    ] = 1_000_000,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Count how often every neuron is active in every language.

    Interrupted, it goes on where it stopped: what has been counted is beside --out.
    """
    from lensloc.models.quiet import stdout_to_stderr

    require_sites([site])
    if checkpoint_every < 1:
        raise LensLocError(f"--checkpoint-every is at least 1; {checkpoint_every} is not.")
    require_place(out, "--out", (".safetensors",), overwrite)
    given = named_values(corpus, "--corpus")
    form = form_of(sep, encoding, given, text=text_column)
    corpora: Mapping[str, Any] = given or ll.lape.prose()
    checkpoint = _checkpoint_of(out)
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        counts = ll.lape.record(
            model, corpora, site=site, threshold=threshold, max_tokens=max_tokens, window=window,
            keep_windows=keep_windows, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
            progress=not as_json, **said_of(form, given),
        )  # fmt: skip
    counts.save(out, overwrite=overwrite)
    checkpoint.unlink(missing_ok=True)
    tokens = dict(zip(counts.languages, counts.tokens.tolist(), strict=True))
    if as_json:
        print_json(
            {"model": loading.model_name, "tokens": tokens, "warnings": notes, "out": str(out)}
        )
        return
    tell(f"{counts!r}")
    show_notes(notes)
    tell(f"Wrote {out}.")


def _checkpoint_of(out: Path) -> Path:
    """Return the file beside the counts in which a part of them is kept."""
    name = f"{out.name}.checkpoint"
    if len(os.fsencode(name)) > 255:  # more than file systems take
        name = f".lensloc-{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:32]}.checkpoint"
    return out.with_name(name)
