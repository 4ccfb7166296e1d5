"""Google ClusterData 2019 (v3): BigQuery exports of its tables, and the joined sample published on Kaggle.

Exports come as JSON lines (int64 as text; objects nested or as `*_summary` text), as CSV or as Parquet, in shards of no
particular order; the importer sorts them. Fields follow clusterdata_trace_format_v3.proto. Machine 0 is "none" (NULL
here) and -1 a dedicated machine outside the cell (kept). Event codes differ from those of 2011, and machine ADD is 1.

The Kaggle sample joins instance events, collection events and usage into one row. Its `instance_events_type` and
`collections_events_type` are not the codes of the proto but numbers given to the labels in alphabetical order, so only
the `event` column says what happened. It has no SUBMIT rows, and copies that went through a spreadsheet carry rounded
identifiers and times ("2.76227E+11"): good for distributions, not for joins.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from traces.layout import INT32_MAX, INT64_MAX, Field, Layout, Rule, named, scaled, with_names
from traces.reader import Reader
from traces.schema import EVENTS, GOOGLE_UNITS, MACHINE_EVENTS, OPERATORS, TIERS_2019
from traces.sources import open_text

MAX_TASK_INDEX = 1_000_000  # far above any published collection; state arrays grow with it
SHARE_FIX = "The exports hold shares of the largest machine (0 to 1)"
CPU, MEMORY = GOOGLE_UNITS.cpu_milli, GOOGLE_UNITS.memory_mib
VERTICAL_SCALING = ("UNKNOWN", "OFF", "CONSTRAINED", "FULLY_AUTOMATED")
SCHEDULERS = ("DEFAULT", "BATCH")
SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".csv", ".csv.gz", ".parquet")
KAGGLE = "borg_traces_data"


def _time(key: str, *names: str) -> Field:
    return Field(key, names[0], "whole", mandatory=True, low=0, high=INT64_MAX, strict_range=True, names=names)


def _whole(key: str, *names: str, mandatory: bool = False, low: int = 0, high: int = INT64_MAX) -> Field:
    return Field(key, names[0], "whole", mandatory=mandatory, low=low, high=high, names=names)


def _code(key: str, name: str, codes: int) -> Field:
    return Field(key, name, "whole", choices=tuple(range(codes)), names=(name,))


def _text(key: str, *names: str, mandatory: bool = False) -> Field:
    return Field(key, names[0], mandatory=mandatory, names=names)


def _number(key: str, *names: str) -> Field:
    return Field(key, names[0], "number", low=0, names=names)


def _resource(key: str, column: str, member: str, *, share: bool = True) -> Field:
    """A member of an object that exports nest, print as text, or flatten."""
    names = (f"{column}>{member}", f"{column}_summary>{member}", f"{column}.{member}", f"{column}_{member}")
    high = 1 if share else None
    return Field(key, f"{column}.{member}", "number", low=0, high=high, strict_range=share, names=names, fix=SHARE_FIX)


def _one_of(key: str, names: tuple[str, ...], first: int = 0) -> Rule:
    """A code or its name must be one of those known."""
    known = [*names, *(str(code) for code in range(first, first + len(names)))]
    return Rule(key, f"must be one of {', '.join(names)}", f"{key} NOT IN ({', '.join(repr(word) for word in known)})")


def _event(names: tuple[str, ...] = EVENTS, first: int = 0) -> str:
    return f"coalesce({named(f'TRY_CAST(event AS INTEGER) - {first}', names)}, event)"


def _milli_list(text: str) -> str:
    numbers = f"regexp_extract_all({text}, '[-+.0-9eE]+')"
    return f"nullif(list_transform({numbers}, lambda v: round(TRY_CAST(v AS DOUBLE) * {CPU})::BIGINT), [])"


COMMON = (
    _time("time", "time", "event_time_us"),
    _text("event", "type", "event_type", mandatory=True),
    _whole("job", "collection_id", mandatory=True),
    _code("class", "scheduling_class", 4),
    _code("missing", "missing_type", 6),
    _code("kind", "collection_type", 2),
    _whole("priority", "priority", high=INT32_MAX),
    _whole("alloc", "alloc_collection_id"),
)
IDENTITY = {
    "time_us": "time", "missing": "nullif(missing, 0)", "job": "job", "event": _event(), "scheduling_class": "class",
    "alloc": "nullif(alloc, 0)",
}  # fmt: skip

INSTANCE_FIELDS = (
    *COMMON,
    _whole("task_index", "instance_index", mandatory=True, high=MAX_TASK_INDEX),
    _whole("machine", "machine_id", low=-1),
    _whole("alloc_index", "alloc_instance_index", low=-1, high=INT32_MAX),
    _resource("cpu", "resource_request", "cpus"),
    _resource("memory", "resource_request", "memory"),
    _text("demands", "constraint", "constraint_summary"),
)
INSTANCE_EVENTS = Layout(
    "task_events",
    INSTANCE_FIELDS,
    {
        **IDENTITY, "task_index": "task_index", "machine": "nullif(machine, 0)", "priority": "coalesce(priority, 0)",
        "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY),
        "alloc_index": "CASE WHEN alloc_index >= 0 AND alloc > 0 THEN alloc_index END",
    },
    with_names,
    (_one_of("event", EVENTS),),
)  # fmt: skip

DEMAND = '[{"name":"VARCHAR","value":"VARCHAR","relation":"VARCHAR"}]'
RELATION = "coalesce(TRY_CAST(d.relation AS INTEGER), 0)"
# Every event repeats the constraints in force; those of submissions and updates say it all.
INSTANCE_CONSTRAINTS = Layout(
    "task_constraints",
    INSTANCE_FIELDS,
    {
        "time_us": "time", "job": "job", "task_index": "task_index", "operator": named(RELATION, OPERATORS),
        "attribute": "coalesce(d.name, '')", "value": "d.value",
    },
    with_names,
    (_one_of("event", EVENTS),),
    source=f"""(SELECT *, UNNEST(CASE WHEN fault > 0 THEN [NULL] WHEN json_valid(demands)
        THEN from_json(demands, '{DEMAND}') ELSE [] END) AS d FROM checked)""",
    where="event IN ('0', '9', '10', 'SUBMIT', 'UPDATE_PENDING', 'UPDATE_RUNNING')",
    rejects=False,
    may_be_empty=True,
)  # fmt: skip

COLLECTION_EVENTS = Layout(
    "job_events",
    (
        *COMMON, _text("tenant", "user"), _text("name", "collection_name"),
        _text("logical_name", "collection_logical_name"),
        _whole("parent", "parent_collection_id"), _text("after", "start_after_collection_ids"),
        _whole("per_machine", "max_per_machine", high=INT32_MAX),
        _whole("per_switch", "max_per_switch", high=INT32_MAX),
        _code("vertical", "vertical_scaling", 4), _code("scheduler", "scheduler", 2),
    ),
    {
        **IDENTITY, "tenant": "coalesce(tenant, '')", "name": "name", "logical_name": "logical_name",
        "priority": "priority", "is_alloc_set": "kind = 1", "parent": "nullif(parent, 0)",
        "start_after": "nullif(TRY_CAST(regexp_extract_all(after, '[0-9]+') AS BIGINT[]), [])",
        "max_per_machine": "nullif(per_machine, 0)", "max_per_switch": "nullif(per_switch, 0)",
        "vertical_scaling": named("vertical", VERTICAL_SCALING), "scheduler": named("scheduler", SCHEDULERS),
    },
    with_names,
    (_one_of("event", EVENTS),),
)  # fmt: skip

MACHINES = Layout(
    "machines",
    (
        _time("time", "time"), _whole("machine", "machine_id", mandatory=True), _text("event", "type", mandatory=True),
        _text("switch", "switch_id"), _resource("cpu", "capacity", "cpus"), _resource("memory", "capacity", "memory"),
        _text("platform", "platform_id"),
    ),
    {
        "time_us": "time", "machine": "machine", "event": _event(MACHINE_EVENTS, 1), "switch": "switch",
        "platform": "platform", "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY),
    },
    with_names,
    (_one_of("event", MACHINE_EVENTS, 1),),
)  # fmt: skip

MACHINE_ATTRIBUTES = Layout(
    "machine_attributes",
    (
        _time("time", "time"), _whole("machine", "machine_id", mandatory=True), _text("name", "name", mandatory=True),
        _text("value", "value"), _text("deleted", "deleted"),
    ),
    {
        "time_us": "time", "machine": "machine", "attribute": "name", "value": "value",
        "deleted": "coalesce(lower(deleted) IN ('true', '1'), FALSE)",
    },
    with_names,
    (Rule("deleted", "must be true or false", "lower(deleted) NOT IN ('true', 'false', '0', '1')"),),
)  # fmt: skip

MEASURES = (
    _resource("used_cpu", "average_usage", "cpus", share=False),
    _resource("used_memory", "average_usage", "memory", share=False),
    _resource("max_cpu", "maximum_usage", "cpus", share=False),
    _resource("max_memory", "maximum_usage", "memory", share=False),
    _resource("sampled", "random_sample_usage", "cpus", share=False), _number("assigned", "assigned_memory"),
    _number("page_cache", "page_cache_memory"), _number("cpi", "cycles_per_instruction"),
    _number("mai", "memory_accesses_per_instruction"), _number("portion", "sample_rate"),
    _text("shares", "cpu_usage_distribution"), _text("tail", "tail_cpu_usage_distribution"),
)  # fmt: skip
USAGE_COLUMNS = {
    "start_us": "start", "end_us": "finish", "job": "job", "task_index": "task_index", "machine": "nullif(machine, 0)",
    "cpu_milli": scaled("used_cpu", CPU), "memory_mib": scaled("used_memory", MEMORY),
    "max_cpu_milli": scaled("max_cpu", CPU), "max_memory_mib": scaled("max_memory", MEMORY),
    "assigned_memory_mib": scaled("assigned", MEMORY),
    "page_cache_mib": scaled("page_cache", MEMORY), "sampled_cpu_milli": scaled("sampled", CPU),
    "cycles_per_instruction": "cpi", "memory_accesses_per_instruction": "mai", "sample_portion": "portion",
    "cpu_distribution_milli": _milli_list("shares"), "tail_cpu_distribution_milli": _milli_list("tail"),
}  # fmt: skip
BACKWARDS = Rule("finish", "must not be before the start time", "finish < start")
USAGE = Layout(
    "usage",
    (
        _time("start", "start_time"), _time("finish", "end_time"), _whole("job", "collection_id", mandatory=True),
        _whole("task_index", "instance_index", mandatory=True, high=MAX_TASK_INDEX),
        _whole("machine", "machine_id", low=-1), *MEASURES,
    ),
    USAGE_COLUMNS,
    with_names,
    (BACKWARDS,),
)  # fmt: skip


def _rounded(key: str, name: str, *, mandatory: bool = False, low: int = 0) -> Field:
    """A whole number that a spreadsheet may have rounded."""
    return Field(key, name, "number", mandatory=mandatory, low=low, strict_range=key == "time", names=(name,))


JOINED_FIELDS = (
    _rounded("time", "time", mandatory=True), _text("event", "event", mandatory=True),
    _rounded("job", "collection_id", mandatory=True), _code("class", "scheduling_class", 4),
    _whole("priority", "priority", high=INT32_MAX), _rounded("alloc", "alloc_collection_id"),
    Field("task_index", "instance_index", "number", True, 0, MAX_TASK_INDEX, names=("instance_index",)),
    _rounded("machine", "machine_id", low=-1), _resource("cpu", "resource_request", "cpus"),
    _resource("memory", "resource_request", "memory"), _text("tenant", "user"), _rounded("start", "start_time"),
    _rounded("finish", "end_time"), *MEASURES,
)  # fmt: skip
JOINED_RULES = (Rule("event", f"must be one of {', '.join(EVENTS)}", f"event NOT IN {EVENTS!r}"), BACKWARDS)
JOINED_EVENTS = Layout(
    "task_events",
    JOINED_FIELDS,
    {
        "time_us": "time", "job": "job", "task_index": "task_index", "machine": "nullif(machine, 0)", "event": "event",
        "tenant": "coalesce(tenant, '')", "scheduling_class": "class", "priority": "coalesce(priority, 0)",
        "cpu_milli": scaled("cpu", CPU), "memory_mib": scaled("memory", MEMORY), "alloc": "nullif(alloc, 0)",
    },
    with_names,
    JOINED_RULES,
)  # fmt: skip
JOINED_USAGE = Layout(
    "usage", JOINED_FIELDS, USAGE_COLUMNS, with_names, JOINED_RULES, where="start IS NOT NULL AND finish IS NOT NULL",
    rejects=False, may_be_empty=True,
)  # fmt: skip


def _claim(path: Path) -> str | None:
    """The joined sample, by the columns only it has."""
    if path.name.endswith((".csv", ".csv.gz")):
        header = next(csv.reader([next(open_text(path), b"").decode(errors="replace")]), [])
        if {"instance_events_type", "collections_events_type", "event"} <= set(header):
            return KAGGLE
    return None


def _remark(path: Path) -> list[str]:
    """A warning when the file shows numbers in scientific notation where identifiers stand."""
    lines = (line for _, line in zip(range(200), open_text(path), strict=False))
    if KAGGLE in path.name and any(re.search(rb",\d\.\d+E\+\d+,", line) for line in lines):
        return [f"{path.name}: identifiers and times were rounded by a spreadsheet; do not join on them"]
    return []


def _choose(sources: Sequence[Path]) -> tuple[Sequence[Path], list[str]]:
    files = [
        file for source in sources if source.exists() for file in ([source] if source.is_file() else source.iterdir())
    ]
    return sources, [remark for file in files if file.name.endswith((".csv", ".csv.gz")) for remark in _remark(file)]


READER = Reader(
    "google2019",
    GOOGLE_UNITS,
    TIERS_2019,
    {
        "instance_events": (INSTANCE_EVENTS, INSTANCE_CONSTRAINTS), "collection_events": (COLLECTION_EVENTS,),
        "machine_events": (MACHINES,), "machine_attributes": (MACHINE_ATTRIBUTES,), "instance_usage": (USAGE,),
        KAGGLE: (JOINED_EVENTS, JOINED_USAGE),
    },
    SUFFIXES,
    _claim,
    _choose,
)  # fmt: skip
