"""Seconds of the face localizer on EfficientNet-Lite0, end to end; beside deeplocalizer if given.

    python tests/benchmarks/vision.py [--deeplocalizer FOLDER]

FOLDER is where ``pip install --no-deps --target FOLDER deeplocalizer==0.0.3`` put it, with what it
needs to be imported (matplotlib). It ranks channels by the mean difference, without a test; the
overlap is with the channels of largest mean difference here, where the statistic is the same.
"""

import argparse
import sys
import time
from typing import Any

import torch

import lensloc as ll


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deeplocalizer", help="folder that it was installed into")
    given = parser.parse_args()
    start = time.perf_counter()
    model = ll.load_model("efficientnet-lite0", device="cpu")
    contrast = ll.contrasts.faces()
    loaded = time.perf_counter()
    found = ll.localize(model, contrast, absolute=False, progress=False)["block"]
    localized = time.perf_counter()
    network = found.top(percent=1)
    with ll.lesion(model, network):
        model(torch.stack([model.reader(each) for each in contrast.texts[:8]]))
    ended = time.perf_counter()
    print(f"threads {torch.get_num_threads()}; load {loaded - start:.1f} s, "
          f"localize {localized - loaded:.1f} s, lesion {ended - localized:.1f} s, "
          f"together {ended - start:.1f} s")  # fmt: skip
    for layer, width in enumerate(found.widths or ()):
        largest = float(found.t[layer, :width].max())
        print(f"block {layer:2d}: {width:3d} channels, largest t {largest:5.1f}")
    if given.deeplocalizer:
        beside(given.deeplocalizer, model, contrast, found, network)


def beside(folder: str, model: Any, contrast: Any, found: Any, network: Any) -> None:
    """Localize with deeplocalizer, on the same pictures, and print how far the two agree."""
    sys.path.append(folder)
    import deeplocalizer
    import pandas as pd

    start = time.perf_counter()
    table = pd.DataFrame(
        {
            "data": [model.reader(each) for each in contrast.texts],
            "positive": [label == "faces" for label in contrast.labels],
        }
    )
    with torch.no_grad():
        differences = deeplocalizer.compute_task_activations(
            table,
            lambda batch: model.module(torch.stack(list(batch))),
            list(model.module._blocks),
            save_activations=lambda out: out.mean(dim=(2, 3)),
        )
    print(f"deeplocalizer {time.perf_counter() - start:.1f} s")
    theirs = torch.cat(differences)
    ours = torch.cat(
        [
            (found.mean_target - found.mean_control)[layer, :width]
            for layer, width in enumerate(found.widths)
        ]
    ).to(theirs)
    print(f"largest difference of mean differences {float((theirs - ours).abs().max()):.2e}")
    k = len(network)
    both = {*theirs.topk(k).indices.tolist()} & {*ours.topk(k).indices.tolist()}
    print(f"top {k} by mean difference: {len(both)} of {k} are the same")


if __name__ == "__main__":
    main()
