"""Texts in a chat template have exactly the tokens that the tokenizer's own template gives."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CONFIGS, CORPUS, SIZES, make_checkpoint
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

import lensloc as ll
from lensloc import LensLocError
from lensloc.forward.capturing import capture
from lensloc.forward.tokenizing import tokenize
from lensloc.models.surface import KINDS
from lensloc.models.tokens import token_ids
from lensloc.tasks.base import content_hash
from lensloc.units.verbatim import Verbatim, is_verbatim

pytestmark = pytest.mark.usefixtures("one_thread")

TURNS = (
    "{% for turn in messages %}<{{ turn['role'] }}>{{ turn['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WITH_BOS, WITH_BOTH = "{{ bos_token }}" + TURNS, "{{ bos_token }}" + TURNS + "{{ eos_token }}"
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "[CLS]", "[SEP]"]


def _trained(model: Any, trainer: Any, **parts: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    alphabet = [*"<>\n abcdefghijklmnopqrstuvwxyzBUAS:.", "▁"]
    made = trainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False,
                   initial_alphabet=alphabet)  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, made)
    return tokenizer


def _around(tokenizer: Tokenizer, form: str) -> Any:
    special = [(part, tokenizer.token_to_id(part)) for part in form.split() if part != "$A"]
    return processors.TemplateProcessing(form, special_tokens=special)


def _byte_level(form: str | None, **names: str) -> Any:
    level = processors.ByteLevel(trim_offsets=False)
    made = _trained(
        models.BPE(), trainers.BpeTrainer, pre_tokenizer=pre_tokenizers.ByteLevel(False)
    )
    made.post_processor = (
        level if form is None else processors.Sequence([level, _around(made, form)])
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def _llama_2() -> Any:
    """A space is put in front of the first word, as SentencePiece does."""
    made = _trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer,
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
    )
    made.post_processor = _around(made, "<s> $A")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _t5() -> Any:
    made = _trained(
        models.Unigram(),
        lambda **options: trainers.UnigramTrainer(unk_token="<unk>", **options),
        pre_tokenizer=pre_tokenizers.Metaspace(),
    )
    made.post_processor = _around(made, "$A </s>")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def _bert() -> Any:
    made = _trained(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer,
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )
    made.post_processor = _around(made, "[CLS] $A [SEP]")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", unk_token="<unk>"
    )


ENDS = {"bos_token": "<s>", "eos_token": "</s>"}
# Kind -> the tokenizer, and templates that write what it adds, less, or more.
TOKENIZERS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "llama 2": (_llama_2, (WITH_BOS, TURNS, WITH_BOTH)),
    "llama 3": (lambda: _byte_level("<s> $A", **ENDS), (WITH_BOS, TURNS)),
    "both": (lambda: _byte_level("<s> $A </s>", **ENDS), (WITH_BOS, TURNS, WITH_BOTH)),
    "gpt-2": (lambda: _byte_level(None, **ENDS), (TURNS, WITH_BOS)),
    "t5": (_t5, (TURNS, TURNS + "{{ eos_token }}")),
    "bert": (_bert, (TURNS, "{{ cls_token }}" + TURNS)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("templates") / "llama", CONFIGS["llama"]())


def own(model: Any, text: str, system: str | None = None, **options: Any) -> list[int]:
    """The tokens of the tokenizer's own template."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": text})
    return list(
        model.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options)
    )


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_tokens_are_those_of_the_tokenizers_own_template(
    name: str, folder: Path, small_contrast: ll.Contrast
) -> None:
    make, templates = TOKENIZERS[name]
    model = ll.load_model(folder, tokenizer=make(), backend="transformers")
    for template in templates:
        model.tokenizer.chat_template = template
        for system in (None, "be brief"):
            for options in ({}, {"add_generation_prompt": True}):
                made = small_contrast.with_template(model, system, **options)
                for condition, texts in small_contrast.conditions.items():
                    found = tokenize(model, made.conditions[condition])
                    assert [list(text.ids) for text in found] == [
                        own(model, text, system, **options) for text in texts
                    ]
        assert made.balance(model).table["tokens"].tolist() == [
            sum(len(own(model, text, "be brief", **options)) for text in texts) / len(texts)
            for texts in small_contrast.conditions.values()
        ]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "module"])
def test_every_kind_of_model_reads_them(
    kind: Any, folder: Path, small_contrast: ll.Contrast
) -> None:
    if kind == "hooked":
        pytest.importorskip("transformer_lens.HookedTransformer")
    make, _ = TOKENIZERS["both"]
    model = ll.load_model(folder, tokenizer=make(), backend=kind)
    model.tokenizer.chat_template = WITH_BOS
    made = small_contrast.with_template(model)
    found = capture(model, made.texts, made.labels, ["resid_post"], progress=False)
    original = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for row, text in enumerate(small_contrast.texts):
        ids = own(model, text)
        with torch.no_grad():
            states = original(torch.tensor([ids]), output_hidden_states=True).hidden_states
        expected = torch.stack([state[0, -1] for state in states[1:-1]])  # the last is normalised
        values = found.responses["resid_post"].values[row].float()
        torch.testing.assert_close(values[:-1], expected, atol=1e-4, rtol=1e-4)
        if kind != "transformers":
            assert model.to_tokens(made.texts[row]).tolist() == [ids]
    localized = ll.localize(model, made, progress=False)
    assert "(chat template)" in localized["resid_post"].provenance.contrast
    assert localized["resid_post"].provenance.contrast_hash == made.content_hash


