"""The bundled sets: sizes, alignment, balance, correctness of what they claim."""

import ast
import functools
import importlib.util
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from fractions import Fraction
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lensloc import LensLocError, contrasts
from lensloc.contrasts import bundled_folder
from lensloc.contrasts.balance import standardised_difference
from lensloc.contrasts.readers import read_csv

SIZES = {
    "language": {"sentences": 240, "word-lists": 240, "jabberwocky": 240, "nonwords": 240},
    "theory-of-mind": {"false-belief": 20, "false-photograph": 20},
    "emotion": dict.fromkeys(("anger", "joy", "fear", "sadness", "neutral"), 120),
    "formal": dict.fromkeys(("python", "arithmetic", "logic", "english"), 120),
    "languages": dict.fromkeys(("en", "de", "tr", "fr", "es"), 150),
    "multiple-demand": {
        f"{level}-{kind}": 40
        for kind in ("sums", "digit-span", "n-back", "logic")
        for level in ("hard", "easy")
    },
}
LANGUAGE = contrasts.language().conditions


def _generator() -> Any:
    """The script that makes language.csv, as a module."""
    path = bundled_folder() / "make_language.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("name", contrasts.NAMES)
def test_sizes_and_no_duplicates(name: str) -> None:
    contrast = contrasts.get(name)
    found = {condition: len(texts) for condition, texts in contrast.conditions.items()}
    assert found == SIZES[name]
    assert contrast.duplicates() == []
    assert contrast.name == name


@pytest.mark.parametrize("name", contrasts.NAMES)
def test_every_item_has_a_text_in_every_condition_that_it_is_paired_with(name: str) -> None:
    items = contrasts.get(name).items
    assert items is not None
    kinds = {frozenset(found) for found in items.values()}
    if name == "multiple-demand":
        assert len(kinds) == 4
        for kind in ("sums", "digit-span", "n-back", "logic"):
            assert items[f"hard-{kind}"] == items[f"easy-{kind}"]
    else:
        assert len(kinds) == 1
    assert all(len(set(found)) == len(found) for found in items.values())


@pytest.mark.parametrize("name", contrasts.NAMES)
def test_target_and_control_are_equally_long(name: str) -> None:
    assert abs(contrasts.get(name).balance().differences["characters"]) <= 0.1


@pytest.mark.parametrize("name", [name for name in contrasts.NAMES if name != "multiple-demand"])
def test_any_two_conditions_are_equally_long(name: str) -> None:
    conditions = contrasts.get(name).conditions
    for a, b in combinations(conditions, 2):
        lengths = [[len(text) for text in conditions[condition]] for condition in (a, b)]
        assert abs(standardised_difference(*lengths)) <= 0.1, (a, b)


def test_the_list_of_names() -> None:
    assert sorted(contrasts.list()) == sorted([*SIZES, "faces"])


# -- language ----------------------------------------------------------------------------------


def test_all_four_conditions_have_the_same_letters_a_word() -> None:
    for row in range(240):
        shapes = {tuple(map(len, texts[row].split())) for texts in LANGUAGE.values()}
        assert len(shapes) == 1
        assert len(next(iter(shapes))) == 12


def test_word_lists_are_the_sentences_words_from_elsewhere() -> None:
    sentences = [text.split() for text in LANGUAGE["sentences"]]
    lists = [text.split() for text in LANGUAGE["word-lists"]]
    often = Counter(chain.from_iterable(sentences))
    assert often == Counter(chain.from_iterable(lists))
    met_itself = [
        word
        for words, other in zip(sentences, lists, strict=True)
        for word, there in zip(words, other, strict=True)
        if word == there and often[word] < 5
    ]
    assert len(met_itself) < 5


def test_word_lists_have_no_word_twice_in_a_row_and_no_content_word_twice() -> None:
    for text in LANGUAGE["word-lists"]:
        words = text.split()
        assert all(a != b for a, b in pairwise(words)), text
        content = [word for word in words if word not in GENERATOR.KEPT]
        assert len(set(content)) == len(content), text


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[list[str]]]:
    """The drawn strings of each text, by condition: all nonwords, Jabberwocky's content words."""
    sentences = [text.split() for text in LANGUAGE["sentences"]]
    return {
        name: [
            [
                word
                for word, original in zip(text.split(), words, strict=True)
                if name == "nonwords" or original not in GENERATOR.KEPT
            ]
            for text, words in zip(LANGUAGE[name], sentences, strict=True)
        ]
        for name in ("nonwords", "jabberwocky")
    }


