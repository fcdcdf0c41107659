"""Shared fixtures: tiny random checkpoints of three architectures, and the pretrained model.

Models are session-wide and read-only: a test that changes one makes its own.
"""

import functools
import gc
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
# Tests compare with values computed on the CPU; `make test-gpu` makes a GPU visible on purpose.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import torch
from hypothesis import settings
from kinds import KINDS
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc.models import BUNDLED, cache_folder, fetch

# The same few examples everywhere, however slow the machine is.
settings.register_profile("lensloc", max_examples=30, deadline=None, derandomize=True)
settings.load_profile("lensloc")

collect_ignore = ["conftest.py"]  # holds no doctests, and notebooks/ has one of this name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what TransformerLens 4 cannot run: ``-m "not hooked"`` leaves it out."""
    for item in items:
        given = getattr(item, "callspec", None)
        if given is not None and "hooked" in [str(value) for value in given.params.values()]:
            item.add_marker("hooked")


def pytest_collection_finish() -> None:
    """What is imported by now stays, so no collection need walk through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several threads cost more than they save on models this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: make_checkpoint(root / f"my-{name}", make()) for name, make in CONFIGS.items()}


@pytest.fixture(scope="session", params=[kind for kind in KINDS if kind != "transformers"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session", params=list(CONFIGS))
def tiny_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tiny(checkpoints: dict[str, Path], tiny_name: str, backend: str) -> Any:
    """A tiny random model of every architecture in both classes."""
    return ll.load_model(checkpoints[tiny_name], backend=backend)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny_llama(checkpoints: dict[str, Path]) -> Any:
    return ll.load_model(checkpoints["llama"])


@pytest.fixture(scope="session")
def small_contrast() -> ll.Contrast:
    return ll.Contrast.from_texts(
        {
            "sentences": [
                "the old gardener watered every plant",
                "nobody remembered who had built the bridge",
                "twelve plus nineteen",
                "before the sun came up the village was still",
                "all",
            ],
            "nonwords": [
                "glorbix fendal mopi strane",
                "wuggle trisket plonder vash glorbix mopi trine",
                "vash",
                "mopi fendal strane wuggle trisket",
            ],
        },
        target="sentences",
        control="nonwords",
        name="small",
    )


@pytest.fixture(scope="session")
def pretrained_folder() -> Path:
    """The bundled model's checkpoint, fetched the first time."""
    return fetch(BUNDLED["smollm2-135m"], progress=False)


@pytest.fixture(scope="session")
def pretrained(pretrained_folder: Path) -> Any:
    return ll.load_model("smollm2-135m", progress=False)


@pytest.fixture
def fresh_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained_folder: Path
) -> Iterator[Path]:
    """An empty cache for results, in which the bundled model is already there."""
    fresh = tmp_path / "cache"
    fresh.mkdir()
    (fresh / "models").symlink_to(cache_folder() / "models")
    monkeypatch.setenv("LENSLOC_CACHE", str(fresh))
    return fresh


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server on this machine serves it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
