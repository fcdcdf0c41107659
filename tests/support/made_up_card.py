"""Does anything meet on two devices? Runs what models run, on a device that does not exist.

    python tests/support/made_up_card.py [llama]

Tensors have shapes, dtypes and devices, and no numbers; an operation on two devices is an error, as
on a GPU (but for what a GPU takes too: indices and single numbers from the CPU). So it is found
without a card if an index, a mask or a constant is left on the CPU. What reads a number back cannot
be run here, and some operations are not there for such a device: these are told apart.
"""

import functools
import itertools
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pair_parts
import tiny_models
import torch
from kinds import KINDS
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import lensloc as ll
from lensloc.attribution.gates import Gate, Place, Survey
from lensloc.forward.capturing import POOLINGS, pool
from lensloc.forward.packing import inputs_of, packed
from lensloc.forward.sites import to_units
from lensloc.lape.counting import Counter
from lensloc.lesions.corrupted import CorruptedRun
from lensloc.lesions.side_by_side import Together
from lensloc.models.adapting import surface
from lensloc.models.hooked import _Reader
from lensloc.models.surface import Inputs, Start, opened
from lensloc.selectivity.moments import Moments
from lensloc.selectivity.permutation import _Relabellings, _SignFlips
from lensloc.tasks.scoring import log_probs_and_greedy, log_probs_of

_TENSOR = torch.tensor

CARD = "card"
NAMES = ("llama", "gpt2")
# What such a device cannot do at all.
LIMITS = (DataDependentOutputException, DynamicOutputShapeException, NotImplementedError)
IDS = ((5, 6, 7, 8), (5, 6, 9, 10, 11), (12, 13, 14))
UNTRIED = "cannot be tried"
Piece = tuple[str, Callable[[], Any]]
Models = dict[tuple[str, str], tuple[Any, list[tuple[str, ll.Lesion]]]]


@functools.cache
def make_up() -> None:
    """Tell torch of the device; for good, in this process."""
    _setup_privateuseone_for_python_backend(CARD)


