"""What lensloc costs on a GPU beside the models' own forward passes, in minutes.

    python tests/benchmarks/gpu.py --out gpu.md                     # on a card: 9 minutes at most
    python tests/benchmarks/gpu.py --shapes 1b --dtypes bfloat16 --sections bare,localize,lape
    python tests/benchmarks/gpu.py --tiny --device cpu              # every section, tiny shapes

Random Llama models of the shapes of Llama-3.2-1B and Llama-3.1-8B are made on the machine (nothing
is fetched), and every kind of model is loaded from them. Times are by device events, medians of
rounds; what is compared runs in turn, round by round. Every section has a time of its own, and
what there is no time for is said to be left out. Rows are printed, and written to ``--out``, as
they come. Aims stand beside the ratios; whatever is missed or fails, the exit code is 0.
"""

import argparse
import datetime
import gc
import itertools
import logging
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import transformers
from rounds import NoTimeError, Page, Seconds, Watch, forget_peak, peak
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import lensloc as ll
from lensloc.contrasts.bundled import bundled_folder
from lensloc.errors import unwarned
from lensloc.forward.batches import batches_by_length, padded_right
from lensloc.forward.memory import busy_tokens, free_memory, pass_bytes
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.identity import _hashed
from lensloc.models.loading import DTYPES
from lensloc.models.surface import Decoding
from lensloc.models.tokens import token_ids
from lensloc.selectivity.moments import Moments
from lensloc.selectivity.t_tests import welch_of_moments
from lensloc.tasks.decoding import decode
from lensloc.units.provenance import Provenance

