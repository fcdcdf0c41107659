"""How much is computed at once: fixed on a CPU; elsewhere by free memory and measured rates."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lensloc as ll
from lensloc.forward import batches, memory
from lensloc.forward.capturing import _Runner
from lensloc.forward.memory import Budget, busy_tokens, pass_bytes, power_of_two, tokens_at_once
from lensloc.models.adapting import surface

GIB = 2**30


@pytest.fixture
def elsewhere(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, dict[str, int]]:
    """A model that says that its tokens go to a device that is no CPU, and what is free there."""
    model = ll.load_model(checkpoints["llama"])
    free = {"bytes": 64 * GIB}
    monkeypatch.setattr(model.cfg, "device", "meta")
    monkeypatch.setattr(memory, "free_memory", lambda device: free["bytes"])
    return model, free


def budget(model: Any, sites: list[str], longest: int = 96) -> int:
    runner = _Runner.of(model, sites, "last-token", False, None, "model")
    return runner._token_budget(longest)


@pytest.mark.parametrize("rows", [4, 1])
def test_of_a_shared_model_no_rank_halves_alone(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are in the middle of the pass that it leaves."""
    monkeypatch.setattr(batches, "n_ranks", lambda: 2)
    monkeypatch.setattr(batches, "rank", lambda: 1)
    monkeypatch.setattr(batches, "surface", lambda model: SimpleNamespace(is_sharded=True))
    model = torch.nn.Linear(2, 2)
    tried: list[list[int]] = []
    lost = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"
    for error, told in (
        (MemoryError("no more"), rf"ran out in rank 1 with {rows} texts at once .*smaller batch_"),
        (RuntimeError(lost), "Another process of this run has ended.*Connection closed by peer"),
    ):

        def run(some: list[int], error: Exception = error) -> None:
            tried.append(some)
            raise error

        with pytest.raises(ll.LensLocError, match=told):
            _run_batches(model, [list(range(rows))], run)
    assert tried == [list(range(rows))] * 2

    def wrong(some: list[int]) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        _run_batches(model, [[0]], wrong)


def test_alone_a_rank_halves_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "n_ranks", lambda: 2)
    monkeypatch.setattr(batches, "surface", lambda model: SimpleNamespace(is_sharded=False))
    done: list[int] = []

    def run(some: list[int]) -> None:
        if len(some) > 1:
            raise MemoryError("no more")
        done.extend(some)

    _run_batches(torch.nn.Linear(2, 2), [[0, 1, 2]], run)
    assert done == [0, 1, 2]


def _run_batches(model: Any, several: list[list[int]], run: Any) -> None:
    plain: Any = getattr(batches.run_batches, "__wrapped__", batches.run_batches)
    plain(model, several, run, progress=False, description="texts")


def test_on_a_cpu_nothing_depends_on_what_is_free(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = budget(tiny_llama, ["resid_post"])
    assert expected == 1024
    for function in ("free_memory", "measured_rates", "busy_tokens"):
        monkeypatch.setattr(memory, function, pytest.fail)
    assert budget(tiny_llama, ["resid_post"]) == expected
    assert Budget(on_cpu=7, share=0.5).on(torch.device("cpu")) == 7


def test_elsewhere_a_batch_shrinks_with_the_memory(elsewhere: tuple[Any, dict[str, int]]) -> None:
    model, free = elsewhere
    most = budget(model, ["resid_post"])
    assert most == memory.UNTRIED_TOKENS  # nothing is measured there
    free["bytes"] = GIB // 16
    one = budget(model, ["resid_post"], 4096)
    several = budget(model, ["resid_post", "mlp_post", "attn_entropy"], 4096)
    assert 1 <= several < one <= most
    seen = surface(model)
    wide = [seen.d_model, 48, seen.n_heads * 4096]
    a_token = sum(wide) * seen.n_layers * 4 + pass_bytes(model, 4096)
    assert several == 2**28 // a_token  # the lower bound, as a share of so little would be less


def test_bounds_and_powers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("meta")
    for free, expected in (
        (10 * GIB, 4 * GIB),  # 5, rounded down, so that what others take seldom changes a batch
        (10 * GIB + 12345, 4 * GIB),
        (GIB // 1024, 2**28),
        (2**60, 16 * GIB),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert Budget(on_cpu=1, share=0.5, most=16 * GIB).on(device) == expected


def test_the_fullest_of_several_devices_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {0: 8 * GIB, 1: 2 * GIB}
    monkeypatch.setattr(memory, "free_memory", lambda device: free[device.index])
    cards = [torch.device("cuda", index) for index in free]
    assert Budget(on_cpu=1, share=0.5).on(*cards) == GIB


@given(st.integers(0, 2**62))
def test_power_of_two(number: int) -> None:
    found = power_of_two(number)
    assert found & (found - 1) == 0
    assert found <= max(1, number) < 2 * found


def test_tokens_follow_from_measured_rates(tiny_llama: Any) -> None:
    def tokens(operations: float, seconds: float) -> int:
        return busy_tokens(tiny_llama, lambda *_: (operations, seconds))

    # Work of 10 x 60 kernels' starts, at 2 (4 d d + 3 d neurons) operations per token.
    a_token = 2 * (4 * 32 * 32 + 3 * 32 * 48)
    assert tokens(1e12, 5e-6) == power_of_two(int(600 * 5e-6 * 1e12 / a_token))
    assert tokens(1e15, 5e-6) == memory.MOST_TOKENS
    assert tokens(1.0, 5e-6) == memory.LEAST_TOKENS


def test_ranks_take_the_least_of_their_numbers(
    elsewhere: tuple[Any, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise ranks would cut texts into other batches, and lose or repeat some."""
    model, _ = elsewhere
    told = iter((3 * 1000, 17))  # of the other rank: what it has free, how many keep it busy
    monkeypatch.setattr(memory, "least", lambda number: min(number, next(told)))
    found = tokens_at_once(model, on_cpu=1, bytes_a_token=1000, budget=Budget(1, 0.5))
    assert found == 3


def test_attention_counts_where_a_model_keeps_it(checkpoints: dict[str, Path]) -> None:
    hooked = ll.load_model(checkpoints["llama"])
    plain = ll.load_model(checkpoints["llama"], backend="transformers")
    by_token = {
        name: pass_bytes(model, 1000) - pass_bytes(model, 500)
        for name, model in (("hooked", hooked), ("plain", plain))
    }
    assert by_token == {"hooked": 500 * 4 * 3 * 4, "plain": 500 * 2 * 4}


def test_a_device_too_full_to_be_measured_gets_few(elsewhere: tuple[Any, dict[str, int]]) -> None:
    """Ranks wait for each other's numbers, so that none may raise an error of its own here."""
    model, _ = elsewhere

    def full(*_: Any) -> tuple[float, float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert memory.busy_tokens(model, full) == memory.LEAST_TOKENS
