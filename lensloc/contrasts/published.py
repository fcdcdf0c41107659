"""Readers of the stimulus files that published localizers use."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from lensloc.arguments import OLD_SEEDS, require_seed
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.lines import split_lines
from lensloc.contrasts.protocols import PUBLISHED
from lensloc.contrasts.readers import Row, read_csv, read_text
from lensloc.contrasts.texts import text_fault
from lensloc.display.places import is_file, is_folder, path_of
from lensloc.errors import LensLocError

LANGUAGE_FILES = re.compile(r"langloc_fmri_run.*_stim_set.*\.csv", re.IGNORECASE)

_N_WORDS = 12
_N_TEXTS = 240
_LABEL = f"stim{_N_WORDS + 2}"
_WORDS = [f"stim{column}" for column in range(2, _N_WORDS + 2)]
_CONDITIONS = {"S": "sentences", "N": "nonwords"}

OPTIONS = ["True", "False"]
TOM_LAYOUT = (
    "{instruction}\nStory: {story}\nQuestion: {question}\n"
    "Options:\n- True\n- False\nAnswer: {answer}"
)
_N_STORIES = 10


def read_language(folder: str | Path) -> Contrast:
    """Read the published language localizer: sentences against nonwords.

    The folder holds ``langloc_fmri_run{1,2}_stim_set{1..5}.csv`` with the header
    ``stim1,...,stim14``: trial number, twelve words, ``S`` for a sentence or ``N`` for nonwords.
    Words are lower-cased and joined by spaces. Order: files by name, then rows.

    Raises:
        LensLocError: if the folder, a column, a word or a whole condition is missing.
    """
    folder = path_of(folder)
    if not is_folder(folder):
        raise LensLocError(f"There is no stimulus folder {folder}; check the path.")
    # The pattern passes over hidden files, which other systems leave there (._langloc...).
    files = sorted(file for file in folder.iterdir() if LANGUAGE_FILES.fullmatch(file.name))
    if not files:
        raise LensLocError(
            f"{folder} holds no file named like langloc_fmri_run1_stim_set1.csv, "
            "the published language localizer's; check the path, or give texts of your own in one "
            "table, with columns text and condition."
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
    contrast = Contrast(
        "language",
        {name: tuple(found) for name, found in texts.items()},
        ("sentences",),
        ("nonwords",),
        source=str(folder),
    )
    # Files of this form may be anybody's; so many trials per condition are the published set.
    whole = all(len(found) == _N_TEXTS for found in texts.values())
    stimuli = contrast.content_hash if whole else ""
    protocol = dataclasses.replace(PUBLISHED["language"], stimuli=stimuli)
    return dataclasses.replace(contrast, protocol=protocol)


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


def read_theory_of_mind(folder: str | Path, *, instruction: str, seed: int = 42) -> Contrast:
    """Read the published theory-of-mind localizer: false beliefs against false photographs.

    The folder, or a folder ``tomloc`` in it, holds ``{1..10}{b,p}_{story,question}.txt``. A
    story's lines are stripped and joined by spaces; a question is its file's first paragraph,
    joined likewise, followed by the options. The files hold no answers: these are drawn from True
    and False, beliefs first, with numpy's legacy generator.

    Args:
        folder: where the files are.
        instruction: the text that precedes every story.
        seed: of the answers.

    Raises:
        LensLocError: if the folder or a file is missing, empty or not UTF-8.
    """
    require_seed(seed, most=OLD_SEEDS)
    folder = path_of(folder)
    if not is_folder(folder):
        raise LensLocError(f"There is no stimulus folder {folder}; check the path.")
    if (folder / "tomloc").is_dir():
        folder = folder / "tomloc"
    draw = np.random.RandomState(seed)
    texts: dict[str, tuple[str, ...]] = {}
    for name, code in (("false-belief", "b"), ("false-photograph", "p")):
        texts[name] = tuple(
            TOM_LAYOUT.format(
                instruction=instruction,
                story=_joined(_content(_named(folder, f"{number}{code}_story.txt"))),
                question=_first_paragraph(_content(_named(folder, f"{number}{code}_question.txt"))),
                answer=draw.choice(OPTIONS),
            )
            for number in range(1, _N_STORIES + 1)
        )
    # Not the published stimuli to the letter: the instruction before them is in our words.
    return Contrast(
        "theory-of-mind",
        texts,
        ("false-belief",),
        ("false-photograph",),
        source=str(folder),
        protocol=PUBLISHED["theory-of-mind"],
    )


def _content(path: Path) -> str:
    if not is_file(path):
        raise LensLocError(
            f"There is no file {path}; the published theory-of-mind folder holds "
            "1b_story.txt to 10p_question.txt."
        )
    text = read_text(path)
    fault = text_fault(text)
    if fault is not None:
        raise LensLocError(f"{path} {fault}; correct it or fetch it again.")
    return text


def _named(folder: Path, name: str) -> Path:
    """Return the path of a file, whether its name is in capital letters or not."""
    alike = [file for file in folder.iterdir() if file.name.lower() == name]
    return folder / name if (folder / name).is_file() or not alike else alike[0]


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in split_lines(text)).strip()


def _first_paragraph(text: str) -> str:
    return _joined("\n".join(split_lines(text.strip())).split("\n\n")[0])
