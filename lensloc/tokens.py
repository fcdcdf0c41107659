"""Text -> token ids, by the tokenizer that a model carries and the model's own setting for BOS."""

from typing import Any, Literal, get_args

from lensloc.arguments import require_model
from lensloc.errors import LensLocError

Bos = Literal["model", "add", "none"]
BOS: tuple[str, ...] = get_args(Bos)


def token_ids(model: Any, text: str, bos: Bos = "model") -> list[int]:
    """Return a text's token ids as ``model.to_tokens`` gives them, without padding or truncation.

    Special tokens are those that the tokenizer adds itself, except the beginning-of-text token
    (BOS): it stands in front if and only if ``model.cfg.default_prepend_bos`` says so.
    (``to_tokens`` itself fails for tokenizers without a pad token, which is not needed here.)

    Args:
        model: a model with a tokenizer.
        text: the text.
        bos: ``"model"`` for the model's setting, ``"add"`` or ``"none"`` whatever it is.

    Raises:
        LensLocError: a BOS is to be added, but the tokenizer has none.
    """
    ids = [int(token) for token in model.tokenizer(text)["input_ids"]]
    token = model.tokenizer.bos_token_id
    wanted, there = prepends_bos(model, bos), token is not None and ids[:1] == [token]
    if wanted and not there:
        return [token, *ids]
    return ids[1:] if there and not wanted else ids


def prepends_bos(model: Any, bos: Bos = "model") -> bool:
    """Say whether a beginning-of-text token stands before a text under a policy.

    Raises:
        LensLocError: an unknown policy; a BOS is to be added, but the tokenizer has none.
    """
    if bos not in BOS:
        raise LensLocError(f"bos is one of {', '.join(BOS)}; {bos!r} is not.")
    has = model.tokenizer.bos_token_id is not None
    if bos == "add" and not has:
        raise LensLocError(
            "The model's tokenizer has no beginning-of-text token to add; use bos='none'."
        )
    if bos == "model":
        return has and bool(getattr(model.cfg, "default_prepend_bos", False))
    return bos == "add"


def require_tokenizer(model: Any) -> None:
    """Check that texts can be run through the model.

    Raises:
        LensLocError: if it has no tokenizer.
    """
    require_model(model)
    if model.tokenizer is None:
        raise LensLocError(
            "The model has no tokenizer, so texts cannot be run through it; "
            "load it with one (tokenizer files in its folder)."
        )


def shortened(text: str, length: int = 40) -> str:
    """Return a text in quotes, cut off for an error message."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
