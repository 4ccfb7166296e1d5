"""The recorded replay: apply the trace's own placements, check every transition, and measure what that cluster did.

It is the baseline of every comparison and the test of the trace. Requests may be over-committed, as Google's were, so
nothing is refused here: what a machine holds is what the events say. A machine that leaves keeps its tasks until the
trace says where they went; it offers nothing meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from analytics.load import window_of
from analytics.load.attempts import batches
from analytics.load.machines import Machines
from analytics.load.requests import COMMON_SHAPES
from analytics.load.use import UNKNOWN, read_use
from analytics.options import ReplayOptions
from analytics.replay.results import TASK_COLUMNS, task_columns
from analytics.replay.sampling import Samples, new_samples, sample
from analytics.replay.state import NOWHERE, Nodes, settle
from analytics.store import query
from traces.lifecycle import (
    BELIEVED,
    EVICT,
    PENDING,
    QUEUED,
    RUNNING,
    STATES,
    Chunk,
    Seats,
    legal_order,
    next_state,
    whole_microseconds,
)
from traces.schema import AFTER_END_US, EVENTS, Trace

_NULL = np.iinfo(np.int64).min
_EVENT_COLUMNS = ("time_us", "job", "task_index", "machine", "event", "priority", "missing", "cpu_milli", "memory_mib",
                  "disk_mib")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What happened. illegal: rows by "STATE EVENT" and whether the row says that information is missing."""

    window_us: tuple[int, int]
    resources: tuple[str, ...]
    machines: NDArray[np.int64]
    sizes: NDArray[np.int64]
    nodes: Nodes
    samples: Samples
    priorities: NDArray[np.int64]
    shape_weights: NDArray[np.float64]
    counters: dict[str, int]
    illegal: dict[str, dict[str, int]]
    cpu_s: float


def replay_recorded(
    trace: Trace, options: ReplayOptions, tick: Callable[[float], None] = lambda share: None
) -> Recorded:
    """Apply the recording over the window of `options`."""
    window = window_of(trace, options)
    machines = Machines.read(trace, options)
    resources = tuple(name for name in machines.offered() if name != "gpu_milli")
    limit = machines.factors(resources, dict(options.overcommit))
    shapes, weights, priorities = _facts_of_tasks(trace, resources)
    nodes = machines.nodes(resources, 0, window[0])
    samples = new_samples(
        *window,
        options.interval_us,
        len(resources),
        len(priorities),
        shapes,
        limit,
    )
    seats = _seats(trace)
    world = _World.empty(seats.count, len(resources), len(priorities))
    if options.load == "use":
        samples = samples._replace(load=np.zeros((len(machines.ids), len(resources)), np.int64))
        world = dataclasses.replace(world, use=_use(trace, seats, resources))
    timeline = machines.events(resources, {}, window[0])
    rows = sum(pq.read_metadata(file).num_rows for file in trace.files("task_events"))
    cpu_s, done = 0.0, 0
    for chunk in whole_microseconds(_chunks(trace, seats, machines.ids, priorities, resources)):
        inside = int(np.searchsorted(chunk["time_us"], window[1], side="right"))
        chunk = {name: column[:inside] for name, column in chunk.items()}
        if inside == 0:
            break
        if not done:  # compile on nothing, outside the measured time
            empty = {name: column[:0] for name, column in chunk.items()}
            idle = legal_order(empty["time_us"], empty["seat"], empty["event"], world.state, world.last_row)
            _apply(nodes, samples, *timeline, *world.columns(), *idle, *_columns(empty), window[0])
        began_s = time.process_time()
        order, before, legal = legal_order(chunk["time_us"], chunk["seat"], chunk["event"], world.state, world.last_row)
        _apply(nodes, samples, *timeline, *world.columns(), order, before, legal, *_columns(chunk), window[0])
        cpu_s += time.process_time() - began_s
        done += inside
        tick(done / rows)
    _finish(nodes, samples, *timeline, world.waiting, world.counts, window[1])
    counts = world.counts
    return Recorded(
        window_us=window,
        resources=resources,
        machines=machines.ids,
        sizes=machines.sizes(resources),
        nodes=nodes,
        samples=samples,
        priorities=priorities,
        shape_weights=weights,
        counters={
            "events": done,
            "placements": int(counts[PLACED]),
            "evictions": int(counts[EVICTED]),
            "preemptions": 0,
        },
        illegal=_name_illegal(world.illegal),
        cpu_s=cpu_s,
    )


