"""Where a study comes from, and how to run it again."""

from markupsafe import Markup

from lensloc.pages.report.methods import what_the_model_is
from lensloc.pages.report.pieces import code, definitions, heading, joined, prose
from lensloc.pages.report.sections import Section
from lensloc.studies import Study
from lensloc.units.provenance import Provenance

_CLASSES = {
    "hooked": "HookedTransformer",
    "bridge": "TransformerBridge",
    "transformers": "transformers' own",
    "module": "a wrapped torch module",
}


def provenance(made: Provenance, study: Study) -> Section:
    """List where everything comes from."""
    seconds = study.found.seconds
    facts = {
        "Model": made.model,
        "Commit": made.revision or "none named (the weights' hash says which)",
        "What it is": what_the_model_is(made),
        "Quantisation": made.quantization or "none",
        "Class": _CLASSES.get(made.backend, "not recorded"),
        "Weights": made.weights_hash,
        "Check of the model": made.check,
        "Contrast": f"{made.contrast} ({made.n_target:,} > {made.n_control:,} texts)",
        "Stimuli": made.contrast_hash,
        "Procedure": f"{made.protocol}; pooling {made.pooling}; "
        f"{'absolute' if made.absolute else 'signed'} activations; {made.test} test"
        + (f"; first {made.max_tokens} tokens" if made.max_tokens else ""),
        "Selection": f"{made.selection} at {made.site}",
        "Open lesions": made.lesion,
        "Tokens": f"{study.found.n_tokens:,} in {seconds.forward:.1f} s of forward passes"
        if seconds.forward
        else f"{study.found.n_tokens:,} (from earlier results)",
        "Device": made.device,
        "Seeds": ", ".join(
            [*made.seeds, *([] if study.seed is None else [f"halves and intervals {study.seed}"])]
        ),
        "Versions": ", ".join(
            f"{name} {version}"
            for name, version in (
                ("lensloc", made.lensloc),
                ("TransformerLens", made.transformer_lens),
                ("transformers", made.transformers),
                ("PyTorch", made.torch),
                ("NumPy", made.numpy),
                ("Python", made.python),
            )
            if version
        ),
        "Date": made.date,
    }
    content = joined(definitions(facts), *_again(made, study.call))
    return Section("provenance", "Provenance", content)


def _again(made: Provenance, call: str) -> list[Markup]:
    """Say how to run it again: the versions, and the call."""
    if not call:
        return []
    packages = (
        ("lensloc", made.lensloc),
        ("transformer-lens", made.transformer_lens),
        ("transformers", made.transformers),
        ("torch", made.torch.split("+")[0]),
        ("numpy", made.numpy),
    )
    pinned = " ".join(f"{name}=={version}" for name, version in packages if version)
    lines = [f"pip install {pinned}"]
    if call.startswith("lensloc "):
        lines.append(call)
        words = "On the command line; files that it names have to be there."
    else:
        lines = [f"# {lines[0]}", "import lensloc as ll", "", call]
        words = "In Python; what stands in angle brackets was an object of the session."
    return [heading("Run it again"), prose(words), code("\n".join(lines))]
