"""The published files of language neurons: a list over languages of lists over layers."""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from lensloc.display.files import write_file
from lensloc.display.places import path_of
from lensloc.errors import LensLocError
from lensloc.lape.torch_files import load_torch
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance

log = logging.getLogger(__name__)

PUBLISHED_LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
"""The order of the languages in the released files, as their page has it; some hold fewer."""


def read_neurons(
    path: str | Path,
    n_neurons: int,
    *,
    names: Sequence[str] | None = None,
    site: str = "mlp_post",
    model: str = "",
) -> dict[str, UnitMask]:
    """Read a published ``*.neuron.pth``: a list over languages of a list over layers of indices.

    Nothing but tensors and lists is unpickled. The file names no language, so its number is told
    in the log, and ``names`` must be as many. (The published code drops a language for which it
    found no neuron if it comes last, and leaves no trace of it.)

    Args:
        path: the file.
        n_neurons: neurons per layer of the model, which the file does not say.
        names: of the languages, in the file's order, e.g. :data:`PUBLISHED_LANGUAGES`; "0", "1",
            ... if None.
        site: of the neurons.
        model: name of the model, which the file does not say.

    Returns:
        Language -> its neurons ``[layer, neuron]``.

    Raises:
        LensLocError: if the file is missing, is no torch file, asks for more to be unpickled, is
            not of this format, has a neuron that the model lacks, or another number of languages
            than ``names``.
    """
    path = path_of(path)
    found = _require_lists(load_torch(path, "a file of language neurons"), path)
    log.info("%s holds the neurons of %d languages", path, len(found))
    if names is None:
        names = [str(number) for number in range(len(found))]
        log.warning(
            "%s holds the neurons of %d languages and does not name them; give their names, in "
            "order, as names",
            path,
            len(found),
        )
    if len(names) != len(found) or len(set(names)) != len(names):
        raise LensLocError(
            f"{path} holds the neurons of {len(found)} languages, but names has "
            f"{len(set(names))} ({', '.join(names)}); give one name each, in the file's order."
        )
    return {
        name: UnitMask(
            site,
            torch.stack(
                [
                    _layer(indices, n_neurons, f"{path}, language {name}, layer {layer}")
                    for layer, indices in enumerate(layers)
                ]
            ),
            Provenance(
                model=model,
                site=site,
                target=(name,),
                control=tuple(other for other in names if other != name),
                selection=f"imported from {path.name}",
            ),
        )
        for name, layers in zip(names, found, strict=True)
    }


def write_neurons(
    path: str | Path, masks: Mapping[str, UnitMask], *, overwrite: bool = False
) -> Path:
    """Write masks in the published format, whole or not at all; names and provenance are lost.

    Args:
        path: the file, ``*.neuron.pth`` by custom.
        masks: language -> neurons; the file has their order.
        overwrite: replace a file that is there.

    Raises:
        LensLocError: no mask, masks of different sites or shapes, or a place that cannot be
            written or is taken.
    """
    if not masks:
        raise LensLocError("There are no neurons to write; give a mask per language.")
    different = {(mask.site, mask.shape) for mask in masks.values()}
    if len(different) > 1:
        raise LensLocError(
            "Neurons of different sites or models cannot be in one file "
            f"({' and '.join(f'{site} {n}x{m}' for site, (n, m) in sorted(different))}); "
            "write a file each."
        )
    lists = [[units.nonzero().squeeze(1) for units in mask.mask] for mask in masks.values()]
    buffer = io.BytesIO()
    torch.save(lists, buffer)
    return write_file(path_of(path), buffer.getvalue(), overwrite=overwrite)


def _require_lists(found: Any, path: Path) -> list[list[Any]]:
    several = isinstance(found, list | tuple) and len(found) > 0
    if not several or not all(isinstance(layers, list | tuple) and layers for layers in found):
        raise LensLocError(
            f"{path} is not a file of language neurons, a list over languages of lists over layers "
            "of indices; give another file."
        )
    if len({len(layers) for layers in found}) > 1:
        raise LensLocError(
            f"{path} has different numbers of layers for its {len(found)} languages; fetch or make "
            "it again."
        )
    return [list(layers) for layers in found]


def _layer(indices: Any, n_neurons: int, where: str) -> Bool[Tensor, " neuron"]:
    """Return which neurons of a layer the indices name."""
    if not isinstance(indices, Tensor) or indices.ndim != 1:
        raise LensLocError(f"{where}: not a row of indices; fetch or make the file again.")
    for index in indices.tolist():
        if type(index) is not int or not 0 <= index < n_neurons:
            raise LensLocError(
                f"{where}: the neuron {index} does not exist among {n_neurons}; say how many "
                "neurons per layer of the model has, or give the file of another model."
            )
    mask = torch.zeros(n_neurons, dtype=torch.bool)
    mask[indices.long()] = True
    return mask