def test_no_drawn_string_is_an_english_word(drawn: dict[str, list[list[str]]]) -> None:
    words = {word for texts in drawn.values() for text in texts for word in text if len(word) > 1}
    english = GENERATOR.english_words()
    known = {word for word in words if len(word) > 2 and GENERATOR.is_english(word, english)}
    assert known == set()
    assert words & english == set()
    assert words & GENERATOR.BARRED == set()
    assert len(words) > 3000
    for word in ("kiters", "winier", "vig", "kir", "yod", "frug", "wersh", "silers"):
        assert word in GENERATOR.BARRED  # words of larger lists that the two packages do not know
        assert word not in words


def test_no_drawn_string_is_twice_in_a_text(drawn: dict[str, list[list[str]]]) -> None:
    for texts in drawn.values():
        for words in texts:
            assert len(set(words)) == len(words), words


def test_jabberwocky_keeps_number_words() -> None:
    numbers = (
        "two three four five six ten twelve thirty thousand thousands dozen first second "
        "once twice both"
    ).split()
    met = Counter(
        word
        for text, other in zip(LANGUAGE["sentences"], LANGUAGE["jabberwocky"], strict=True)
        for word, there in zip(text.split(), other.split(), strict=True)
        if word in numbers and word == there
    )
    assert met == {
        word: sum(text.split().count(word) for text in LANGUAGE["sentences"]) for word in numbers
    }


