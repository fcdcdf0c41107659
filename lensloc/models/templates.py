"""Texts in the chat template of a model's tokenizer, with exactly the tokens of the template."""

from collections.abc import Callable

import xxhash

from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import require_tokenizer, shortened
from lensloc.units.stimuli import Stimulus
from lensloc.units.verbatim import Verbatim


def chat_writer(
    model: Model, system: str | None = None, *, add_generation_prompt: bool = False
) -> Callable[[str], Verbatim]:
    """Return what puts a text, as the user's turn, into a model's chat template.

    Args:
        model: the model.
        system: what stands in the system's turn; none if None.
        add_generation_prompt: also write the beginning of the answer.

    Raises:
        LensLocError: if the tokenizer has no template. The function raises one if the template does
            not take the turns, or makes nothing of them.
    """
    require_tokenizer(model)
    tokenizer = surface(model).tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise LensLocError(
            "The model's tokenizer has no chat template; take a model that was trained on chats, "
            "or set tokenizer.chat_template."
        )
    before = [] if system is None else [{"role": "system", "content": system}]
    options = {"add_generation_prompt": add_generation_prompt}

    def write(text: str) -> Verbatim:
        if isinstance(text, Stimulus):
            raise LensLocError(
                f"A chat template holds texts, and the stimuli are {text.noun}s; leave it out."
            )
        turns = [*before, {"role": "user", "content": text}]
        try:
            written = tokenizer.apply_chat_template(turns, tokenize=False, **options)
        except Exception as error:  # jinja2's own, and what templates raise themselves
            gist = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise LensLocError(
                f"The chat template of the model's tokenizer does not take "
                f"{'these turns' if before else 'the turn'} {shortened(text)} ({gist})."
            ) from error
        if not written.strip():
            raise LensLocError(
                "The chat template of the model's tokenizer makes an empty text of the turn "
                f"{shortened(text)}; correct the template."
            )
        return Verbatim(written)

    return write


def described_template(model: Model) -> str:
    """Return whose template it is, and a hash of it, in words."""
    tokenizer = surface(model).tokenizer
    name = str(getattr(tokenizer, "name_or_path", "") or "the model").rstrip("/").split("/")[-1]
    return f"{name} ({xxhash.xxh3_64_hexdigest(str(tokenizer.chat_template).encode())[:8]})"
