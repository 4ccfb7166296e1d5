"""Canonical traces of a few machines and tasks: each test states what matters to it, the rest has defaults.

    trace = SmallTrace()
    trace.machine(1, cpu=4000)
    trace.task(ran(0, 5, 60, on=1), job=7, priority=9)
    trace.write(folder)

Times are in seconds, `NEVER` is "after the recording". Task events follow from the attempts; `trace.event` adds others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from traces.schema import AFTER_END_US, PLAIN_UNITS, TIERS_2011, Meta, Tier, Trace, arrow_schema, open_trace, write_meta
from traces.tables import digest_of

S = 1_000_000
NEVER = AFTER_END_US / S


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recorded attempt, in microseconds. machine: None when it was never scheduled."""

    submit_us: int
    schedule_us: int | None
    end_us: int | None
    end: str | None
    machine: int | None


def ran(submit: float, schedule: float | None, end: float | None, how: str | None = "FINISH", on: int = 1) -> Attempt:
    """An attempt in seconds; schedule None: never scheduled; end None: alive at the end of the recording."""
    return Attempt(
        _us(submit),
        None if schedule is None else _us(schedule),
        None if end is None else _us(end),
        None if end is None else how,
        None if schedule is None else on,
    )


def _us(seconds: float) -> int:
    return AFTER_END_US if seconds == NEVER else round(seconds * S)


@dataclass(frozen=True, slots=True)
class Task:
    job: int
    index: int
    attempts: tuple[Attempt, ...]
    cpu: int | None
    memory: int | None
    disk: int | None
    gpus: int
    gpu_milli: int
    models: str | None
    priority: int
    different_machines: bool
    tenant: str


@dataclass(slots=True)
class SmallTrace:
    """What `write` turns into a folder."""

    machines: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    extra_events: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    tiers: tuple[Tier, ...] = TIERS_2011

    def machine(
        self,
        machine: int,
        at: float = 0,
        event: str = "ADD",
        cpu: int | None = 4000,
        memory: int | None = 8192,
        disk: int | None = None,
        gpus: int = 0,
        model: str | None = None,
    ) -> None:
        """One machine event; REMOVE states no capacity."""
        stated = event != "REMOVE"
        self.machines.append(
            {
                "time_us": _us(at),
                "machine": machine,
                "event": event,
                "cpu_milli": cpu if stated else None,
                "memory_mib": memory if stated else None,
                "disk_mib": disk if stated else None,
                "gpus": gpus if stated else 0,
                "gpu_model": model,
            }
        )

    def task(
        self,
        *attempts: Attempt,
        job: int | None = None,
        index: int = 0,
        cpu: int | None = 1000,
        memory: int | None = 1024,
        disk: int | None = None,
        gpus: int = 0,
        gpu_milli: int = 0,
        models: str | None = None,
        priority: int = 0,
        different_machines: bool = False,
        tenant: str = "a",
    ) -> None:
        """One task; a job of its own unless told otherwise."""
        job = 1 + max((task.job for task in self.tasks), default=0) if job is None else job
        self.tasks.append(
            Task(job, index, attempts, cpu, memory, disk, gpus, gpu_milli, models, priority, different_machines, tenant)
        )

    def event(self, at: float, event: str, job: int = 1, index: int = 0, **changes: Any) -> None:
        """A task event of its own, after those that the attempts make at that time."""
        row = {"time_us": _us(at), "job": job, "task_index": index, "event": event, "priority": 0, "tenant": "a"}
        self.extra_events.append(row | changes)

    def used(self, at: float, until: float, cpu: int, job: int = 1, index: int = 0) -> None:
        """What a task uses in a while. A trace that says it of none has no such table."""
        self.usage.append(
            {"start_us": _us(at), "end_us": _us(until), "job": job, "task_index": index, "cpu_milli": cpu}
        )

    def sorted_tasks(self) -> list[Task]:
        """In the order of the table; a task's row is its place here."""
        return sorted(self.tasks, key=lambda task: (task.job, task.index))

    def write(self, folder: Path, time_range: tuple[float, float] | None = None, parts: int = 1) -> Trace:
        """Write the folder, every table in `parts` files, and open it."""
        folder.mkdir(parents=True)
        tasks = self.sorted_tasks()
        events = sorted([*self._events(tasks), *self.extra_events], key=lambda row: row["time_us"])
        tables = {
            "machines": sorted(self.machines, key=lambda row: row["time_us"]),
            "tasks": [_task_row(task) for task in tasks],
            "attempts": [
                {"task": row, "attempt": number, **_columns(attempt)}
                for row, task in enumerate(tasks)
                for number, attempt in enumerate(task.attempts)
            ],
            "task_events": events,
        }
        if self.usage:
            tables["usage"] = self.usage
        for name, rows in tables.items():
            _write_table(folder, name, rows, parts)
        times = [row["time_us"] for row in events if row["time_us"] != AFTER_END_US]
        given = None if time_range is None else (_us(time_range[0]), _us(time_range[1]))
        meta = Meta(
            format="small",
            digest=digest_of(folder),
            units=PLAIN_UNITS,
            tiers=list(self.tiers),
            time_range_us=given or (min(times), max(times)),
            rows={name: len(rows) for name, rows in tables.items()},
            rejected={},
            gaps=[],
        )
        write_meta(meta, folder)
        return open_trace(folder)

    def _events(self, tasks: list[Task]) -> list[dict[str, Any]]:
        rows: list[tuple[int, str, int | None, Task]] = []
        for task in tasks:
            for attempt in task.attempts:
                rows.append((attempt.submit_us, "SUBMIT", None, task))
                if attempt.schedule_us is not None:
                    rows.append((attempt.schedule_us, "SCHEDULE", attempt.machine, task))
                if attempt.end_us is not None and attempt.end is not None:
                    rows.append((attempt.end_us, attempt.end, attempt.machine, task))
        return [
            {
                "time_us": time_us,
                "job": task.job,
                "task_index": task.index,
                "machine": machine,
                "event": event,
                "tenant": task.tenant,
                "priority": task.priority,
                "cpu_milli": task.cpu,
                "memory_mib": task.memory,
                "disk_mib": task.disk,
                "different_machines": task.different_machines,
            }
            for time_us, event, machine, task in rows
        ]


def _columns(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in ("submit_us", "schedule_us", "end_us", "end", "machine")}


def _task_row(task: Task) -> dict[str, Any]:
    return {
        "job": task.job,
        "task_index": task.index,
        "tenant": task.tenant,
        "priority": task.priority,
        "cpu_milli": task.cpu,
        "memory_mib": task.memory,
        "disk_mib": task.disk,
        "gpus": task.gpus,
        "gpu_milli": task.gpu_milli,
        "gpu_models": task.models,
        "different_machines": task.different_machines,
        "first_submit_us": task.attempts[0].submit_us,
        "attempts": len(task.attempts),
        "constraints": 0,
    }


def _write_table(folder: Path, name: str, rows: list[dict[str, Any]], parts: int) -> None:
    table = pa.Table.from_pylist(rows, schema=arrow_schema(name))
    if parts == 1:
        pq.write_table(table, folder / f"{name}.parquet")
        return
    (folder / name).mkdir()
    cuts = [len(rows) * part // parts for part in range(parts + 1)]
    for part in range(parts):
        piece = table.slice(cuts[part], cuts[part + 1] - cuts[part])
        pq.write_table(piece, folder / name / f"part-{part:05}.parquet")
