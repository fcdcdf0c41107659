"""Peak memory and seconds of loading, each measured in a process of its own.

Writes a random Llama of more than a billion parameters (as float32 and as bfloat16, in shards) and
a random .gguf file of a quarter of a gigabyte (Q4_K) into a temporary folder, which needs about
10 GB of disk, and loads each in every way:

    python tests/benchmarks/loading.py [--only TEXT] [--folder FOLDER]

Peak memory is the largest resident set of the process, files that it maps included, less what it
was before loading (Python and its libraries). On a busy machine look at the CPU's seconds, and set
OMP_NUM_THREADS=1. Memory is given in gigabytes, and as a multiple of the
weights in the dtype that they are loaded in.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

SIZES = dict(
    vocab_size=32768, hidden_size=2048, intermediate_size=7168, num_hidden_layers=18,
    num_attention_heads=16, num_key_value_heads=16, max_position_embeddings=2048,
)  # fmt: skip
_MEASURE = """
import json, sys, time
from pathlib import Path
import lensloc as ll
from lensloc.models import describe

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024

source, options = sys.argv[1], json.loads(sys.argv[2])
import lensloc.models.loading, transformers, transformer_lens.model_bridge  # not counted
transformers.LlamaForCausalLM
before, start, used = resident("VmRSS"), time.perf_counter(), time.process_time()
model = ll.load_model(source, device="cpu", **options)
seconds, used = time.perf_counter() - start, time.process_time() - used
peak = resident("VmHWM") - before
weights = sum({p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}.values())
start = time.perf_counter()
describe(model)
again = time.perf_counter() - start
print(json.dumps([weights, peak, seconds, used, again, type(model).__name__]))
"""


def write_tokenizer(folder: Path) -> None:
    """A vocabulary of the alphabet of bytes alone."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=alphabet[0])
    fast.save_pretrained(folder)


def write_checkpoint(folder: Path, dtype: torch.dtype) -> Path:
    """A random Llama in shards."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.to(dtype).save_pretrained(folder, max_shard_size="1GB")
    write_tokenizer(folder)
    return folder


def write_gguf(
    path: Path, d_model: int = 1024, n_layers: int = 24, n_vocabulary: int = 49152
) -> Path:
    """A random Llama whose matrices are stored as Q4_K: random bits, small scales."""
    d_mlp = 2816
    random = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q4_K
    block, size = gguf.GGML_QUANT_SIZES[kind]

    def matrix(rows: int, columns: int) -> np.ndarray:
        packed = random.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
        scales = np.array([4e-5, 4e-4], np.float16).view(
            np.uint8
        )  # of a block, and its least value
        packed[..., :4] = scales
        return packed.reshape(rows, -1)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(d_model)
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(d_mlp)
    writer.add_head_count(16)
    writer.add_head_count_kv(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(n_vocabulary)
    writer.add_tokenizer_model("gpt2")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b, c) for a in alphabet for b in alphabet for c in ("", "e", "s")]
    merges = [(a, b) for a, b, c in pairs if not c][: n_vocabulary - len(alphabet)]
    tokens = [*alphabet, *(a + b for a, b in merges)]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"<unused {n}>" for n in range(n_vocabulary - len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    writer.add_token_merges([f"{a} {b}" for a, b in merges])
    writer.add_eos_token_id(0)
    ones = np.ones(d_model, np.float32)
    shapes = {
        "attn_q": (d_model, d_model), "attn_k": (d_model, d_model), "attn_v": (d_model, d_model),
        "attn_output": (d_model, d_model), "ffn_gate": (d_mlp, d_model), "ffn_up": (d_mlp, d_model),
        "ffn_down": (d_model, d_mlp),
    }  # fmt: skip
    tensors = {"token_embd": (n_vocabulary, d_model), "output": (n_vocabulary, d_model)}
    for layer in range(n_layers):
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
    writer.add_tensor("output_norm.weight", ones)
    for name, shape in tensors.items():
        writer.add_tensor(f"{name}.weight", matrix(*shape), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def measure(label: str, source: Path, cache: Path, **options: str) -> None:
    """Load once in a process of its own, and print a line."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "LENSLOC_CACHE": str(cache)}
    command = [sys.executable, "-c", _MEASURE, str(source), json.dumps(options)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        gist = (run.stderr.strip().splitlines() or ["?"])[-1]
        print(f"{label:50} {gist[:150]}", flush=True)
        return
    weights, peak, seconds, used, again, kind = json.loads(run.stdout.splitlines()[-1])
    print(
        f"{label:50} {weights / 1e9:5.2f} GB  peak {peak / 1e9:5.2f} GB = {peak / weights:4.2f} x"
        f"  {seconds:5.1f} s ({used:4.1f} CPU)  identity again {again:6.3f} s  {kind}",
        flush=True,
    )


def main() -> None:
    """Write the models, and load them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose label has this text")
    parser.add_argument("--folder", help="where models are written, and kept")
    parser.add_argument("--backends", default="hooked,bridge,transformers")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.folder or temporary)
        rows = []
        backends = chosen.backends.split(",")
        for stored in ("float32", "bfloat16"):
            dtypes = ("float32",) if stored == "float32" else ("float32", "bfloat16")
            rows += [
                (
                    f"{stored} checkpoint as {dtype}, {backend}",
                    stored,
                    {"dtype": dtype, "backend": backend},
                )
                for dtype in dtypes
                for backend in backends
            ]
        for backend in backends:
            for time in ("first time", "again"):
                rows.append((f"Q4_K .gguf, {backend}, {time}", "gguf", {"backend": backend}))
        written: dict[str, Path] = {}
        for label, source, options in rows:
            if chosen.only not in label:
                continue
            if source not in written:
                place = folder / ("model.gguf" if source == "gguf" else source)
                if not place.exists():
                    if source == "gguf":
                        write_gguf(place)
                    else:
                        write_checkpoint(place, getattr(torch, source))
                written[source] = place
            # A cache for each backend, so that each has a first time.
            cache = Path(temporary) / f"cache-{options['backend']}"
            measure(label, written[source], cache, **options)


if __name__ == "__main__":
    main()
