"""The choice of twins, the threads they run on, and that none but the chosen one is needed."""

import subprocess
import sys
import threading
from functools import partial

import pytest
import torch

from diorama.kernels.jit import numba_kernel
from diorama.kernels.twins import choose_twin, run_tasks, spans, use_twin


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_float32_on_the_cpu_runs_on_numba_and_all_else_on_the_reference():
    assert choose_twin(torch.zeros(1)) == "numba"
    assert choose_twin(torch.zeros(1, dtype=torch.float64)) == "reference"
    assert choose_twin(torch.zeros(1, dtype=torch.bfloat16)) == "reference"


def test_a_twin_can_be_forced_for_a_while():
    with use_twin("reference"):
        assert choose_twin(torch.zeros(1)) == "reference"
        with use_twin(None):
            assert choose_twin(torch.zeros(1)) == "numba"
    assert choose_twin(torch.zeros(1)) == "numba"


@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_spans_cover_everything_once(count):
    assert [i for start, stop in spans(count, 7) for i in range(start, stop)] == list(range(count))


def test_every_task_runs_once(two_threads):
    done: list[int] = []
    run_tasks([partial(done.append, number) for number in range(50)])
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("place", [0, 3, 9])
def test_an_error_in_a_task_reaches_the_caller(two_threads, place):
    def fail() -> None:
        raise ZeroDivisionError

    tasks = [partial(int, 0) for _ in range(10)]
    tasks[place] = fail
    with pytest.raises(ZeroDivisionError):
        run_tasks(tasks)


def test_several_threads_of_a_program_may_run_tasks_at_once(two_threads):
    counts = [0] * 4

    def caller(place: int) -> None:
        def add() -> None:
            counts[place] += 1

        for _ in range(20):
            run_tasks([add] * 5)

    callers = [threading.Thread(target=caller, args=(place,)) for place in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert counts == [100] * 4


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert numba_kernel(lambda value: value + 1)(2) == 3


def test_the_reference_needs_neither_numba_nor_triton():
    code = """
import sys
sys.modules["numba"] = sys.modules["triton"] = None
import torch
from diorama.kernels.compositing import composite
from diorama.kernels.hash_grid import grid_layout, hash_encode
from diorama.kernels.resample import outer_bound, resample
layout = grid_layout(2, 4, 8, 8)
table = torch.rand(layout.entries, 2, requires_grad=True)
hash_encode(torch.rand(5, 3), table, layout).sum().backward()
edges, density = torch.linspace(0, 1, 5).expand(2, -1), torch.rand(2, 4, requires_grad=True)
composite(density, torch.rand(2, 4, 3), edges)[0].sum().backward()
outer_bound(resample(edges, density.detach(), 3), torch.rand(2, 3), edges, density).sum().backward()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
