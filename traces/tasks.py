"""From events to tasks and attempts: one pass over `task_events`, one row per task and one per attempt out.

State is 69 bytes a task (1.8 GB for the 25 million of a month of Google); events stream through in chunks, finished
attempts go to bucket files by seat, and each bucket is then put in order by position, which is known by counting:
nothing is sorted, and no step holds more than one bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from traces.lifecycle import (
    ATTEMPT,
    NO_MACHINE,
    NO_TIME,
    NOT_STATED,
    STATES,
    Chunk,
    Seats,
    empty_tasks,
    legal_order,
    record_attempts,
    record_facts,
    whole_microseconds,
)
from traces.schema import EVENTS, arrow_schema, sql_text
from traces.tables import from_numpy, open_writer, strings, to_numpy

CHUNK_ROWS = 1 << 20
BUCKET_SEATS = 1 << 21
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class TaskSources:
    """Parquet files by table. pods: optional helper with name, gpus, gpu_milli, gpu_models by (job, task_index)."""

    task_events: Sequence[Path]
    job_events: Sequence[Path] = ()
    task_constraints: Sequence[Path] = ()
    pods: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """What was written. illegal: "STATE EVENT" -> rows with and without missing info."""

    tasks: int
    attempts: int
    illegal: dict[str, dict[str, int]]


def write_tasks(
    sources: TaskSources,
    folder: Path,
    scratch: Path,
    con: duckdb.DuckDBPyConnection,
    progress: Callable[[int], None] = lambda rows: None,
) -> TaskCounts:
    """Write `tasks.parquet` and `attempts.parquet` into folder; scratch is an empty folder for the buckets."""
    jobs = _jobs(sources, con)
    seats = Seats.of(to_numpy(jobs["job"]), to_numpy(jobs["largest"]))
    tasks = empty_tasks(seats.count)
    alloc = _Allocs(seats.count)
    buckets = [scratch / f"{start:010}" for start in range(0, seats.count, BUCKET_SEATS)]
    illegal = np.zeros((len(STATES), len(EVENTS), 2), np.int64)
    state, last_row = np.zeros(seats.count, np.int8), np.zeros(seats.count, np.int32)
    for chunk in whole_microseconds(_event_chunks(sources.task_events)):
        seat = seats.find(chunk["job"], chunk["task_index"])
        order, before, legal = legal_order(chunk["time_us"], seat, chunk["event"], state, last_row)
        wrong = order[~legal]
        np.add.at(illegal, (before[~legal], chunk["event"][wrong], (chunk["missing"][wrong] >= 0).astype(int)), 1)
        facts = ("priority", "scheduling_class", "cpu_milli", "memory_mib", "disk_mib", "different_machines")
        record_facts(order, chunk["time_us"], seat, tasks, *(chunk[name] for name in facts))
        alloc.see(seat, chunk["alloc"])
        closed = np.empty(order.size, ATTEMPT)
        ended = record_attempts(order, before, chunk["time_us"], seat, chunk["event"], chunk["machine"], tasks, closed)
        _spool(closed[:ended], buckets)
        progress(order.size)
    del state, last_row
    tenants = jobs["tenant"].combine_chunks().dictionary_encode()
    constraints = _constraints(sources.task_constraints, con, seats)
    pods = _pods(sources.pods, seats)
    counted = _write(folder, seats, tasks, buckets, _Columns(tenants, constraints, alloc, pods))
    return TaskCounts(*counted, _name_illegal(illegal))


def _name_illegal(illegal: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    return {
        f"{STATES[state]} {EVENTS[event]}": {
            "with_missing_info": int(illegal[state, event, 1]), "without": int(illegal[state, event, 0])
        }
        for state, event in np.argwhere(illegal.sum(axis=2))
    }  # fmt: skip


def _scan(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(sql_text(str(file)) for file in files)}])"


def _jobs(sources: TaskSources, con: duckdb.DuckDBPyConnection) -> pa.Table:
    """Per job, sorted, its largest task index and its tenant: as its task events say, else its job events, else ''."""
    tenant = "min(nullif(tenant, '')) AS tenant"
    query = f"SELECT job, max(task_index) AS largest, {tenant} FROM {_scan(sources.task_events)} GROUP BY job"
    if sources.job_events:
        named = f"SELECT job, {tenant} FROM {_scan(sources.job_events)} GROUP BY job"
        query = f"""SELECT job, largest, coalesce(own.tenant, named.tenant) AS tenant
            FROM ({query}) AS own LEFT JOIN ({named}) AS named USING (job)"""
    return con.sql(f"SELECT job, largest, coalesce(tenant, '') AS tenant FROM ({query}) ORDER BY job").to_arrow_table()


def _constraints(files: Sequence[Path], con: duckdb.DuckDBPyConnection, seats: Seats) -> NDArray[np.int32] | None:
    """(seats,) how many different constraints each task ever had."""
    if not files:
        return None
    counts = np.zeros(seats.count, np.int32)
    query = f"""SELECT job, task_index, count(*)::INTEGER AS n FROM (
        SELECT DISTINCT job, task_index, operator, attribute, value FROM {_scan(files)}) GROUP BY ALL"""
    for batch in con.sql(query).to_arrow_reader(CHUNK_ROWS):
        job, index, n = map(to_numpy, batch.columns)
        seat = seats.find(job, index)
        counts[seat[seat >= 0]] = n[seat >= 0]
    return counts


class _Allocs:
    """(seats,) the alloc set each task runs in, 0 = none; takes no room until the first one is seen."""

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.of: NDArray[np.int64] | None = None

    def see(self, seat: NDArray[np.int64], alloc: NDArray[np.int64]) -> None:
        inside = alloc > 0
        if inside.any():
            self.of = np.zeros(self.seats, np.int64) if self.of is None else self.of
            self.of[seat[inside]] = alloc[inside]


def _pods(files: Sequence[Path], seats: Seats) -> tuple[pa.Table, NDArray[np.int64]] | None:
    """The helper table and, per seat, its row there (-1 = none)."""
    if not files:
        return None
    table = pa.concat_tables(pq.read_table(file) for file in files)
    row = np.full(seats.count, -1, np.int64)
    row[seats.find(to_numpy(table["job"]), to_numpy(table["task_index"]))] = np.arange(len(table))
    return table, row


def _event_chunks(files: Sequence[Path]) -> Iterator[Chunk]:
    """The columns of task_events that make tasks, as arrays: events as codes, NULL as the "not stated" values."""
    absent: dict[str, Any] = {
        "time_us": 0, "missing": -1, "job": 0, "task_index": 0, "machine": NO_MACHINE, "event": 0,
        "priority": NOT_STATED, "scheduling_class": NOT_STATED, "cpu_milli": NOT_STATED, "memory_mib": NOT_STATED,
        "disk_mib": NOT_STATED,
        "different_machines": NOT_STATED, "alloc": 0,
    }  # fmt: skip
    for file in files:
        with pq.ParquetFile(file, read_dictionary=["event"]) as source:
            for batch in source.iter_batches(CHUNK_ROWS, columns=list(absent)):
                yield {name: _array(batch.column(name), name, empty) for name, empty in absent.items()}


def _array(column: pa.Array, name: str, empty: int) -> NDArray[Any]:
    if name == "event":
        codes = np.array([EVENTS.index(event) for event in column.dictionary.to_pylist()], np.int8)
        return np.asarray(codes[to_numpy(column.indices)])
    if name == "different_machines":
        column = column.cast(pa.int8())
    if column.null_count:
        column = column.fill_null(from_numpy(np.array([empty], str(column.type)))[0])
    values = to_numpy(column)
    if name in ("cpu_milli", "memory_mib", "disk_mib"):
        values = np.minimum(values, INT32_MAX).astype(np.int32)
    return np.asarray(values)


def _spool(closed: NDArray[np.void], buckets: list[Path]) -> None:
    bucket = closed["seat"] // BUCKET_SEATS
    present = np.unique(bucket) if len(buckets) > 1 else np.zeros(min(closed.size, 1), np.int64)
    for number in present:
        with buckets[number].open("ab") as file:
            (closed if present.size == 1 else closed[bucket == number]).tofile(file)


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """What a task's row takes from elsewhere."""

    tenants: pa.DictionaryArray
    constraints: NDArray[np.int32] | None
    alloc: _Allocs
    pods: tuple[pa.Table, NDArray[np.int64]] | None


