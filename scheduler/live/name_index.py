"""Rows of nodes, found straight in the bytes of a request.

kube-scheduler names hundreds of nodes per pod, twice. Making a Python string of each name and looking it up costs more
than scoring the node, most of all while other programs keep evicting our memory from the processor's caches. Here one
compiled loop goes over the JSON as it came and gives rows. What it does not read as a plain array of plain strings it
leaves to a real decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.columns import Ints
from scheduler.core.compiled import compile_with

Bytes = NDArray[np.uint8]

UNKNOWN_ROW = -1

_BYTES = "Array(uint8, 1, 'C', readonly=True)"
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
"""FNV-1a, 64 bits. Names that collide would only slow us down, and only who creates nodes could choose them so."""


class NameIndex:
    """The rows of a set of names; made anew when the set changes.

    rank: (rows,), place of each row's name among all names, sorted; what equal scores are decided by.
    """

    def __init__(self, row_of: Mapping[str, int], rows: int) -> None:
        names = sorted(row_of)
        self.rank: Ints = np.zeros(rows, np.int64)
        row = np.array([row_of[name] for name in names], np.int64)
        self.rank[row] = np.arange(len(names))
        encoded = [name.encode() for name in names]
        self._text: Bytes = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        end = np.cumsum(np.array([len(one) for one in encoded], np.int64), dtype=np.int64)
        slots = 64
        while slots < 2 * len(names):
            slots *= 2
        self._slots: Ints = np.full((slots, 4), UNKNOWN_ROW, np.int64)
        _fill(self._text, end, row, self._slots)

    def rows_in(self, names: bytes) -> tuple[Ints, bool] | None:
        """The row of each string of a JSON array, UNKNOWN_ROW for one that is no node's; and whether all are known.

        None where the bytes are no array of strings, or one that takes more to read: spaces, escapes.
        """
        rows = np.empty(names.count(b'"') // 2, np.int64)
        found, unknown = _rows_in(np.frombuffer(names, np.uint8), self._text, self._slots, rows)
        return (rows, not unknown) if found == len(rows) else None


def _fill_loop(text, end, row, slots):  # type: ignore[no-untyped-def]
    """Open addressing with linear probing. slots: (a power of two, 4), all of a name in one line of the processor's
    cache: its code, row (UNKNOWN_ROW: an empty slot), where its text starts, and how long it is."""
    mask = np.uint64(len(slots) - 1)
    start = 0
    for n in range(end.size):
        code = _SEED
        for i in range(start, end[n]):
            code = (code ^ np.uint64(text[i])) * _PRIME
        at = code & mask
        while slots[at, 1] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at, 0], slots[at, 1], slots[at, 2], slots[at, 3] = np.int64(code), row[n], start, end[n] - start
        start = end[n]


def _rows_in_loop(data, text, slots, out):  # type: ignore[no-untyped-def]
    """How many strings there are, -1 if the bytes are no plain array of them, and how many are unknown. out: rows."""
    size, unknown = data.size, 0
    if size < 2 or data[0] != 91 or data[size - 1] != 93:  # [ ]
        return -1, unknown
    if size == 2:
        return 0, unknown
    mask = np.uint64(len(slots) - 1)
    at, found = 1, 0
    while True:
        if at >= size or data[at] != 34 or found == out.size:  # "
            return -1, unknown
        at += 1
        first, code = at, _SEED
        while at < size and data[at] != 34:
            if data[at] == 92 or data[at] < 32 or data[at] > 126:  # backslash, control, not ASCII
                return -1, unknown
            code = (code ^ np.uint64(data[at])) * _PRIME
            at += 1
        length = at - first
        slot = code & mask
        out[found] = UNKNOWN_ROW
        while slots[slot, 1] >= 0:
            if slots[slot, 0] == np.int64(code) and slots[slot, 3] == length:
                start, same = slots[slot, 2], True
                for i in range(length):
                    if text[start + i] != data[first + i]:
                        same = False
                        break
                if same:
                    out[found] = slots[slot, 1]
                    break
            slot = (slot + np.uint64(1)) & mask
        unknown += out[found] < 0
        found += 1
        at += 1
        if at >= size:
            return -1, unknown
        if data[at] == 93:
            return (found if at == size - 1 else -1), unknown
        if data[at] != 44:  # ,
            return -1, unknown
        at += 1


_fill: Callable[..., None] = compile_with(_fill_loop, f"void({_BYTES}, int64[::1], int64[::1], int64[:, ::1])")
_rows_in: Callable[..., Any] = compile_with(
    _rows_in_loop, f"UniTuple(int64, 2)({_BYTES}, {_BYTES}, int64[:, ::1], int64[::1])"
)
