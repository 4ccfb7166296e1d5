"""Google ClusterData 2011, version 2 (clusterdata-2011-2): six tables of headerless CSV parts, one cell, 29 days.

Columns and types follow the release's own schema.csv (whose order of comparison operators differs from the format
document; schema.csv wins). Times are microseconds since 600 s before the trace; rows at 0 describe what was there
before, 2^63-1 means after the end. Requests and capacities are shares of the largest machine, so a value above 1 shows
that the file is something else. Usage may exceed 1 (CPU rates burst above requests) and is not capped.
"""

from __future__ import annotations

from traces.layout import INT64_MAX, Field, Layout, Rule, bare_csv, named, scaled
from traces.reader import Reader
from traces.schema import EVENTS, GOOGLE_UNITS, MACHINE_EVENTS, TIERS_2011

TIME_FIX = "Times count from 600 s before the trace; is this the 2011 format?"
SHARE_FIX = "The published files hold shares of the largest machine (0 to 1); scale them or use another format"
EVENT_CODES = (
    "SUBMIT", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST", "UPDATE_PENDING", "UPDATE_RUNNING",
)  # fmt: skip
OPERATOR_CODES = ("EQUAL", "NOT_EQUAL", "LESS", "GREATER")
MAX_TASK_INDEX = 1_000_000  # far above any published job; state arrays grow with it
assert set(EVENT_CODES) <= set(EVENTS)

CPU, MEMORY, DISK = GOOGLE_UNITS.cpu_milli, GOOGLE_UNITS.memory_mib, GOOGLE_UNITS.disk_mib


def _time(position: int, key: str = "time", label: str = "time") -> Field:
    name = f"{position} ({label})"
    return Field(key, name, "whole", mandatory=True, low=0, high=INT64_MAX, strict_range=True, fix=TIME_FIX)


def _whole(position: int, key: str, label: str, *, mandatory: bool = True, high: int = INT64_MAX) -> Field:
    return Field(key, f"{position} ({label})", "whole", mandatory=mandatory, low=0, high=high)


def _code(position: int, key: str, label: str, codes: int, *, mandatory: bool = True) -> Field:
    return Field(key, f"{position} ({label})", "whole", mandatory=mandatory, choices=tuple(range(codes)))


def _share(position: int, key: str, label: str) -> Field:
    return Field(key, f"{position} ({label})", "number", low=0, high=1, strict_range=True, fix=SHARE_FIX)


def _number(position: int, key: str, label: str) -> Field:
    return Field(key, f"{position} ({label})", "number", low=0)


def _text(position: int, key: str, label: str, *, mandatory: bool = False) -> Field:
    return Field(key, f"{position} ({label})", mandatory=mandatory)


JOB_EVENTS = Layout(
    "job_events",
    (
        _time(1), _code(2, "missing", "missing info", 3, mandatory=False), _whole(3, "job", "job ID"),
        _code(4, "event", "event type", 9), _text(5, "tenant", "user"),
        _code(6, "class", "scheduling class", 4, mandatory=False), _text(7, "name", "job name"),
        _text(8, "logical_name", "logical job name"),
    ),
    {
        "time_us": "time", "missing": "missing", "job": "job", "event": named("event", EVENT_CODES),
        "tenant": "coalesce(tenant, '')", "scheduling_class": "class", "name": "name", "logical_name": "logical_name",
    },
    bare_csv,
)  # fmt: skip

TASK_EVENTS = Layout(
    "task_events",
    (
        _time(1), _code(2, "missing", "missing info", 3, mandatory=False), _whole(3, "job", "job ID"),
        _whole(4, "task_index", "task index", high=MAX_TASK_INDEX), _whole(5, "machine", "machine ID", mandatory=False),
        _code(6, "event", "event type", 9), _text(7, "tenant", "user"),
        _code(8, "class", "scheduling class", 4, mandatory=False), _code(9, "priority", "priority", 12),
        _share(10, "cpu", "CPU request"), _share(11, "memory", "memory request"), _share(12, "disk", "disk request"),
        _code(13, "different", "different-machines restriction", 2, mandatory=False),
    ),
    {
        "time_us": "time", "missing": "missing", "job": "job", "task_index": "task_index", "machine": "machine",
        "event": named("event", EVENT_CODES), "tenant": "coalesce(tenant, '')", "scheduling_class": "class",
        "priority": "priority", "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY),
        "disk_mib": scaled("disk", DISK), "different_machines": "different",
    },
    bare_csv,
)  # fmt: skip