def test_what_is_made_of_a_templated_contrast_stays_so(
    folder: Path, small_contrast: ll.Contrast
) -> None:
    model = ll.load_model(folder, tokenizer=TOKENIZERS["both"][0]())
    model.tokenizer.chat_template = WITH_BOS
    made = small_contrast.with_template(model)
    assert all(map(is_verbatim, made.texts))
    one = {name: [1, 0] for name in made.conditions}
    relatives = {
        "pickled": pickle.loads(pickle.dumps(made)),
        "copied": copy.deepcopy(made),
        "kept": made.keep(one),
        "half": made.split(seed=0)[1],
        "swapped": made.with_roles(target=made.control, control=made.target),
        "subset": made.matched(model, tolerance=9, method="subset"),
        "cut": made.matched(model, tolerance=2, method="cut"),
        "again": ll.Contrast.from_texts(made.conditions, target=made.target, control=made.control),
    }
    import pandas as pd

    rows = [(name, text) for name, texts in made.conditions.items() for text in texts]
    table = pd.DataFrame(rows, columns=["condition", "text"], dtype=object)
    relatives["table"] = ll.Contrast.from_dataframe(table, target=made.target, control=made.control)
    for how, relative in relatives.items():
        for text in relative.texts:
            expected = model.tokenizer(str(text), add_special_tokens=False)["input_ids"]
            assert token_ids(model, text) == expected, how
            assert expected[-1] != model.tokenizer.eos_token_id
    for how in ("pickled", "copied", "again"):
        assert relatives[how].content_hash == made.content_hash
    # In another process, too, where strings hash otherwise.
    told = subprocess.run(
        [sys.executable, "-c", "import pickle, sys\n"
         "print(pickle.load(sys.stdin.buffer).content_hash)"],
        input=pickle.dumps(made), capture_output=True, check=True,
    )  # fmt: skip
    assert told.stdout.decode().strip() == made.content_hash


def test_a_templated_contrast_and_task_have_hashes_of_their_own(
    folder: Path, small_contrast: ll.Contrast
) -> None:
    model = ll.load_model(folder, tokenizer=TOKENIZERS["both"][0](), backend="transformers")
    model.tokenizer.chat_template = TURNS
    made = small_contrast.with_template(model)
    letters = ll.Contrast.from_texts(
        {name: [str(text) for text in texts] for name, texts in made.conditions.items()},
        target=made.target,
        control=made.control,
    )
    assert letters.texts == made.texts
    assert len({small_contrast.content_hash, letters.content_hash, made.content_hash}) == 3
    as_told, as_letters = (ll.tasks.perplexity(list(c.texts)) for c in (made, letters))
    assert as_told.settings["texts"] != as_letters.settings["texts"]
    assert as_told(model).score != as_letters(model).score
    assert content_hash(["a", {"b": 1}]) == content_hash(("a", {"b": 1}))


@pytest.mark.parametrize("written", [True, False])
def test_a_bos_is_added_to_a_written_text_only_where_one_asks(written: bool, folder: Path) -> None:
    model = ll.load_model(folder, tokenizer=TOKENIZERS["both"][0](), backend="transformers")
    text = Verbatim(("<s>" if written else "") + "the old gardener")
    bare = model.tokenizer("the old gardener", add_special_tokens=False)["input_ids"]
    bos = model.tokenizer.bos_token_id
    as_written = [bos] * written + bare
    for end in (True, False):
        assert token_ids(model, text, end=end) == as_written
        assert token_ids(model, text, "none", end=end) == as_written
        assert token_ids(model, text, "add", end=end) == [bos, *bare]
    assert is_verbatim(text + " watered")
    assert is_verbatim(text[3:])


def test_templates_that_do_not_fit_are_told(folder: Path, small_contrast: ll.Contrast) -> None:
    model = ll.load_model(folder)
    with pytest.raises(LensLocError, match="has no chat template"):
        small_contrast.with_template(model)
    model.tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(LensLocError, match=r"does not take these turns .*\(no system turn\)"):
        small_contrast.with_template(model, system="x")
    model.tokenizer.chat_template = "{% if false %}{{ messages }}{% endif %} "
    with pytest.raises(LensLocError, match="makes an empty text of the turn"):
        small_contrast.with_template(model)


@pytest.mark.pretrained
def test_the_bundled_tokenizer_too(
    pretrained_folder: Path, tmp_path: Path, small_contrast: ll.Contrast
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    config = transformers.LlamaConfig(**{**SIZES, "vocab_size": len(tokenizer)})
    folder = make_checkpoint(tmp_path / "llama", config)
    model = ll.load_model(folder, tokenizer=tokenizer, backend="transformers")
    tokenizer.chat_template = tokenizer.chat_template or WITH_BOS
    made = small_contrast.with_template(model, "Be brief.")
    for text, written in zip(small_contrast.texts, made.texts, strict=True):
        assert token_ids(model, written) == own(model, text, "Be brief.")