def test_the_script_looks_nonwords_up_in_word_lists(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(GENERATOR, "make_rows", functools.cache(GENERATOR.make_rows))

    def against(words: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["make_language.py", "--against", str(words)])
        return GENERATOR.main(), capsys.readouterr().out

    word = LANGUAGE["nonwords"][0].split()[0]
    known, unknown = tmp_path / "known.txt", tmp_path / "unknown.dic"
    known.write_text(f"{word.title()}\n", encoding="utf-8")
    unknown.write_text("house/SM\nonly\n", encoding="utf-8")  # Jabberwocky's "only" is no nonword
    assert against(known) == (1, f"{word}\n")
    assert against(unknown) == (0, "")


def test_jabberwocky_keeps_function_words_and_endings() -> None:
    function_words = GENERATOR.KEPT
    sentences = {word for text in LANGUAGE["sentences"] for word in text.split()}
    changed = 0
    for sentence, jabberwocky in zip(LANGUAGE["sentences"], LANGUAGE["jabberwocky"], strict=True):
        for word, other in zip(sentence.split(), jabberwocky.split(), strict=True):
            if word in function_words:
                assert other == word
            elif len(word) > 2:
                changed += 1
                assert other not in sentences
                ending = re.search(r"(ing|ed|ly|s)$", word)
                if ending and len(word) - len(ending[0]) >= 2:
                    assert other.endswith(ending[0])
                assert other[-1] == word[-1]
    assert changed > 1200


@pytest.mark.parametrize("script", ["make_language.py", "make_multiple_demand.py"])
def test_the_scripts_make_the_files(script: str) -> None:
    subprocess.run([sys.executable, str(bundled_folder() / script), "--check"], check=True)


# -- theory of mind ----------------------------------------------------------------------------


def test_stories_have_balanced_answers_and_the_published_layout() -> None:
    rows = read_csv(bundled_folder() / "theory_of_mind.csv", ("condition", "answer", "story"))
    for condition in ("false-belief", "false-photograph"):
        answers = [r.cells["answer"] for r in rows if r.cells["condition"] == condition]
        assert answers.count("True") == answers.count("False") == 10
    mental = re.compile(r"\b(think|thought|believ|know|knew|expect|want|remember|forg)", re.I)
    for row in rows:
        if row.cells["condition"] == "false-photograph":
            assert not mental.search(row.cells["story"])
    for texts in contrasts.theory_of_mind().conditions.values():
        for text in texts:
            assert re.fullmatch(
                r"[^\n]+\nStory: [^\n]+\nQuestion: [^\n]+\n"
                r"Options:\n- True\n- False\nAnswer: (True|False)",
                text,
            )


def test_stories_of_a_pair_are_equally_long_with_and_without_their_statement() -> None:
    columns = ("item", "condition", "story", "question")
    pairs: dict[str, dict[str, tuple[str, str]]] = {}
    for row in read_csv(bundled_folder() / "theory_of_mind.csv", columns):
        story, statement = row.cells["story"], row.cells["question"]
        pairs.setdefault(row.cells["item"], {})[row.cells["condition"]] = (
            story,
            f"{story} {statement}",
        )
    assert len(pairs) == 20
    differences = []
    for item, pair in pairs.items():
        both = zip(pair["false-belief"], pair["false-photograph"], strict=True)
        for belief, photograph in both:
            words = len(belief.split()) - len(photograph.split())
            assert abs(words) <= 2, (item, belief, photograph)
            assert abs(len(belief) / len(photograph) - 1) <= 0.06, (item, belief, photograph)
            differences.append(words)
    assert abs(np.mean(differences)) <= 0.25


def test_the_published_protocol_draws_answers_by_the_seed() -> None:
    def answers(**settings: Any) -> list[str]:
        made = contrasts.theory_of_mind(protocol="alkhamissi2024", **settings)
        return [text.rsplit(" ", 1)[1] for text in made.texts]

    draw = np.random.RandomState(42)
    assert answers() == [draw.choice(["True", "False"]) for _ in range(40)]
    assert answers() == answers(seed=42) != answers(seed=1)
    correct = [text.rsplit(" ", 1)[1] for text in contrasts.theory_of_mind().texts]
    assert answers() != correct


# -- multiple demand ---------------------------------------------------------------------------


def test_legacy_sums_are_the_published_ones_value_for_value() -> None:
    legacy = contrasts.multiple_demand(legacy=True).conditions
    for condition, low, high in (("hard", 100, 200), ("easy", 1, 20)):
        draw = np.random.RandomState(42)
        expected = []
        for _ in range(100):
            first, second = int(draw.randint(low, high)), int(draw.randint(low, high))
            plus = draw.choice(["+", "-"]) == "+"
            value = first + second if plus else first - second
            expected.append(
                f"Question: Solve {first} {'+' if plus else '-'} {second}?\nAnswer: {value}"
            )
        assert list(legacy[condition]) == expected
    assert legacy["hard"][0] == "Question: Solve 151 + 192?\nAnswer: 343"


def test_bundled_sums_are_right_and_balanced_in_sign() -> None:
    conditions = contrasts.multiple_demand().conditions
    for condition, low, high in (("hard-sums", 100, 199), ("easy-sums", 1, 19)):
        signs = []
        for text in conditions[condition]:
            a, sign, b, c = re.fullmatch(  # type: ignore[union-attr]
                r"Question: Solve (\d+) ([+-]) (\d+)\?\nAnswer: (-?\d+)", text
            ).groups()
            assert low <= int(a) <= high
            assert low <= int(b) <= high
            assert int(c) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
            signs.append(sign)
        assert signs.count("+") == 20


def test_n_back_answers_are_right_and_balanced() -> None:
    conditions = contrasts.multiple_demand().conditions
    for condition, back in (("hard-n-back", 2), ("easy-n-back", 1)):
        answers = []
        for text in conditions[condition]:
            letters = re.match(r"Letters: ([A-Z ]+)\.", text)[1].split()  # type: ignore[index]
            answer = text.rsplit(" ", 1)[1]
            assert (letters[-1] == letters[-1 - back]) == (answer == "yes")
            answers.append(answer)
        assert answers.count("yes") == 20


def test_puzzles_have_the_answer_that_follows() -> None:
    conditions = contrasts.multiple_demand().conditions
    for condition in ("hard-logic", "easy-logic"):
        for text in conditions[condition]:
            pairs = re.findall(r"(\w+) is \w+ than (\w+)\.", text)
            above = {a: b for a, b in pairs}
            assert len(pairs) == 3
            top = (set(above) - set(above.values())).pop()
            answer = text.rsplit(" ", 1)[1]
            if condition == "hard-logic":
                assert answer == top
                assert pairs != sorted(pairs, key=lambda pair: _rank(pair[0], above))
            else:
                asked = re.search(r"Who is \w+ than (\w+)\?", text)[1]  # type: ignore[index]
                assert above[answer] == asked


def _rank(person: str, above: dict[str, str]) -> int:
    return (
        0
        if person not in above.values()
        else 1 + _rank(next(a for a, b in above.items() if b == person), above)
    )


# -- emotion, formal, languages ------------------------------------------------------------------


def test_emotion_items_have_the_same_number_of_words_in_every_condition() -> None:
    conditions = contrasts.emotion().conditions
    items = contrasts.emotion().items
    assert items is not None
    by_item = [
        {item: len(text.split()) for item, text in zip(items[name], texts, strict=True)}
        for name, texts in conditions.items()
    ]
    assert all(found == by_item[0] for found in by_item)
    first_person = re.compile(r"\b(I|me|my|mine|we|us|our|I'm|I'd|I've|I'll)\b", re.I)
    for texts in conditions.values():
        assert all(first_person.search(text) for text in texts)
        assert all(text.endswith(".") and "!" not in text for text in texts)


def test_python_parses() -> None:
    for text in contrasts.formal().conditions["python"]:
        ast.parse(text)


def test_arithmetic_is_true() -> None:
    for text in contrasts.formal().conditions["arithmetic"]:
        tree = ast.parse(text.replace("^", "**").replace(" = ", " == "), mode="eval")
        assert _evaluate(tree.body) is True, text


def _evaluate(node: ast.AST) -> Any:
    """Exact arithmetic of the few kinds of expression that there are."""
    if isinstance(node, ast.Compare):
        values = [_evaluate(node.left), *map(_evaluate, node.comparators)]
        signs = {
            ast.Eq: lambda a, b: a == b,
            ast.Lt: lambda a, b: a < b,
            ast.Gt: lambda a, b: a > b,
        }
        return all(
            signs[type(sign)](a, b)  # type: ignore[index]
            for sign, a, b in zip(node.ops, values, values[1:], strict=False)
        )
    if isinstance(node, ast.UnaryOp):
        return -_evaluate(node.operand)
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    assert isinstance(node, ast.BinOp)
    a, b = _evaluate(node.left), _evaluate(node.right)
    operations = {
        ast.Add: lambda: a + b, ast.Sub: lambda: a - b, ast.Mult: lambda: a * b,
        ast.Div: lambda: a / b, ast.Pow: lambda: Fraction(a) ** int(b),
    }  # fmt: skip
    return operations[type(node.op)]()  # type: ignore[index]


def test_logic_is_balanced_and_quantifies_what_it_uses() -> None:
    for text in contrasts.formal().conditions["logic"]:
        assert text.count("(") == text.count(")")
        bound = set(re.findall(r"[∀∃]([a-z])", text))
        used = set(re.findall(r"(?<![A-Za-z])([u-z])(?![A-Za-z])", text)) - {"∀", "∃"}
        assert used <= bound, text


def test_languages_keep_their_letters() -> None:
    conditions = contrasts.languages().conditions
    marks = {"de": "äöüß", "tr": "ğışçöü", "fr": "éèàçê", "es": "áéíóúñ¿"}
    for name, letters in marks.items():
        text = " ".join(conditions[name]).lower()
        assert sum(letter in text for letter in letters) >= 3
    assert not re.search(r"[^\x00-\x7f]", " ".join(conditions["en"]))
    assert not re.search(r"\d|\"", " ".join(chain.from_iterable(conditions.values())))


# -- typography --------------------------------------------------------------------------------


def texts_by_language() -> dict[str, list[str]]:
    """Every bundled text in words: contrasts, questions, beginnings and prose, by language."""
    found = {name: list(texts) for name, texts in contrasts.languages().conditions.items()}
    for file in ("questions.csv", *(f"prose/{language}.csv" for language in found)):
        columns = ("language", "instruction", "question") if file[0] == "q" else ("text",)
        for row in read_csv(bundled_folder() / file, columns):
            language = row.cells["language"] if file[0] == "q" else file[-6:-4]
            found[language] += [row.cells[column] for column in columns if column != "language"]
    found["en"] += chain.from_iterable(contrasts.emotion().conditions.values())
    found["en"] += contrasts.formal().conditions["english"]
    for row in read_csv(bundled_folder() / "theory_of_mind.csv", ("story", "question")):
        found["en"] += [row.cells["story"], row.cells["question"]]
    found["en"] += (bundled_folder() / "beginnings.txt").read_text(encoding="utf-8").splitlines()
    return found


LETTERS = {
    "en": "",
    "de": "äöüßé",
    "tr": "çğıöşüâîû",
    "fr": "àâçéèêëîïôùûüœ",
    "es": "áéíóúüñ",
}


def faults_of_typography(text: str, language: str) -> list[str]:
    """What a copy editor of the language would mark: spaces, signs, letters."""
    checks = {
        "no-break, double or outer space": r"[^\S ]|  |^ | $",
        "space before a comma or stop": r" [,.]",
        "no space after a sign": r"[,;:?!][^\s\"]|\.[^\W\d_]",
        "curly apostrophe, quotes, dash or dots": r"[‘’‚‛“”„‟«»‹›–—…´`]",
        "doubled sign": r"([,;:.?!]) ?[,;:.?!]",
    }
    if language == "fr":
        checks["no space before ? ! ; :"] = r"\S[?!;:]"
    else:
        checks["space before ? ! ; :"] = r" [?!;:]"
    if language == "es":
        for opening, closing in ("¿?", "¡!"):
            checks[f"{closing} without {opening}"] = (
                rf"^[^{opening}]*\{closing}|\{closing}[^{opening}]*\{closing}"
            )
            checks[f"{opening} without {closing}"] = rf"{opening}(?!.*\{closing})"
    else:
        checks["Spanish sign"] = "[¿¡]"
    letters = f"a-z{LETTERS[language]}"
    if language == "tr":
        letters = letters.replace("a-z", "a-pr-vyz")
    lower = text.replace("İ", "i").replace("I", "ı" if language == "tr" else "i").lower()
    checks["letter of another language"] = rf"[^\W\d_{letters}]"
    faults = [
        name
        for name, pattern in checks.items()
        if re.search(pattern, lower if "letter" in name else text)
    ]
    marks = any(unicodedata.combining(character) for character in text)
    return faults + (["combining mark"] if marks else [])


def test_every_language_has_one_typography() -> None:
    texts = texts_by_language()
    for language in ("de", "tr", "fr", "es"):
        assert len(texts[language]) == 150 + 40 + 84
    faults = {
        text: found
        for language, ours in texts.items()
        for text in ours
        if (found := faults_of_typography(text, language))
    }
    assert faults == {}
    french = " ".join(texts["fr"])
    assert len(re.findall(r" [?!;:]", french)) == len(re.findall(r"[?!;:]", french)) == 32


@pytest.mark.parametrize(
    ("language", "text", "fault"),
    [
        ("fr", "Où vas-tu?", "no space before ? ! ; :"),
        ("fr", "Il part : elle reste; tous dorment.", "no space before ? ! ; :"),
        ("fr", "Où vas-tu\u00a0?", "no-break, double or outer space"),
        ("fr", "Où vas-tu\u202f?", "no-break, double or outer space"),
        ("fr", "L’eau est froide.", "curly apostrophe, quotes, dash or dots"),
        ("fr", "Il dit « oui ».", "curly apostrophe, quotes, dash or dots"),
        ("de", "Wer kommt ?", "space before ? ! ; :"),
        ("de", "Er sagte „ja“.", "curly apostrophe, quotes, dash or dots"),
        ("es", "Quién viene?", "? without ¿"),
        ("es", "¿Quién viene? Y cuándo?", "? without ¿"),
        ("es", "¿Quién viene.", "¿ without ?"),
        ("es", "Qué bien!", "! without ¡"),
        ("tr", "Taxi geldi.", "letter of another language"),
        ("tr", "i\u0307stanbul", "combining mark"),
        ("tr", "go\u0308l", "combining mark"),
        ("de", "Die  Katze schläft.", "no-break, double or outer space"),
        ("en", "It rained ,and we left.", "no space after a sign"),
        ("en", "A café.", "letter of another language"),
    ],
)
def test_faults_of_typography_are_found(language: str, text: str, fault: str) -> None:
    found = faults_of_typography(text, language)
    assert fault in found


def test_animals_take_a_singular_verb_in_turkish() -> None:
    found = " ".join(texts_by_language()["tr"])
    for verb in ("görülüyorlar", "yaşayabilirler", "koyulurlar", "başlıyorlar"):
        assert verb not in found


def test_published_folders_only_where_there_are_some(tmp_path: Any) -> None:
    with pytest.raises(LensLocError, match="no published stimulus files for emotion"):
        contrasts.get("emotion", tmp_path)
    assert contrasts.get("multiple-demand", protocol="alkhamissi2024").target == ("hard",)