PLACED, EVICTED, CURSOR, RUNS = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """State carried from chunk to chunk, by seat (see `traces.lifecycle`)."""

    state: NDArray[np.int8]
    last_row: NDArray[np.int32]
    node: NDArray[np.int32]
    request: NDArray[np.int32]  # (seats, R) last stated
    use: NDArray[np.int64]  # (seats, R), UNKNOWN: the request; no rows: nobody asks for it
    level: NDArray[np.int16]
    waiting: NDArray[np.int64]  # (P,)
    counts: NDArray[np.int64]  # placed, evicted, next machine event, running
    illegal: NDArray[np.int64]  # (states, events, 2)

    @classmethod
    def empty(cls, seats: int, resources: int, levels: int) -> _World:
        return cls(
            state=np.zeros(seats, np.int8),
            last_row=np.zeros(seats, np.int32),
            node=np.full(seats, NOWHERE, np.int32),
            request=np.zeros((seats, resources), np.int32),
            use=np.zeros((0, resources), np.int64),
            level=np.zeros(seats, np.int16),
            waiting=np.zeros(levels, np.int64),
            counts=np.zeros(4, np.int64),
            illegal=np.zeros((len(STATES), len(EVENTS), 2), np.int64),
        )

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.node, self.request, self.use, self.level, self.waiting, self.counts, self.illegal


@njit(cache=True)
def _catch_up(nodes, samples, time_us, node, up, room, waiting, counts, now):  # type: ignore[no-untyped-def]
    """Machine events up to `now`, and the samples between them. There are no lists of a node's tasks to walk."""
    while counts[CURSOR] < time_us.shape[0] and time_us[counts[CURSOR]] <= now:
        e = counts[CURSOR]
        sample(samples, nodes, nodes.first_task, waiting, counts[RUNS], time_us[e])
        settle(nodes, node[e], time_us[e])
        nodes.up[node[e]] = up[e]
        nodes.allocatable[node[e]] = room[e]
        counts[CURSOR] += 1
    sample(samples, nodes, nodes.first_task, waiting, counts[RUNS], now)


@njit(cache=True)
def _hold(nodes, load, n, request, use, s, sign, now):  # type: ignore[no-untyped-def]
    """Put what the task in seat `s` requests, and uses, on node `n` (sign 1) or take it off (-1).

    `first_task` counts tasks here: -1 is none.
    """
    if n < 0:
        return
    settle(nodes, n, now)
    for r in range(request.shape[1]):
        nodes.requested[n, r] += sign * request[s, r]
        if use.shape[0] > 0:
            load[n, r] += sign * (use[s, r] if use[s, r] >= 0 else request[s, r])
    nodes.first_task[n] += sign


@njit(cache=True)
def _apply(  # type: ignore[no-untyped-def]
    nodes, samples, machine_time_us, machine_node, machine_up, machine_room,
    held_by, request, use, level, waiting, counts, illegal,
    order, before, legal, time_us, seat, event, node, event_level, missing, stated, from_us,
):  # fmt: skip
    """One chunk, in legal order. stated: (n, R), -1 where the row states no request."""
    for k in range(order.shape[0]):
        row = order[k]
        now = time_us[row]
        if k == 0 or now != time_us[order[k - 1]]:
            _catch_up(
                nodes, samples, machine_time_us, machine_node, machine_up, machine_room, waiting, counts,
                max(now, from_us),
            )  # fmt: skip
        s = seat[row]
        was = before[k]
        becomes = next_state(was, event[row])
        if not legal[k]:
            illegal[was, event[row], 1 if missing[row] >= 0 else 0] += 1
            becomes = BELIEVED[event[row]]
        if was == RUNNING:
            _hold(nodes, samples.load, held_by[s], request, use, s, -1, now)
            counts[RUNS] -= 1
        elif was in (PENDING, QUEUED):
            waiting[level[s]] -= 1
        for r in range(stated.shape[1]):
            if stated[row, r] >= 0:
                request[s, r] = stated[row, r]
        level[s] = event_level[row]
        if becomes == RUNNING:
            if was != RUNNING or node[row] >= 0:
                held_by[s] = node[row]
            counts[PLACED] += was != RUNNING and now > from_us
            counts[RUNS] += 1
            _hold(nodes, samples.load, held_by[s], request, use, s, 1, now)
        elif becomes in (PENDING, QUEUED):
            waiting[level[s]] += 1
        counts[EVICTED] += event[row] == EVICT and now > from_us