MACHINES = Layout(
    "machines",
    (
        _time(1), _whole(2, "machine", "machine ID"), _code(3, "event", "event type", 3),
        _text(4, "platform", "platform ID"),
        _share(5, "cpu", "CPUs"), _share(6, "memory", "memory"),
    ),
    {
        "time_us": "time", "machine": "machine", "event": named("event", MACHINE_EVENTS), "platform": "platform",
        "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY),
    },
    bare_csv,
)  # fmt: skip

MACHINE_ATTRIBUTES = Layout(
    "machine_attributes",
    (
        _time(1), _whole(2, "machine", "machine ID"), _text(3, "attribute", "attribute name", mandatory=True),
        _text(4, "value", "attribute value"), _code(5, "deleted", "attribute deleted", 2),
    ),
    {"time_us": "time", "machine": "machine", "attribute": "attribute", "value": "value", "deleted": "deleted"},
    bare_csv,
)  # fmt: skip

TASK_CONSTRAINTS = Layout(
    "task_constraints",
    (
        _time(1), _whole(2, "job", "job ID"), _whole(3, "task_index", "task index", high=MAX_TASK_INDEX),
        _code(4, "operator", "comparison operator", 4), _text(5, "attribute", "attribute name", mandatory=True),
        _text(6, "value", "attribute value"),
    ),
    {
        "time_us": "time", "job": "job", "task_index": "task_index", "operator": named("operator", OPERATOR_CODES),
        "attribute": "attribute", "value": "value",
    },
    bare_csv,
    may_be_empty=True,  # a quiet part of a small cell: most tasks have no constraint
)  # fmt: skip

USAGE = Layout(
    "usage",
    (
        _time(1, "start", "start time"), _time(2, "finish", "end time"), _whole(3, "job", "job ID"),
        _whole(4, "task_index", "task index", high=MAX_TASK_INDEX), _whole(5, "machine", "machine ID"),
        _number(6, "cpu", "CPU rate"), _number(7, "memory", "canonical memory usage"),
        _number(8, "assigned", "assigned memory usage"), _number(9, "unmapped", "unmapped page cache"),
        _number(10, "page_cache", "total page cache"), _number(11, "max_memory", "maximum memory usage"),
        _number(12, "disk_io", "disk I/O time"), _number(13, "disk", "local disk space usage"),
        _number(14, "max_cpu", "maximum CPU rate"), _number(15, "max_disk_io", "maximum disk IO time"),
        _number(16, "cpi", "cycles per instruction"), _number(17, "mai", "memory accesses per instruction"),
        _number(18, "portion", "sample portion"), _code(19, "aggregation", "aggregation type", 2, mandatory=False),
        _number(20, "sampled", "sampled CPU usage"),
    ),
    {
        "start_us": "start", "end_us": "finish", "job": "job", "task_index": "task_index", "machine": "machine",
        "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY),
        "max_cpu_milli": scaled("max_cpu", CPU), "max_memory_mib": scaled("max_memory", MEMORY),
        "assigned_memory_mib": scaled("assigned", MEMORY),
        "page_cache_mib": scaled("page_cache", MEMORY), "sampled_cpu_milli": scaled("sampled", CPU),
        "disk_mib": scaled("disk", DISK), "disk_io_share": "disk_io", "cycles_per_instruction": "cpi",
        "memory_accesses_per_instruction": "mai", "sample_portion": "portion",
    },
    bare_csv,
    (Rule("finish", "must not be before the start time", "finish < start"),),
)  # fmt: skip

READER = Reader(
    "google2011",
    GOOGLE_UNITS,
    TIERS_2011,
    {
        "job_events": (JOB_EVENTS,), "task_events": (TASK_EVENTS,), "machine_events": (MACHINES,),
        "machine_attributes": (MACHINE_ATTRIBUTES,), "task_constraints": (TASK_CONSTRAINTS,), "task_usage": (USAGE,),
    },
    (".csv", ".csv.gz"),
)  # fmt: skip
