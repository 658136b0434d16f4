"""Which twin of an operation runs, and on which threads.

Every operation in this room exists up to three times with the same results: `reference` is plain torch, to be read
and to run anywhere; `numba` is for float32 on the CPU; `triton` is for CUDA.
"""

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal

import torch
from torch import Tensor

Twin = Literal["reference", "numba", "triton"]

_forced: ContextVar[Twin | None] = ContextVar("diorama_forced_twin", default=None)


@contextmanager
def use_twin(twin: Twin | None) -> Iterator[None]:
    """Inside this context every operation runs this twin; for tests and benchmarks. None: choose by device."""
    token = _forced.set(twin)
    try:
        yield
    finally:
        _forced.reset(token)


def choose_twin(tensor: Tensor) -> Twin:
    """The twin for a tensor: Triton on CUDA, Numba for float32 on the CPU, else the reference."""
    forced = _forced.get()
    if forced is not None:
        return forced
    if tensor.dtype != torch.float32:
        return "reference"
    if tensor.device.type == "cuda" and _installed("triton"):
        return "triton"
    if tensor.device.type == "cpu" and _installed("numba"):
        return "numba"
    return "reference"


@cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def run_tasks(tasks: Sequence[Callable[[], None]]) -> None:
    """Run tasks that release the interpreter lock on `torch.get_num_threads()` threads, the caller's among them.

    Plain Python threads rather than Numba's own: those abort the process when two threads of the program (a fit and
    its viewer, say) use them at once. Tasks start in the order given, so put the long ones first; each must write
    where no other does, then the result does not depend on the number of threads.
    """
    threads = min(torch.get_num_threads(), len(tasks))
    if threads <= 1:
        for task in tasks:
            task()
        return
    waiting = deque(tasks)

    def work() -> None:
        while waiting:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            task()

    helpers = [_pool().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        waiting.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="diorama-kernels")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def spans(count: int, length: int) -> list[tuple[int, int]]:
    """Cut `count` items into pieces of at most `length`: [(start, stop), ...]."""
    return [(start, min(start + length, count)) for start in range(0, count, length)]
