"""The data-quality report of a canonical trace: what is in it, what is missing, what is wrong with it.

Quantiles and the like come from one SQL file each in `sql/`; what the trace has no table for is None.
"""

from __future__ import annotations

import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from traces.errors import TraceFormatError
from traces.schema import TABLES, Gap, Tier, Trace, Units, empty_sql, open_trace
from traces.tables import digest_of

SERVERLESS = ("functions", "invocations", "cold_starts", "series")
MEMORY_LIMIT = "3GiB"  # quantiles hold their values; joins go to a temporary folder when they need more


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `stowage trace check` says. The unit is in the name; quantiles are p10, p50, ...

    snapshot: tasks running and pending at time 0 and what they ask for; capacity: machines at time 0. over_commitment:
    share of the capacity that the running tasks of the snapshot ask for. serverless: sizes, and `groups` by region and
    trigger, `series` that came summed up, `quiet` hours without anything, each as its file in `sql/` says.
    """

    format: str
    digest: str
    rows: dict[str, int]
    rejected: dict[str, int]
    rejected_reasons: dict[str, int]
    gaps: list[Gap]
    time_range_us: tuple[int, int] | None
    units: Units
    tiers: list[Tier]
    jobs: int
    tasks: int
    machines: int
    task_events: dict[str, int]
    job_events: dict[str, int]
    machine_events: dict[str, int]
    illegal_transitions: dict[str, dict[str, int]]
    snapshot: dict[str, Any] | None
    capacity: dict[str, Any] | None
    over_commitment: dict[str, float] | None
    delay_s: dict[str, dict[str, Any]] | None
    requests: dict[str, dict[str, Any]] | None
    tasks_per_job: dict[str, Any] | None
    events_in_a_second: int | None
    shapes: list[dict[str, Any]] | None
    machine_outage_s: dict[str, Any] | None
    faults: list[dict[str, Any]] | None
    serverless: dict[str, Any] | None
    notes: list[str]


def check_trace(folder: Path | str) -> CheckReport:
    """Check a trace; TraceFormatError if it is none, or if its tables are not those it was finished with."""
    trace = open_trace(folder)
    if digest_of(trace.folder) != trace.meta.digest:
        raise TraceFormatError(
            "the tables were changed after the import", file=trace.folder, fix="Import the trace again"
        )
    with (
        tempfile.TemporaryDirectory(prefix="stowage-check-") as scratch,
        duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": scratch}) as con,
    ):
        return _check(trace, _Questions(trace, con))


@cache
def _sql(name: str) -> str:
    return (files("traces") / "sql" / f"{name}.sql").read_text()


class _Questions:
    """The trace's tables as views, and answers as plain values."""

    def __init__(self, trace: Trace, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.tables = {table for table in trace.meta.rows if trace.has(table)}
        for table in self.tables:
            con.execute(f"CREATE VIEW {table} AS FROM {trace.scan(table)}")
        if "tasks" in self.tables:
            con.execute("CREATE VIEW numbered_tasks AS SELECT row_number() OVER () - 1 AS task, * FROM tasks")
        con.execute("CREATE TABLE tiers (name VARCHAR, low INTEGER, high INTEGER)")
        con.executemany("INSERT INTO tiers VALUES (?, ?, ?)", [[t.name, t.min, t.max] for t in trace.meta.tiers])

    def allow_absent(self, table: str) -> None:
        """Let queries find a table that the trace lacks, without rows."""
        if table not in self.tables:
            self.con.execute(f"CREATE VIEW {table} AS {empty_sql(TABLES[table])}")

    def many(self, name: str, *needs: str) -> list[dict[str, Any]] | None:
        """The rows of an SQL file; None if the trace lacks a table it needs."""
        return self.ask(_sql(name)) if self.tables.issuperset(needs) else None

    def one(self, name: str, *needs: str) -> dict[str, Any] | None:
        """The one row of an SQL file; None if the trace lacks a table it needs."""
        rows = self.many(name, *needs)
        return rows[0] if rows else None

    def by(self, key: str, name: str, *needs: str) -> dict[str, dict[str, Any]] | None:
        """The rows of an SQL file by one of their columns."""
        rows = self.many(name, *needs)
        return None if rows is None else {row.pop(key): row for row in rows}

    def events(self, table: str) -> dict[str, int]:
        """Rows by event name; empty without the table."""
        if table not in self.tables:
            return {}
        return {
            row["event"]: row["n"]
            for row in self.ask(f"SELECT event, count(*) AS n FROM {table} GROUP BY ALL ORDER BY ALL")
        }

    def distinct(self, column: str, table: str) -> int:
        """How many different values a column has; 0 without the table."""
        if table not in self.tables:
            return 0
        return int(self.ask(f"SELECT count(DISTINCT {column}) AS n FROM {table}")[0]["n"])

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Rows of a query as dictionaries."""
        answer = self.con.sql(query)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def _check(trace: Trace, questions: _Questions) -> CheckReport:
    meta = trace.meta
    snapshot = questions.one("snapshot", "tasks", "attempts")
    capacity = questions.one("capacity", "machines")
    burst = questions.one("burst", "task_events")
    return CheckReport(
        format=meta.format, digest=meta.digest, rows=meta.rows, rejected=meta.rejected,
        rejected_reasons=_reasons(trace, questions), gaps=meta.gaps, time_range_us=meta.time_range_us, units=meta.units,
        tiers=meta.tiers, jobs=questions.distinct("job", "tasks" if "tasks" in questions.tables else "job_events"),
        tasks=meta.rows.get("tasks", 0), machines=questions.distinct("machine", "machines"),
        task_events=questions.events("task_events"), job_events=questions.events("job_events"),
        machine_events=questions.events("machines"), illegal_transitions=meta.illegal_transitions,
        snapshot=snapshot, capacity=capacity, over_commitment=_over_commitment(snapshot, capacity),
        delay_s=questions.by("tier", "delays", "tasks", "attempts"),
        requests=questions.by("resource", "requests", "task_events"),
        tasks_per_job=questions.one("tasks_per_job", "tasks"),
        events_in_a_second=burst["events_in_a_second"] if burst else None, shapes=questions.many("shapes", "machines"),
        machine_outage_s=questions.one("machine_outages", "machines"),
        faults=questions.many("faults", "faults"), serverless=_serverless(questions), notes=meta.notes,
    )  # fmt: skip


def _serverless(questions: _Questions) -> dict[str, Any] | None:
    """What a trace of functions holds; None of another one."""
    if questions.tables.isdisjoint(SERVERLESS):
        return None
    for table in SERVERLESS:
        questions.allow_absent(table)
    answers = {name: questions.many(f"serverless_{name}") for name in ("size", "groups", "series", "quiet")}
    [size] = answers.pop("size") or []
    return {**size, **answers}


def _over_commitment(snapshot: dict[str, Any] | None, capacity: dict[str, Any] | None) -> dict[str, float] | None:
    if not snapshot or not capacity or not capacity["cpu_milli"] or not capacity["memory_mib"]:
        return None
    return {
        "cpu": round(snapshot["running_cpu_milli"] / capacity["cpu_milli"], 4),
        "memory": round(snapshot["running_memory_mib"] / capacity["memory_mib"], 4),
    }


def _reasons(trace: Trace, questions: _Questions) -> dict[str, int]:
    """How many rows each rule rejected, the values left out."""
    if not trace.has("rejected"):
        return {}
    rule = "split_part(reason, ', found', 1) AS rule"
    query = f"SELECT {rule}, count(*) AS n FROM {trace.scan('rejected')} GROUP BY ALL ORDER BY ALL"
    return {row["rule"]: row["n"] for row in questions.ask(query)}
