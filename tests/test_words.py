"""The words of docs, messages and docstrings: "tokens per second", not "tokens a second"."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READ = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(
        path for kind in ("py", "js", "jinja") for path in (ROOT / "lensloc").rglob(f"*.{kind}")
    ),
]
# What is counted, and for each of what. "How many tokens a text has" is another matter.
COUNTED = """
    bits bytes cells characters colour column columns cycles entry gain file heads items label
    log-probability nats neurons numbers once one operations pairs panel paragraphs pass prompts
    questions row rows samples sentences sequences stimuli texts tokens trials units values windows
""".split()
EACH = """
    batch byte class condition draw group item kind language layer lesion line localization map
    model network neuron node pair paradigm parameter permutation picture process question response
    row second seed sequence shard site stimulus task text time token unit window word
""".split()
OTHERWISE = "does exceeds has holds is keeps makes must needs sees takes whose".split()
FOR_EACH = re.compile(
    rf"\b(?:{'|'.join(COUNTED)})\s+an?\s+(?:{'|'.join(EACH)})\b"
    rf"(?!['’-]|\s+(?:{'|'.join(OTHERWISE)})\b)"
)
BETWEEN_STRINGS = re.compile(r"\"\s*\n\s*f?\"")


def for_each(text: str) -> list[str]:
    """Return where "a" stands for "per", as it stands there."""
    found = FOR_EACH.findall(BETWEEN_STRINGS.sub("", text))
    return [" ".join(words.split()) for words in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("reads 164 tokens a second", ["tokens a second"]),
        ("one row a\n    unit, and one column", ["row a unit"]),
        ('f"{n} nats "\n        f"a token"', ["nats a token"]),
        ("164 tokens per second, one row per unit", []),
        ("how many tokens a text has", []),
        ("whose prompts a model's tokenizer breaks up", []),
    ],
)
def test_for_each_is_found(text: str, found: list[str]) -> None:
    assert for_each(text) == found


def test_per_stands_for_each() -> None:
    found = {
        str(path.relative_to(ROOT)): words
        for path in READ
        if (words := for_each(path.read_text(encoding="utf-8")))
    }
    assert len(READ) > 200
    assert not found, f"write per: {found}"