def _write(
    folder: Path, seats: Seats, tasks: NDArray[np.void], buckets: list[Path], columns: _Columns
) -> tuple[int, int]:
    rows = attempts = 0
    with (
        open_writer(folder / "tasks.parquet", "tasks") as task_writer,
        open_writer(folder / "attempts.parquet", "attempts") as attempt_writer,
    ):
        for number, bucket in enumerate(buckets):
            start = number * BUCKET_SEATS
            slot = tasks[start : start + BUCKET_SEATS]
            seen = np.flatnonzero(slot["seen"])
            closed = np.fromfile(bucket, ATTEMPT) if bucket.exists() else np.empty(0, ATTEMPT)
            closed["seat"] -= start
            table = _attempt_table(slot, seen, closed, rows)
            task_writer.write_table(_task_table(slot[seen], seen + start, seats, columns))
            attempt_writer.write_table(table)
            rows, attempts = rows + seen.size, attempts + len(table)
            bucket.unlink(missing_ok=True)
    return rows, attempts


def _task_table(task: NDArray[np.void], seat: NDArray[np.int64], seats: Seats, columns: _Columns) -> pa.Table:
    """The `tasks` rows of the seats given, which all have a task."""
    job = seats.jobs_of(seat)
    unknown_run = (task["run_us"] == NO_TIME) | ((task["open"] == 1) & (task["schedule_us"] != NO_TIME))
    stated = {
        name: from_numpy(task[name], task[name] == NOT_STATED)
        for name in ("scheduling_class", "cpu_milli", "memory_mib", "disk_mib")
    }
    alloc = np.zeros(seat.size, np.int64) if columns.alloc.of is None else columns.alloc.of[seat]
    found = {
        "job": seats.job[job],
        "task_index": seat - seats.offset[job],
        "tenant": columns.tenants.take(from_numpy(job)),
        "priority": task["priority"],
        "different_machines": task["different_machines"] == 1,
        "first_submit_us": task["first_submit_us"],
        "run_us": from_numpy(task["run_us"], unknown_run),
        "attempts": task["attempts"],
        "constraints": np.zeros(seat.size, np.int32) if columns.constraints is None else columns.constraints[seat],
        "alloc": from_numpy(alloc, alloc == 0),
        **stated,
        **_pod_columns(seat, columns.pods),
    }
    return _table("tasks", found)


