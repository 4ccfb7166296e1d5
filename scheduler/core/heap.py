"""A binary heap of (key, value) pairs of int64, smallest first, in two arrays that the caller grows.

Written out because `heapq` in compiled code needs reflected lists of tuples, which cannot be cached or grown in place.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Column = NDArray[np.int64]


@njit(cache=True)
def grown(column: Column) -> Column:
    """A copy with twice the room."""
    larger = np.empty(2 * column.shape[0], column.dtype)
    larger[: column.shape[0]] = column
    return larger


@njit(cache=True)
def push(keys: Column, values: Column, size: int, key: int, value: int) -> int:
    """Add a pair to a heap of `size` pairs (the arrays must have room); gives the new size."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if keys[parent] < key or (keys[parent] == key and values[parent] <= value):
            break
        keys[child] = keys[parent]
        values[child] = values[parent]
        child = parent
    keys[child] = key
    values[child] = value
    return size + 1


@njit(cache=True)
def pop(keys: Column, values: Column, size: int) -> int:
    """Drop the smallest pair, which is at row 0 before the call; gives the new size."""
    size -= 1
    key, value = keys[size], values[size]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            keys[other] < keys[child] or (keys[other] == keys[child] and values[other] < values[child])
        ):
            child = other
        if key < keys[child] or (key == keys[child] and value <= values[child]):
            break
        keys[parent] = keys[child]
        values[parent] = values[child]
        parent = child
    if size > 0:
        keys[parent] = key
        values[parent] = value
    return size
