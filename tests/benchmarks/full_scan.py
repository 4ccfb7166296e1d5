"""The plain way to ask "what if best-fit had decided?": look at every machine for every placement.

`python -m tests.benchmarks.full_scan TRACE CPU_FACTOR MEMORY_FACTOR` prints one JSON object. This is the yardstick of
bench_replay: compiled like our engine, and with less to do. A task that fits nowhere is dropped instead of queued,
machines never leave, and no constraint, priority or metric is looked at.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from traces.schema import EVENTS, Trace, open_trace

SCHEDULE = EVENTS.index("SCHEDULE")
ENDS = tuple(EVENTS.index(name) for name in ("EVICT", "FAIL", "FINISH", "KILL", "LOST"))


@njit(cache=True)
def scan(  # type: ignore[no-untyped-def]
    event: NDArray[np.int8], task: NDArray[np.int64], demand: NDArray[np.int64], size: NDArray[np.int64], tasks: int
):
    """Best fit over the events; gives the number of tasks placed and of those that fitted nowhere."""
    free = size.copy()
    node = np.full(tasks, -1, np.int32)
    held = np.zeros((tasks, 2), np.int64)
    placed = refused = 0
    for i in range(event.shape[0]):
        t = task[i]
        if node[t] >= 0 and (event[i] == SCHEDULE or event[i] in ENDS):
            free[node[t]] += held[t]
            node[t] = -1
        if event[i] != SCHEDULE:
            continue
        best, least = -1, np.inf
        for n in range(size.shape[0]):
            cpu, memory = free[n, 0] - demand[i, 0], free[n, 1] - demand[i, 1]
            if cpu < 0 or memory < 0:
                continue
            left = cpu / size[n, 0] + memory / size[n, 1]
            if left < least:
                best, least = n, left
        if best < 0:
            refused += 1
            continue
        free[best] -= demand[i]
        node[t] = best
        held[t] = demand[i]
        placed += 1
    return placed, refused


def measure(trace: Trace, overcommit: tuple[float, float]) -> dict[str, Any]:
    """Load, compile, and time the loop alone."""
    columns = ["job", "task_index", "event", "cpu_milli", "memory_mib"]
    table = pq.ParquetDataset(trace.files("task_events")).read(columns)
    codes = {name: code for code, name in enumerate(EVENTS)}
    names = table["event"].combine_chunks().dictionary_encode()
    event = np.array([codes[name] for name in names.dictionary.to_pylist()], np.int8)[names.indices.to_numpy()]
    key = table["job"].to_numpy() * 2_000_000 + table["task_index"].to_numpy()
    tasks, task = np.unique(key, return_inverse=True)
    demand = np.stack([pc.fill_null(table[name], 0).to_numpy() for name in ("cpu_milli", "memory_mib")], axis=1)
    machines = duckdb.sql(
        f"""SELECT cpu_milli, memory_mib FROM {trace.scan("machines")}
            WHERE time_us = 0 AND event = 'ADD' AND cpu_milli > 0 ORDER BY machine"""
    ).fetchnumpy()
    size = np.stack([np.asarray(machines[name]) for name in ("cpu_milli", "memory_mib")], axis=1)
    size = (size * np.array(overcommit)).astype(np.int64)
    scan(event[:1], task[:1], demand[:1], size, len(tasks))
    began = time.process_time()
    placed, refused = scan(event, task, demand, size, len(tasks))
    cpu_s = time.process_time() - began
    return {
        "events": len(event), "placements": int(placed), "refused": int(refused), "machines": len(size),
        "cpu_s": cpu_s, "events_per_cpu_s": len(event) / cpu_s, "placements_per_cpu_s": placed / cpu_s,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(open_trace(sys.argv[1]), (float(sys.argv[2]), float(sys.argv[3])))))
