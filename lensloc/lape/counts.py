"""ActivationCounts: how often every neuron was active in the text of every language."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int, Int32, Int64
from torch import Tensor

from lensloc.display.container import SUFFIX
from lensloc.display.files import write_file
from lensloc.display.places import path_of
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.lape.archive import packed, part_of, texts_of, unpacked
from lensloc.lape.torch_files import load_torch
from lensloc.units.provenance import Provenance

_KIND = "lensloc.ActivationCounts/1"
_WHAT = "a file of activation counts"


@dataclass(frozen=True, eq=False)
class WindowCounts:
    """Counts of stretches of text, for shuffling which stretch belongs to which language.

    Attributes:
        counts: ``[block, layer, neuron]``, number of tokens at which the neuron was active.
        tokens: ``[block]``, number of tokens.
        language: ``[block]``, index of the block's language in the counts that it belongs to.
        size: windows per block; the last block of a corpus may have fewer.
    """

    counts: Int32[Tensor, "block layer neuron"]
    tokens: Int64[Tensor, " block"]
    language: Int64[Tensor, " block"]
    size: int

    def coarsened(self, size: int) -> "WindowCounts":
        """Return blocks of ``size`` windows, each the sum of successive blocks of a language.

        Raises:
            LensLocError: unless ``size`` is a multiple of the size that they have.
        """
        if size == self.size:
            return self
        if size % self.size:
            raise LensLocError(
                f"Blocks of {self.size} windows cannot be joined to blocks of {size}; give a "
                "multiple."
            )
        groups = [
            group
            for language in self.language.unique().tolist()
            for group in (self.language == language).nonzero().squeeze(1).split(size // self.size)
        ]
        return WindowCounts(
            torch.stack([self.counts[group].sum(dim=0, dtype=torch.int32) for group in groups]),
            torch.stack([self.tokens[group].sum() for group in groups]),
            torch.stack([self.language[group[0]] for group in groups]),
            size,
        )


@dataclass(frozen=True, eq=False)
class ActivationCounts(Savable):
    """How often every neuron was active in the text of every language.

    Counts add up: ``a + b`` are the counts of both texts together, so that shards of a corpus, or
    languages, can be counted one at a time.

    Attributes:
        counts: ``[layer, neuron, language]``, number of tokens at which the activation was above
            the threshold; on the CPU.
        tokens: ``[language]``, number of tokens of text.
        languages: their names.
        site: where the activation was read.
        threshold: above which a neuron is active, in activation units.
        window: longest stretch of text that the model read at once, in tokens; None if not known.
        sources: language -> hashes of the token ids that were counted, one per shard.
        provenance: the model; empty strings where counts were imported.
        windows: counts of stretches of the text; None unless they were kept.
    """

    counts: Int64[Tensor, "layer neuron language"]
    tokens: Int64[Tensor, " language"]
    languages: tuple[str, ...]
    site: str = "mlp_pre"
    threshold: float = 0.0
    window: int | None = None
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    windows: WindowCounts | None = None

    def __post_init__(self) -> None:
        n = self.counts.shape[2]
        if len(self.languages) != n or len(self.tokens) != n or len(set(self.languages)) != n:
            raise LensLocError(
                f"Counts of {n} languages need as many names, each once, and numbers of tokens; "
                f"there are {len(self.tokens)} numbers and the names {', '.join(self.languages)}."
            )
        for place, language in enumerate(self.languages):
            most, total = self.counts[..., place].max(), int(self.tokens[place])
            if total < 1:
                raise LensLocError(
                    f"The language {language!r} has no text: {total} tokens; leave it out."
                )
            if int(most) > total or int(self.counts[..., place].min()) < 0:
                raise LensLocError(
                    f"The counts of the language {language!r} are not between 0 and its {total} "
                    "tokens; count again."
                )

    def __repr__(self) -> str:
        layers, neurons = self.shape
        text = ", ".join(
            f"{language} {count:,}"
            for language, count in zip(self.languages, self.tokens.tolist(), strict=True)
        )
        return f"ActivationCounts({layers}x{neurons} neurons at {self.site}; tokens: {text})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActivationCounts):
            return NotImplemented
        return self._meaning() == other._meaning() and _same(self._arrays(), other._arrays())

    __hash__ = None  # type: ignore[assignment]

    def _meaning(self) -> tuple[Any, ...]:
        model = tuple(self.provenance.model_hashes.values())
        return self.languages, self.site, self.threshold, self.window, model

    def _arrays(self) -> dict[str, Tensor]:
        arrays = {"counts": self.counts, "tokens": self.tokens}
        if self.windows is not None:
            arrays |= {
                "window_counts": self.windows.counts,
                "window_tokens": self.windows.tokens,
                "window_language": self.windows.language,
            }
        return arrays

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of neurons per layer."""
        layers, neurons, _ = self.counts.shape
        return layers, neurons

    @property
    def probabilities(self) -> Float[Tensor, "layer neuron language"]:
        """Share of each language's tokens at which the neuron was active, float64.

        The published code has float32, in which different shares of long texts can be equal.
        """
        return self.counts.double() / self.tokens.double()

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per neuron and language: layer, neuron, language, active, tokens."""
        layers, neurons = self.shape
        n = len(self.languages)
        places = pd.MultiIndex.from_product(
            [range(layers), range(neurons), self.languages], names=["layer", "neuron", "language"]
        )
        table: pd.DataFrame = places.to_frame(index=False)
        table["active"] = self.counts.numpy().reshape(layers * neurons * n)
        table["tokens"] = self.tokens.repeat(layers * neurons).numpy()
        return table

    @classmethod
    def _joined(cls, several: Sequence["ActivationCounts"]) -> "ActivationCounts":
        first, *others = several
        return sum(others, first)

    def only(self, languages: Sequence[str]) -> "ActivationCounts":
        """Return the counts of some languages, in the order given.

        Raises:
            LensLocError: if one was not counted.
        """
        for language in languages:
            if language not in self.languages:
                raise LensLocError(
                    f"There are no counts of {language!r}; there are {', '.join(self.languages)}."
                )
        places = torch.tensor([self.languages.index(language) for language in languages])
        windows = self.windows
        if windows is not None:
            kept = torch.isin(windows.language, places)
            renamed = torch.full((len(self.languages),), -1)
            renamed[places] = torch.arange(len(places))
            windows = WindowCounts(
                windows.counts[kept],
                windows.tokens[kept],
                renamed[windows.language[kept]],
                windows.size,
            )
        return dataclasses.replace(
            self,
            counts=self.counts[..., places],
            tokens=self.tokens[places],
            languages=tuple(languages),
            sources={name: self.sources[name] for name in languages if name in self.sources},
            windows=windows,
        )

    # -- merging -------------------------------------------------------------------------------

    def __add__(self, other: "ActivationCounts") -> "ActivationCounts":
        self._require_addable(other)
        languages = tuple(dict.fromkeys((*self.languages, *other.languages)))
        counts = torch.zeros((*self.shape, len(languages)), dtype=torch.int64)
        tokens = torch.zeros(len(languages), dtype=torch.int64)
        sources: dict[str, tuple[str, ...]] = {}
        for part in (self, other):
            places = torch.tensor([languages.index(name) for name in part.languages])
            counts[..., places] += part.counts
            tokens[places] += part.tokens
            for name, hashes in part.sources.items():
                sources[name] = (*sources.get(name, ()), *hashes)
        return dataclasses.replace(
            self,
            counts=counts,
            tokens=tokens,
            languages=languages,
            sources=sources,
            windows=_joined(self, other, languages),
        )

    def _require_addable(self, other: "ActivationCounts") -> None:
        mine, theirs = self.provenance, other.provenance
        compared: dict[str, tuple[Any, Any]] = {
            "numbers of layers and neurons": (self.shape, other.shape),
            "models": (mine.weights_hash or mine.model, theirs.weights_hash or theirs.model),
            "configurations of the model": (mine.config_hash, theirs.config_hash),
            "tokenizers": (mine.tokenizer_hash, theirs.tokenizer_hash),
            "backends": (mine.backend, theirs.backend),
            "lesions of the model": (mine.lesion, theirs.lesion),
            "sites": (self.site, other.site),
            "thresholds": (self.threshold, other.threshold),
            "windows": (self.window, other.window),
        }
        for what, (a, b) in compared.items():
            if a != b:
                if what == "models":
                    a, b = (p.model or "unknown" for p in (mine, theirs))
                raise LensLocError(
                    f"Counts of different {what} cannot be added ({a} and {b}); count both shards "
                    "in the same way."
                )
        for language, hashes in self.sources.items():
            if set(hashes) & set(other.sources.get(language, ())):
                raise LensLocError(
                    f"Both counts hold the same text of {language!r}, which would count twice; add "
                    "different shards."
                )

    # -- on disk -------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the counts as ``.safetensors`` (or ``.lensloc``), whole or not at all.

        Args:
            path: the file.
            overwrite: replace a file that is there.

        Raises:
            LensLocError: for another suffix, or a place that cannot be written or is taken.
        """
        path = path_of(path)
        if path.suffix.lower() == SUFFIX:
            return super().save(path, overwrite=overwrite)
        if path.suffix.lower() != ".safetensors":
            raise LensLocError(f"{path} has an unknown suffix; counts are written as .safetensors.")
        record = {
            "languages": self.languages,
            "site": self.site,
            "threshold": self.threshold,
            "window": self.window,
            "sources": dict(self.sources),
            "windows_a_block": None if self.windows is None else self.windows.size,
            "provenance": self.provenance.to_json(),
        }
        content = packed(_KIND, self._arrays(), record)
        return write_file(path, content, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "ActivationCounts":
        """Read what :meth:`save` wrote.

        Raises:
            LensLocError: if the file is missing, damaged, or holds something else.
        """
        if path_of(path).suffix.lower() == SUFFIX:
            return super().load(path)
        return unpacked(path_of(path), _KIND, _WHAT, cls._of_record)

    @classmethod
    def _of_record(
        cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
    ) -> "ActivationCounts":
        for name, found in tensors.items():
            if found.is_floating_point() or found.is_complex():
                raise TypeError(f"{name} holds no whole numbers")
        if tensors["counts"].ndim != 3 or tensors["tokens"].ndim != 1:
            raise ValueError("counts are [layer, neuron, language], and tokens [language]")
        size = part_of(record, "windows_a_block", int, type(None))
        windows, sources = None, part_of(record, "sources", dict)
        if size is not None:
            windows = WindowCounts(
                tensors["window_counts"],
                tensors["window_tokens"],
                tensors["window_language"],
                size,
            )
        return cls(
            tensors["counts"],
            tensors["tokens"],
            texts_of(record, "languages"),
            site=part_of(record, "site", str),
            threshold=_finite(part_of(record, "threshold", float, int)),
            window=part_of(record, "window", int, type(None)),
            sources={name: texts_of(sources, name) for name in sources},
            provenance=Provenance.from_json(part_of(record, "provenance", str)),
            windows=windows,
        )

    @classmethod
    def from_published(
        cls, files: Mapping[str, str | Path], *, site: str = "mlp_pre", model: str = ""
    ) -> "ActivationCounts":
        """Read the files that the published code records, one per language.

        Each is a torch file of a dictionary that holds at least ``n``, the number of tokens, and
        ``over_zero``, whole numbers ``[layer, neuron]``. Nothing but tensors, numbers and
        containers is unpickled.

        Args:
            files: language -> file.
            site: where the neurons' sign was read.
            model: name of the model, which the files do not say.

        Raises:
            LensLocError: if a file is missing, is no torch file, asks for more to be unpickled, is
                not of this format, or has another shape than the one before.
        """
        if not files:
            raise LensLocError("No file of counts was given; name one per language.")
        counts: list[Tensor] = []
        tokens: list[int] = []
        for file in map(Path, files.values()):
            n, over_zero = _published(file)
            if counts and over_zero.shape != counts[0].shape:
                raise LensLocError(
                    f"{file} counts {_size(over_zero)} neurons, but the file before it "
                    f"{_size(counts[0])}; give files of one model."
                )
            counts.append(over_zero)
            tokens.append(n)
        return cls(
            torch.stack(counts, dim=-1),
            torch.tensor(tokens),
            tuple(files),
            site=site,
            provenance=Provenance(model=model, site=site),
        )


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return float(number)


def _published(path: Path) -> tuple[int, Int64[Tensor, "layer neuron"]]:
    found = load_torch(path, "a published file of counts")
    if not isinstance(found, dict) or not {"n", "over_zero"} <= found.keys():
        raise LensLocError(
            f"{path} is not a published file of counts, a dictionary with n (tokens) and over_zero "
            "(an integer tensor [layer, neuron]); give another file."
        )
    n, over_zero = found["n"], found["over_zero"]
    if isinstance(n, Tensor) and n.numel() == 1:
        n = n.item()
    if not isinstance(n, int | float) or not math.isfinite(n) or n != int(n):
        raise LensLocError(f"{path}: n is the number of tokens, a whole number; {n!r} is not.")
    whole = isinstance(over_zero, Tensor) and not (
        over_zero.is_floating_point() or over_zero.is_complex()
    )
    if not whole or over_zero.ndim != 2 or over_zero.numel() == 0:
        raise LensLocError(
            f"{path}: over_zero is an integer tensor [layer, neuron]; this one is not."
        )
    return int(n), over_zero.to(torch.int64)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _size(counts: Int[Tensor, "layer neuron"]) -> str:
    return "x".join(map(str, counts.shape))


def _joined(
    a: ActivationCounts, b: ActivationCounts, languages: tuple[str, ...]
) -> WindowCounts | None:
    """Return the windows of both, in blocks of one size; None unless both kept them."""
    if a.windows is None or b.windows is None:
        return None
    size = math.lcm(a.windows.size, b.windows.size)
    parts = [part.windows.coarsened(size) for part in (a, b) if part.windows is not None]
    places = [
        torch.tensor([languages.index(name) for name in part.languages])[windows.language]
        for part, windows in zip((a, b), parts, strict=True)
    ]
    return WindowCounts(
        torch.cat([windows.counts for windows in parts]),
        torch.cat([windows.tokens for windows in parts]),
        torch.cat(places),
        size,
    )
