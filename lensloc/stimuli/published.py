"""Readers of the stimulus files that published localizers use."""

from pathlib import Path

from lensloc.errors import LensLocError
from lensloc.stimuli.contrast import Contrast, Row, read_csv

LANGUAGE_FILES = "langloc_fmri_run*_stim_set*.csv"

_N_WORDS = 12
_LABEL = f"stim{_N_WORDS + 2}"
_WORDS = [f"stim{column}" for column in range(2, _N_WORDS + 2)]
_CONDITIONS = {"S": "sentences", "N": "nonwords"}


def read_language(folder: str | Path) -> Contrast:
    """Read the published language localizer: sentences against nonwords.

    The folder holds ``langloc_fmri_run{1,2}_stim_set{1..5}.csv`` with the header
    ``stim1,...,stim14``: trial number, twelve words, ``S`` for a sentence or ``N`` for nonwords.
    Words are lower-cased and joined by spaces. Order: files by name, then rows.

    Raises:
        LensLocError: if the folder, a column, a word or a whole condition is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LensLocError(f"There is no stimulus folder {folder}; check the path.")
    files = sorted(folder.glob(LANGUAGE_FILES))
    if not files:
        raise LensLocError(
            f"{folder} holds no file named like langloc_fmri_run1_stim_set1.csv, "
            "the published language localizer's; check the path."
        )
    texts: dict[str, list[str]] = {name: [] for name in _CONDITIONS.values()}
    for file in files:
        for row in read_csv(file, (*_WORDS, _LABEL)):
            condition, text = _trial(file, row)
            texts[condition].append(text)
    for condition, found in texts.items():
        if not found:
            code = next(key for key, value in _CONDITIONS.items() if value == condition)
            raise LensLocError(
                f"{folder} holds no {condition} (no row has {_LABEL} {code!r}); both are needed."
            )
    return Contrast(
        "language",
        {name: tuple(found) for name, found in texts.items()},
        ("sentences",),
        ("nonwords",),
        source=str(folder),
    )


def _trial(file: Path, row: Row) -> tuple[str, str]:
    code = row.cells[_LABEL].strip()
    words = [row.cells[column].strip() for column in _WORDS]
    n_words = sum(bool(word) for word in words)
    if not code and words[-1].upper() in _CONDITIONS:
        n_words -= 1  # a row one word short has its label where the last word should be
    if n_words != _N_WORDS:
        raise LensLocError(
            f"{file}, row {row.number}: {n_words} words, but a trial has {_N_WORDS} "
            f"({_WORDS[0]} to {_WORDS[-1]}); fill in the row."
        )
    if code.upper() not in _CONDITIONS:
        raise LensLocError(
            f"{file}, row {row.number}: {_LABEL} is {code!r}; it says S (sentence) or N (nonwords)."
        )
    return _CONDITIONS[code.upper()], " ".join(words).lower()
