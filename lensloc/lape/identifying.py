"""ActivationCounts -> one UnitMask per language, by the published rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import xxhash
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.arguments import require_a, require_named
from lensloc.display import markup
from lensloc.display.container import SUFFIX
from lensloc.display.files import write_file
from lensloc.display.places import path_of
from lensloc.display.savable import Savable
from lensloc.display.sentences.neurons import language_notes
from lensloc.errors import LensLocError, noted
from lensloc.lape.archive import packed, part_of, texts_of, unpacked
from lensloc.lape.counts import ActivationCounts
from lensloc.lape.entropy import entropies, kept_by_filter, percentile
from lensloc.lape.nulls import Null
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.selection import ranked

_KIND = "lensloc.lape.Identified/1"


@dataclass(frozen=True, eq=False)
class Identified(Savable):
    """The neurons of every language.

    Attributes:
        masks: language -> its neurons; a neuron may belong to several languages. Each carries the
            ranking (the negative entropy; minus infinity for neurons that are not its own).
        table: one row per language: ``language``, ``tokens``, ``neurons``, ``per_layer`` (a list),
            ``mean_entropy`` (nats), the three values that decided (``filter_value`` and
            ``bar_value``, probabilities; ``entropy_value``, the highest entropy taken, nats) and,
            where a null was given, ``null_entropy`` (the null's 1 %, nats) and ``below_null`` (the
            share of the language's neurons below it).
        entropy: ``[layer, neuron]``, nats; infinite for a neuron that is never active.
        probabilities: ``[layer, neuron, language]``.
        selected: ``[layer, neuron]``, the neurons of lowest entropy, before they were dealt out.
    """

    masks: Mapping[str, UnitMask]
    table: pd.DataFrame
    entropy: Float[Tensor, "layer neuron"]
    probabilities: Float[Tensor, "layer neuron language"]
    selected: Bool[Tensor, "layer neuron"]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user of the neurons should know, in sentences."""
        return tuple(
            sentence
            for row in self.table.to_dict("records")
            for sentence in language_notes(
                str(row["language"]), int(row["neurons"]), float(row.get("below_null", math.nan))
            )
        )

    def _line(self) -> str:
        counts = ", ".join(f"{name} {len(mask):,}" for name, mask in self.masks.items())
        return f"Identified({int(self.selected.sum()):,} neurons; {counts})"

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _repr_html_(self) -> str:
        columns = ["language", "tokens", "neurons", "mean_entropy", "null_entropy", "below_null"]
        rows = [
            {name: row[name] for name in columns if name in row}
            for row in self.table.to_dict("records")
        ]
        return markup.card(self._line(), markup.table(rows), warnings=self.warnings)

    @property
    def per_layer(self) -> pd.DataFrame:
        """Number of neurons, one row per language and layer: ``language, layer, neurons``."""
        rows = [
            {"language": language, "layer": layer, "neurons": count}
            for language, mask in self.masks.items()
            for layer, count in enumerate(mask.per_layer().tolist())
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything to one ``.safetensors`` (or ``.lensloc``) file, whole or not at all.

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
            raise LensLocError(
                f"{path} has an unknown suffix; language neurons are written as .safetensors, or "
                "by write_neurons in the published format."
            )
        tensors = {f"{row}.mask": mask.mask for row, mask in enumerate(self.masks.values())}
        tensors |= {
            "entropy": self.entropy,
            "probabilities": self.probabilities,
            "selected": self.selected,
        }
        record = {
            "languages": list(self.masks),
            "sites": [mask.site for mask in self.masks.values()],
            "provenance": [mask.provenance.to_json() for mask in self.masks.values()],
            "columns": list(self.table.columns),
            "table": self.table.to_dict("list"),
        }
        return write_file(path, packed(_KIND, tensors, record), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "Identified":
        """Read what :meth:`save` wrote.

        Raises:
            LensLocError: if the file is missing, damaged, or holds something else.
        """
        if path_of(path).suffix.lower() == SUFFIX:
            return super().load(path)
        return unpacked(path_of(path), _KIND, "a file of language neurons", cls._of_record)

    @classmethod
    def _of_record(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> "Identified":
        masks = {}
        known = [texts_of(record, name) for name in ("languages", "sites", "provenance")]
        columns, table = texts_of(record, "columns"), part_of(record, "table", dict)
        if set(table) != set(columns) or not all(isinstance(c, list) for c in table.values()):
            raise ValueError(f"its table has the columns {', '.join(table)}")
        for name in ("entropy", "probabilities", "selected"):
            if tensors[name].is_complex():
                raise TypeError(f"{name} is complex")
        for row, (language, site, made) in enumerate(zip(*known, strict=True)):
            mask = tensors[f"{row}.mask"]
            if mask.dtype is not torch.bool or mask.shape != tensors["entropy"].shape:
                raise ValueError(f"the mask of {language} is not one of its neurons")
            score = own_score(mask, tensors["entropy"])
            masks[language] = UnitMask(site, mask, Provenance.from_json(made), score=score)
        return cls(
            masks,
            pd.DataFrame(table, columns=list(columns)),
            tensors["entropy"],
            tensors["probabilities"],
            tensors["selected"],
        )

    def other_language(self, language: str, other: str) -> UnitMask:
        """Return as many of another language's own neurons, as a control: lowest entropy first.

        Neurons that both languages have are left out.

        Raises:
            LensLocError: if one of the languages is not there, or the other has fewer neurons.
        """
        for name in (language, other):
            if name not in self.masks:
                raise LensLocError(
                    f"There are no neurons of {name!r}; there are those of {', '.join(self.masks)}."
                )
        wanted = self.masks[language]
        own = self.masks[other] - wanted
        if len(own) < len(wanted):
            raise LensLocError(
                f"{other!r} has only {len(own)} neurons that {language!r} has not, fewer than the "
                f"{len(wanted)} of {language!r}; take another language, or fewer neurons."
            )
        score = torch.where(own.mask, -self.entropy, -torch.inf)
        chosen = ranked(score)[: len(wanted)]
        made = self.masks[other].provenance
        made = made.replace(selection=f"{made.selection}, as many as of {language}, none of them")
        return UnitMask.from_indices(wanted.site, chosen, wanted.shape, made, score=score)


def identify(
    counts: ActivationCounts,
    top_rate: float = 0.01,
    filter_rate: float = 0.95,
    bar: float = 0.95,
    *,
    site: str | None = None,
    null: Null | None = None,
) -> Identified:
    """Find the neurons whose activity is confined to few languages (Tang et al. 2024).

    With ``p`` the share of a language's tokens at which a neuron is active, and LAPE the entropy of
    a neuron's p over languages, normalised to sum 1: dismiss the neurons none of whose p exceeds
    the percentile ``filter_rate`` of all p; of the rest take the ``round(top_rate * all neurons)``
    of lowest LAPE; a neuron belongs to every language whose p exceeds the percentile ``bar`` of all
    p. A percentile is the ``round(rate * n)``-th smallest of n values (Python's ``round``).

    Where the published code leaves something open: p and entropies are float64 (there float32);
    of equal entropies the lower layer, then the lower neuron comes first (there whatever
    ``torch.topk`` gives); and where fewer neurons pass the filter than are to be taken, that is an
    error (there dismissed ones are taken).

    Args:
        counts: of at least two languages.
        top_rate: share of all neurons that is taken.
        filter_rate: share of all p that some p of a neuron must exceed for it to be considered.
        bar: share of all p that a neuron's p must exceed for it to belong to the language.
        site: of the masks. ``mlp_post`` for neurons counted at ``mlp_pre``, since switching a
            neuron off means that its output is zero; otherwise where they were counted.
        null: how low an entropy chance reaches (:func:`lensloc.lape.null`), for the table.

    Raises:
        LensLocError: one language only; a rate that is none, or that marks no neuron; too few
            neurons that pass the filter; a null of other counts.
    """
    require_a(ActivationCounts, counts, "counts")
    require_languages(counts)
    if null is not None:
        null.require_same(counts)
    n_neurons = math.prod(counts.shape)
    wanted = round(n_neurons * top_rate) if 0 < top_rate <= 1 else 0
    if wanted < 1:
        raise LensLocError(
            f"top_rate is above 0 and at most 1, and marks at least one of {n_neurons} neurons; "
            f"{top_rate:g} does not."
        )
    probabilities = counts.probabilities
    filter_value = percentile(probabilities.flatten(), filter_rate, "filter_rate")
    bar_value = percentile(probabilities.flatten(), bar, "bar")
    entropy = entropies(probabilities)
    kept = kept_by_filter(probabilities.flatten(0, 1), filter_value).reshape(counts.shape)
    if int(kept.sum()) < wanted:
        raise LensLocError(
            f"Only {int(kept.sum())} of {n_neurons} neurons have a probability above the "
            f"{filter_rate:g} percentile ({float(filter_value):.4g}), fewer than the {wanted} "
            "asked for; lower top_rate or filter_rate."
        )
    chosen = ranked(torch.where(kept, entropy, torch.inf), descending=False)[:wanted]
    selected = torch.zeros(n_neurons, dtype=torch.bool)
    selected[chosen] = True
    selected = selected.reshape(counts.shape)
    words = f"LAPE, lowest {top_rate:g} of {n_neurons}, filter {filter_rate:g}, bar {bar:g}"
    at = site or ("mlp_post" if counts.site == "mlp_pre" else counts.site)
    masks = {
        language: _mask(
            counts, language, selected & (probabilities[..., place] > bar_value), entropy, at, words
        )
        for place, language in enumerate(counts.languages)
    }
    decided = {
        "filter_value": float(filter_value),
        "bar_value": float(bar_value),
        "entropy_value": float(entropy.flatten()[chosen[-1]]),
    }
    table = _table(counts, masks, entropy, decided, null)
    return Identified(masks, table, entropy, probabilities, selected)


def require_languages(counts: ActivationCounts) -> None:
    """Check that there are languages to tell apart.

    Raises:
        LensLocError: if there is one only.
    """
    if len(counts.languages) < 2:
        raise LensLocError(
            f"There are counts of one language only ({', '.join(counts.languages)}), in which no "
            "neuron can be specific; record another and add the two."
        )


def require_neurons(masks: Mapping[str, UnitMask]) -> None:
    """Check that every language has neurons.

    Raises:
        LensLocError: if one has none, or there is no language.
    """
    require_named(UnitMask, masks, "Neurons", like="{language: mask}")
    if not masks:
        raise LensLocError(
            "There is no language whose neurons to switch off; give {language: mask}."
        )
    empty = [name for name, mask in masks.items() if len(mask) == 0]
    if empty:
        raise LensLocError(
            f"No neuron was identified for {', '.join(empty)}, so there is nothing to switch off; "
            "leave it out, or identify with a higher top_rate or a lower bar."
        )


def _mask(
    counts: ActivationCounts,
    language: str,
    own: Bool[Tensor, "layer neuron"],
    entropy: Float[Tensor, "layer neuron"],
    site: str,
    words: str,
) -> UnitMask:
    others = tuple(name for name in counts.languages if name != language)
    text = repr(sorted((name, hashes) for name, hashes in counts.sources.items()))
    made = counts.provenance.replace(
        contrast=f"{language} > {', '.join(others)}",
        contrast_hash=f"xxh3:{xxhash.xxh3_128_hexdigest(text.encode())}" if counts.sources else "",
        target=(language,),
        control=others,
        site=site,
        selection=words,
    )
    return UnitMask(site, own, made, score=own_score(own, entropy))


def own_score(
    own: Bool[Tensor, "layer neuron"], entropy: Float[Tensor, "layer neuron"]
) -> Float[Tensor, "layer neuron"]:
    """Return the ranking of a language's neurons: the lower the entropy, the better."""
    return torch.where(own, -entropy, -torch.inf)


def _table(
    counts: ActivationCounts,
    masks: Mapping[str, UnitMask],
    entropy: Float[Tensor, "layer neuron"],
    decided: Mapping[str, float],
    null: Null | None,
) -> pd.DataFrame:
    rows = []
    for place, (language, mask) in enumerate(masks.items()):
        own = entropy[mask.mask]
        row = {
            "language": language,
            "tokens": int(counts.tokens[place]),
            "neurons": len(mask),
            "per_layer": mask.per_layer().tolist(),
            "mean_entropy": float(own.mean()) if len(own) else math.nan,
            **decided,
        }
        if null is not None:
            below = float((own < null.threshold).double().mean()) if len(own) else math.nan
            row |= {"null_entropy": null.threshold, "below_null": below}
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table
