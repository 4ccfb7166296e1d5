from __future__ import annotations

import pytest
from numba import njit

from scheduler.core.compiled import compile_time, compiled


def test_it_compiles_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert compiled(lambda number: number + 1)(1) == 2


def test_what_compiling_took_is_counted_once_and_only_while_asked() -> None:
    inner = njit(lambda number: number + 1)
    outer = njit(lambda number: inner(number) + 1)
    with compile_time() as first:
        assert outer(1) == 3  # compiles both, one within the other
        compiled_s = first.cpu_s
        assert outer(1) == 3
    with compile_time() as second:
        assert outer(1) == 3
    assert outer(1.0) == 3.0
    assert first.cpu_s == compiled_s > 0
    assert second.cpu_s == 0
