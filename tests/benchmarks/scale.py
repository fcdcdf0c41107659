"""How seconds and memory grow: with the model, with the stimuli, with processes, with shards.

    python tests/benchmarks/scale.py sizes [--billions 0.1,1] [--device cuda] [--dtype bfloat16]
    python tests/benchmarks/scale.py stimuli [--times 1,10,100]
    python tests/benchmarks/scale.py processes [--models 4]
    python tests/benchmarks/scale.py merge [--shards 1024] [--layers 80] [--neurons 28672]

``sizes``: random Llama models of so many billion parameters: localizing (480
stimuli, of which ``--stimuli`` are run; one site), a lesion study (one network, 20 draws,
``--pairs`` minimal pairs), and the rate of counting active neurons; then the formula that these
fit, and what it gives beyond.
``stimuli``: localizing so many times as many stimuli. ``processes``: a sweep over copies of one
model by 1 and 2 processes, one thread each. ``merge``: adding up the counts of shards of a corpus
in a tree. Every row is a process of its own, whose peak of memory is its own.

Seconds are CPU seconds of the process, so that what else the machine does hardly counts; on a GPU
they are those of the clock. Where two processes are compared with one, both are printed: on a
machine that has other work, the clock says what that leaves, CPU seconds how the work is shared.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]

VOCABULARY = 8192
WINDOW = 256
BEYOND = (1.0, 8.0, 70.0)


def peak_mib(device: str = "cpu") -> float:
    if device.startswith("cuda"):  # where the weights are
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Run a row in a process with one thread; return what it printed as JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                   "HF_HUB_OFFLINE": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- models ----------------------------------------------------------------------------------------


def config_of(billions: float) -> Any:
    """A Llama of about so many parameters: width and depth grow together, as in real ones."""
    import transformers

    wanted = billions * 1e9
    width = next(
        width for width in range(64, 32_768, 64) if parameters_of(width, layers_of(width)) >= wanted
    )
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 8 // 3 // 16 * 16,
        num_hidden_layers=layers_of(width), num_attention_heads=width // 64,
        num_key_value_heads=width // 64, max_position_embeddings=1024,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip


def layers_of(width: int) -> int:
    return max(4, round(width / 64))


def parameters_of(width: int, layers: int) -> int:
    return 2 * VOCABULARY * width + layers * (4 * width**2 + 3 * width * (width * 8 // 3))


def random_model(billions: float, device: str, dtype: str = "float32") -> Any:
    import tiny_models
    import torch
    import transformers

    import lensloc as ll

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config_of(billions), dtype=getattr(torch, dtype)
        )
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = tiny_models.train_tokenizer(Path(folder))
    return ll.load_model(model, tokenizer=tokenizer, name=f"{billions:g}B")


def timed(function: Any, device: str = "cpu") -> tuple[float, Any]:
    """Return CPU seconds, or those of the clock where another device is at work."""
    import torch

    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    found = function()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start, found


def header() -> None:
    """Print what the figures depend on."""
    import platform
    from importlib import metadata

    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
    print(f"{time.strftime('%Y-%m-%d')}; {model}, {os.cpu_count()} cores; Python "
          f"{platform.python_version()}, {versions}")  # fmt: skip


def one_size(billions: float, device: str, stimuli: int, pairs: int, dtype: str) -> dict[str, Any]:
    import lensloc as ll
    from lensloc.errors import unwarned

    model = random_model(billions, device, dtype)
    n_parameters = sum(p.numel() for p in model.parameters())
    language = ll.contrasts.language()
    contrast = language.keep({name: range(stimuli // 2) for name in ("sentences", "nonwords")})
    with unwarned():
        # What is found out about a model once, whatever the number of stimuli.
        few = contrast.keep({name: range(4) for name in ("sentences", "nonwords")})
        ll.localize(model, few, progress=False)
        localizing, found = timed(lambda: ll.localize(model, contrast, progress=False), device)
        task = ll.tasks.minimal_pairs(limit=1).at(range(pairs))
        controls = ll.controls("layer")
        studying, _ = timed(
            lambda: ll.lesion_study(
                model, {"language": found["resid_post"]}, [task], controls, [1], exact=True,
                progress=False,
            ),
            device,
        )  # fmt: skip
        text = {"a": list(language.conditions["sentences"][: 2 * stimuli])}
        counting, counts = timed(
            lambda: ll.lape.record(model, text, window=WINDOW, progress=False), device
        )
    return {
        "parameters": n_parameters, "tokens": found.n_tokens, "localize": localizing,
        "study": studying, "lape_tokens": int(counts.tokens[0]), "lape": counting,
        "peak_mib": peak_mib(device),
    }  # fmt: skip


def sizes(billions: list[float], device: str, stimuli: int, pairs: int, dtype: str) -> None:
    """Print a table of measured sizes, and the formula through them."""
    rows = []
    print(f"localizing with {stimuli} of 480 stimuli, and so many times as many seconds; a study "
          f"of {pairs} pairs; {dtype}")  # fmt: skip
    print("parameters (B) | localize (s) | study (s) | 100M tokens of LAPE (h) | peak (GB)")
    for each in billions:
        row = in_own_process(
            "one-size", str(each), "--device", device, "--stimuli", str(stimuli),
            "--pairs", str(pairs), "--dtype", dtype,
        )  # fmt: skip
        row["localize"] *= 480 / stimuli
        row["tokens"] *= 480 / stimuli
        rows.append(row)
        hours = 1e8 / (row["lape_tokens"] / row["lape"]) / 3600
        print(f"{row['parameters'] / 1e9:14.3f} | {row['localize']:12.1f} | {row['study']:9.1f} | "
              f"{hours:23.2f} | {row['peak_mib'] / 1024:9.2f}", flush=True)  # fmt: skip
    largest = rows[-1]
    n = largest["parameters"]
    rates = {
        "localize": largest["localize"] / (n * largest["tokens"]),
        "study": largest["study"] / n,
        "lape": largest["lape"] / (n * largest["lape_tokens"]),
    }
    memory = (largest["peak_mib"] - rows[0]["peak_mib"]) / max(1, n - rows[0]["parameters"])
    print("\nnot measured, by the formula (seconds in proportion to parameters x tokens, at the "
          "rate of the largest; memory by the line through smallest and largest):")  # fmt: skip
    for each in BEYOND:
        p = each * 1e9
        gigabytes = (rows[0]["peak_mib"] + memory * (p - rows[0]["parameters"])) / 1024
        print(f"{each:14.0f} | {rates['localize'] * p * largest['tokens']:12.0f} | "
              f"{rates['study'] * p:9.0f} | {rates['lape'] * p * 1e8 / 3600:23.0f} | "
              f"{gigabytes:9.0f}")  # fmt: skip


# -- stimuli ---------------------------------------------------------------------------------------


def one_stimuli(times: int) -> dict[str, Any]:
    import lensloc as ll
    from lensloc.errors import unwarned

    model = random_model(0.01, "cpu")
    contrast = ll.contrasts.language()
    texts = {
        name: [
            f"{number} {text}" for number in range(times) for text in contrast.conditions[name][:24]
        ]
        for name in ("sentences", "nonwords")
    }
    many = ll.Contrast.from_texts(texts, target="sentences", control="nonwords")
    with unwarned():
        ll.localize(model, contrast.keep({name: range(8) for name in texts}), progress=False)
        seconds, found = timed(lambda: ll.localize(model, many, batch_size=16, progress=False))
    return {"stimuli": 48 * times, "tokens": found.n_tokens, "seconds": seconds,
            "peak_mib": peak_mib()}  # fmt: skip


def stimuli(times: list[int]) -> None:
    """Print how time and memory grow with the stimuli."""
    print("stimuli |  tokens | seconds | ms per token | peak (MiB)")
    for each in times:
        row = in_own_process("one-stimuli", str(each))
        print(f"{row['stimuli']:7d} | {row['tokens']:7d} | {row['seconds']:7.1f} | "
              f"{1000 * row['seconds'] / row['tokens']:10.3f} | "
              f"{row['peak_mib']:10.0f}")  # fmt: skip


# -- processes -------------------------------------------------------------------------------------


def processes(models: int) -> None:
    """Print what a second process gains, one thread each."""
    import psutil
    import tiny_models

    import lensloc as ll

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number in range(models):
            tiny_models.make_checkpoint(place / f"m{number}", config_of(0.01), seed=number)
        plan = {"models": [str(place / f"m{number}") for number in range(models)],
                "contrasts": "language", "sites": ["resid_post"]}  # fmt: skip
        print("processes | seconds of the clock | CPU seconds of each")
        for several in (1, 2):
            start, own = time.perf_counter(), time.process_time()
            found = ll.sweep(plan, store=place / f"store-{several}", processes=several,
                             progress=False)  # fmt: skip
            seconds = time.perf_counter() - start
            assert found.counts["done"] == models, found.warnings
            # Those of two lie ready for more work for a while.
            ready = [sum(each.cpu_times()[:2]) for each in psutil.Process().children(True)]
            used = sorted([time.process_time() - own, *ready], reverse=True)[:several]
            each = " and ".join(f"{part:.1f}" for part in used)
            print(f"{several:9d} | {seconds:20.1f} | {each:>19}", flush=True)


# -- merging ---------------------------------------------------------------------------------------


def merge(shards: int, layers: int, neurons: int, languages: int, fan: int) -> None:
    """Add up counts of shards in a tree of so many branches per node; print time and peak."""
    import torch

    from lensloc.lape.counts import ActivationCounts

    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    base = torch.randint(0, 1000, (layers, neurons, 1), generator=draws)
    before = peak_mib()

    def shard(number: int) -> Any:
        """What a machine that counted a shard of a billion tokens in one language hands over."""
        language = f"l{number % languages}"
        return ActivationCounts(
            base + number, torch.tensor([10**9]), (language,), sources={language: (str(number),)}
        )

    held = 0
    most = 0

    def node(first: int, size: int) -> Any:
        nonlocal held, most
        if size == 1:
            held += 1
            most = max(most, held)
            return shard(first)
        step = math.ceil(size / fan)
        total = None
        for start in range(first, first + size, step):
            part = node(start, min(step, first + size - start))
            if total is None:
                total = part
            else:
                total, held = total + part, held - 1
        return total

    seconds, total = timed(lambda: node(0, shards))
    size = layers * neurons * languages * 8 / 2**20
    assert int(total.tokens.sum()) == shards * 10**9
    expected = sum(int(base[0, 0, 0]) + number for number in range(0, shards, languages))
    assert int(total.counts[0, 0, 0]) == expected
    print(f"{shards} shards of {layers} x {neurons:,} neurons, {languages} languages, {fan} a node:"
          f" {seconds:.0f} s, at most {most} partial sums at once; peak "
          f"{peak_mib() - before:.0f} MiB over {before:.0f} MiB "
          f"(the sum takes {size:.0f} MiB)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    of_sizes = commands.add_parser("sizes")
    of_sizes.add_argument("--billions", default="0.1,1")
    one = commands.add_parser("one-size")
    one.add_argument("billions", type=float)
    for each in (of_sizes, one):
        each.add_argument("--device", default="cpu")
        each.add_argument("--dtype", default="float32")
        each.add_argument("--stimuli", type=int, default=48)
        each.add_argument("--pairs", type=int, default=5)
    commands.add_parser("stimuli").add_argument("--times", default="1,10,100")
    commands.add_parser("one-stimuli").add_argument("times", type=int)
    commands.add_parser("processes").add_argument("--models", type=int, default=4)
    of_merge = commands.add_parser("merge")
    for name, number in (("shards", 1024), ("layers", 80), ("neurons", 28_672), ("languages", 6),
                         ("fan", 2)):  # fmt: skip
        of_merge.add_argument(f"--{name}", type=int, default=number)
    given = parser.parse_args()
    if not given.command.startswith("one-"):
        header()
    if given.command == "sizes":
        sizes([float(each) for each in given.billions.split(",")], given.device, given.stimuli,
              given.pairs, given.dtype)  # fmt: skip
    elif given.command == "one-size":
        found = one_size(given.billions, given.device, given.stimuli, given.pairs, given.dtype)
        print(json.dumps(found))
    elif given.command == "stimuli":
        stimuli([int(each) for each in given.times.split(",")])
    elif given.command == "one-stimuli":
        print(json.dumps(one_stimuli(given.times)))
    elif given.command == "processes":
        processes(given.models)
    else:
        merge(given.shards, given.layers, given.neurons, given.languages, given.fan)


if __name__ == "__main__":
    main()
