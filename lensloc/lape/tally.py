"""Tally: what has been counted of one language so far. Never changed, only replaced."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from lensloc.lape.counts import WindowCounts


@dataclass(frozen=True, eq=False)
class Blocks:
    """Counts of stretches of one text, so few of them that memory stays bounded.

    When one more than ``most`` would be needed, each two neighbours become one, of twice as many
    windows.

    Attributes:
        counts: ``[layer, neuron]`` of every block.
        tokens: of every block.
        size: windows per block.
        most: how many blocks are kept.
    """

    counts: tuple[Int32[Tensor, "layer neuron"], ...]
    tokens: tuple[int, ...]
    size: int
    most: int

    def plus(self, counts: Int32[Tensor, "layer neuron"], tokens: int, n_before: int) -> "Blocks":
        """Return the blocks with one more window, of which ``n_before`` came before."""
        blocks = self
        while n_before // blocks.size >= blocks.most:
            blocks = blocks._halved()
        if n_before // blocks.size == len(blocks.counts):
            return dataclasses.replace(
                blocks, counts=(*blocks.counts, counts), tokens=(*blocks.tokens, tokens)
            )
        *full, last = blocks.counts
        *numbers, number = blocks.tokens
        return dataclasses.replace(
            blocks, counts=(*full, last + counts), tokens=(*numbers, number + tokens)
        )

    def _halved(self) -> "Blocks":
        pairs = range(0, len(self.counts), 2)
        return dataclasses.replace(
            self,
            counts=tuple(sum(self.counts[i + 1 : i + 2], start=self.counts[i]) for i in pairs),
            tokens=tuple(sum(self.tokens[i : i + 2]) for i in pairs),
            size=self.size * 2,
        )


@dataclass(frozen=True, eq=False)
class Tally:
    """What has been counted of one language.

    Attributes:
        counts: ``[layer, neuron]``, on the model's device; None before the first window.
        tokens: how many.
        n_windows: how many.
        digest: hash of all their token ids.
        done: whether the corpus has come to its end.
        blocks: counts of stretches of the text; None unless they are kept.
    """

    counts: Int64[Tensor, "layer neuron"] | None = None
    tokens: int = 0
    n_windows: int = 0
    digest: str = ""
    done: bool = False
    blocks: Blocks | None = None

    def on(self, device: torch.device) -> "Tally":
        """Return the tally, with its counts on a device."""
        if self.counts is None:
            return self
        return dataclasses.replace(self, counts=self.counts.to(device))

    def plus(
        self, counts: Int64[Tensor, "row layer neuron"], length: int, n_rows: int, digest: str
    ) -> "Tally":
        """Return the tally with a batch of windows of equal length.

        Args:
            counts: a row per window; or one row for all, if no blocks are kept.
            length: tokens per window.
            n_rows: windows.
            digest: hash of all token ids up to the last of them.
        """
        blocks = self.blocks
        if blocks is not None:
            for row, window in enumerate(counts.to(torch.int32).cpu()):
                blocks = blocks.plus(window.clone(), length, self.n_windows + row)
        total = counts.sum(dim=0)
        return Tally(
            total if self.counts is None else self.counts + total,
            self.tokens + n_rows * length,
            self.n_windows + n_rows,
            digest,
            blocks=blocks,
        )


def window_counts(tallies: list[Tally]) -> WindowCounts | None:
    """Return the blocks of all languages, all of as many windows; None unless they were kept."""
    kept = [tally.blocks for tally in tallies if tally.blocks is not None]
    if len(kept) < len(tallies):
        return None
    size = max(blocks.size for blocks in kept)
    parts = [
        WindowCounts(
            torch.stack(blocks.counts),
            torch.tensor(blocks.tokens),
            torch.full((len(blocks.counts),), language),
            blocks.size,
        ).coarsened(size)
        for language, blocks in enumerate(kept)
    ]
    return WindowCounts(
        torch.cat([part.counts for part in parts]),
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.language for part in parts]),
        size,
    )
