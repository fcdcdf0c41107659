"""Texts in the chat template of a model's tokenizer, with exactly the tokens of the template."""

from collections.abc import Callable
from typing import Any

import xxhash

from lensloc.errors import LensLocError
from lensloc.models.tokens import require_tokenizer, shortened, token_ids


def chat_writer(
    model: Any, system: str | None = None, *, add_generation_prompt: bool = False
) -> Callable[[str], str]:
    """Return what puts a text, as the user's turn, into a model's chat template.

    Args:
        model: the model.
        system: what stands in the system's turn; none if None.
        add_generation_prompt: also write the beginning of the answer.

    Raises:
        LensLocError: if the tokenizer has no template. The function raises one if the template does
            not take the turns, or its tokens would not be those that the model is given.
    """
    require_tokenizer(model)
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise LensLocError(
            "The model's tokenizer has no chat template; take a model that was trained on chats, "
            "or set tokenizer.chat_template."
        )
    before = [] if system is None else [{"role": "system", "content": system}]
    options = {"add_generation_prompt": add_generation_prompt}

    def write(text: str) -> str:
        turns = [*before, {"role": "user", "content": text}]
        try:
            written = str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
        except Exception as error:  # jinja2's own, and what templates raise themselves
            gist = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise LensLocError(
                f"The chat template of the model's tokenizer does not take "
                f"{'these turns' if before else 'the turn'} {shortened(text)} ({gist})."
            ) from error
        wanted = tokenizer(written, add_special_tokens=False)["input_ids"]
        if token_ids(model, written) != wanted:
            raise LensLocError(
                f"The tokenizer puts special tokens around {shortened(written)} that its chat "
                "template does not write; set the model to none "
                "(tokenizer.add_bos_token = False), or write them in the template."
            )
        return written

    return write


def described_template(model: Any) -> str:
    """Return whose template it is, and a hash of it, in words."""
    tokenizer = model.tokenizer
    name = str(getattr(tokenizer, "name_or_path", "") or "the model").rstrip("/").split("/")[-1]
    return f"{name} ({xxhash.xxh3_64_hexdigest(str(tokenizer.chat_template).encode())[:8]})"
