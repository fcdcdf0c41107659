"""Ten architectures in every kind of model: do they have the same units and the same lesions?

python tests/support/kinds.py
"""

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from more_checkpoints import MORE_CONFIGS
from tiny_models import CONFIGS, CORPUS, make_checkpoint

import lensloc as ll

# TransformerLens 4 has no HookedTransformer.
_HOOKED = importlib.util.find_spec("transformer_lens.HookedTransformer") is not None
KINDS = ("hooked", "bridge", "transformers") if _HOOKED else ("bridge", "transformers")

_MORE = ("mistral", "qwen2", "qwen3", "gemma2", "gemma3", "opt", "phi3")
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    **CONFIGS,
    **{name: MORE_CONFIGS[name] for name in _MORE},
}
CLASSES = {
    "llama": "Llama",
    "gpt2": "GPT-2",
    "neox": "GPT-NeoX",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3",
    "opt": "OPT",
    "phi3": "Phi-3",
}
SITES = tuple(ll.SITES)
ALLOWED = 1e-4


@dataclass(frozen=True)
class Seen:
    """What one kind of model showed.

    Attributes:
        responses: site -> ``[stimulus, layer, unit]``, of the sites that it has.
        lacks: site -> why it has none, in a sentence.
        units: site -> the most selective units' addresses.
        lesioned: site -> logits of all texts under a lesion of these units.
    """

    responses: Mapping[str, torch.Tensor]
    lacks: Mapping[str, str]
    units: Mapping[str, list[str]]
    lesioned: Mapping[str, torch.Tensor]


def contrast() -> ll.Contrast:
    halves = {"even": [f"{text} one" for text in CORPUS], "odd": [f"two {text}" for text in CORPUS]}
    return ll.Contrast.from_texts(halves, target="even", control="odd")


def load(folder: Path, kind: str) -> Any:
    return ll.load_model(folder, backend=kind, dtype="float64")  # type: ignore[arg-type]


def of_bundled(kind: str) -> list[str]:
    """The units of a small part of the language contrast in the bundled model."""
    contrast = ll.contrasts.language()
    few = contrast.keep({name: list(range(12)) for name in contrast.conditions})
    model = ll.load_model("smollm2-135m", backend=kind, progress=False)  # type: ignore[arg-type]
    return sorted(ll.localize(model, few, progress=False)["resid_post"].top(percent=1).addresses)


def lacking(model: Any) -> dict[str, str]:
    """Return why a model lacks the sites that it does not have."""
    lacks: dict[str, str] = {}
    for site in SITES:
        try:
            ll.capture(model, CORPUS[:1], ["one"], [site], progress=False)
        except ll.LensLocError as error:
            lacks[site] = str(error)
    return lacks


def units_of(model: Any) -> dict[str, list[str]]:
    """Localize at every site that a model has; return the most selective units' addresses."""
    lacks = lacking(model)
    had = [site for site in SITES if site not in lacks and not ll.SITES[site].is_summary]
    found = ll.localize(model, contrast(), sites=had, progress=False)
    return {site: sorted(found[site].top(k=4).addresses) for site in had}


def look(model: Any) -> Seen:
    """Localize and lesion at every site that a model has."""
    from lensloc.models.adapting import surface

    lacks = lacking(model)
    had = [site for site in SITES if site not in lacks]
    given = contrast()
    captured = ll.capture(model, given.texts, given.labels, had, progress=False)
    found = ll.localize(model, given, sites=had, progress=False)
    seen = surface(model)
    ids = [seen.tokenizer(text)["input_ids"] for text in CORPUS]
    tokens = torch.tensor([row[: min(map(len, ids))] for row in ids])
    units: dict[str, list[str]] = {}
    lesioned: dict[str, torch.Tensor] = {}
    for site in had:
        if ll.SITES[site].is_summary:
            continue
        network = found[site].top(k=4)
        units[site] = sorted(network.addresses)
        with ll.lesion(model, network, check=False), torch.no_grad():
            lesioned[site] = seen.logits(tokens)
    values = {site: part.values for site, part in captured.responses.items()}
    return Seen(values, lacks, units, lesioned)


def differences(all_seen: Mapping[str, Seen]) -> dict[str, dict[str, str]]:
    """Return, by kind and site, how a kind differs from the others that have the site, in words."""
    told: dict[str, dict[str, str]] = {kind: {} for kind in all_seen}
    for site in SITES:
        having = [kind for kind, seen in all_seen.items() if site in seen.responses]
        for kind in having:
            mine, other = all_seen[kind], all_seen[having[-1]]
            off = _off(mine.responses[site], other.responses[site])
            if off > ALLOWED:
                told[kind][site] = f"values differ by {off:.1e}"
            elif site in mine.units and mine.units[site] != other.units[site]:
                told[kind][site] = "other units"
            elif site in mine.lesioned:
                off = _off(mine.lesioned[site], other.lesioned[site])
                if off > ALLOWED:
                    told[kind][site] = f"lesioned logits differ by {off:.1e}"
    return told


def _off(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9))


def cell(seen: Seen, told: Mapping[str, str]) -> str:
    """Return what the table says of one architecture in one kind of model."""
    lacking = [site for site in SITES if site in seen.lacks]
    had = f"all {len(SITES)} sites" if not lacking else f"all but {_joined(lacking)}"
    wrong = "; ".join(f"{site}: {what}" for site, what in told.items())
    return f"{had}; {wrong}" if wrong else had


def _joined(sites: list[str]) -> str:
    patterns = [site for site in SITES if ll.SITES[site].is_summary]
    if set(patterns) <= set(sites):
        sites = [*(site for site in sites if site not in patterns), "`attn_*`"]
    return ", ".join(site if site[0] == "`" else f"`{site}`" for site in sites)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """Return the cells of every architecture, by kind."""
    found = {}
    for name, make in ARCHITECTURES.items():
        path = make_checkpoint(folder / name, make())
        seen = {kind: look(load(path, kind)) for kind in KINDS}
        told = differences(seen)
        found[CLASSES[name]] = {kind: cell(seen[kind], told[kind]) for kind in KINDS}
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder))
    print(f"| architecture | {' | '.join(KINDS)} |")
    print(f"|{'---|' * (len(KINDS) + 1)}")
    for name, cells in found.items():
        print(f"| {name} | {' | '.join(cells.values())} |")


if __name__ == "__main__":
    main()
