"""Compiling loops with numba, with or without a place to keep the machine code.

The same few lines as in `scheduler.core.compiled`: traces import nothing of ours, and the core nothing of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled on first use and kept in numba's cache directory; other threads run while it does.

    Where no directory can be written (a read-only root without NUMBA_CACHE_DIR) it is compiled anew in each process.
    """
    try:
        done: F = njit(cache=True, nogil=True)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        done = njit(nogil=True)(function)
    return done
