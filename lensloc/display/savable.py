"""What all results can do: be kept in a file, read again, and leave as a table."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensloc.display.container import SUFFIX, identity_in, packed, unpacked
from lensloc.display.exports import csv_of, latex_of
from lensloc.display.files import require_free, write_file
from lensloc.display.places import path_of
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self


class Savable:
    """A result that can be kept in one file, and whose table can be used elsewhere."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the result to one file, whole or not at all; :func:`lensloc.load` reads it.

        The file is a zip of JSON, safetensors and Parquet that knows when it was damaged. Nothing
        in it is pickled, and every number comes back to the last bit.

        Args:
            path: the file; its name ends in ``.lensloc``.
            overwrite: replace a file that is there. The same result, made at another time, is no
                other one, so that a notebook can be run again.

        Raises:
            LensLocError: for another suffix, or a place that cannot be written or is taken.
        """
        return write_result(self, path_of(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "Self":
        """Read what :meth:`save` wrote.

        Raises:
            LensLocError: if the file is missing, damaged, of a later version, or holds something
                else.
        """
        found: Self = unpacked(path_of(path), cls.__name__)
        return found

    def push_to_hub(
        self, repo: str, *, name: str | None = None, private: bool = False, token: str | None = None
    ) -> str:
        """Put the result into a repository of the Hugging Face hub, with a card that describes it.

        Made anew, or a new commit of one that is there. On the card its own section is written;
        what else stands there stays.

        Args:
            repo: ``"somebody/name"``.
            name: of the file; ``mask.safetensors`` for a mask, ``lesion-study.lensloc`` for a study
                of lesions, and so on, if None.
            private: whether a repository that is made is private.
            token: of the hub; that of ``hf auth login`` if None.

        Returns:
            The repository's address.

        Raises:
            LensLocError: if the hub does not take it, or for a name of another suffix.
        """
        from lensloc.display import hub  # of which most need nothing

        name = name or hub.default_name(type(self).__name__)
        with tempfile.TemporaryDirectory() as folder:
            content = self.save(Path(folder) / Path(name).name).read_bytes()
        return hub.push(self, content, repo, name, private=private, token=token)

    @classmethod
    def from_hub(
        cls,
        repo: str,
        *,
        name: str | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> "Self":
        """Read what :meth:`push_to_hub` put into a repository of the Hugging Face hub.

        What was fetched before is kept in the hub's own cache, and read from there without network.

        Args:
            repo: ``"somebody/name"``.
            name: of the file, if it is not the usual one.
            revision: a branch, tag or commit; the newest if None.
            token: of the hub, for private repositories.

        Raises:
            LensLocError: if it cannot be had, or is damaged or something else.
        """
        from lensloc.display import hub

        name = name or hub.default_name(cls.__name__)
        return cls.load(hub.pull(repo, name, revision=revision, token=token))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the result's table."""
        table: pd.DataFrame = self.table.copy()  # type: ignore[attr-defined]
        return table

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the table of :meth:`to_dataframe` as CSV, for a spreadsheet.

        A text that a spreadsheet would take for a formula gets an apostrophe in front.

        Args:
            path: the file; its name ends in ``.csv``.
            overwrite: replace a file that is there.

        Raises:
            LensLocError: for another suffix, or a place that cannot be written or is taken.
        """
        path = path_of(path)
        if path.suffix.lower() != ".csv":
            raise LensLocError(f"{path} must end in .csv; {SUFFIX} files are written by save.")
        content = csv_of(self.to_dataframe()).encode(errors="backslashreplace")
        return write_file(path, content, overwrite=overwrite)

    def to_latex(self, columns: Sequence[str] | None = None, *, digits: int = 3) -> str:
        r"""Return the table of :meth:`to_dataframe` as LaTeX (``\usepackage{booktabs}``).

        Args:
            columns: which, in which order; all if None.
            digits: behind the point, of numbers that are not whole.

        Raises:
            LensLocError: for a column that the table does not have.
        """
        table = self.to_dataframe()
        if digits < 0:
            raise LensLocError(f"digits is at least 0; {digits} is not.")
        if columns is not None:
            wanted = [columns] if isinstance(columns, str) else list(columns)
            missing = [name for name in wanted if name not in table.columns]
            if missing:
                raise LensLocError(
                    f"The table has no column {missing[0]!r}; it has "
                    f"{', '.join(map(str, table.columns))}."
                )
            table = table[wanted]
        return latex_of(table, digits)


def write_result(value: Any, path: Path, *, overwrite: bool) -> Path:
    """Write a result, a table or a dictionary of them.

    Raises:
        LensLocError: for another suffix, what cannot be kept, or a place that cannot be written or
            is taken.
    """
    if path.suffix.lower() != SUFFIX:
        remedy = "; to_csv writes its table" if path.suffix.lower() == ".csv" else ""
        raise LensLocError(
            f"{path} must end in {SUFFIX}, in which results are kept{remedy}; call it "
            f"{path.with_suffix(SUFFIX).name or 'result.lensloc'}."
        )
    written = packed(value)
    if not overwrite and path.is_file() and identity_in(path) != written.identity:
        require_free(path, overwrite=False)
    return write_file(path, written.content, overwrite=overwrite or path.is_file())
