"""Checkpoints of recording: what has been counted so far, and of what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lensloc.display.files import write_atomically
from lensloc.errors import LensLocError
from lensloc.lape.archive import packed, unpacked
from lensloc.lape.tally import Blocks, Tally

_KIND = "lensloc.lape.checkpoint/1"
_WHAT = "a checkpoint of recording"


def save_checkpoint(path: Path, settings: Mapping[str, Any], tallies: Sequence[Tally]) -> None:
    """Write what has been counted, whole or not at all.

    Args:
        path: the file.
        settings: what the counts depend on, as JSON data.
        tallies: what has been counted, one per language.

    Raises:
        LensLocError: a place that cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    states = []
    for number, tally in enumerate(tallies):
        blocks = tally.blocks
        if tally.counts is not None:
            tensors[f"{number}.counts"] = tally.counts
        if blocks is not None and blocks.counts:
            tensors[f"{number}.blocks"] = torch.stack(blocks.counts)
        states.append(
            {
                "tokens": tally.tokens,
                "windows": tally.n_windows,
                "digest": tally.digest,
                "done": tally.done,
                "block_tokens": None if blocks is None else blocks.tokens,
                "block_size": None if blocks is None else blocks.size,
            }
        )
    record = {"settings": dict(settings), "languages": states}
    write_atomically(path, packed(_KIND, tensors, record))


def load_checkpoint(
    path: Path, settings: Mapping[str, Any], most_blocks: int | None
) -> list[Tally]:
    """Read what had been counted, on the CPU.

    Args:
        path: the file.
        settings: what the counts depend on, which must be as they were.
        most_blocks: how many blocks of windows are kept; None if none are.

    Raises:
        LensLocError: a file that is damaged or no checkpoint, or one of other settings; it is left
            as it is.
    """

    def read(tensors: dict[str, Tensor], record: dict[str, Any]) -> list[Tally]:
        for name, was in record["settings"].items():
            now = settings.get(name)
            if was != now:
                raise LensLocError(
                    f"The checkpoint {path} was made with another {name} ({_words(was)}, not "
                    f"{_words(now)}); go on as it was begun, or give another checkpoint."
                )
        tallies = []
        for number, state in enumerate(record["languages"]):
            blocks = None
            if most_blocks is not None:
                kept = tensors.get(f"{number}.blocks", ())
                blocks = Blocks(
                    tuple(kept), tuple(state["block_tokens"]), state["block_size"], most_blocks
                )
            tallies.append(
                Tally(
                    tensors.get(f"{number}.counts"),
                    state["tokens"],
                    state["windows"],
                    state["digest"],
                    state["done"],
                    blocks,
                )
            )
        return tallies

    return unpacked(path, _KIND, _WHAT, read)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
