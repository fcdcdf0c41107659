"""How a table is written: its separator and encoding, and which column holds what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensloc.contrasts.lines import TEXT_KINDS, kind_of
from lensloc.display.places import is_folder
from lensloc.errors import LensLocError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""What usually separates cells."""

TABLE_KINDS = (*SEPARATORS, ".jsonl", ".parquet")
"""Suffixes of files of tables, in small letters; all but Parquet may be compressed."""

# What is tried where a header does not hold the usual one: a spreadsheet writes semicolons where a
# comma is decimal.
_OTHERS = (",", ";", "\t", "|")
_MOST_SHOWN, _LONGEST_SHOWN = 12, 40
_SPELLED = {"tab": "\t", r"\t": "\t"}


@dataclass(frozen=True)
class TableForm:
    """How a table is written.

    Attributes:
        columns: name that is asked for -> name of the column, where it is another.
        sep: what separates cells; what the header shows if None (see :meth:`separator`).
        encoding: by name; what a byte order mark says, or UTF-8, if None.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    sep: str | None = None
    encoding: str | None = None

    @classmethod
    def of(
        cls,
        columns: Mapping[str, str] | None = None,
        sep: str | None = None,
        encoding: str | None = None,
    ) -> "TableForm":
        """Check what was given.

        Raises:
            LensLocError: a column that is no name, a separator that is no single character.
        """
        for name, title in (columns or {}).items():
            if not isinstance(title, str):
                raise LensLocError(f"{name} names a column, as a text; {title!r} does not.")
        sep = _SPELLED.get(sep, sep) if isinstance(sep, str) else sep
        if sep is not None and (not isinstance(sep, str) or len(sep) != 1 or sep in '\r\n"'):
            raise LensLocError(f"sep is one character, e.g. ';' or 'tab'; {sep!r} is not.")
        renamed = {name: title for name, title in (columns or {}).items() if name != title}
        return cls(renamed, sep, encoding)

    @property
    def said(self) -> dict[str, Any]:
        """What was said, as arguments: ``sep``, ``encoding`` and names of columns."""
        options = {"sep": self.sep, "encoding": self.encoding}
        return {**self.columns, **{k: v for k, v in options.items() if v is not None}}

    def require_unsaid(self, what: str) -> None:
        """Check that nothing was said, where no file is read.

        Raises:
            LensLocError: if something was; ``what`` says what is read instead.
        """
        for name, value in self.said.items():
            raise LensLocError(
                f"{name}={value!r} says how a file is read, and {what} is none; leave it out."
            )

    def fitted(self, path: Path) -> "TableForm":
        """Return what makes sense for a file, or for those of a folder, and nothing else."""
        folder, kind = is_folder(path), kind_of(path)
        return TableForm(
            self.columns if folder or kind in TABLE_KINDS else {},
            self.sep if folder or kind in SEPARATORS else None,
            self.encoding if folder or kind in TEXT_KINDS else None,
        )

    def require_fits(self, *paths: Path) -> None:
        """Check that what was said makes sense for one file at least.

        Raises:
            LensLocError: a separator for files without one, an encoding for files that have their
                own.
        """
        fitted = [self.fitted(path) for path in paths]
        names = ", ".join(map(str, paths)) or "what was given"
        if self.sep is not None and not any(form.sep for form in fitted):
            raise LensLocError(
                f"sep is for {' and '.join(SEPARATORS)} files, not for {names}; leave it out."
            )
        if self.encoding is not None and not any(form.encoding for form in fitted):
            raise LensLocError(f"encoding is for files of text, not for {names}; leave it out.")
        for name, title in self.columns.items():
            if not any(form.columns for form in fitted):
                raise LensLocError(
                    f"{name}={title!r} names a column of a table ({', '.join(TABLE_KINDS)}), and "
                    f"{names} is none; leave it out."
                )

    def separator(
        self, header: str, columns: Sequence[str], kind: str, optional: Sequence[str] = ()
    ) -> tuple[str, str]:
        """Return what separates cells, and a hint if it may be something else.

        Where nothing was said, it is what makes the header hold most of what is asked for; among
        equals the usual one, unless the header has only another.

        Args:
            header: first line of the file.
            columns: what is asked for.
            kind: of the file.
            optional: what is asked for if it is there.
        """
        if self.sep is not None:
            return self.sep, ""
        usual = SEPARATORS[kind]
        asked = {folded(self.columns.get(name, name)) for name in (*columns, *optional)}

        def rank(separator: str) -> tuple[int, bool]:
            titles = {folded(title.strip().strip('"')) for title in header.split(separator)}
            return len(asked & titles), separator in header

        chosen = max((usual, *_OTHERS), key=rank)  # the first of several equals
        most = max(_OTHERS, key=header.count)
        if columns and chosen == usual and header.count(most) > header.count(usual):
            return chosen, f"; if {most!r} separates them, say sep={most!r}"
        return chosen, ""

    def places(
        self,
        present: Sequence[str],
        columns: Sequence[str],
        optional: Sequence[str] = (),
        *,
        where: str,
        what: str = "column",
        hint: str = "",
    ) -> dict[str, int]:
        """Return where the columns stand that are asked for.

        A column is found by its name, or if there is none of just that name, by one that differs
        in small and capital letters or in blanks around it.

        Args:
            present: names of the columns that are there, in order.
            columns: what is asked for.
            optional: what is asked for if it is there.
            where: the table, in words.
            what: what a column is called there.
            hint: end of the sentence if one is missing.

        Raises:
            LensLocError: if one is missing, or there twice.
        """
        places: dict[str, int] = {}
        for name in dict.fromkeys((*columns, *optional)):
            asked = self.columns.get(name, name)
            found = [place for place, title in enumerate(present) if title == asked]
            found = found or [
                place for place, title in enumerate(present) if folded(title) == folded(asked)
            ]
            if len(found) > 1:
                titles = " and ".join(repr(present[place]) for place in found[:2])
                raise LensLocError(
                    f"{where} has {len(found)} {what}s for {asked!r} ({titles}); rename or remove "
                    "all but one."
                )
            if found:
                places[name] = found[0]
            elif name in columns or name in self.columns:
                raise LensLocError(
                    f"{where} lacks the {what} {asked!r}; it has {enumerated(present)}{hint}."
                )
        return places


def enumerated(names: Sequence[Any]) -> str:
    """Return names of columns for a message, which stays a sentence whatever a header holds."""
    shown = [" ".join(str(name).split()) for name in names[:_MOST_SHOWN]]
    shown = [name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…" for name in shown]
    shown = [name if name and "," not in name else repr(name) for name in shown]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"and {more:,} more"] if more else [])]) or "none"


def folded(name: str) -> str:
    """Return a name as it is compared where no column has just that name."""
    return name.strip().casefold()
