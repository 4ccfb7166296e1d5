"""Compiling loops with numba, with or without a place to keep the machine code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from numba import njit
from numba.core import event

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


class CompileTime(event.Listener):
    """CPU seconds that numba spent on compiling, and on loading what it had compiled, in this process."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._depth, self._began_s = 0, 0.0

    def on_start(self, event: Any) -> None:
        """numba begins, perhaps within what it has begun."""
        if not self._depth:
            self._began_s = time.process_time()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """It ends what it began last."""
        self._depth -= 1
        if not self._depth:
            self.cpu_s += time.process_time() - self._began_s


@contextmanager
def compile_time() -> Iterator[CompileTime]:
    """Counts while it is open. Not for a process in which several threads compile at once."""
    counted = CompileTime()
    event.register("numba:compiler_lock", counted)
    try:
        yield counted
    finally:
        event.unregister("numba:compiler_lock", counted)
