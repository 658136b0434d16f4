"""How this room compiles its twins; used by the Numba and Triton modules only."""

import inspect
from collections.abc import Callable
from typing import Any

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Liberties with rounding that Numba may take; not `nnan` and `ninf`: a NaN must stay one."""


def numba_kernel(function: Callable) -> Any:
    """Compile with Numba on first use, without the interpreter lock; kept on disk where that can be written."""
    import numba

    function = inspect.unwrap(function)  # out of the shape checks of test runs, which cannot be compiled
    options: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write: compile in every process
        return numba.njit(**options)(function)


def triton_kernel(function: Callable) -> Any:
    """Compile with Triton on first use."""
    import triton

    return triton.jit(inspect.unwrap(function))