def _table(name: str, columns: dict[str, Any]) -> pa.Table:
    """A canonical table of numpy and Arrow columns."""
    schema = arrow_schema(name)
    arrays = [columns[field.name] for field in schema]
    arrays = [from_numpy(array) if isinstance(array, np.ndarray) else array for array in arrays]
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)


def _pod_columns(seat: NDArray[np.int64], pods: tuple[pa.Table, NDArray[np.int64]] | None) -> dict[str, Any]:
    if pods is None:
        nothing = pa.nulls(seat.size, pa.string())
        return {"name": nothing, "gpus": np.zeros(seat.size, np.int32), "gpu_milli": np.zeros(seat.size, np.int32),
                "gpu_models": nothing}  # fmt: skip
    table, row = pods
    taken = table.take(from_numpy(row[seat], row[seat] < 0))
    return {
        "name": taken["name"].combine_chunks(), "gpus": pc.fill_null(taken["gpus"], 0).combine_chunks(),
        "gpu_milli": pc.fill_null(taken["gpu_milli"], 0).combine_chunks(),
        "gpu_models": taken["gpu_models"].combine_chunks(),
    }  # fmt: skip


def _attempt_table(
    slot: NDArray[np.void], seen: NDArray[np.int64], closed: NDArray[np.void], first_row: int
) -> pa.Table:
    """The `attempts` of one bucket, each put straight to its place: those of the seats before it, plus its number."""
    count = slot["attempts"].astype(np.int64)
    first = np.cumsum(count) - count
    alive = np.flatnonzero(slot["open"])
    place = np.concatenate([first[closed["seat"]] + closed["attempt"], first[alive] + count[alive] - 1])

    def column(ended: NDArray[Any], running: NDArray[Any] | int) -> NDArray[Any]:
        values = np.empty(place.size, ended.dtype)
        values[place[: closed.size]] = ended
        values[place[closed.size :]] = running
        return values

    schedule = column(closed["schedule_us"], slot["schedule_us"][alive])
    machine = column(closed["machine"], slot["machine"][alive])
    end = column(closed["end"], -1)
    found = {
        "task": np.repeat(first_row + np.arange(seen.size), count[seen]),
        "attempt": np.arange(place.size) - np.repeat(first, count),
        "submit_us": column(closed["submit_us"], slot["submit_us"][alive]),
        "schedule_us": from_numpy(schedule, schedule == NO_TIME),
        "end_us": from_numpy(column(closed["end_us"], NO_TIME), end < 0),
        "end": pa.DictionaryArray.from_arrays(from_numpy(end, end < 0), strings(EVENTS)),
        "machine": from_numpy(machine, machine == NO_MACHINE),
    }
    return _table("attempts", found)
