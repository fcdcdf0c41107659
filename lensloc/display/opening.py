"""Any result, whatever it is: kept in a file, read again, and put beside others of its kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensloc.display.apart import require_apart
from lensloc.display.container import is_container, unpacked
from lensloc.display.kinds import class_of
from lensloc.display.places import is_folder, path_of
from lensloc.display.sealed import DamagedError, metadata_of
from lensloc.display.unjoined import unjoined_sentence
from lensloc.errors import LensLocError

_NPY = b"\x93NUMPY"
# Formats of .safetensors files of ours -> the kind that they hold.
_TENSORS = {
    "lensloc.UnitMask": "UnitMask",
    "lensloc.ActivationCounts": "ActivationCounts",
    "lensloc.lape.Identified": "Identified",
}
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")


def load(path: str | Path) -> Any:
    """Read a result, whatever it is: the file says so itself.

    Args:
        path: what ``.save`` of a result or :func:`lensloc.save` wrote, a mask of the published
            localizer (``.npy``), or language neurons and their counts (``.safetensors``).

    Returns:
        The result, of the class that it had; a table, or a dictionary of them.

    Raises:
        LensLocError: if the file is missing, damaged, of a later version, or no result.
    """
    path = path_of(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        what = "is a folder; name a file in it" if is_folder(path) else "cannot be read"
        reason = "" if is_folder(path) else f" ({error.strerror or error})"
        raise LensLocError(f"{path} {what}{reason}; check the path.") from error
    if is_container(start) and path.suffix.lower() not in _TABLES:
        return unpacked(path)
    if start.startswith(_NPY):
        return class_of("UnitMask").load(path)
    kind = _of_tensors(path)
    if kind is None:
        remedy = (
            "; tables of texts are read by ll.Contrast.from_file, others by pandas"
            if path.suffix.lower() in _TABLES
            else "; give a file that .save wrote"
        )
        raise LensLocError(f"{path} holds no result of lensloc{remedy}.")
    return class_of(kind).load(path)


def concat(results: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Put results of one kind into one, so that models and sweeps stand in one table and figure.

    Args:
        results: several of one kind: studies of lesions (of other models, networks, sizes);
            sweeps (of other models or plans, where a cell that several hold counts once);
            language matrices, answers or steering; encodings of the same people by other models or
            networks; localizations, or those by pairs, of other sites; responses to other stimuli,
            token by token too; surprisals of other texts; pairs; counts of neurons; or tables. As
            ``{name: result}``, the names stand where a study, a sweep or a table says its
            ``model``; of a sweep of several models, behind each of them.

    Returns:
        One of that kind. Two that hold the same rows are refused, since these would count twice.

    Raises:
        LensLocError: nothing to join, results of several kinds, or of a kind that means nothing
            when it is joined; what cannot stand in one table.
    """
    names = list(map(str, results)) if isinstance(results, Mapping) else None
    given = list(results.values()) if isinstance(results, Mapping) else list(results)
    if not given:
        raise LensLocError("There is nothing to join; give at least one result.")
    kinds = sorted({type(each).__name__ for each in given})
    if len(kinds) > 1:
        raise LensLocError(f"Results of one kind can be joined; {' and '.join(kinds)} are several.")
    join = getattr(type(given[0]), "_joined", None)
    if join is None and kinds != ["DataFrame"]:
        raise LensLocError(unjoined_sentence(kinds[0]))
    if names is not None:
        given = [_named(each, name) for each, name in zip(given, names, strict=True)]
    if join is None:
        import pandas as pd  # takes long to load

        rows = (map(repr, each.to_dict("records")) for each in given)
        require_apart(rows, "row", "leave it out of one, or give {name: table}")
        return pd.concat(given, ignore_index=True)
    return given[0] if len(given) == 1 else join(given)


def _named(result: Any, name: str) -> Any:
    if type(result).__name__ == "DataFrame":
        return result.assign(model=name)
    rename = getattr(result, "_named", None)
    if rename is None:
        raise LensLocError(
            f"A {type(result).__name__} does not say its model by a name that could be {name!r}; "
            "give a list."
        )
    return rename(name)


def _of_tensors(path: Path) -> str | None:
    """Return the kind that a .safetensors file holds; None of any other file."""
    try:
        metadata, names = metadata_of(path)
    except DamagedError:
        return None
    name = str(metadata.get("format", "")).rpartition("/")[0]
    if not name and "provenance" in metadata and "mask" in names:
        return "UnitMask"  # of the first version
    return _TENSORS.get(name)
