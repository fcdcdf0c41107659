"""Results on the Hugging Face hub, each with a section of the repository's card."""

import contextlib
import html
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lensloc.display.kinds import kind_of
from lensloc.errors import LensLocError

_CARD = "README.md"
_TAGS = ["lensloc", "functional-localizer", "interpretability"]
_MADE = (
    *("model", "revision", "untrained", "architecture", "dtype", "quantization", "contrast"),
    *("target", "control", "n_target", "n_control", "site", "place", "pooling", "protocol"),
    *("absolute", "test", "max_tokens", "selection", "lesion", "seeds", "weights_hash"),
    *("contrast_hash", "lensloc", "transformer_lens", "transformers", "torch", "date"),
)


def default_name(kind: str) -> str:
    """Return what a result's file is called in a repository.

    Example:
        >>> default_name("UnitMask"), default_name("LesionStudy")
        ('mask.safetensors', 'lesion-study.lensloc')
    """
    if kind == "UnitMask":
        return "mask.safetensors"
    return f"{re.sub(r'(?<!^)(?=[A-Z])', '-', kind).lower()}.lensloc"


def push(
    result: Any, content: bytes, repo: str, name: str, *, private: bool, token: str | None
) -> str:
    """Put a file of a result into a repository, and what it is onto its card, in one commit.

    Returns:
        Where it is to be seen.

    Raises:
        LensLocError: if the hub does not take it.
    """
    import huggingface_hub as hub  # loads long

    with _told(f"{name} could not be put into {repo}"):
        api = hub.HfApi(token=token)
        address = api.create_repo(repo, private=private, exist_ok=True)
        known = ""
        if api.file_exists(repo, _CARD):
            known = Path(api.hf_hub_download(repo, _CARD)).read_text(encoding="utf-8")
        card = card_with(known, result, repo, name)
        files = {name: content, _CARD: card.encode()}
        api.create_commit(
            repo,
            [hub.CommitOperationAdd(path, found) for path, found in files.items()],
            commit_message=f"{name}: {_line(result)}"[:72],
        )
    return str(address)


def pull(repo: str, name: str, *, revision: str | None, token: str | None) -> Path:
    """Fetch a file of a repository into the hub's own cache.

    Raises:
        LensLocError: if it cannot be had; of a repository without it, with what it has.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    api = hub.HfApi(token=token)
    with _told(f"{name} of {repo} could not be had"):
        try:
            return Path(api.hf_hub_download(repo, name, revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError as error:
            there = [file for file in api.list_repo_files(repo, revision=revision)
                     if file.endswith((".safetensors", ".lensloc", ".npy"))]  # fmt: skip
            told = f"it has {', '.join(there[:8])}" if there else "it has no result"
            raise LensLocError(f"{repo} has no file {name}; {told}.") from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except LensLocError:
        raise
    except Exception as error:  # of the hub, of requests, of names, of files
        gist = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise LensLocError(
            f"{what} ({gist}); check the name, the network, and that you are logged in (hf auth "
            "login, or token=)."
        ) from error


# -- the card --------------------------------------------------------------------------------------


def card_with(known: str, result: Any, repo: str, name: str) -> str:
    """Return a card that says what a file is; what else stands on it is left as it is.

    Args:
        known: the card so far; empty for none.
        result: what the file holds.
        repo: the repository.
        name: of the file.
    """
    begin, end = (f"<!-- lensloc: {side} {name} -->" for side in ("begin", "end"))
    section = f"{begin}\n{_section(result, repo, name)}\n{end}"
    if begin in known and end in known:
        before, _, rest = known.partition(begin)
        return f"{before}{section}{rest.partition(end)[2]}"
    if known:
        return f"{known.rstrip()}\n\n{section}\n"
    about: dict[str, Any] = {"library_name": "lensloc", "tags": _TAGS}
    model = getattr(getattr(result, "provenance", None), "model", "")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        about["base_model"] = model
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in about.items())  # is YAML too
    return f"---\n{front}\n---\n\n# {_safe(repo)}\n\n{section}\n"


def _section(result: Any, repo: str, name: str) -> str:
    kind = kind_of(result) or type(result).__name__
    more = "" if name == default_name(kind) else f", name={name!r}"
    lines = [
        f"## {_safe(name)}",
        _safe(_line(result)),
        f"```python\nimport lensloc as ll\n\nfound = ll.{_public(kind)}.from_hub({repo!r}{more})\n"
        "```",
    ]
    rows = _facts(result)
    if rows:
        table = "\n".join(f"| {_safe(key)} | {_safe(value)} |" for key, value in rows)
        lines.append(f"| | |\n|---|---|\n{table}")
    warnings = list(getattr(result, "warnings", ()))
    if warnings:
        told = "\n".join(f"- {_safe(sentence)}" for sentence in warnings)
        lines.append(f"What to mind:\n\n{told}")
    return "\n\n".join(lines)


def _facts(result: Any) -> list[tuple[str, str]]:
    made = getattr(result, "provenance", None)
    rows = []
    for field in _MADE if made is not None else ():
        value = getattr(made, field)
        if isinstance(value, tuple):
            value = ", ".join(value)
        if value not in ("", None, 0, False):
            rows.append((field.replace("_", " "), str(value)))
    if kind_of(result) == "UnitMask":
        counts = result.per_layer().tolist()
        rows.insert(0, ("units", f"{len(result):,} of {result.n_units:,}"))
        rows.append(("units by layer", ", ".join(map(str, counts))))
    call = getattr(result, "call", "")
    return [*rows, ("made by", call)] if call else rows


def _line(result: Any) -> str:
    return str(repr(result)).splitlines()[0]


def _public(kind: str) -> str:
    for prefix in ("", "lape.", "tasks.", "alignment."):
        room = importlib.import_module(f"lensloc.{prefix}".rstrip("."))
        if kind in room.__all__:
            return f"{prefix}{kind}"
    return kind


def _safe(text: str) -> str:
    """Return a text that is no Markdown and no HTML, in one line."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([|`*_\[\]\\])", r"\\\1", plain)
