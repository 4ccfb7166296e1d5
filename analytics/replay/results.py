"""What a replay found, as the tables of a run folder. Placements come in pieces: a month has tens of millions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analytics.load import ReplayInput
from analytics.load.attempts import batches
from analytics.replay.sampling import Samples
from analytics.replay.state import ALIVE, CANCELLED, ENDED, ENDS, EXPECTED, NOT_AGAIN, Nodes
from traces.schema import Tier, Trace

TASK_COLUMNS = ("job", "task_index", "tenant", "priority", "cpu_milli", "memory_mib", "disk_mib", "gpus", "gpu_milli")
_REQUESTS = ("cpu_milli", "memory_mib", "disk_mib", "gpu_milli")


def placements(trace: Trace, given: ReplayInput) -> Iterator[pa.Table]:
    """One row per attempt that was submitted, sorted by (task, attempt)."""
    first, read = given.tasks.first_attempt, 0
    for batch in batches(trace.files("tasks"), list(TASK_COLUMNS)):
        low, high = np.searchsorted(given.task_rows, [read, read + batch.num_rows])
        wanted = batch.take(pa.array(given.task_rows[low:high] - read))
        read += batch.num_rows
        rows = np.arange(first[low], first[high])
        task = np.repeat(np.arange(high - low), np.diff(first[low : high + 1]))
        submitted = given.attempts.status[rows] != EXPECTED
        rows, task = rows[submitted], task[submitted]
        yield pa.table({**task_columns(wanted, task), **_attempt_columns(given, rows, low + task)})


def task_columns(tasks: pa.RecordBatch, row: NDArray[np.int64]) -> dict[str, pa.Array]:
    """Columns of the trace's tasks for the given rows of the batch; GPU requests in milli over all devices."""
    tasks = tasks.take(pa.array(row))
    columns = {name: tasks[name] for name in TASK_COLUMNS if name != "gpus"}
    columns["tenant"] = columns["tenant"].dictionary_encode()
    columns["gpu_milli"] = pc.multiply(tasks["gpus"].cast(pa.int64()), tasks["gpu_milli"].cast(pa.int64()))
    return columns


def _attempt_columns(given: ReplayInput, rows: NDArray[np.int64], task: NDArray[np.int64]) -> dict[str, pa.Array]:
    attempts = given.attempts
    start, ended = attempts.start_us[rows], attempts.status[rows] == ENDED
    started, restart_ms = start >= 0, attempts.restart_ms[rows]
    end = np.where(ended, np.where(started, attempts.end[rows], CANCELLED), ALIVE)
    columns = {
        "task": given.task_rows[task],
        "attempt": (rows - given.tasks.first_attempt[task]).astype(np.int32),
        "submit_us": attempts.submit_us[rows],
        "start_us": pa.array(start, mask=~started),
        "last_start_us": pa.array(
            start + 1000 * restart_ms.astype(np.int64), mask=~started | (restart_ms == NOT_AGAIN)
        ),
        "end_us": pa.array(attempts.until_us[rows], mask=~ended),
        "end": end_names(end),
        "node": pa.array(given.machines[np.maximum(attempts.node[rows], 0)], mask=~started),
        "evictions": attempts.evictions[rows].astype(np.int32),
        "preemptions": attempts.preemptions[rows].astype(np.int32),
        "initial": attempts.initial[rows],
    }
    if given.copies.any():
        columns["copy"] = given.copies[task]
    return columns


def end_names(code: NDArray[np.int8]) -> pa.Array:
    """Rows of ENDS as a dictionary of their names."""
    return pa.DictionaryArray.from_arrays(pa.array(code.astype(np.int32), mask=code == ALIVE), list(ENDS[:ALIVE]))


def series(
    samples: Samples,
    resources: tuple[str, ...],
    priorities: NDArray[np.int64],
    tiers: list[Tier],
    used: dict[str, pa.Array] | None = None,
) -> pa.Table:
    """One row per instant of the samples. used: what was measured at each instant, by resource, where anything was."""
    columns: dict[str, object] = {"time_us": samples.time_us}
    for r, name in enumerate(resources):
        columns[f"capacity_{name}"] = samples.capacity[:, r]
        columns[f"requested_{name}"] = samples.requested[:, r]
        columns[f"used_{name}"] = (used or {}).get(name, pa.nulls(len(samples.time_us), pa.int64()))
        columns[f"stranded_{name}"] = samples.stranded[:, r]
    columns["pending"] = samples.waiting.sum(axis=1)
    for tier in tiers:
        inside = (priorities >= tier.min) & (priorities <= tier.max)
        columns[f"pending_{tier.name}"] = samples.waiting[:, inside].sum(axis=1)
    columns["running"] = samples.running
    columns["nodes"] = samples.nodes
    columns["overloaded_nodes"] = samples.overloaded
    columns["overload"] = samples.overload
    return pa.table(columns)


def shapes(samples: Samples, resources: tuple[str, ...], weights: NDArray[np.float64]) -> pa.Table:
    """One row per sampled hour and common request shape."""
    hours, count = samples.shape_fits.shape
    shape = {name: samples.shapes[:, r] for r, name in enumerate(resources)}
    zeros = np.zeros(count, np.int64)
    columns: dict[str, object] = {"time_us": np.repeat(samples.time_us[:: samples.shape_every][:hours], count)}
    columns |= {name: np.tile(shape.get(name, zeros), hours) for name in _REQUESTS}
    columns["weight"] = np.tile(weights, hours)
    columns["fits"] = samples.shape_fits.ravel()
    for r, name in enumerate(resources):
        columns[f"unusable_{name}"] = samples.shape_unusable[:, :, r].ravel()
    return pa.table(columns)


def node_table(
    nodes: Nodes, machines: NDArray[np.int64], sizes: NDArray[np.int64], resources: tuple[str, ...]
) -> pa.Table:
    """One row per node: its size, and mean share requested of what it offered while it was there. sizes: (N, R)."""
    columns: dict[str, object] = {"node": machines, "busy_s": nodes.busy_us / 1e6}
    for r, name in enumerate(resources):
        offered = nodes.offered[:, r]
        share = np.divide(nodes.held[:, r], offered, out=np.zeros(len(machines)), where=offered > 0)
        columns[f"share_{name}"] = pa.array(share, mask=offered == 0)
        columns[f"capacity_{name}"] = sizes[:, r]
    return pa.table(columns)
