"""The bundled contrasts, one function each. How the texts were made: ``stimuli/README.md``."""

import dataclasses
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lensloc.arguments import OLD_SEEDS, require_numbers, require_seed
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.protocols import PUBLISHED
from lensloc.contrasts.published import OPTIONS, TOM_LAYOUT, read_language, read_theory_of_mind
from lensloc.contrasts.readers import read_csv
from lensloc.display.plugins import CONTRASTS, called, plugin, plugin_names
from lensloc.errors import LensLocError

_PUBLISHED_SEED = 42
_NO_FILES = "There are no published stimulus files for {}; leave the folder {} out."
_INSTRUCTION = (
    "You will read a short story and then a statement about it. "
    "Decide whether the statement is true or false."
)


def language(folder: str | Path | None = None) -> Contrast:
    """Sentences against strings of nonwords (Fedorenko et al. 2010).

    Bundled: 240 items of twelve words in four conditions, lower case, without punctuation, equal
    in letters word for word: ``sentences``; ``word-lists``, the same words across sentences;
    ``jabberwocky``, nonwords for content words; ``nonwords``. Target: sentences; control: nonwords.

    Args:
        folder: read the published stimulus files from here instead (sentences and nonwords).

    Raises:
        LensLocError: if ``folder`` is not in the published format.
    """
    if folder is not None:
        return read_language(folder)
    return _bundled("language", "sentences", "nonwords")


def theory_of_mind(
    folder: str | Path | None = None,
    *,
    protocol: Literal["lensloc", "alkhamissi2024"] = "lensloc",
    seed: int = 42,
    instruction: str = _INSTRUCTION,
) -> Contrast:
    """False beliefs against outdated pictures, maps and signs (Saxe and Kanwisher 2003).

    A text is an instruction, a story, a statement with its options, and an answer. The answer is
    the correct one; with ``protocol="alkhamissi2024"`` it is drawn at random, as the published
    tool does, under ``seed`` (numpy's legacy generator, beliefs first).

    Args:
        folder: read ``{1..10}{b,p}_{story,question}.txt`` from here instead; these files hold no
            answers, so a random one is given under either protocol.
        protocol: how answers are chosen.
        seed: of random answers.
        instruction: the text that precedes every story.

    Raises:
        LensLocError: if ``folder`` lacks a file.
    """
    require_seed(seed, most=OLD_SEEDS)
    if folder is not None:
        return read_theory_of_mind(folder, instruction=instruction, seed=seed)
    columns = ("item", "condition", "story", "question", "answer")
    rows = read_csv(bundled_folder() / "theory_of_mind.csv", columns)
    draw = np.random.RandomState(seed)
    texts: dict[str, list[str]] = {"false-belief": [], "false-photograph": []}
    items: dict[str, list[str]] = {name: [] for name in texts}
    for name in texts:
        for row in (row.cells for row in rows if row.cells["condition"] == name):
            answer = row["answer"] if protocol == "lensloc" else str(draw.choice(OPTIONS))
            texts[name].append(
                TOM_LAYOUT.format(
                    instruction=instruction,
                    story=row["story"],
                    question=row["question"],
                    answer=answer,
                )
            )
            items[name].append(row["item"])
    return Contrast(
        "theory-of-mind",
        {name: tuple(found) for name, found in texts.items()},
        ("false-belief",),
        ("false-photograph",),
        source="the bundled stories",
        items={name: tuple(found) for name, found in items.items()},
        protocol=PUBLISHED["theory-of-mind"],
    )


def multiple_demand(*, legacy: bool = False, seed: int = 42) -> Contrast:
    """Hard against easy versions of a task (Fedorenko, Duncan and Kanwisher 2013).

    Bundled: 40 items each of sums, digit spans, letters to compare with earlier ones, and ordering
    puzzles, hard and easy. ``legacy=True`` gives the published 100 hard and 100 easy sums instead,
    value for value (operands 100-199 and 1-19, numpy's legacy generator, each condition re-seeded).

    Args:
        legacy: the published sums only.
        seed: of the published sums; theirs is 42.
    """
    require_seed(seed, most=OLD_SEEDS)
    if legacy:
        conditions = {"hard": _sums(100, 200, seed), "easy": _sums(1, 20, seed)}
        published = Contrast(
            "multiple-demand", conditions, ("hard",), ("easy",), source="the published sums"
        )
        # Value for value the published ones under their seed only.
        stimuli = published.content_hash if seed == _PUBLISHED_SEED else ""
        protocol = dataclasses.replace(PUBLISHED["multiple-demand"], stimuli=stimuli)
        return dataclasses.replace(published, protocol=protocol)
    kinds = ("sums", "digit-span", "n-back", "logic")
    return _bundled(
        "multiple_demand", [f"hard-{kind}" for kind in kinds], [f"easy-{kind}" for kind in kinds]
    )


