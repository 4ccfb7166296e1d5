"""Equal rows of integers get equal numbers, batch after batch, in order of first sight."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Interner:
    """Numbers rows of `width` int64 values; `rows` are the distinct ones seen so far."""

    def __init__(self, width: int) -> None:
        self._keys = np.empty((1024, width), np.int64)
        self._table = np.full(4096, -1, np.int64)  # open addressing, at most half full
        self._count = 0

    @property
    def rows(self) -> NDArray[np.int64]:
        """(distinct, width), row n is what number n stands for."""
        return self._keys[: self._count]

    def number(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The number of every row of (n, width)."""
        rows = np.ascontiguousarray(rows)
        numbers = np.empty(len(rows), np.int32)
        done = 0
        while True:
            done, self._count = _number(rows, numbers, self._keys, self._table, done, self._count)
            if done == len(rows):
                return numbers
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
            self._table = np.full(2 * len(self._table), -1, np.int64)
            _enter(self._keys, self._table, self._count)


@njit(cache=True)
def _place(rows: NDArray[np.int64], row: int, keys: NDArray[np.int64], table: NDArray[np.int64]) -> int:
    """The place in `table` where the row is, or should be."""
    h = np.uint64(0xCBF29CE484222325)
    for w in range(rows.shape[1]):
        h = (h ^ np.uint64(rows[row, w])) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    place = np.int64(h >> np.uint64(2)) & (table.shape[0] - 1)
    while table[place] >= 0:
        same = True
        for w in range(rows.shape[1]):
            if keys[table[place], w] != rows[row, w]:
                same = False
                break
        if same:
            return place
        place = (place + 1) & (table.shape[0] - 1)
    return place


@njit(cache=True)
def _number(  # type: ignore[no-untyped-def]
    rows, numbers, keys, table, done, count
):
    """Go on from row `done`; stops early, and says where, when there is no room for a new key."""
    for row in range(done, rows.shape[0]):
        place = _place(rows, row, keys, table)
        if table[place] < 0:
            if count == keys.shape[0]:
                return row, count
            table[place] = count
            keys[count] = rows[row]
            count += 1
        numbers[row] = table[place]
    return rows.shape[0], count


@njit(cache=True)
def _enter(keys: NDArray[np.int64], table: NDArray[np.int64], count: int) -> None:
    for number in range(count):
        table[_place(keys, number, keys, table)] = number
