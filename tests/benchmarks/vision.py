"""The face localizer on EfficientNet-Lite0, end to end, and the same in deeplocalizer.

    python tests/benchmarks/vision.py [--deeplocalizer FOLDER] [--figure FILE]

Seconds are of the clock and, since machines are shared, of the processor. deeplocalizer 0.0.3 is
imported from the environment, or from FOLDER, where ``pip install --no-deps --target FOLDER
deeplocalizer==0.0.3 matplotlib contourpy cycler fonttools kiwisolver pyparsing`` put it. It ranks
units by the difference of means, without a test. Compared are both of its ways, on the same module,
pictures and preparation: units that are single elements of a feature map, as its class takes them,
and channels averaged over space, by its functions.
"""

import argparse
import contextlib
import importlib
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor

import lensloc as ll

PERCENT = 1
Result = TypeVar("Result")


def timed(what: str, run: Callable[[], Result], spent: dict[str, tuple[float, float]]) -> Result:
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    spent[what] = (time.perf_counter() - wall, time.process_time() - cpu)
    print(f"| {what} | {spent[what][0]:.1f} | {spent[what][1]:.1f} |", flush=True)
    return found


def head(*titles: str) -> None:
    print(f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deeplocalizer", help="folder that it was installed into")
    parser.add_argument("--figure", type=Path, help="where the units are; .png needs kaleido")
    given = parser.parse_args()
    # What there is to mind in this contrast is said by `lensloc localize`.
    warnings.simplefilter("ignore", ll.LensLocWarning)
    print(f"threads: {torch.get_num_threads()}")
    head("phase", "seconds", "of the processor")
    spent: dict[str, tuple[float, float]] = {}
    start, started = time.perf_counter(), time.process_time()
    model = timed("load, check", lambda: ll.load_model("efficientnet-lite0", device="cpu"), spent)
    contrast = timed("read pictures", ll.contrasts.faces, spent)
    found = timed(
        "localize faces > patches, 16 blocks",
        lambda: ll.localize(model, contrast, progress=False)["block"],
        spent,
    )
    network = found.top(percent=PERCENT)
    with tempfile.TemporaryDirectory() as folder:
        timed("write mask and figure", lambda: written(network, found, Path(folder)), spent)
    half = contrast.keep({"faces": range(50, 100), "patches": range(50, 100)})
    timed("lesion and two controls, one task", lambda: lesioned(model, network, half), spent)
    print(f"| together | {time.perf_counter() - start:.1f} | {time.process_time() - started:.1f} |")
    head("block", "channels", "largest t", "prefer faces, q < 0.05", "in the top 1 %")
    for layer, width in enumerate(found.widths or ()):
        t, q = found.t[layer, :width], found.q[layer, :width]
        print(f"| {layer} | {width} | {float(t.max()):.1f} | {int(((q < 0.05) & (t > 0)).sum())} | "
              f"{int(network.per_layer()[layer])} |")  # fmt: skip
    sets = elsewhere(model, contrast, network)
    if given.figure:
        ll.plot.save(ll.plot.layer_heatmap(sets), given.figure, overwrite=True)
    theirs = imported(given.deeplocalizer)
    if theirs is None:
        print("\ndeeplocalizer cannot be imported (or lacks matplotlib); nothing is compared.")
    else:
        beside(theirs, model, contrast)


def written(network: Any, found: Any, folder: Path) -> None:
    network.save(folder / "faces.safetensors")
    ll.plot.save(ll.plot.layer_heatmap(found, percent=PERCENT), folder / "faces.html")


def lesioned(model: Any, network: Any, contrast: Any) -> None:
    ll.lesion_study(
        model,
        {"faces": network},
        [ll.tasks.linear_probe(contrast, "block", folds=5)],
        ll.controls("layer", seeds=range(2)),
        progress=False,
    )


def elsewhere(model: Any, contrast: Any, network: Any) -> dict[str, Any]:
    """Localize with another control and without training, and say what is shared."""
    untrained = ll.load_model("efficientnet-lite0", untrained=True, seed=0, device="cpu")
    scrambled = contrast.with_roles(target="faces", control="scrambled")
    head("network", "faces against", "prefer faces, q < 0.05", "largest t", "of its top 1 % above")
    sets = {"faces > patches": network}
    for what, net, against in (
        ("trained", model, scrambled),
        ("untrained", untrained, contrast),
        ("untrained", untrained, scrambled),
    ):
        found = ll.localize(net, against, progress=False)["block"]
        units = found.top(percent=PERCENT)
        shared = len(units & network) if what == "trained" else ""
        print(f"| {what} | {against.control[0]} | {len(found.significant())} of {found.n_units} | "
              f"{float(found.t.nan_to_num().max()):.1f} | {shared} |", flush=True)  # fmt: skip
        sets[f"faces > {against.control[0]}{', untrained' * (what == 'untrained')}"] = units
    return sets


def imported(folder: str | None) -> Any:
    if folder:
        sys.path.append(folder)
    try:
        return importlib.import_module("deeplocalizer")
    except ImportError:
        return None


# -- the same in both ------------------------------------------------------------------------------


def beside(theirs: Any, model: Any, contrast: Any) -> None:
    """Localize with both, by both kinds of units, and say how far they agree."""
    kept = contrast.keep({name: range(100) for name in ("faces", "patches")})
    head("units", "n", "seconds, lensloc", "of the processor", "seconds, deeplocalizer",
         "of the processor", "largest difference", "shared top 1 %")  # fmt: skip
    for unit in ("channel", "element"):
        wrapped = ll.wrap(
            model.module,
            {"block": ll.ModuleSite("_blocks.{layer}", unit=unit)},  # type: ignore[arg-type]
            preprocess=model.reader.preprocess,
            name="efficientnet-lite0",
        )
        spent: dict[str, tuple[float, float]] = {}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ours = timed("ours", lambda w=wrapped: differences(w, kept), spent)  # type: ignore[misc]
            other = timed("theirs", lambda u=unit: of_deeplocalizer(theirs, model, kept, u), spent)  # type: ignore[misc]
        ours = ours.to(other)
        k = int(PERCENT / 100 * len(other))
        both = {*other.abs().topk(k).indices.tolist()} & {*ours.abs().topk(k).indices.tolist()}
        print(f"| {unit}s | {len(other):,} | "
              f"{spent['ours'][0]:.1f} | {spent['ours'][1]:.1f} | {spent['theirs'][0]:.1f} | "
              f"{spent['theirs'][1]:.1f} | {float((other - ours).abs().max()):.1e} | "
              f"{len(both)} of {k} |", flush=True)  # fmt: skip


def differences(wrapped: Any, contrast: Any) -> Tensor:
    """Return the difference of means of every unit, layer by layer."""
    found = ll.localize(wrapped, contrast, absolute=False, progress=False)["block"]
    difference = found.mean_target - found.mean_control
    return torch.cat([row[:width] for row, width in zip(difference, found.widths, strict=True)])


def of_deeplocalizer(theirs: Any, model: Any, contrast: Any, unit: str) -> Tensor:
    table = pd.DataFrame(
        {
            "data": [model.reader(each) for each in contrast.texts],
            "positive": [label == "faces" for label in contrast.labels],
        }
    )
    blocks = list(model.module._blocks)

    def forward(batch: Any) -> Any:
        with torch.no_grad():
            return model.module(torch.stack(list(batch)))

    if unit == "element":
        found = theirs.DeepLocalizer(table, blocks, forward).compute_activations().activations
    else:
        found = theirs.compute_task_activations(
            table, forward, blocks, save_activations=lambda out: out.mean(dim=(2, 3))
        )
    return torch.cat([each.flatten() for each in found])


if __name__ == "__main__":
    main()
