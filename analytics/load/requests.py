"""What tasks ask for, as request classes: tasks of one class are the same to every policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from analytics.load.attempts import batches
from analytics.load.machines import Machines
from analytics.replay.state import NOWHERE, Classes
from traces.schema import Trace

DEFAULT_NONZERO = (100, 200)  # kube-scheduler's DefaultMilliCPURequest, and DefaultMemoryRequest in MiB
COMMON_SHAPES = 16
_COLUMNS = ("job", "priority", "cpu_milli", "memory_mib", "disk_mib", "gpus", "gpu_milli", "different_machines")


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Columns by task. models: what `gpu_models` counts, row 0 being no wish. NULL requests are zero."""

    columns: dict[str, NDArray[np.int64]]
    models: list[str | None]

    def repeated(self, copies: NDArray[np.int64]) -> Requests:
        return replace(self, columns={name: np.repeat(column, copies) for name, column in self.columns.items()})


def read_requests(trace: Trace, rows: NDArray[np.int64]) -> Requests:
    """The given rows, ascending, of the trace's table of tasks."""
    out = {name: np.empty(len(rows), np.int64) for name in (*_COLUMNS, "gpu_models")}
    names: dict[str | None, int] = {None: 0}
    read = filled = 0
    for batch in batches(trace.files("tasks"), list(out)):
        end = int(np.searchsorted(rows, read + batch.num_rows))
        wanted = pa.array(rows[filled:end] - read)
        for name in _COLUMNS:
            values = batch[name].take(wanted)
            out[name][filled:end] = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        models = batch["gpu_models"].take(wanted).dictionary_encode()
        number = np.array(
            [names.setdefault(name, len(names)) for name in models.dictionary.to_pylist()] + [0], np.int64
        )
        out["gpu_models"][filled:end] = number[models.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        read, filled = read + batch.num_rows, end
    return Requests(out, list(names))


def request_classes(
    requests: Requests, copy_of: NDArray[np.int16], resources: tuple[str, ...], machines: Machines
) -> tuple[Classes, NDArray[np.int32]]:
    """The distinct requests, and the class of every task."""
    columns = requests.columns
    spread = _spread_jobs(columns["job"], columns["different_machines"], copy_of)
    wanted = {**columns, "gpu_milli": columns["gpu_milli"] * columns["gpus"]}
    keys = np.stack(
        [*(wanted[name] for name in resources), columns["cpu_milli"], columns["memory_mib"], columns["gpus"],
         columns["gpu_milli"], columns["gpu_models"], spread], axis=1,
    )  # fmt: skip
    class_of, first = _intern(keys)
    rows = keys[first]
    nonzero = rows[:, len(resources) : len(resources) + 2]
    gpus, gpu_milli, models, spread = rows[:, -4], rows[:, -3], rows[:, -2], rows[:, -1]
    eligible = np.stack(
        [_has_model(machines, name) for name in requests.models[1:]] or [np.zeros(len(machines.ids), bool)]
    )
    return (
        Classes(
            demand=np.ascontiguousarray(rows[:, : len(resources)]),
            demand_nonzero=np.where(nonzero > 0, nonzero, np.array(DEFAULT_NONZERO)),
            gpus=gpus.copy(),
            gpu_milli=gpu_milli.copy(),
            mask=(models - 1).astype(np.int32),
            spread=spread.astype(np.int32),
            eligible=eligible,
            occupied=np.zeros((int(spread.max(initial=NOWHERE)) + 1, -(-len(machines.ids) // 8)), np.uint8),
        ),
        class_of,
    )


def common_shapes(
    demand: NDArray[np.int64], class_of: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most frequent requests that ask for something, and the share of all tasks that make each of them."""
    shapes, row = np.unique(demand, axis=0, return_inverse=True)
    count = np.bincount(row.ravel()[class_of], minlength=len(shapes)).astype(np.float64)
    count[~shapes.any(axis=1)] = 0
    order = np.lexsort([np.arange(len(shapes)), -count])[:COMMON_SHAPES]
    order = order[count[order] > 0]
    return shapes[order], count[order] / len(class_of)


def _spread_jobs(job: NDArray[np.int64], different: NDArray[np.int64], copy_of: NDArray[np.int16]) -> NDArray[np.int64]:
    """A number per (job, copy) that wants its tasks on different machines, else NOWHERE.

    A job of one task does not care.
    """
    spread = np.full(len(job), NOWHERE, np.int64)
    rows = np.flatnonzero(different)
    if len(rows):
        keys = np.stack([job[rows], copy_of[rows].astype(np.int64)], axis=1)
        number, _ = _intern(keys)
        shared = np.bincount(number)[number] > 1
        spread[rows[shared]] = np.unique(number[shared], return_inverse=True)[1]
    return spread


def _has_model(machines: Machines, wish: str | None) -> NDArray[np.bool_]:
    return np.isin(machines.models.astype(str), (wish or "").split("|"))


def _intern(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number equal rows alike, in order of first sight; gives the numbers and the first row of each."""
    keys = np.ascontiguousarray(keys)
    numbers = np.empty(len(keys), np.int32)
    first = np.empty(1024, np.int64)
    table = np.full(4096, -1, np.int64)
    done = count = 0
    while done < len(keys):
        done, count = _intern_some(keys, numbers, first, table, done, count)
        if done < len(keys):  # half full: double, and enter what is known again
            first = np.concatenate([first, np.empty_like(first)])
            table = np.full(2 * len(table), -1, np.int64)
            _enter_again(keys, first, table, count)
    return numbers, first[:count].copy()


@njit(cache=True)
def _hash_row(keys: NDArray[np.int64], row: int) -> int:
    h = np.uint64(0xCBF29CE484222325)
    for w in range(keys.shape[1]):
        h = (h ^ np.uint64(keys[row, w])) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return np.int64(h >> np.uint64(2))


@njit(cache=True)
def _find(keys: NDArray[np.int64], first: NDArray[np.int64], table: NDArray[np.int64], row: int) -> int:
    """The place in `table` where the row's key is, or should be."""
    place = _hash_row(keys, row) & (table.shape[0] - 1)
    while table[place] >= 0:
        other = first[table[place]]
        same = True
        for w in range(keys.shape[1]):
            if keys[other, w] != keys[row, w]:
                same = False
                break
        if same:
            return place
        place = (place + 1) & (table.shape[0] - 1)
    return place


@njit(cache=True)
def _intern_some(  # type: ignore[no-untyped-def]
    keys, numbers, first, table, done, count
):
    for row in range(done, keys.shape[0]):
        place = _find(keys, first, table, row)
        if table[place] < 0:
            if count == first.shape[0] or 2 * (count + 1) > table.shape[0]:
                return row, count
            table[place] = count
            first[count] = row
            count += 1
        numbers[row] = table[place]
    return keys.shape[0], count


@njit(cache=True)
def _enter_again(keys: NDArray[np.int64], first: NDArray[np.int64], table: NDArray[np.int64], count: int) -> None:
    for number in range(count):
        table[_find(keys, first, table, first[number])] = number