KINDS = ("transformers", "hooked", "bridge")
SHAPES: dict[str, dict[str, Any]] = {
    "1b": dict(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
    "8b": dict(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=False,
    ),
}  # fmt: skip
TINY: dict[str, Any] = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=True,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is run."""

    vocabulary: int
    context: int
    stimuli: int
    window: int
    tokens: int
    pairs: int
    draws: int
    prompts: int
    prompt: int
    written: int
    units: tuple[int, int]


FULL = Size(128256, 8192, 240, 2048, 65536, 60, 20, 32, 16, 64, (32, 458752))
SMALL = Size(1024, 256, 4, 64, 256, 3, 2, 2, 4, 4, (2, 4096))

# Seconds a section may take for one kind of model.
LIMITS = {
    "load": 90, "bare": 20, "localize": 30, "lape": 25, "pairs": 20, "study": 40, "ablation": 20,
    "generation": 25, "counting": 5, "statistics": 15,
}  # fmt: skip
AIMS = {
    "localize, one site": "at most 1.1 x bare",
    "lape": "at least 0.95 of bare's tokens per second",
    "generation": "at least 0.9 of transformers' own tokens per second",
    "statistics": "under 2 s",
}


class Bench:
    """One shape in one dtype: every kind of model is loaded and timed in turn."""

    def __init__(
        self, page: Page, watch: Watch, sections: Sequence[str], size: Size, rows: dict[str, str]
    ) -> None:
        self.page = page
        self.watch = watch
        self.sections = sections
        self.size = size
        self.about = rows
        self.model: Any = None
        self.original: Any = None
        self.bare: dict[str, Seconds] = {}
        self.best = {"stimuli": 16384, "windows": 16384}

    # -- what is written --------------------------------------------------------------------------

    def tell(
        self, what: str, took: object, *, beside: str = "", aim: str = "", more: str = ""
    ) -> None:
        self.page.row(
            **self.about,
            what=what,
            took=took,
            ratio=beside,
            aim=aim,
            memory=peak(self.watch.device),
            more=more,
        )

    def section(self, name: str, run: Callable[[], None]) -> None:
        """Run a section if it is wanted, within its time; say so if it cannot be done."""
        if name not in self.sections:
            return
        forget_peak(self.watch.device)
        try:
            with self.watch.at_most(LIMITS[name]), unwarned():
                run()
        except NoTimeError:
            self.tell(name, "no time left")
        except Exception as error:  # whatever it is, the other sections are worth their time
            line = str(error).splitlines()[0][:160] if str(error) else ""
            self.tell(name, "failed", more=f"{type(error).__name__}: {line}".replace("|", "/"))

    # -- sections ---------------------------------------------------------------------------------

    def load(self, folder: Path, kind: Any, dtype: str) -> None:
        self.about["kind"] = kind
        device = str(self.watch.device)

        def loaded() -> Any:
            return ll.load_model(folder, dtype=dtype, device=device, backend=kind, progress=False)

        with self.watch.at_most(LIMITS["load"]):
            took, self.model = self.watch.once(loaded)
        if kind == "transformers":
            self.original = self.model
        seen = surface(self.model)
        if "load" in self.sections:
            self.tell("load, with its check", f"{took:.3g} s")
            first, _ = self.watch.once(lambda: _hashed(self.model))
            again, _ = self.watch.once(lambda: describe(self.model))
            self.tell("identity, all weights read", f"{first:.3g} s", more=f"again {again:.2g} s")
        self.tell(
            "at once",
            f"{busy_tokens(self.model)} tokens",
            more=f"{pass_bytes(self.model, self.size.window)} bytes per token; "
            f"{free_memory(self.watch.device) / 2**30:.1f} GiB free; several texts per row: "
            f"{seen.longest_packed() > 0}; begins anywhere: {seen.starts_anywhere()}",
        )

    def contrast(self) -> ll.Contrast:
        whole = ll.contrasts.language()
        rows = {name: range(self.size.stimuli) for name in whole.conditions}
        return whole.keep({name: list(found) for name, found in rows.items()})

    def windows(self) -> torch.Tensor:
        draws = torch.Generator().manual_seed(0)
        shape = (self.size.tokens // self.size.window, self.size.window)
        return torch.randint(1, self.size.vocabulary, shape, generator=draws)

    def run_bare(self, batches: Sequence[torch.Tensor]) -> None:
        decoder = self.original.base_model
        with torch.no_grad():
            for batch in batches:
                decoder(input_ids=batch, use_cache=False)

    def stimuli_in_batches(self, budget: int) -> list[torch.Tensor]:
        ids = [token_ids(self.model, text) for text in self.contrast().texts]
        batches = batches_by_length([len(row) for row in ids], budget=budget)
        return [padded_right([ids[row] for row in rows], self.watch.device) for rows in batches]

    def windows_in_batches(self, budget: int) -> list[torch.Tensor]:
        rows = self.windows().to(self.watch.device)
        return list(rows.split(max(1, budget // self.size.window)))

    def time_bare(self) -> None:
        """Each at the best of a few batch sizes, with transformers' own attention."""
        for name, batches in (
            ("stimuli", self.stimuli_in_batches),
            ("windows", self.windows_in_batches),
        ):
            tried: dict[int, Seconds] = {}
            for budget in (4096, 16384, 65536):
                made = batches(budget)
                if not tried or self.watch.left() > 0:
                    (tried[budget],) = self.watch.several([lambda made=made: self.run_bare(made)])
            best = min(tried, key=lambda budget: tried[budget].median)
            self.bare[name] = tried[best]
            n_tokens = sum(part.numel() for part in batches(best))
            self.tell(
                f"bare forward, {name}", tried[best],
                more=f"{n_tokens} tokens, {best} at once; "
                + ", ".join(f"{budget}: {found}" for budget, found in tried.items()),
            )  # fmt: skip
            self.best[name] = best

    def time_localize(self) -> None:
        contrast = self.contrast()
        sites = [name for name in ll.SITES if self._has(name)]
        for what, wanted in (("one site", ["resid_post"]), ("all sites", sites)):

            def run(wanted: list[str] = wanted) -> None:
                ll.localize(self.model, contrast, wanted, progress=False)

            made = self.stimuli_in_batches(self.best["stimuli"])
            bare, own = self._beside(lambda made=made: self.run_bare(made), run)
            self.tell(
                f"localize, {what}", own, beside=self._times(own, bare),
                aim=AIMS.get(f"localize, {what}", ""), more=f"{len(wanted)} sites",
            )  # fmt: skip

    def _has(self, name: str) -> bool:
        seen, site = surface(self.model), ll.SITES[name]
        return all(seen.lacks(site.hook_name(layer)) is None for layer in range(seen.n_layers))

    def _beside(
        self, bare: Callable[[], None], own: Callable[[], None]
    ) -> tuple[Seconds | None, Seconds]:
        """Time both in turn where the bare model is loaded; else what was found of it before."""
        if self.original is None:
            return None, self.watch.several([own])[0]
        found = self.watch.several([bare, own])
        return found[0], found[1]

    def _times(self, own: Seconds, bare: Seconds | None, known: str = "stimuli") -> str:
        other = bare or self.bare.get(known)
        if other is None:
            return ""
        return f"{own.over(other):.3f} x bare" + ("" if bare else " (before)")

    def time_lape(self) -> None:
        windows = self.windows()
        made = self.windows_in_batches(self.best["windows"])

        def run() -> None:
            ll.lape.record(self.model, {"a": windows}, window=self.size.window, progress=False)

        bare, own = self._beside(lambda: self.run_bare(made), run)
        other = bare or self.bare.get("windows")
        ratio = "" if other is None else f"{1 / own.over(other):.3f} of bare"
        rate = f"{windows.numel() / own.median:,.0f} tokens per second"
        self.tell("lape", own, beside=ratio, aim=AIMS["lape"], more=rate)

    def time_pairs(self) -> None:
        task = ll.tasks.minimal_pairs(limit=1)
        task = task.at(range(min(self.size.pairs, len(task.pairs))))
        (own,) = self.watch.several([lambda: task(self.model)])
        n = 2 * len(task.pairs)
        self.tell("minimal pairs", own, more=f"{n / own.median:,.0f} sentences per second")

    def time_study(self) -> None:
        """Draws one after another, and as many in a pass as there is room for."""
        network = ll.localize(self.model, self.contrast(), progress=False)["resid_post"]
        task = ll.tasks.minimal_pairs(limit=1).at(range(min(self.size.pairs, 20)))
        controls = ll.controls("layer", seeds=range(self.size.draws))
        found = {}

        def run(batch_size: Any) -> None:
            found[batch_size] = ll.lesion_study(
                self.model, {"network": network}, [replace(task, batch_size=batch_size)], controls,
                [1], exact=True, progress=False,
            ).items  # fmt: skip

        # As many rows as texts leave no room for a second copy of them.
        ways: list[Any] = [2 * len(task.pairs), "auto"]
        one, several = self.watch.several([partial(run, way) for way in ways])
        alone, beside = (found[way] for way in ways)
        same = float((alone["value"] == beside["value"]).mean())
        self.tell("lesion_study, a draw at a time", one, more=f"{self.size.draws} draws")
        self.tell(
            "lesion_study, several at once", several,
            beside=f"{several.over(one):.3f} x one at a time",
            more=f"{100 * same:.1f} % of the items' values equal",
        )  # fmt: skip

    def time_ablation(self) -> None:
        """Neurons of a layer ablated one after another, and as many in a pass as there is room."""
        whole = self.contrast()
        n = max(1, self.size.stimuli // 60)
        few = whole.keep({name: list(range(n)) for name in whole.conditions})
        seen = surface(self.model)
        width = seen.width("blocks.0.mlp.hook_post") or 0
        mask = torch.zeros(seen.n_layers, width, dtype=torch.bool)
        mask[seen.n_layers // 2, :32] = True
        found = {}

        def run(batch_size: Any) -> None:
            found[batch_size] = ll.attribute(
                self.model, few, "ablation_effect", "mlp_post",
                units=ll.UnitMask("mlp_post", mask),
                batch_size=batch_size, progress=False,
            ).score[mask]  # fmt: skip

        # As many rows as texts leave no room for a second copy of them.
        ways: list[Any] = [len(few.texts), "auto"]
        one, several = self.watch.several([partial(run, way) for way in ways])
        first, second = (found[way] for way in ways)
        off = float((first - second).abs().max() / first.abs().max())
        self.tell("ablation, a neuron at a time", one, more=f"{int(mask.sum())} neurons")
        self.tell(
            "ablation, several at once", several, beside=f"{several.over(one):.3f} x one at a time",
            more=f"largest difference {off:.1e} of the largest effect",
        )  # fmt: skip

    def time_generation(self) -> None:
        size = self.size
        draws = torch.Generator().manual_seed(1)
        shape = (size.prompts, size.prompt)
        prompts = torch.randint(1, size.vocabulary, shape, generator=draws)
        how = Decoding(size.written, min_new_tokens=size.written)

        def own() -> None:
            decode(self.model, prompts.tolist(), how)

        def theirs() -> None:
            given = prompts.to(self.watch.device)
            settings = transformers.GenerationConfig(
                max_new_tokens=size.written, min_new_tokens=size.written, do_sample=False,
                pad_token_id=0, eos_token_id=0,
            )  # fmt: skip
            with torch.no_grad():
                self.original.generate(
                    given, attention_mask=torch.ones_like(given), generation_config=settings
                )

        other, found = self._beside(theirs, own)
        if other is not None:
            self.bare["generation"] = other
        known = other or self.bare.get("generation")
        ratio = "" if known is None else f"{1 / found.over(known):.3f} of transformers' own"
        rate = f"{size.prompts * size.written / found.median:,.0f} tokens per second"
        self.tell("generation", found, beside=ratio, aim=AIMS["generation"], more=rate)

    def time_kind(self, folder: Path, kind: str, dtype: str) -> None:
        """Load a kind of model and run every section on it."""
        try:
            self.load(folder, kind, dtype)
        except NoTimeError:
            self.tell("load", "no time left")
            return
        except Exception as error:
            self.tell("load", "failed", more=f"{type(error).__name__}: {str(error)[:160]}")
            return
        if kind == "transformers":
            self.section("bare", self.time_bare)
        for name, run in (
            ("localize", self.time_localize),
            ("lape", self.time_lape),
            ("pairs", self.time_pairs),
            ("generation", self.time_generation),
            ("study", self.time_study),
            ("ablation", self.time_ablation),
        ):
            self.section(name, run)
        self.model = self.original = None
        free(self.watch.device)


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# -- what needs no model ---------------------------------------------------------------------------


def time_statistics(bench: Bench) -> None:
    layers, width = bench.size.units
    device = bench.watch.device
    draws = torch.Generator(device).manual_seed(0)

    def drawn() -> torch.Tensor:
        return torch.rand(
            layers, width, generator=draws, dtype=torch.float64, device=device
        )  # fmt: skip

    sides = []
    for _ in range(2):
        middle, spread = drawn(), 0.5 + drawn()
        sides.append(
            Moments(
                240, middle, 240 * spread, drawn() - 0.5, 720 * spread**2, middle - 2, middle + 2,
                middle.abs(), 1e-7,
            )
        )  # fmt: skip
    made = Provenance()
    (took,) = bench.watch.several(
        [lambda: welch_of_moments("mlp_post", *sides, provenance=made, widths=None)]
    )
    bench.tell("statistics", took, aim=AIMS["statistics"], more=f"{layers * width} units")


def time_counting(bench: Bench, neurons: int, dtype: torch.dtype) -> None:
    """Two ways to count active neurons: sums of truths, and a product with ones."""
    n_tokens = bench.size.tokens // 2
    values = torch.randn(1, n_tokens, neurons, dtype=dtype, device=bench.watch.device)
    room = torch.empty(values.shape, dtype=torch.float32, device=values.device)

    def truths() -> None:
        (values > 0.0).sum(dim=(0, 1))

    def product() -> None:
        active = torch.gt(values, 0.0, out=room)
        (active.new_ones(1, n_tokens) @ active.flatten(0, 1)).to(torch.int64)

    one, other = bench.watch.several([truths, product])
    bench.tell(
        "counting", one, beside=f"{one.over(other):.3f} x the product with ones",
        more=f"{neurons} neurons, {n_tokens} tokens; the product {other}",
    )  # fmt: skip


# -- random checkpoints ----------------------------------------------------------------------------


def write_checkpoint(folder: Path, shape: dict[str, Any], size: Size, device: torch.device) -> None:
    """A random Llama in bfloat16, and a tokenizer made of the bundled texts."""
    config = transformers.LlamaConfig(
        **shape, vocab_size=size.vocabulary, max_position_embeddings=size.context,
        rope_theta=500000.0, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    free(device)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(size.vocabulary, 16384),
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prose = [path.read_text(encoding="utf-8") for path in (bundled_folder() / "prose").glob("en*")]
    tokenizer.train_from_iterator([*prose, *ll.contrasts.language().texts], trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    ).save_pretrained(folder)


def heading(page: Page, device: torch.device) -> None:
    card = platform.processor() or platform.machine()
    if device.type == "cuda":
        known = torch.cuda.get_device_properties(device)
        card = f"{known.name}, {known.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    versions = ", ".join(f"{name} {number}" for name, number in ll.versions().items())
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    page.head(f"## {card}")
    page.say(f"\n{date}; Python {platform.python_version()}; {versions}")


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, for a try on a CPU")
    parser.add_argument("--shapes", type=listed, default=list(SHAPES))
    parser.add_argument("--dtypes", type=listed, default=["bfloat16", "float32"])
    parser.add_argument("--kinds", type=listed, default=list(KINDS))
    parser.add_argument("--sections", type=listed, default=list(LIMITS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=540, help="in all")
    parser.add_argument("--folder", type=Path, help="for the checkpoints; up to 20 GB")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name, known in (
        ("shapes", SHAPES), ("dtypes", DTYPES), ("kinds", KINDS), ("sections", LIMITS)
    ):  # fmt: skip
        unknown = sorted(set(getattr(given, name)) - set(known))
        if unknown:
            parser.error(f"--{name} knows {', '.join(known)}, and not {', '.join(unknown)}")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(given.device)
    size = SMALL if given.tiny else FULL
    shapes = {"tiny": TINY} if given.tiny else {name: SHAPES[name] for name in given.shapes}
    page, watch = Page(given.out), Watch(device, time.perf_counter() + given.seconds, given.rounds)
    heading(page, device)
    alone = {"shape": "-", "dtype": "float64", "kind": "-"}
    bench = Bench(page, watch, given.sections, size, dict(alone))
    bench.section("statistics", lambda: time_statistics(bench))
    free(device)
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        # What matters most comes first: half precision, then single.
        for dtype, (name, shape) in itertools.product(given.dtypes, shapes.items()):
            about = {"shape": name, "dtype": dtype, "kind": "-"}
            bench = Bench(page, watch, given.sections, size, about)
            counting = (bench, shape["intermediate_size"], DTYPES[dtype])
            bench.section("counting", lambda counting=counting: time_counting(*counting))
            free(device)
            if watch.left() <= 0:
                bench.tell("all", "no time left")
                continue
            folder = Path(made) / f"random-{name}"
            if not folder.exists():
                write = partial(write_checkpoint, folder, shape, size, device)
                took, _ = watch.once(write)
                bench.tell("random checkpoint, made and written", f"{took:.3g} s")
            for kind in given.kinds:
                bench.time_kind(folder, kind, dtype)
    page.head(f"{given.seconds - watch.left():.0f} s in all.")


if __name__ == "__main__":
    main()