def on_the_card(model: Any) -> None:
    """Put weights without numbers in the place of a model's; to be called in fake mode."""
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                made = torch.empty(weight.shape, dtype=weight.dtype, device=CARD)
                module._parameters[name] = nn.Parameter(made, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                made = torch.empty(buffer.shape, dtype=buffer.dtype, device=CARD)
                module._buffers[name] = made


def lesions_of(model: Any, pairs: ll.Pairs) -> Iterator[tuple[str, ll.Lesion]]:
    """Lesions of every mode at three sites, closed; their masks and references on the CPU."""
    seen = surface(model)
    contrast = ll.Contrast.from_texts(
        {"a": tiny_models.CORPUS[:2], "b": tiny_models.CORPUS[2:]}, target="a", control="b"
    )
    neurons = seen.width("blocks.0.mlp.hook_post") or 0
    for site, width in (("resid_post", 32), ("mlp_post", neurons), ("head", seen.n_heads)):
        units = torch.zeros(seen.n_layers, width, dtype=torch.bool)
        units[:, [0, 3]] = True
        mask = ll.UnitMask(site, units)
        ways: list[tuple[str, dict[str, Any]]] = [
            ("zero", {}),
            ("scale", {"scale": 0.5}),
            ("mean", {"reference": contrast}),
            ("resample", {"reference": contrast}),
            ("clamp", {"value": 2.0}),
            ("clamp", {"value": torch.full(units.shape, 2.0)}),  # as steering does
            ("corrupt", {"reference": pairs}),
        ]
        if site == "resid_post":
            ways.append(("write", {}))
        for mode, given in ways:
            made: Any = ll.lesion(model, mask, mode, check=False, **given)  # type: ignore[arg-type]
            yield f"{mode} at {site}", made


def read_tokens() -> torch.Tensor:
    return torch.zeros(2, 6, dtype=torch.long, device=CARD)


def at_sites(model: Any) -> Iterator[Piece]:
    """What is captured, counted and attributed."""
    seen, tokens = surface(model), read_tokens()
    over = torch.ones(2, 6, dtype=torch.bool)
    for name, site in ll.SITES.items():
        points = [site.hook_name(layer) for layer in range(seen.n_layers)]
        if any(seen.lacks(point) for point in points):
            continue

        def capture(site: Any = site, points: list[str] = points) -> None:
            found = seen.capture(tokens, points)
            for pooling in POOLINGS:
                values = [
                    pool(to_units(site, found[point], seen.n_heads), over, pooling)
                    for point in points
                ]
                made = torch.stack(values, dim=1)
                assert made.device.type == CARD
                Moments.of(made, absolute=True)
            for by_row in (False, True):
                counter = Counter(model, site, tuple(points), 0.0, by_row, {})
                counter._count(found[points[0]], points[0], (2, 6))

        yield f"capture, pool and count at {name}", capture

        if site.is_summary:
            continue

        def attribute(site: Any = site) -> None:
            places = [Place(site, layer, seen.n_heads) for layer in range(seen.n_layers)]
            gates = [Gate(place, None, learns=True) for place in places]
            surveys = [Survey(place, over) for place in places]
            hooks = [hook for each in (*surveys, *gates) for hook in each.hooks]
            with torch.enable_grad(), opened(seen, hooks):
                logits = seen.logits(tokens)
            values = [gate.value for gate in gates if gate.value is not None]
            assert len(values) == len(gates)
            assert logits.device.type == CARD
            for survey in surveys:
                survey.found()

        yield f"gates and surveys at {name}", attribute


def scored(model: Any) -> Iterator[Piece]:
    """Logits of chosen places, of texts alone, side by side, and from a layer on."""
    seen = surface(model)
    rows = packed(IDS, most_tokens=32)
    at = torch.tensor([0, 0]), torch.tensor([1, 2])
    alone = Inputs(read_tokens())

    def score(inputs: Inputs, start: Start | None = None) -> None:
        logits_of, _ = seen.picked_logits(inputs, *at, start)
        logits = logits_of(slice(None))
        which = torch.arange(2, device=logits.device)
        log_probs_of(logits, which, which)
        log_probs_and_greedy(logits, which, which)

    def ablate(start: Start | None = None) -> None:
        means = torch.zeros(32, 1, dtype=torch.float64)
        gate = Gate(Place(ll.SITES["resid_post"], 1, seen.n_heads), means, closed=(None, 3, 5))
        begin = None if start is None else start.repeated(3)
        with opened(seen, gate.hooks):
            seen.picked_logits(alone.repeated(3), at[0] + 4, at[1], begin)

    yield "logits of texts alone", lambda: score(alone)
    yield "logits of texts side by side", lambda: score(inputs_of(rows, torch.device(CARD)))
    if seen.starts_anywhere() and seen.kind != "hooked":  # which asserts that it gets real tensors
        residual = torch.zeros(2, 6, 32, device=CARD)
        start = Start(1, residual)
        yield "logits from a layer on", lambda: score(alone, start)
        yield "several units ablated at once, from a layer on", lambda: ablate(start)
    yield "several units ablated at once", ablate


def lesioned(model: Any, lesions: list[tuple[str, ll.Lesion]]) -> Iterator[Piece]:
    """A pass under every lesion."""
    for name, lesion in lesions:

        def run_under(lesion: ll.Lesion = lesion) -> None:
            of_pairs: CorruptedRun | None = lesion._corrupted
            lesion.forget()
            try:
                for point, function in lesion.functions():
                    lesion._open(point, function)
                if of_pairs is not None:  # which reads tokens back
                    of_pairs._now = [(0, 4), (1, 3)]
                surface(model).logits(read_tokens())
            finally:
                lesion._close()

        yield f"lesion: {name}", run_under

    several = [lesion for _, lesion in lesions if lesion.by_token]

    def run_under_all() -> None:
        for lesion in several:
            lesion.forget()
        with Together(model, [None, *several]):
            surface(model).logits(read_tokens()[:1].repeat(1 + len(several), 1))

    yield "lesions side by side", run_under_all


def written(model: Any) -> Iterator[Piece]:
    """Writing with a cache, where that is done here."""
    seen: Any = surface(model)

    def run() -> None:
        tokens, reader = read_tokens(), _Reader(seen)
        reader.next_logits(tokens[:, :4], 0, torch.arange(2))
        reader.next_logits(tokens[:, :5], 4, torch.arange(2))
        reader.next_logits(tokens[:1, :6], 5, torch.tensor([1]))

    if seen.kind == "hooked":
        yield "writing with a cache", run


def statistics() -> Iterator[Piece]:
    """What is computed of responses that lie on the card."""
    sides = torch.zeros(6, 3, 8, device=CARD), torch.zeros(6, 3, 8, device=CARD)
    labels, signs = np.zeros((5, 12)), np.zeros((5, 6))
    yield "shuffled labels", lambda: _Relabellings(sides, True, labels).t(slice(0, 4))
    yield "flipped signs", lambda: _SignFlips(sides, True, signs).t(slice(0, 4))


def loaded(path: Path, kind: Any) -> tuple[Any, list[tuple[str, ll.Lesion]]]:
    """A model and its lesions, with all that is found out by trying, while there are numbers."""
    model = ll.load_model(path, backend=kind, device="cpu")
    seen: Any = surface(model)
    seen.longest_packed(), seen.starts_anywhere(), seen.lacks("blocks.0.hook_resid_post")
    getattr(seen, "_finish", None)
    return model, list(lesions_of(model, pair_parts.letters()))


class Card(FakeTensorMode):
    """Fake mode in which nothing with numbers is moved to the card, which has no memory for it."""

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, func, types, args=(), kwargs=None
    ) -> Any:
        there = (kwargs or {}).get("device")
        if func is torch.ops.aten._to_copy.default and there is not None and there.type == CARD:
            moved = args[0] if isinstance(args[0], FakeTensor) else self.from_tensor(args[0])
            moved.constant = None
            args = (moved, *args[1:])
        return super().__torch_dispatch__(func, types, args, kwargs)


