"""Model x corpora -> ActivationCounts, in a stream of windows, with checkpoints."""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from lensloc.contrasts.columns import TableForm
from lensloc.display.files import require_writable_folder
from lensloc.display.places import path_of
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import run_batches
from lensloc.forward.memory import Budget, pass_bytes, tokens_at_once
from lensloc.lape.bar import TokenBar
from lensloc.lape.checkpoints import load_checkpoint, save_checkpoint
from lensloc.lape.corpora import Window, open_corpus, require_fitting_file, window_length, windows
from lensloc.lape.counting import Counter
from lensloc.lape.counts import ActivationCounts
from lensloc.lape.tally import Blocks, Tally, window_counts
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.models.adapting import crew_of, surface
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, prepends_bos
from lensloc.ranks import from_first
from lensloc.units.provenance import Provenance

log = logging.getLogger(__name__)

_TOKENS_ON_CPU = 2048
# On a CPU what a token takes is not looked at.
_BUDGET = Budget(on_cpu=2**62, share=0.5)
# Up to here, sums of ones in float32 are exact.
_MOST_TOKENS_AT_ONCE = 2**24
_BLOCKS, _EVERY = 256, 1_000_000


def record(
    model: Model,
    corpora: Mapping[str, Any],
    *,
    site: str = "mlp_pre",
    threshold: float = 0.0,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    window: int | None = None,
    bos: Bos = "model",
    keep_windows: bool = False,
    n_blocks: int = _BLOCKS,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = _EVERY,
    text: str = "text",
    sep: str | None = None,
    encoding: str | None = None,
    progress: bool = True,
) -> ActivationCounts:
    """Count at how many tokens of each language every neuron is active.

    Texts are joined, document after document, and cut into windows of one length, each read by
    itself; the last, shorter one counts as well. A neuron is active where its activation exceeds
    the threshold: at ``mlp_pre``, the input of the MLP's nonlinearity, which in a gated MLP is the
    gate (arXiv 2402.16438). Windows are read as they are needed, and counts are summed up on the
    model's device in int64, so memory does not grow with the text. Windows of a batch do not see
    each other, but a matrix product rounds a little differently with another number of rows, which
    can flip a neuron that lies within rounding of the threshold.

    Args:
        model: a loaded model of any kind.
        corpora: language (or script, register, domain) -> its text: texts in a list or from an
            iterator; a ``datasets`` data set or another source of rows with a ``text``; the name
            of one, ``"hf:wikimedia/wikipedia:20231101.de"`` (``hf:NAME:CONFIGURATION@SPLIT``; it is
            streamed, and the split is ``train`` if not named); a path to
            a ``.txt`` (one document), a ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` with a
            column ``text``, or a folder of these, compressed or not (``.gz``); token ids
            ``[token]``, to be cut into windows, or ``[window, token]``, one row per window, as a
            tensor, an array or a ``.pt``, ``.npy`` or ``.safetensors`` file. Texts that are empty
            are passed over. A text of more than a
            million characters is tokenized in pieces that end where a line ends.
        site: where the activation is read.
        threshold: above which a neuron is active, in activation units.
        max_tokens: count so many tokens of each language at most.
        batch_tokens: tokens run at once; at least one window. 2,048 on a CPU, elsewhere by free
            memory and the device's rate, if None.
        window: tokens per window; the model's context, at most 1024, if None.
        bos: whether a beginning-of-text token stands before every document of text: ``"model"``,
            ``"add"`` or ``"none"``. It counts as a token. Ready token ids stay as they are.
        keep_windows: also keep counts of stretches of the text, for :func:`lensloc.lape.null`:
            ``4 * n_blocks * layers * neurons`` bytes per language on the CPU.
        n_blocks: how many stretches of a language are kept at most (refused without
            ``keep_windows``). They begin as single windows; if there are more, neighbours are
            joined. All languages get stretches of one length.
        checkpoint: file in which to keep what has been counted. If it exists, counting goes on
            from there: give the same model, corpora (fresh iterators) and options. The corpora are
            read again up to that place, and must be the same.
        checkpoint_every: tokens between two checkpoints (refused without ``checkpoint``). One is
            also written when a language is finished, and on an error or an interrupt.
        text: name of the column of texts.
        sep: what separates the cells of files; see :meth:`lensloc.Contrast.from_file`.
        encoding: of files; as there.
        progress: show a progress bar.

    Returns:
        Counts ``[layer, neuron, language]`` and tokens ``[language]``.

    Raises:
        LensLocError: a corpus without text, or one that cannot be read (naming file and row); a
            site that the model lacks; an option out of range; a checkpoint that is damaged, or of
            another model, corpus or options (it is left as it is); a non-finite activation.
    """
    surface(model)
    _require_options(model, corpora, threshold, max_tokens, batch_tokens, n_blocks)
    form = TableForm.of({"text": text}, sep, encoding)
    require_fitting_file(corpora, form)
    if not keep_windows:
        reason = "no stretch is kept; leave it out, or say keep_windows=True"
        refuse_idle(reason, n_blocks=n_blocks != _BLOCKS)
    if checkpoint is None:
        reason = "there is no checkpoint; leave it out, or name a file"
        refuse_idle(reason, checkpoint_every=checkpoint_every != _EVERY)
    length = window_length(model, window)
    counter = Counter.of(model, site, threshold, keep_windows)
    device = surface(model).device
    made = _provenance(model, site, max_tokens, bos)
    settings = {
        "model": ", ".join([*made.model_hashes.values(), made.backend]),
        "lesion": [str(found.settings) for found in open_lesions(model)],
        "list of languages": list(corpora),
        "site": site,
        "threshold": float(threshold),
        "max_tokens": max_tokens,
        "window": length,
        "bos": bos,
        "n_blocks": n_blocks if keep_windows else None,
    }
    path = None if checkpoint is None else path_of(checkpoint)
    if path is not None:
        require_writable_folder(path.parent, "The checkpoint's folder")
    empty = Tally(blocks=Blocks((), (), 1, n_blocks) if keep_windows else None)
    tallies = [empty for _ in corpora]
    if path is not None and from_first(path.exists):
        kept = path
        begun = from_first(
            lambda: load_checkpoint(kept, settings, n_blocks if keep_windows else None)
        )
        # Only now onto the device, which is another one in every rank.
        tallies = [tally.on(device) for tally in begun]
    streams = {
        language: _begun(
            windows(open_corpus(language, given, form), model, length, bos, max_tokens)
        )
        for language, given in corpora.items()
    }
    for language, stream in streams.items():
        if stream is None:
            raise LensLocError(
                f"The corpus of the language {language!r} holds no text; give it some, or leave "
                "the language out."
            )
    keeper = _Keeper(path, settings, tallies, checkpoint_every)
    at_once = max(1, (batch_tokens or _token_budget(model, length)) // length)
    with keeper, TokenBar(progress, list(corpora), max_tokens) as bar:
        for number, (language, stream) in enumerate(streams.items()):
            assert stream is not None
            _count_language(counter, keeper, number, language, stream, at_once, bar)
    return _counts(keeper.tallies, list(corpora), made, site, threshold, length)


def _token_budget(model: Model, length: int) -> int:
    return tokens_at_once(
        model,
        on_cpu=_TOKENS_ON_CPU,
        bytes_a_token=1,
        budget=_BUDGET,
        elsewhere=pass_bytes(model, length),
    )


def _require_options(
    model: Model,
    corpora: Mapping[str, Any],
    threshold: float,
    max_tokens: int | None,
    batch_tokens: int | None,
    n_blocks: int,
) -> None:
    if not isinstance(corpora, Mapping) or not corpora:
        raise LensLocError(
            "There is no corpus to count in; give a dictionary, {language: texts, path or tokens}."
        )
    if not math.isfinite(threshold):
        raise LensLocError(f"threshold is a number; {threshold} is not.")
    if max_tokens is not None and max_tokens < 1:
        raise LensLocError(f"max_tokens is at least 1; {max_tokens} is not.")
    if batch_tokens is not None and not 1 <= batch_tokens <= _MOST_TOKENS_AT_ONCE:
        raise LensLocError(
            f"batch_tokens is 1 to {_MOST_TOKENS_AT_ONCE} tokens; {batch_tokens} is not."
        )
    if n_blocks < 2:
        raise LensLocError(f"n_blocks is at least 2; {n_blocks} is not.")


def _begun(stream: Iterator[Window]) -> Iterator[Window] | None:
    """Read the first window now, so that a corpus that cannot be read is found out at once."""
    first = next(stream, None)
    return None if first is None else itertools.chain([first], stream)


def _provenance(model: Model, site: str, max_tokens: int | None, bos: Bos) -> Provenance:
    return provenance_of(
        describe(model),
        prepends_bos=surface(model).tokenizer is not None and prepends_bos(model, bos),
        site=site,
        protocol="lape",
        absolute=False,
        test="lape",
        max_tokens=max_tokens,
        lesion="; ".join(found.description for found in open_lesions(model)),
    )


def _counts(
    tallies: list[Tally],
    languages: list[str],
    made: Provenance,
    site: str,
    threshold: float,
    length: int,
) -> ActivationCounts:
    counts = [tally.counts.cpu() for tally in tallies if tally.counts is not None]
    return ActivationCounts(
        torch.stack(counts, dim=-1),
        torch.tensor([tally.tokens for tally in tallies]),
        tuple(languages),
        site=site,
        threshold=float(threshold),
        window=length,
        sources={
            language: (tally.digest,) for language, tally in zip(languages, tallies, strict=True)
        },
        provenance=made,
        windows=window_counts(tallies),
    )


# -- one language ----------------------------------------------------------------------------------


def _count_language(
    counter: Counter,
    keeper: "_Keeper",
    number: int,
    language: str,
    stream: Iterator[Window],
    at_once: int,
    bar: TokenBar,
) -> None:
    digest = xxhash.xxh3_128()
    _skip(stream, keeper.tallies[number], language, digest, keeper.path)
    bar.at(number, keeper.tallies[number].tokens, None)
    if keeper.tallies[number].done:
        return
    rest: Iterator[Window] = stream
    crew = crew_of(counter.model)
    while True:
        batches: list[list[Window]] = []  # one for each rank
        while len(batches) < crew.size and (batch := _next_batch(rest, at_once)):
            if len(batch) > 1 and len(batch[-1].ids) != len(batch[0].ids):
                rest = itertools.chain([batch.pop()], rest)
            batches.append(batch)
        if not batches:
            break
        at_once = min(at_once, _count_batches(counter, keeper, number, batches, digest))
        bar.at(number, keeper.tallies[number].tokens, batches[-1][-1].read)
        keeper.save_if_due()
    keeper.finish(number)


def _skip(
    stream: Iterator[Window], tally: Tally, language: str, digest: Any, path: Path | None
) -> None:
    """Pass over the windows that a checkpoint has counted, if they are the same."""
    skipped = 0
    for window in itertools.islice(stream, tally.n_windows):
        digest.update(window.ids.tobytes())
        skipped += 1
    same = skipped == tally.n_windows and digest.hexdigest() == tally.digest
    if tally.n_windows and (not same or (tally.done and next(stream, None) is not None)):
        raise LensLocError(
            f"The checkpoint {path} was made with another corpus of the language {language!r} "
            f"({tally.tokens} tokens were counted); go on as it was begun, or give another "
            "checkpoint."
        )


def _next_batch(stream: Iterator[Window], at_once: int) -> list[Window]:
    """Return the next windows: of one length, but for the last, which may begin the next batch."""
    batch: list[Window] = []
    for window in itertools.islice(stream, at_once):
        batch.append(window)
        if len(window.ids) != len(batch[0].ids):
            break
    return batch


def _count_batches(
    counter: Counter, keeper: "_Keeper", number: int, batches: list[list[Window]], digest: Any
) -> int:
    """Count in a batch of windows of one length a rank; return how many fit into the memory.

    What a process alone counted before an error is kept.
    """
    least = _MOST_TOKENS_AT_ONCE
    crew = crew_of(counter.model)
    own = batches[crew.rank] if crew.rank < len(batches) else []
    counted: list[tuple[list[int], Any]] = []
    here = crew.size == 1

    def add(batch: list[Window], rows: list[int], counts: Any) -> None:
        ids = np.stack([batch[row].ids for row in rows])
        digest.update(ids.tobytes())
        keeper.tallies[number] = keeper.tallies[number].plus(
            counts, ids.shape[1], len(rows), digest.hexdigest()
        )

    def run(rows: list[int]) -> None:
        counts = counter.count(torch.from_numpy(np.stack([own[row].ids for row in rows])))
        if here:
            add(own, rows, counts)
        counted.append((rows, None if here else counts.cpu()))

    def count() -> list[tuple[list[int], Any]]:
        if own:
            every = [list(range(len(own)))]
            run_batches(counter.model, every, run, progress=False, description="windows")
        return counted

    for batch, parts in zip(batches, crew.together(count), strict=False):
        fitting = max(len(rows) for rows, _ in parts)
        least = min(least, fitting if fitting < len(batch) else least)
        for rows, counts in parts:
            if not here:
                add(batch, rows, counts.to(surface(counter.model).device))
    return least


# -- keeping ---------------------------------------------------------------------------------------


class _Keeper:
    """Holds the tallies and writes them to the checkpoint: in time, and when an error ends it all.

    A tally is replaced whole when a batch has been counted, so that at any moment they fit.
    """

    def __init__(
        self, path: Path | None, settings: Mapping[str, Any], tallies: Iterable[Tally], every: int
    ) -> None:
        self.path = path
        self.tallies = list(tallies)
        self._settings = settings
        self._every = every
        self._kept = self._state()
        self._told = False

    def __enter__(self) -> "_Keeper":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._save()

    def finish(self, number: int) -> None:
        """Note that a corpus has come to its end."""
        tally = self.tallies[number]
        self.tallies[number] = Tally(
            tally.counts, tally.tokens, tally.n_windows, tally.digest, True, tally.blocks
        )
        self._save()

    def save_if_due(self) -> None:
        """Write a checkpoint if enough was counted since the last one."""
        if self._state()[0] - self._kept[0] >= self._every:
            self._save()

    def _state(self) -> tuple[int, int]:
        return sum(t.tokens for t in self.tallies), sum(t.done for t in self.tallies)

    def _save(self) -> None:
        if self.path is None or self._state() == self._kept:
            return
        self._kept = self._state()
        try:
            save_checkpoint(self.path, self._settings, self.tallies)
        except LensLocError as error:  # no reason to throw away what was counted
            if not self._told:
                log.warning(
                    "the checkpoint keeps nothing new (%s); counting goes on, and begins from the "
                    "last checkpoint if it is interrupted",
                    str(error).rstrip("."),
                )
            self._told = True
