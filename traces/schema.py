"""The canonical trace: what every reader gives and every replay takes.

A trace is a folder with `meta.json` and Parquet tables (zstd). A table is one file `NAME.parquet` or a folder `NAME/`
of `part-00000.parquet`, `part-00001.parquet`, ...; a table the source does not have is absent. `open_trace` hides the
difference.

Units everywhere: CPU in millicores, memory and disk in MiB, GPUs as whole devices plus `gpu_milli` per device, time in
int64 microseconds since the trace's own zero. 0 means "at or before the start of the recording" (rows at 0 are its
snapshot) and 2^63-1 (`AFTER_END_US`) "after its end": both are kept as the sources write them. NULL is "not stated",
never 0. Google publishes requests and capacities as shares of the largest machine; `GOOGLE_UNITS` turns them into
whole numbers, rounded to nearest and at least 1 where anything at all was asked. The scales are nominal: shares of the
cluster do not depend on them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from traces.errors import TraceFormatError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
AFTER_END_US = 2**63 - 1
PARQUET_END = b"PAR1"

# The position in a tuple is the code that compiled loops use; files hold the names.
EVENTS = (
    "SUBMIT", "QUEUE", "ENABLE", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST",
    "UPDATE_PENDING", "UPDATE_RUNNING",
)  # fmt: skip
MACHINE_EVENTS = ("ADD", "REMOVE", "UPDATE")
OPERATORS = (
    "EQUAL", "NOT_EQUAL", "LESS", "GREATER", "LESS_EQUAL", "GREATER_EQUAL", "PRESENT", "NOT_PRESENT",
)  # fmt: skip
MISSING_2011 = ("SNAPSHOT_BUT_NO_TRANSITION", "NO_SNAPSHOT_OR_TRANSITION", "EXISTS_BUT_NO_CREATION")
MISSING_2019 = (
    "NONE", "SNAPSHOT_BUT_NO_TRANSITION", "NO_SNAPSHOT_OR_TRANSITION", "EXISTS_BUT_NO_CREATION",
    "TRANSITION_MISSING_STEP", "TOO_MANY_EVENTS",
)  # fmt: skip


class Tier(msgspec.Struct, frozen=True):
    """A band of priorities, both ends included."""

    name: str
    min: int
    max: int


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """How much one unit of the source is in ours: a share of the largest machine for Google, one for everybody else."""

    normalised: bool
    cpu_milli: float = 1.0
    memory_mib: float = 1.0
    disk_mib: float = 1.0


GOOGLE_UNITS = Units(normalised=True, cpu_milli=128_000, memory_mib=524_288, disk_mib=4_194_304)
PLAIN_UNITS = Units(normalised=False)

# 2011: priorities 0-11 as grouped by Reiss et al., "Heterogeneity and Dynamicity of Clouds at Scale", SoCC 2012.
TIERS_2011 = (Tier("free", 0, 1), Tier("middle", 2, 8), Tier("production", 9, 10), Tier("monitoring", 11, 11))
TIERS_2019 = (
    Tier("free", 0, 99), Tier("beb", 100, 115), Tier("mid", 116, 119), Tier("production", 120, 359),
    Tier("monitoring", 360, 2**31 - 1),
)  # fmt: skip
TIERS_NONE = (Tier("all", 0, 0),)

# Column types in short: i8 i32 i64 f64 str bool and list of i64; a trailing ? means the value may be NULL.
TABLES: dict[str, dict[str, str]] = {
    "machines": {
        "time_us": "i64", "machine": "i64", "event": "str", "cpu_milli": "i64?", "memory_mib": "i64?",
        "disk_mib": "i64?", "gpus": "i32", "gpu_model": "str?", "platform": "str?", "switch": "str?", "name": "str?",
    },
    "machine_attributes": {"time_us": "i64", "machine": "i64", "attribute": "str", "value": "str?", "deleted": "bool"},
    # Sorted by time_us; rows of one microsecond keep the order of the source. `alloc` is the alloc set a 2019 task
    # runs in (its request is then part of the alloc instance's, not on top of it).
    "task_events": {
        "time_us": "i64", "missing": "i8?", "job": "i64", "task_index": "i32", "machine": "i64?", "event": "str",
        "tenant": "str", "scheduling_class": "i8?", "priority": "i32", "cpu_milli": "i64?", "memory_mib": "i64?",
        "disk_mib": "i64?", "different_machines": "bool?", "alloc": "i64?", "alloc_index": "i32?",
    },
    "job_events": {
        "time_us": "i64", "missing": "i8?", "job": "i64", "event": "str", "tenant": "str", "scheduling_class": "i8?",
        "name": "str?", "logical_name": "str?", "priority": "i32?", "is_alloc_set": "bool?", "alloc": "i64?",
        "parent": "i64?", "start_after": "list_i64?", "max_per_machine": "i32?", "max_per_switch": "i32?",
        "vertical_scaling": "str?", "scheduler": "str?",
    },
    "task_constraints": {
        "time_us": "i64", "job": "i64", "task_index": "i32", "operator": "str", "attribute": "str", "value": "str?",
    },
    # Means over the window [start_us, end_us), 300 s as a rule; a window may end after its task did.
    "usage": {
        "start_us": "i64", "end_us": "i64", "job": "i64", "task_index": "i32", "machine": "i64?", "cpu_milli": "i64?",
        "memory_mib": "i64?", "max_cpu_milli": "i64?", "max_memory_mib": "i64?", "assigned_memory_mib": "i64?",
        "page_cache_mib": "i64?", "sampled_cpu_milli": "i64?", "disk_mib": "i64?", "disk_io_share": "f64?",
        "cycles_per_instruction": "f64?", "memory_accesses_per_instruction": "f64?", "sample_portion": "f64?",
        "cpu_distribution_milli": "list_i64?", "tail_cpu_distribution_milli": "list_i64?",
    },
    # One row per task, sorted by (job, task_index); a task's row number is its number in `attempts`. Requests and the
    # rest are the first value stated; of the rows at time 0, which tell how things stood, the last. run_us: run time of
    # the last attempt that was not evicted, NULL where the recording does not show it. gpu_models: "A|B", NULL = any.
    "tasks": {
        "job": "i64", "task_index": "i32", "name": "str?", "tenant": "str", "priority": "i32",
        "scheduling_class": "i8?", "cpu_milli": "i64?", "memory_mib": "i64?", "disk_mib": "i64?", "gpus": "i32",
        "gpu_milli": "i32", "gpu_models": "str?", "different_machines": "bool", "first_submit_us": "i64",
        "run_us": "i64?", "attempts": "i32", "constraints": "i32", "alloc": "i64?",
    },
    # Sorted by (task, attempt), attempt counting from 0. end: FINISH, FAIL, KILL, EVICT or LOST; NULL = still alive.
    "attempts": {
        "task": "i64", "attempt": "i32", "submit_us": "i64", "schedule_us": "i64?", "end_us": "i64?", "end": "str?",
        "machine": "i64?",
    },
    # One row per fault of a server, sorted by start_us; the server cannot be used while any of its faults lasts. end_us
    # NULL: not over when the recording ended. level, cause, detail: from general to particular, in the source's words.
    "faults": {
        "start_us": "i64", "end_us": "i64?", "node": "str", "level": "str?", "cause": "str?", "detail": "str?",
    },
    # Serverless. One row per function, sorted by its number. name: the publisher's, unique together with app,
    # owner and region. triggers: "timer|http", in the source's words; trigger: the one group it counts in. memory_mib:
    # measured, mean per pod; cpu_milli and limit_mib: what a pod of it may use; request_milli: the CPU it asks for.
    # duration_us, max_duration_us: of one execution, a cold start not included.
    "functions": {
        "function": "i32", "name": "str", "app": "str?", "owner": "str?", "region": "str?", "runtime": "str?",
        "trigger": "str?", "triggers": "str?", "cpu_milli": "i64?", "request_milli": "i64?", "limit_mib": "i64?",
        "memory_mib": "f64?", "duration_us": "i64?", "max_duration_us": "i64?", "pool": "str?", "concurrency": "i32?",
    },
    # Sorted by (start_us, function). `count` invocations began in [start_us, start_us + window_us); window_us 0: one
    # event, at start_us. duration_us: the mean of these executions, where the source has it.
    "invocations": {
        "start_us": "i64", "window_us": "i64", "function": "i32", "count": "i64", "duration_us": "i64?", "pod": "str?",
        "cpu_milli": "i64?", "memory_mib": "f64?",
    },
    # Sorted by time_us. The four components add up to total_us, to rounding.
    "cold_starts": {
        "time_us": "i64", "function": "i32", "cluster": "i32?", "pool": "str?", "pod": "str?", "cpu_milli": "i64?",
        "memory_mib": "i64?", "total_us": "i64", "pod_allocation_us": "i64?", "deploy_code_us": "i64?",
        "deploy_dependency_us": "i64?", "scheduling_us": "i64?", "request": "str?",
    },
    # What a platform published already summed up, by window: per function, or per region where function is NULL.
    # metric: the published name; quantile: 0 to 1, NULL for a count or a mean.
    "series": {
        "time_us": "i64", "window_us": "i64", "region": "str?", "function": "i32?", "metric": "str", "quantile": "f64?",
        "value": "f64",
    },
    # Row numbers are 1-based physical rows of the file, its header included where it has one.
    "rejected": {"file": "str", "row": "i64", "reason": "str", "line": "str"},
}  # fmt: skip

DUCKDB_TYPES = {
    "i8": "TINYINT", "i32": "INTEGER", "i64": "BIGINT", "f64": "DOUBLE", "str": "VARCHAR", "bool": "BOOLEAN",
    "list_i64": "BIGINT[]",
}  # fmt: skip


def empty_sql(types: dict[str, str]) -> str:
    """SQL for no rows of columns of these short types."""
    nulls = (f"NULL::{DUCKDB_TYPES[kind.rstrip('?')]} AS {name}" for name, kind in types.items())
    return f"SELECT {', '.join(nulls)} WHERE FALSE"


@functools.cache
def arrow_schema(table: str) -> pa.Schema:
    """The pyarrow schema of a canonical table; KeyError if there is no such table."""
    import pyarrow as pa

    types = {
        "i8": pa.int8(), "i32": pa.int32(), "i64": pa.int64(), "f64": pa.float64(), "str": pa.string(),
        "bool": pa.bool_(), "list_i64": pa.list_(pa.int64()),
    }  # fmt: skip
    columns = TABLES[table].items()
    return pa.schema([pa.field(name, types[kind.rstrip("?")], nullable=kind.endswith("?")) for name, kind in columns])


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One file that went into the trace. verified: a published SHA256SUMS named it and agreed."""

    table: str
    file: str
    bytes: int
    sha256: str
    rows: int
    rejected: int
    verified: bool = False


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a series that are not there: files `part-XXXXX-of-YYYYY` or days, minutes of a day, windows, regions.

    table: whose parts, in words where they are no files. missing: ranges such as "14-499".
    """

    table: str
    parts: int
    present: int
    missing: list[str]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """`meta.json`: what the trace is, where it came from, and what is wrong with it.

    digest: SHA-256 over the tables' bytes, so equal digests are equal traces. illegal_transitions: per "STATE EVENT"
    the number of rows "with_missing_info" and "without". time_range_us: first and last task event (or event of any kind
    in a trace without tasks), AFTER_END_US left out. fleet: how many nodes were watched, where the publisher says so
    and the rows cannot.
    """

    schema_version: int = SCHEMA_VERSION
    format: str
    digest: str
    units: Units
    tiers: list[Tier]
    time_range_us: tuple[int, int] | None
    rows: dict[str, int]
    rejected: dict[str, int]
    gaps: list[Gap]
    illegal_transitions: dict[str, dict[str, int]] = {}
    sources: list[Source] = []
    notes: list[str] = []
    options: dict[str, Any] = {}
    fleet: int | None = None

    def tier_of(self, priority: int) -> str:
        """The name of the tier a priority belongs to; "other" outside all of them."""
        return next((tier.name for tier in self.tiers if tier.min <= priority <= tier.max), "other")


def write_meta(meta: Meta, folder: Path) -> None:
    """Write `meta.json`, readable and with the same bytes for the same content."""
    text = msgspec.json.format(msgspec.json.encode(meta, order="deterministic"), indent=2)
    (folder / "meta.json").write_bytes(text + b"\n")


def read_meta(folder: Path) -> Meta:
    """Read `meta.json`; TraceFormatError if it is absent, broken or of another schema version."""
    path = folder / "meta.json"
    try:
        meta = msgspec.json.decode(path.read_bytes(), type=Meta)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TraceFormatError(
            "not a canonical trace: it has no meta.json",
            file=folder,
            fix="Make one with `stowage trace import FORMAT SRC... -o DIR`",
        ) from error
    except msgspec.DecodeError as error:
        raise TraceFormatError(f"cannot be read ({error})", file=path, fix="Import the trace again") from error
    if meta.schema_version != SCHEMA_VERSION:
        raise TraceFormatError(
            f"schema version {meta.schema_version}, this stowage reads {SCHEMA_VERSION}",
            file=path,
            fix="Import the trace again",
        )
    return meta


@dataclass(frozen=True, slots=True)
class Trace:
    """A canonical trace on disk."""

    folder: Path
    meta: Meta

    def files(self, table: str) -> list[Path]:
        """The Parquet files of a table in row order; empty when the trace has no such table.

        TraceFormatError names a file that was cut short, as a copy that ran out of room leaves it.
        """
        single = self.folder / f"{table}.parquet"
        found = [single] if single.exists() else sorted((self.folder / table).glob("*.parquet"))
        for file in found:
            _check_ends(file)
        return found

    def has(self, table: str) -> bool:
        """Whether the trace has the table."""
        return bool(self.files(table))

    def scan(self, table: str) -> str:
        """A DuckDB table function over the table, to be put after FROM; TraceFormatError if the trace lacks it."""
        files = self.files(table)
        if not files:
            raise TraceFormatError(
                f"the trace has no table {table!r}", file=self.folder, fix="Import the source files that hold it"
            )
        return f"read_parquet([{', '.join(sql_text(str(file)) for file in files)}])"


def _check_ends(file: Path) -> None:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - len(PARQUET_END)))
        if stream.read() != PARQUET_END:
            raise TraceFormatError(
                f"{file.stat().st_size} bytes that do not end as a Parquet file does: it was cut short or overwritten",
                file=file,
                fix="Copy it again, or import the trace again",
            )


def sql_text(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def open_trace(folder: Path | str) -> Trace:
    """Open a canonical trace folder; TraceFormatError if it is not one."""
    folder = Path(folder)
    return Trace(folder, read_meta(folder))
