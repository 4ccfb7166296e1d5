"""What tasks ask for, as request classes: tasks of one class are the same to every policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.load.attempts import batches
from analytics.load.constraints import Wish, machines_that_meet, read_constraints
from analytics.load.intern import Interner
from analytics.load.machines import Machines
from analytics.replay.state import NOWHERE, Classes
from traces.schema import Trace

DEFAULT_NONZERO = (100, 200)  # kube-scheduler's DefaultMilliCPURequest, and DefaultMemoryRequest in MiB
COMMON_SHAPES = 16
_COLUMNS = ("job", "priority", "cpu_milli", "memory_mib", "disk_mib", "gpus", "gpu_milli", "different_machines")
# One row of a class: these, then the four that are numbers of something read beside them.
_KEY = ("cpu_milli", "memory_mib", "disk_mib", "gpus", "gpu_milli", "gpu_models", "wish", "spread")


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """The tasks' classes, and what the classes are. NULL requests are zero.

    kinds: (C, len(_KEY)). models, wishes: what the columns gpu_models and wish count; 0 is no demand.
    unjudged: tasks whose constraints the trace gives no attributes for.
    """

    priority: NDArray[np.int32]
    class_of: NDArray[np.int32]
    kinds: NDArray[np.int64]
    models: list[str | None]
    wishes: list[Wish]
    unjudged: int

    def repeated(self, copies: NDArray[np.int64], copy_of: NDArray[np.int16]) -> Requests:
        """Every task `copies` times. A copy of a job keeps off the machines of its own tasks only."""
        class_of = np.repeat(self.class_of, copies)
        apart = (self.kinds[class_of, -1] >= 0) & (copy_of > 0)
        pairs = Interner(2)
        number = pairs.number(np.stack([class_of[apart], copy_of[apart]], axis=1).astype(np.int64))
        kinds = self.kinds[pairs.rows[:, 0]].copy()
        kinds[:, -1] += pairs.rows[:, 1] * (self.kinds[:, -1].max(initial=0) + 1)
        class_of[apart] = len(self.kinds) + number
        priority = np.repeat(self.priority, copies)
        return Requests(
            priority, class_of, np.concatenate([self.kinds, kinds]), self.models, self.wishes, self.unjudged
        )


def read_requests(trace: Trace, rows: NDArray[np.int64]) -> Requests:
    """The given rows, ascending, of the trace's table of tasks."""
    priority = np.empty(len(rows), np.int32)
    class_of = np.empty(len(rows), np.int32)
    kinds, spread_jobs = Interner(len(_KEY)), Interner(1)
    names: dict[str | None, int] = {None: 0}
    constraints = read_constraints(trace)
    read = filled = 0
    for batch in batches(trace.files("tasks"), [*_COLUMNS, "gpu_models"]):
        end = int(np.searchsorted(rows, read + batch.num_rows))
        read += batch.num_rows
        batch = batch.take(pa.array(rows[filled:end] - (read - batch.num_rows)))
        column = {
            name: np.asarray(batch[name].cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
            for name in _COLUMNS
        }
        models = batch["gpu_models"].dictionary_encode()
        number = [names.setdefault(name, len(names)) for name in models.dictionary.to_pylist()]
        column["gpu_models"] = np.array([*number, 0], np.int64)[
            models.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        ]
        column["wish"] = constraints.of(rows[filled:end])
        column["spread"] = np.full(end - filled, NOWHERE, np.int64)
        apart = column["different_machines"] > 0
        column["spread"][apart] = spread_jobs.number(column["job"][apart, None])
        priority[filled:end] = column["priority"]
        class_of[filled:end] = kinds.number(np.stack([column[name] for name in _KEY], axis=1))
        filled = end
    return Requests(priority, class_of, kinds.rows.copy(), list(names), constraints.wishes, constraints.unjudged)


def read_jobs(trace: Trace, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The job of each of the given rows."""
    jobs = [np.asarray(batch["job"].to_numpy(zero_copy_only=False)) for batch in batches(trace.files("tasks"), ["job"])]
    return np.concatenate(jobs)[rows]


def read_tenants(trace: Trace, rows: NDArray[np.int64], apart: bool) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The tenants of the given rows, names sorted, and which of them each row is of; no tenant is the tenant "".

    Where they are not told `apart` there are no names and all rows are of the first.
    """
    if not apart:
        return (), np.zeros(len(rows), np.int32)
    found = [batch["tenant"].fill_null("") for batch in batches(trace.files("tasks"), ["tenant"])]
    encoded = pa.chunked_array(found).take(pa.array(rows)).combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), np.str_)
    order = np.argsort(names)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return tuple(names[order].tolist()), rank[np.asarray(encoded.indices)]


def request_classes(
    trace: Trace, requests: Requests, resources: tuple[str, ...], machines: Machines, opens_us: int
) -> Classes:
    """The distinct requests as the engine wants them."""
    column = dict(zip(_KEY, requests.kinds.T, strict=True))
    whole = {**column, "gpu_milli": column["gpu_milli"] * column["gpus"]}
    whole |= {name: np.zeros_like(whole[name]) for name in set(resources) - set(machines.offered())}
    asked = np.stack([column["cpu_milli"], column["memory_mib"]], axis=1)
    masks = Interner(2)
    mask = masks.number(np.stack([column["gpu_models"], column["wish"]], axis=1))
    meets = machines_that_meet(trace, requests.wishes, machines.recorded, opens_us)
    has_model = np.stack([_has_model(machines, name) for name in requests.models])
    free_of_rules = (column["gpu_models"] == 0) & (column["wish"] == 0)
    jobs = int(column["spread"].max(initial=NOWHERE)) + 1
    return Classes(
        demand=np.ascontiguousarray(np.stack([whole[name] for name in resources], axis=1)),
        demand_nonzero=np.where(asked > 0, asked, np.array(DEFAULT_NONZERO)),
        gpus=column["gpus"].copy(),
        gpu_milli=column["gpu_milli"].copy(),
        mask=np.where(free_of_rules, NOWHERE, mask).astype(np.int32),
        spread=column["spread"].astype(np.int32),
        eligible=has_model[masks.rows[:, 0]] & meets[masks.rows[:, 1]],
        occupied=np.zeros((jobs, -(-len(machines.ids) // 8)), np.uint8),
    )


def common_shapes(
    demand: NDArray[np.int64], class_of: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most frequent requests that ask for something, and the share of all tasks that make each of them."""
    shapes, row = np.unique(demand, axis=0, return_inverse=True)
    by_class = np.bincount(class_of, minlength=len(demand))
    count = np.bincount(row.ravel(), weights=by_class, minlength=len(shapes))
    count[~shapes.any(axis=1)] = 0
    order = np.lexsort([np.arange(len(shapes)), -count])[:COMMON_SHAPES]
    order = order[count[order] > 0]
    return shapes[order], count[order] / len(class_of)


def _has_model(machines: Machines, wish: str | None) -> NDArray[np.bool_]:
    if wish is None:
        return np.ones(len(machines.ids), np.bool_)
    return np.isin(machines.models.astype(str), wish.split("|"))