def made_there(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    """Do what ``torch.tensor`` does, which itself asks for memory of the device."""
    made = _TENSOR(data, **options)
    return made if device is None else made.to(device)


def tried(model: Any, lesions: list[tuple[str, ll.Lesion]], only: str) -> Iterator[tuple[str, str]]:
    """Run the pieces of a model; yield their names, and errors."""
    fake = Card(allow_non_fake_inputs=True)
    with mock.patch.object(torch, "tensor", made_there), fake, torch.no_grad():
        on_the_card(model)
        if surface(model).kind != "transformers":
            model.cfg.device = CARD
        several = at_sites(model), scored(model), lesioned(model, lesions), written(model)
        for name, run in (*itertools.chain(*several), *statistics()):
            if not name.startswith(only):
                continue
            try:
                run()
            except LIMITS as error:
                yield name, f"{UNTRIED}: {str(error).splitlines()[0][:80]}"
            except Exception as error:  # whatever it is, it is told
                where = traceback.extract_tb(error.__traceback__)
                own = [f"{Path(at.filename).name}:{at.lineno}" for at in where[-4:]]
                yield name, f"{type(error).__name__}: {error} ({', '.join(own)})"
            else:
                yield name, ""


def models(names: Sequence[str] = NAMES, kinds: Sequence[str] = KINDS) -> Models:
    """Tiny models and their lesions, all to be loaded before the first is put on the card."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"my-{name}" for name in names}
        for name, path in paths.items():
            tiny_models.make_checkpoint(path, tiny_models.CONFIGS[name]())
        return {(name, kind): loaded(paths[name], kind) for name in names for kind in kinds}


def failures(of: Models, only: str = "") -> tuple[int, list[str]]:
    """How many pieces were run, and what went wrong where.

    Args:
        of: fresh models.
        only: pieces whose name begins like this.
    """
    make_up()
    tries = [(place, *found) for place, made in of.items() for found in tried(*made, only)]
    wrong = [f"{', '.join(place)}: {piece}: {found}" for place, piece, found in tries if found]
    return len(tries), wrong


def main() -> None:
    n, found = failures(models(sys.argv[1:] or NAMES))
    wrong = [line for line in found if UNTRIED not in line]
    for line in (*found, *wrong):
        print(line)
    tried = n - len(found) + len(wrong)
    print(f"{tried} of {n} pieces could be tried on a made-up card; {len(wrong)} failed")


if __name__ == "__main__":
    main()