def _finish(  # type: ignore[no-untyped-def]
    nodes, samples, time_us, node, up, room, waiting, counts, to_us
):
    """Up to the end of the window."""
    _catch_up(nodes, samples, time_us, node, up, room, waiting, counts, to_us)
    sample(samples, nodes, nodes.first_task, waiting, int(counts[RUNS]), to_us + 1)
    for n in range(len(nodes.up)):
        settle(nodes, n, to_us)


def _columns(chunk: Chunk) -> tuple[NDArray[Any], ...]:
    return tuple(chunk[name] for name in ("time_us", "seat", "event", "node", "level", "missing", "stated"))


def _chunks(
    trace: Trace, seats: Seats, machines: NDArray[np.int64], priorities: NDArray[np.int64], resources: tuple[str, ...]
) -> Iterator[Chunk]:
    """`task_events` as columns: seats, node rows, priority levels, requests (-1 where NULL)."""
    codes = {name: code for code, name in enumerate(EVENTS)}
    for batch in batches(trace.files("task_events"), list(_EVENT_COLUMNS)):
        event = batch["event"].dictionary_encode()
        code = np.array([codes[name] for name in event.dictionary.to_pylist()] + [0], np.int8)
        machine = _filled(batch["machine"], _NULL)
        row = np.minimum(np.searchsorted(machines, machine), len(machines) - 1)
        stated = [_filled(batch[name], -1).astype(np.int32) for name in resources]
        yield {
            "time_us": _filled(batch["time_us"], 0),
            "seat": seats.find(_filled(batch["job"], 0), _filled(batch["task_index"], 0).astype(np.int32)),
            "event": code[event.indices.to_numpy(zero_copy_only=False)],
            "node": np.where(machines[row] == machine, row, NOWHERE).astype(np.int32),
            "level": np.searchsorted(priorities, _filled(batch["priority"], 0)).astype(np.int16),
            "missing": _filled(batch["missing"], -1).astype(np.int8),
            "stated": np.stack(stated, axis=1),
        }


def _filled(column: pa.Array, null: int) -> NDArray[np.int64]:
    """A copy of our own: compiled code is compiled again for arrays it may not write to, as Arrow's are."""
    return np.array(column.cast(pa.int64()).fill_null(null).to_numpy(zero_copy_only=False))


