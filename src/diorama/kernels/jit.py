"""How this room compiles with Numba; imported by the Numba twins only."""

import inspect
from collections.abc import Callable

import numba

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Liberties with rounding; not `nnan` and `ninf`: a NaN must stay one."""


def compiled(function: Callable) -> Callable:
    """Compile on first use, without the interpreter lock; kept on disk where that can be written."""
    function = inspect.unwrap(function)
    try:
        return numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no place for the cache can be written: compile in every process
        return numba.njit(nogil=True, fastmath=FAST, error_model="numpy")(function)
