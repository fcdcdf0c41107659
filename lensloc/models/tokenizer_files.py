"""A folder or a hub repository -> its tokenizer, or None where there is none."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS, SpmConverter

from lensloc.display.plain_json import loads
from lensloc.errors import LensLocError
from lensloc.models.failures import gist_of, require_failure

log = logging.getLogger(__name__)

# What transformers looks for whatever the tokenizer's class says.
_ANY_CLASS = re.compile(
    r"tokenizer\.json|vocab\.(json|txt)|tekken\.json|tokenizer\.model.*|.*tiktoken(\.model)?"
)
# Classes that say nothing of how a vocabulary is used.
_ANY_TOKENIZER = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")
# Files that hold a vocabulary for one class or another.
_VOCABULARY = re.compile(
    r".*\.(model|spm|tiktoken)|.*vocab.*|bpe\.codes|.*merges.*|(tokenizer|tekken)\.json"
)


def read_tokenizer(location: str, *, trust_remote_code: bool = False, **where: Any) -> Any:
    """Read the tokenizer of a folder or a hub repository.

    Args:
        location: the folder or repository.
        trust_remote_code: run code that comes with it, if it needs some.
        where: what else says which files are meant: ``revision``, ``subfolder``, ``token`` ...

    Returns:
        The tokenizer; None for a folder that holds no file of one.

    Raises:
        LensLocError: a folder with tokenizer files of which none could be read.
        ValueError: code of its own is needed and not trusted.
        OSError: a repository that cannot be read.
    """
    folder = Path(location)
    if not folder.is_dir():
        return AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code, **where)
    subfolder = where.get("subfolder")
    if subfolder:  # is a folder like any other here
        folder = folder / subfolder
        location = str(folder)
    files = sorted(file.name for file in folder.iterdir() if file.is_file())
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code)
    except BaseException as error:  # plain exceptions and panics among them
        require_failure(error)
        if "trust_remote_code" in str(error):
            raise
        tokenizer, read, problem = None, False, gist_of(error)
    else:
        read = _is_of_files(tokenizer, files)
        # transformers makes one of nothing but special tokens where it finds no file.
        problem = f"transformers finds no file of a {type(tokenizer).__name__}"
    pieces = [folder / name for name in files if name.endswith((".model", ".spm"))]
    if len(pieces) == 1 and not (read and _names_its_class(folder)):
        tokenizer = _of_sentencepiece(location, pieces[0], tokenizer, read)
        read = tokenizer is not None
    if read:
        _require_usable(tokenizer, location)
        return tokenizer
    vocabularies = [name for name in files if _VOCABULARY.fullmatch(name)]
    if vocabularies:
        raise LensLocError(
            f"The tokenizer of {location} ({', '.join(vocabularies)}) cannot be read ({problem}); "
            "save it as tokenizer.json, or take its files away to give the model tokens only."
        )
    log.warning("%s has no tokenizer files; the model takes tokens but no texts", location)
    return None


def _require_usable(tokenizer: Any, location: str) -> None:
    """Check that a tokenizer makes tokens of a text, which settings of odd kinds keep it from.

    Raises:
        LensLocError: if it does not.
    """
    try:
        tokenizer("The quick brown fox.")
        tokenizer.decode([0])
        str(getattr(tokenizer, "chat_template", None) or "")
    except BaseException as error:  # plain exceptions and panics among them
        require_failure(error)
        raise LensLocError(
            f"The tokenizer of {location} was read, but makes no tokens of a text "
            f"({gist_of(error)}); correct its settings (tokenizer_config.json), or save it again."
        ) from error


def _is_of_files(tokenizer: Any, files: list[str]) -> bool:
    """Say whether a tokenizer was read from files of the folder, if it needs any."""
    names = set(type(tokenizer).vocab_files_names.values())
    if not names:  # bytes or characters are its vocabulary
        return True
    return any(name in names or _ANY_CLASS.fullmatch(name) for name in files)


def _names_its_class(folder: Path) -> bool:
    """Say whether a folder says how its vocabulary is used, beside what the vocabulary is."""
    if (folder / "tokenizer.json").is_file():
        return True
    try:
        settings = loads((folder / "tokenizer_config.json").read_bytes())
        return settings.get("tokenizer_class") not in (None, *_ANY_TOKENIZER)
    except (OSError, ValueError, AttributeError):
        return False


def _of_sentencepiece(location: str, file: Path, tokenizer: Any, read: bool) -> Any:
    """Read a SentencePiece model whose folder does not say how, or that transformers passes over.

    Of the ways that transformers has to read one, that which cuts most words into SentencePiece's
    own pieces is taken.

    Args:
        location: the folder.
        file: the SentencePiece model.
        tokenizer: what transformers made by itself, or None.
        read: whether it did so from the file; without it, it still says how special tokens are
            numbered.

    Returns:
        The tokenizer, or None if the file is no SentencePiece model.
    """
    model = SentencePieceProcessor()
    try:
        model.Load(str(file))
    except (OSError, RuntimeError) as error:
        log.info("%s is no SentencePiece model (%s)", file, error)
        return tokenizer if read else None
    generic = partial(_converted, SpmConverter, file, _special_tokens(model), model.piece_to_id)
    by_name = partial(
        AutoTokenizer.from_pretrained, location, vocab_file=str(file), trust_remote_code=False
    )
    as_llama = partial(LlamaTokenizer.from_pretrained, location, vocab_file=str(file))
    ways: list[Callable[[], Any]] = [(lambda: tokenizer) if read else by_name, generic, as_llama]
    converter = SLOW_TO_FAST_CONVERTERS.get(type(tokenizer).__name__)
    if converter is not None and not read:  # the class' own rules, which may renumber the pieces
        special, to_ids = tokenizer.special_tokens_map, tokenizer.convert_tokens_to_ids
        ways.insert(0, partial(_converted, converter, file, special, to_ids))
    best, most = None, 0.5
    for way in ways:
        try:
            found = way()
        except BaseException as error:  # each library has its own
            require_failure(error)
            log.info("%s cannot be read in one way: %s", file, error)
            continue
        agreement = _agreement(found, model)
        if agreement > most:
            best, most = found, agreement
    if best is None and read:
        log.warning("%s: transformers cuts words otherwise than SentencePiece with its file", file)
        return tokenizer
    return best


def _special_tokens(model: SentencePieceProcessor) -> dict[str, str]:
    ids = {"bos_token": model.bos_id(), "eos_token": model.eos_id(), "unk_token": model.unk_id()}
    return {name: model.id_to_piece(token) for name, token in ids.items() if token >= 0}


def _converted(
    converter: Any, file: Path, special: Mapping[str, Any], to_ids: Callable[[str], int]
) -> PreTrainedTokenizerFast:
    """Read a SentencePiece model by one of transformers' converters.

    They ask some settings of a slow tokenizer, which transformers no longer has.
    """
    names = {name: str(token) for name, token in special.items() if name.endswith("_token")}
    slow = SimpleNamespace(
        vocab_file=str(file),
        convert_tokens_to_ids=to_ids,
        keep_accents=True,
        do_lower_case=False,
        add_prefix_space=True,
        legacy=False,
        **names,
    )
    return PreTrainedTokenizerFast(tokenizer_object=converter(slow).converted(), **names)


def _agreement(tokenizer: Any, model: SentencePieceProcessor) -> float:
    """Return the share of words that a tokenizer cuts into SentencePiece's own pieces."""
    pieces = [model.id_to_piece(token) for token in range(len(model))]
    words = [piece[1:] for piece in pieces if piece.startswith("▁") and len(piece) > 1]
    texts = [f"{a} {b}" for a, b in zip(words, [*words[1:], *words[:1]], strict=True)][:100]
    same = [
        list(
            tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
        )
        == model.encode(text, out_type=str)
        for text in texts
    ]
    return sum(same) / len(same) if same else 0.0
