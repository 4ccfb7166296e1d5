"""The compiled heap against heapq."""

from __future__ import annotations

import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.heap import grown, pop, push

SMALL = st.integers(0, 5) | st.integers(-(2**63), 2**63 - 1)  # few values, so that keys and whole pairs repeat


@given(st.lists(st.none() | st.tuples(SMALL, SMALL), max_size=80))
def test_heap_gives_what_heapq_gives(steps: list[tuple[int, int] | None]) -> None:
    keys, values, size = np.zeros(4, np.int64), np.zeros(4, np.int64), 0
    expected: list[tuple[int, int]] = []
    for step in steps:
        if step is not None:
            if size == len(keys):
                keys, values = grown(keys), grown(values)
            size = push(keys, values, size, *step)
            heapq.heappush(expected, step)
        elif size:
            assert (keys[0], values[0]) == heapq.heappop(expected)
            size = pop(keys, values, size)
        assert size == len(expected)
    while size:
        assert (keys[0], values[0]) == heapq.heappop(expected)
        size = pop(keys, values, size)