def _facts_of_tasks(
    trace: Trace, resources: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The most frequent requests, their share of all tasks, and every priority there is."""
    columns = ", ".join(f"coalesce({name}, 0) AS {name}" for name in resources)
    asks = " + ".join(f"coalesce({name}, 0)" for name in resources)
    tasks = trace.scan("tasks")
    found = duckdb.sql(
        f"""SELECT {columns}, count(*) AS tasks, (SELECT count(*) FROM {tasks}) AS total FROM {tasks}
            WHERE {asks} > 0 GROUP BY ALL ORDER BY tasks DESC, {", ".join(resources)} LIMIT {COMMON_SHAPES}"""
    ).fetchnumpy()
    shapes = np.stack([np.asarray(found[name]).astype(np.int64) for name in resources], axis=1)
    weights = np.asarray(found["tasks"]) / np.asarray(found["total"])
    priorities = duckdb.sql(f"SELECT DISTINCT priority FROM {trace.scan('task_events')} ORDER BY 1").fetchnumpy()
    return shapes, weights.astype(np.float64), np.asarray(priorities["priority"]).astype(np.int64)


def _seats(trace: Trace) -> Seats:
    found = duckdb.sql(
        f"SELECT job, max(task_index) AS largest FROM {trace.scan('task_events')} GROUP BY job ORDER BY job"
    ).fetchnumpy()
    return Seats.of(np.asarray(found["job"]), np.asarray(found["largest"]))


def _use(trace: Trace, seats: Seats, resources: tuple[str, ...]) -> NDArray[np.int64]:
    """(seats, R) mean use of the tasks, see `analytics.load.use`."""
    use = np.full((seats.count, len(resources)), UNKNOWN, np.int64)
    by_task = read_use(trace, resources)
    read = 0
    for batch in batches(trace.files("tasks"), ["job", "task_index"]):
        index = _filled(batch["task_index"], 0).astype(np.int32)
        seat = seats.find(_filled(batch["job"], 0), index)
        known = seat >= 0
        use[seat[known]] = by_task[read : read + batch.num_rows][known]
        read += batch.num_rows
    return use


def _name_illegal(illegal: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    return {
        f"{STATES[state]} {EVENTS[event]}": {
            "with_missing_info": int(illegal[state, event, 1]),
            "without": int(illegal[state, event, 0]),
        }
        for state, event in np.argwhere(illegal.sum(axis=2))
    }


def recorded_placements(trace: Trace, window_us: tuple[int, int]) -> Iterator[pa.Table]:
    """One row per recorded attempt that was alive in the window, sorted by (task, attempt)."""
    attempts = _rows(trace, "attempts", ["task", "attempt", "submit_us", "schedule_us", "end_us", "end", "machine"])
    held: pa.Table | None = None
    read = 0
    for batch in batches(trace.files("tasks"), list(TASK_COLUMNS)):
        pieces = [] if held is None else [held]
        held = None
        while not pieces or pieces[-1]["task"][-1].as_py() < read + batch.num_rows:
            following = next(attempts, None)
            if following is None:
                break
            pieces.append(pa.table(following))
        merged = pa.concat_tables(pieces).combine_chunks() if pieces else None
        if merged is not None:
            cut = int(np.searchsorted(merged["task"].to_numpy(), read + batch.num_rows))
            held = merged.slice(cut)
            yield _recorded_columns(batch, merged.slice(0, cut), read, window_us)
            if not held.num_rows:
                held = None
        read += batch.num_rows


def measured_use(trace: Trace, found: Recorded) -> dict[str, pa.Array]:
    """What running tasks used at each instant of the samples, by resource; NULL where no usage row covers it."""
    if not trace.has("usage"):
        return {}
    times = found.samples.time_us
    rows = duckdb.execute(
        query("used").replace("{usage}", trace.scan("usage")),
        {
            "opens_us": int(times[0]),
            "closes_us": int(times[-1]),
            "interval_us": int(times[1] - times[0]) if len(times) > 1 else 1,
        },
    ).fetchnumpy()
    instant = np.asarray(rows["instant"])
    used = {}
    for name in set(found.resources) & {"cpu_milli", "memory_mib", "disk_mib"}:
        values, known = np.zeros(len(times), np.int64), np.zeros(len(times), np.bool_)
        stated = np.ma.asarray(rows[name])
        values[instant], known[instant] = stated.filled(0), ~np.ma.getmaskarray(stated)
        used[name] = pa.array(values, mask=~known)
    return used


def _rows(trace: Trace, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    yield from (batch for batch in batches(trace.files(table), columns) if batch.num_rows)


def _recorded_columns(tasks: pa.RecordBatch, rows: pa.Table, offset: int, window_us: tuple[int, int]) -> pa.Table:
    end_us = pc.if_else(pc.equal(rows["end_us"], AFTER_END_US), None, rows["end_us"])
    inside = pc.and_(
        pc.less_equal(rows["submit_us"], window_us[1]),
        pc.or_kleene(pc.is_null(end_us), pc.greater(end_us, window_us[0])),
    )
    rows, end_us = rows.filter(inside), end_us.filter(inside)
    started = pc.is_valid(rows["schedule_us"])
    cancelled = pc.and_(pc.is_valid(end_us), pc.invert(started))
    evicted = pc.fill_null(pc.equal(rows["end"], "EVICT"), False)
    return pa.table(
        {
            **task_columns(tasks, rows["task"].to_numpy() - offset),
            "task": rows["task"],
            "attempt": rows["attempt"],
            "submit_us": rows["submit_us"],
            "start_us": rows["schedule_us"],
            "end_us": end_us,
            "end": pc.if_else(pc.is_null(end_us), None, pc.if_else(cancelled, "CANCELLED", rows["end"])),
            "node": pc.if_else(started, rows["machine"], None),
            "evictions": evicted.cast(pa.int32()),
            "preemptions": pa.array(np.zeros(rows.num_rows, np.int32)),
            "initial": pc.less_equal(rows["submit_us"], window_us[0]),
        }
    )
