"""Compiling loops with numba, with or without a place to keep the machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled on first use, see `compile_with`; other threads run while it does."""
    return compile_with(function, nogil=True)


def compile_with(function: F, *signature: str, **options: Any) -> F:
    """The function compiled with these of numba's options, and kept in numba's cache directory.

    Where no directory can be written (a read-only root without NUMBA_CACHE_DIR) it is compiled anew in each process.
    """
    try:
        return njit(*signature, cache=True, **options)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return njit(*signature, **options)(function)
