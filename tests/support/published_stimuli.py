"""Stimuli in the form of the published files."""

import csv
from pathlib import Path

from lensloc import contrasts


def tom_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for code, word in (("b", "belief"), ("p", "photo")):
        for number in range(1, 11):
            (folder / f"{number}{code}_story.txt").write_text(
                f"Story {number} of {word} \n  goes on here.\n"
            )
            (folder / f"{number}{code}_question.txt").write_text(
                f"Is it {number}\n of {word}?\n\nTrue   False\n"
            )
    return folder


LANGUAGE = contrasts.language()


SENTENCES, NONWORDS = LANGUAGE.conditions["sentences"], LANGUAGE.conditions["nonwords"]


HEADER = [f"stim{i}" for i in range(1, 15)]


def published_rows(
    folder: Path, name: str, rows: list[list[str]], header: list[str] = HEADER
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def trial(number: int, text: str, code: str) -> list[str]:
    return [str(number), *text.upper().split(), code]
