"""Nodes as columns that change in place: what `scheduler.core.policies` score, row by row.

Units and order are those of `scheduler.core.cluster`: CPU millicores, memory MiB, disk MiB, GPU milli, then named
extended resources (a node's number of pods among them). Kubernetes' bytes become MiB: what a node has is rounded
down, what a pod asks for is rounded up, so rounding never invents room. Rows are reused, columns only grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from scheduler.core.cluster import AXES, CPU, DEVICE_MILLI, DISK, GPU, MEMORY
from scheduler.core.columns import Ints
from scheduler.live.name_index import NameIndex

MIB: Final = 1 << 20
GPU_RESOURCES: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"})
"""Resources that count whole GPUs; MIG slices and the like keep columns of their own."""

Requests = tuple[tuple[str, int], ...]
"""Amounts by resource name, sorted; base units, as `scheduler.core.requests` gives them."""

_BYTES: Final = {"memory": MEMORY, "ephemeral-storage": DISK}
_MOST: Final = 1 << 50  # no sum of a node's pods overflows; real amounts are far below
_FIRST_ROWS: Final = 64
_MOST_VECTORS: Final = 8_192
_MOST_AXES: Final = 128  # pods can name any resource; scores need not know the 129th
_NO_COLUMN: Final = -1


class NodeColumns:
    """Arrays of N rows, of which some may be free; `row_of` has the rows in use.

    allocatable, requested: (N, R) int64. requested_nonzero: (N, 2) int64, see `cluster.nonzero_requests`.
    price_milli: (N,) int64. is_suspect: (N,) bool, GPUs of doubtful health. priced: rows with a price.
    avoided: rows whose taints ask pods to prefer other nodes.
    """

    def __init__(self) -> None:
        self.axes: list[str] = list(AXES)
        self.row_of: dict[str, int] = {}
        self.name_of: list[str] = [""] * _FIRST_ROWS
        self.allocatable: Ints = np.zeros((_FIRST_ROWS, len(AXES)), np.int64)
        self.requested: Ints = np.zeros((_FIRST_ROWS, len(AXES)), np.int64)
        self.requested_nonzero: Ints = np.zeros((_FIRST_ROWS, 2), np.int64)
        self.price_milli: Ints = np.zeros(_FIRST_ROWS, np.int64)
        self.is_suspect = np.zeros(_FIRST_ROWS, np.bool_)
        self.priced: set[int] = set()
        self.avoided: set[int] = set()
        self._index: NameIndex | None = None
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._column: dict[str, int] = {}
        self._vectors: dict[Requests, Ints] = {}

    @property
    def index(self) -> NameIndex:
        """The names in use and their rows; milliseconds for thousands of nodes when they have changed."""
        if self._index is None:
            self._index = NameIndex(self.row_of, len(self.name_of))
        return self._index

    def add(self, name: str) -> int:
        """A row, all zero, for a node that has none."""
        if not self._free:
            self._grow_rows()
        row = self._free.pop()
        self.row_of[name], self.name_of[row] = row, name
        self._index = None
        return row

    def remove(self, name: str) -> None:
        """Free the row of a node."""
        row = self.row_of.pop(name)
        self.name_of[row] = ""
        for column in (self.allocatable, self.requested, self.requested_nonzero):
            column[row] = 0
        self.is_suspect[row] = False
        self.set_wishes(row, 0, False)
        self._free.append(row)
        self._index = None

    def set_allocatable(self, row: int, amounts: Mapping[str, int]) -> None:
        """What the node offers, by resource name in base units."""
        for name in amounts:
            self._column_of(name)
        self.allocatable[row] = 0
        for name, amount in amounts.items():
            column = self._column_of(name)
            if column != _NO_COLUMN:
                self.allocatable[row, column] += _scaled(column, amount // MIB if name in _BYTES else amount)

    def set_wishes(self, row: int, price_milli: int, is_avoided: bool) -> None:
        """What speaks against the node, though it has room."""
        self.price_milli[row] = price_milli
        (self.priced.add if price_milli else self.priced.discard)(row)
        (self.avoided.add if is_avoided else self.avoided.discard)(row)

    def demand(self, requests: Requests, grow: bool = True) -> Ints:
        """(R,), what a pod asks for, in our units; do not change it.

        grow: a resource without a column gets one; False leaves it out.
        """
        vector = self._vectors.get(requests)
        if vector is not None:
            return vector
        for name, _ in requests if grow else ():
            self._column_of(name)
        vector = np.zeros(len(self.axes), np.int64)
        is_whole = True
        for name, amount in requests:
            column = self._column.get(name, _NO_COLUMN)
            if column != _NO_COLUMN:
                vector[column] += _scaled(column, -(-amount // MIB) if name in _BYTES else amount)
            elif not grow:
                is_whole = False  # a column may come yet
        if is_whole:
            if len(self._vectors) >= _MOST_VECTORS:
                self._vectors.clear()
            self._vectors[requests] = vector
        return vector

    def put(self, row: int, requests: Requests, nonzero: tuple[int, int], sign: int) -> None:
        """Count a pod on a node (sign 1), or no longer (sign -1)."""
        demand = self.demand(requests)  # before `requested` is read: it may grow the columns
        if sign > 0:
            self.requested[row] += demand
        else:
            self.requested[row] -= demand
        self.requested_nonzero[row, 0] += sign * nonzero[0]
        self.requested_nonzero[row, 1] += sign * nonzero[1]

    def _column_of(self, name: str) -> int:
        column = self._column.get(name)
        if column is None:
            if name == "cpu":
                column = CPU
            elif name in _BYTES:
                column = _BYTES[name]
            elif name in GPU_RESOURCES:
                column = GPU
            elif len(self.axes) < _MOST_AXES:
                column = self._grow_columns(name)
            else:
                return _NO_COLUMN
            self._column[name] = column
        return column

    def _grow_columns(self, name: str) -> int:
        self.axes.append(name)
        self._vectors.clear()
        self.allocatable, self.requested = (
            np.ascontiguousarray(np.pad(old, ((0, 0), (0, 1)))) for old in (self.allocatable, self.requested)
        )
        return len(self.axes) - 1

    def _grow_rows(self) -> None:
        rows = len(self.name_of)
        self.name_of += [""] * rows
        self.allocatable, self.requested, self.requested_nonzero = (
            np.pad(old, ((0, rows), (0, 0))) for old in (self.allocatable, self.requested, self.requested_nonzero)
        )
        self.price_milli = np.pad(self.price_milli, (0, rows))
        self.is_suspect = np.pad(self.is_suspect, (0, rows))
        self._free = list(range(2 * rows - 1, rows - 1, -1))


def _scaled(column: int, amount: int) -> int:
    return min(amount * DEVICE_MILLI if column == GPU else amount, _MOST)
