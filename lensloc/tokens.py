"""Text -> token ids, by the tokenizer that a model carries and the model's own setting for BOS."""

from typing import Any


def token_ids(model: Any, text: str) -> list[int]:
    """Return a text's token ids as ``model.to_tokens`` gives them, without padding or truncation.

    Special tokens are those that the tokenizer adds itself, except the beginning-of-text token
    (BOS): it stands in front if and only if ``model.cfg.default_prepend_bos`` says so.
    (``to_tokens`` itself fails for tokenizers without a pad token, which is not needed here.)
    """
    tokenizer = model.tokenizer
    ids = [int(token) for token in tokenizer(text)["input_ids"]]
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    wanted, there = bool(getattr(model.cfg, "default_prepend_bos", False)), ids[:1] == [bos]
    if wanted and not there:
        return [bos, *ids]
    return ids[1:] if there and not wanted else ids