def emotion() -> Contrast:
    """First-person statements of anger against neutral ones; beside them joy, fear and sadness.

    120 statements per condition, matched in words item by item. Other contrasts:
    ``emotion().with_roles(target="joy", control=["anger", "fear", "sadness"])``.
    """
    return _bundled("emotion", "anger", "neutral")


def formal() -> Contrast:
    """Plain English against Python, arithmetic and first-order logic; 120 texts each.

    Asks whether units that prefer language prefer it to other structured codes (Ivanova et al.
    2020; Amalric and Dehaene 2016).
    """
    return _bundled("formal", "english", ["python", "arithmetic", "logic"])


def languages() -> Contrast:
    """The same 150 sentences in English, German, Turkish, French and Spanish.

    Target: German (``de``); control: Turkish (``tr``). For another pair use ``with_roles``.
    """
    return _bundled("languages", "de", "tr")


_MAKERS: dict[str, Callable[..., Contrast]] = {
    "language": language,
    "theory-of-mind": theory_of_mind,
    "multiple-demand": multiple_demand,
    "emotion": emotion,
    "formal": formal,
    "languages": languages,
}
NAMES: tuple[str, ...] = tuple(_MAKERS)
"""The bundled contrasts of texts."""
OF_PICTURES: tuple[str, ...] = ("faces",)
"""Those of pictures, which come with a package of the extra ``lensloc[vision]``."""


def get(
    name: str, folder: str | Path | None = None, *, protocol: str = "lensloc", seed: int = 42
) -> Contrast:
    """Return the contrast of that name, as the command line does.

    Args:
        name: one of :data:`NAMES` or :data:`OF_PICTURES`, or of what an installed package offers
            (entry point ``lensloc.contrasts``, a function that returns a contrast).
        folder: the published files, for the contrasts that have some.
        protocol: ``"alkhamissi2024"`` gives the published form of theory of mind and multiple
            demand.
        seed: of random answers.

    Raises:
        LensLocError: if there is none of that name, or no published files for it; of another
            package, if it is broken.
    """
    require_numbers(seed=seed)
    if name in OF_PICTURES:
        if folder is not None:
            raise LensLocError(_NO_FILES.format(name, folder))
        from lensloc.contrasts.face_pictures import faces  # loads Pillow

        return faces()
    if name not in _MAKERS:
        if folder is not None and name in plugin_names(CONTRASTS):
            raise LensLocError(_NO_FILES.format(name, folder))
        return _plugged(name)
    options: dict[str, Any] = {}
    if name == "theory-of-mind":
        options = {"folder": folder, "protocol": protocol, "seed": seed}
    elif name == "language":
        options = {"folder": folder}
    elif folder is not None:
        raise LensLocError(_NO_FILES.format(name, folder))
    elif name == "multiple-demand":
        options = {"legacy": protocol == "alkhamissi2024"}
    return _MAKERS[name](**options)


def _plugged(name: str) -> Contrast:
    try:
        function = plugin(CONTRASTS, name)
    except KeyError:
        known = ", ".join((*NAMES, *OF_PICTURES))
        offered = plugin_names(CONTRASTS)
        more = f"; installed packages offer {', '.join(offered)}" if offered else ""
        raise LensLocError(
            f"There is no network {name!r}; the bundled ones are {known}{more}."
        ) from None
    made = called(CONTRASTS, name, function)
    if not isinstance(made, Contrast):
        raise LensLocError(
            f"The plug-in {name!r} of {CONTRASTS} gives something of type {type(made).__name__}, "
            "and not a Contrast; tell its authors."
        )
    return made


def bundled_folder() -> Path:
    """Return the folder of the bundled CSV files, in a checkout or in an installed package."""
    package = Path(str(resources.files("lensloc")))
    installed = package / "bundled_stimuli"
    return installed if installed.is_dir() else package.parent / "stimuli"


def _bundled(file: str, target: str | list[str], control: str | list[str]) -> Contrast:
    path = bundled_folder() / f"{file}.csv"
    name = file.replace("_", "-")
    found = Contrast.from_csv(path, target=target, control=control, item="item", name=name)
    return dataclasses.replace(found, protocol=PUBLISHED.get(name))


def _sums(low: int, high: int, seed: int, n: int = 100) -> tuple[str, ...]:
    draw = np.random.RandomState(seed)
    texts = []
    for _ in range(n):
        a, b = draw.randint(low, high), draw.randint(low, high)
        sign = draw.choice(["+", "-"])
        result = a + b if sign == "+" else a - b
        texts.append(f"Question: Solve {a} {sign} {b}?\nAnswer: {result}")
    return tuple(texts)
