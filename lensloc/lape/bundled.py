"""The bundled prose and questions in five languages."""

from collections.abc import Sequence
from typing import Literal, get_args

from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.readers import read_csv
from lensloc.errors import LensLocError

Part = Literal["train", "held-out"]
LANGUAGES = ("en", "de", "tr", "fr", "es")


def prose(languages: Sequence[str] = LANGUAGES, part: Part = "train") -> dict[str, list[str]]:
    """Return bundled paragraphs on everyday topics, written for lensloc.

    Args:
        languages: of ``en``, ``de``, ``tr``, ``fr``, ``es``.
        part: ``"train"`` (63 paragraphs per language), to record on, or ``"held-out"`` (21), to
            measure on.

    Returns:
        Language -> texts.

    Raises:
        LensLocError: a language or part that there is not.
    """
    if part not in get_args(Part):
        raise LensLocError(f"part is 'train' or 'held-out'; {part!r} is neither.")
    _require_bundled(languages, "prose")
    return {
        language: [
            row.cells["text"]
            for row in read_csv(bundled_folder() / "prose" / f"{language}.csv", ("text", "part"))
            if row.cells["part"] == part
        ]
        for language in languages
    }


def questions(
    languages: Sequence[str] = LANGUAGES, *, limit: int | None = None, instruction: bool = True
) -> dict[str, list[str]]:
    """Return prompts: 20 bundled everyday questions, the same ones in every language.

    Each is ``Q: ...``, a new line, ``A:``; on a line before it stands an instruction to answer in
    that language, in that language.

    Args:
        languages: of ``en``, ``de``, ``tr``, ``fr``, ``es``.
        limit: use only so many, the first ones.
        instruction: whether the instruction is there.

    Returns:
        Language -> prompts.

    Raises:
        LensLocError: a language that there is not, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 question; {limit} is not.")
    _require_bundled(languages, "questions")
    rows = read_csv(
        bundled_folder() / "questions.csv", ("item", "language", "instruction", "question")
    )
    found: dict[str, list[str]] = {}
    for language in languages:
        own = [row.cells for row in rows if row.cells["language"] == language][:limit]
        found[language] = [
            prompt(cells["question"], cells["instruction"] if instruction else "") for cells in own
        ]
    return found


def prompt(question: str, instruction: str = "") -> str:
    """Return a question in the form in which it is asked."""
    return "\n".join(filter(None, (instruction, f"Q: {question}", "A:")))


def _require_bundled(languages: Sequence[str], what: str) -> None:
    names = (languages,) if isinstance(languages, str) else tuple(languages)
    unknown = [name for name in names if name not in LANGUAGES]
    if unknown or isinstance(languages, str) or not names:
        wrong = ", ".join(unknown) or "a list of them is needed"
        raise LensLocError(
            f"Bundled {what} are in {', '.join(LANGUAGES)} ({wrong}); give a list of these, or "
            "texts of your own."
        )
