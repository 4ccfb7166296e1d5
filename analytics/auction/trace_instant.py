"""A canonical trace at an instant as a round: everything alive then bids for the machines that are up.

Tasks that run bid like those that wait, all room is for sale, and no machine knows who stands on it. Tenants are the
trace's; a task bids by its priority and size, the same for every machine. It lists at most so many machines that have
room for it (another choice for each task), for a trace has tens of thousands of both. Constraints are not modelled.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np

from analytics.errors import InputError
from scheduler.core.auction.from_snapshot import rate_of
from scheduler.core.auction.market import Market
from scheduler.core.auction.terms import Terms, terms_of
from scheduler.core.columns import Ints, intern
from traces.schema import Trace

RESOURCES = ("cpu_milli", "memory_mib", "disk_mib", "gpu_milli")


def read_instant(trace: Trace, at_us: int, listed: int, *, exclusive: bool) -> tuple[Market, Terms, list[str]]:
    """The round, its terms, and what the reader should know.

    listed: the most machines a task bids for. Raises InputError where nothing is up, or nothing alive.
    """
    machines, tasks = _machines(trace, at_us), _tasks(trace, at_us)
    for what, rows in (("machine is up", machines), ("task is alive", tasks)):
        if not len(rows["name"]):
            raise InputError(f"{trace.folder}: no {what} at {at_us / 1e6:g} s; `stowage trace info` has its range")
    resources = [name for name in RESOURCES if machines[name].any()]
    room = np.column_stack([machines[name] for name in resources])
    demand = np.column_stack([tasks[name] for name in resources])
    largest = np.maximum(room.max(axis=0), 1)
    size = (demand / largest).max(axis=1)
    bid = np.array([s * rate_of(int(p)) for p, s in zip(tasks["priority"], size.tolist(), strict=True)])
    nodes, more = _list_machines(demand, room, listed)
    owner = intern(tasks["tenant"].tolist())
    count = len(demand)
    market = Market(
        nodes=machines["name"].astype(np.str_),
        room=room,
        requests=tasks["name"].astype(np.str_),
        demand=demand,
        resources=tuple(resources),
        tenants=tuple(name or "(not stated)" for name in owner.values),
        tenant=owner.code,
        first=np.cumsum([0, *map(len, nodes)]).astype(np.int64),
        node=np.concatenate(nodes).astype(np.int32),
        value=np.repeat(bid, [len(one) for one in nodes]),
        gang=np.full(count, -1, np.int32),
        unlisted=np.where(more, bid, 0.0),
        exclusive=exclusive,
    )
    notes = [f"{int(tasks['running'].sum()):,} of {count:,} tasks ran then; all compete alike"]
    if trace.has("task_constraints"):
        notes.append("constraints of tasks are not modelled")
    if more.any():
        notes.append(f"{int(more.sum()):,} tasks list {listed} of the machines that could hold them")
    return market, terms_of(market, tasks["priority"].astype(np.int64)), notes


def _list_machines(demand: Ints, room: Ints, listed: int) -> tuple[list[Ints], Any]:
    """(rows of machines for every task, whether it left some out): evenly spread, from another start for each task."""
    shapes, shape = np.unique(demand, axis=0, return_inverse=True)
    fitting = [np.flatnonzero((one <= room).all(axis=1)) for one in shapes]
    rows: list[Ints] = []
    for j, kind in enumerate(shape.ravel().tolist()):
        found = fitting[kind]
        if len(found) > listed:
            found = np.sort(found[(j + np.arange(listed) * len(found) // listed) % len(found)])
        rows.append(found)
    return rows, np.array([len(one) for one in fitting])[shape.ravel()] > listed


def _machines(trace: Trace, at_us: int) -> dict[str, Any]:
    """Columns of the machines that are up, by name."""
    found: dict[str, Any] = duckdb.sql(
        f"""WITH last AS (
            SELECT *, row_number() OVER (PARTITION BY machine ORDER BY time_us DESC, row DESC) AS rank
            FROM (SELECT *, row_number() OVER () AS row FROM {trace.scan("machines")}) WHERE time_us <= $at
        )
        SELECT 'machine-' || machine AS name, coalesce(cpu_milli, 0) AS cpu_milli,
            coalesce(memory_mib, 0) AS memory_mib, coalesce(disk_mib, 0) AS disk_mib, gpus::BIGINT * 1000 AS gpu_milli
        FROM last WHERE rank = 1 AND event <> 'REMOVE' ORDER BY name""",
        params={"at": at_us},
    ).fetchnumpy()
    return found


def _tasks(trace: Trace, at_us: int) -> dict[str, Any]:
    """Columns of the tasks that wait or run, by name."""
    found: dict[str, Any] = duckdb.sql(
        f"""WITH task AS (SELECT *, row_number() OVER () - 1 AS task FROM {trace.scan("tasks")}),
        alive AS (
            SELECT task, bool_or(coalesce(schedule_us <= $at, false)) AS running FROM {trace.scan("attempts")}
            WHERE submit_us <= $at AND coalesce(end_us > $at, true) GROUP BY task
        )
        SELECT 'task-' || job || '-' || task_index AS name, tenant, priority, running,
            coalesce(cpu_milli, 0) AS cpu_milli, coalesce(memory_mib, 0) AS memory_mib,
            coalesce(disk_mib, 0) AS disk_mib, (greatest(gpus, 0)::BIGINT * gpu_milli) AS gpu_milli
        FROM task JOIN alive USING (task) ORDER BY name""",
        params={"at": at_us},
    ).fetchnumpy()
    return found
