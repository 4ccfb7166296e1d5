"""InfiniteHBD-Trace (StepFun): faults of GPU servers, each with a start, an end and a cause.

Published as `fault_trace.json`, an array of events {node_id, event_time, event_type, fault_type {Level, Class, Desc}};
the same flattened to Parquet (`fault_events`) and faults already paired (`fault_intervals`) are read too. Times are
days. A `fault_end` ends the fault of the same node, Level, Class and Desc that has been open longest; one that ends
nothing is rejected, and a fault that nothing ends is kept without an end. Faults of one node may overlap: each is a
row, and it is for the reader of the table to merge them.

Most servers had no fault and are in no row. The publisher watched 400 of them, which meta.json keeps as `fleet`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from traces.layout import Field, Layout, Relation, Rule, json_array, with_names
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE
from traces.sources import SourceFile

SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
EVENTS = ("fault_start", "fault_end")
MAX_DAYS = 36_525
PUBLISHED_NODES = 400

CAUSE_FIELDS = tuple(
    Field(key, name, names=(name, f"fault_type>{name}"))
    for key, name in (("level", "Level"), ("cause", "Class"), ("detail", "Desc"))
)
CAUSE = {field.key: field.key for field in CAUSE_FIELDS}
KIND = Field("event_type", "event_type", mandatory=True, names=("event_type",))
NODE = Field("node_id", "node_id", mandatory=True, names=("node_id",))


def _days(name: str, *, mandatory: bool = True) -> Field:
    return Field(name, name, "number", mandatory=mandatory, low=0, high=MAX_DAYS, names=(name,))


def _microseconds(days: str) -> str:
    return f"round({days} * 86400000000)"


# How far the ends ran ahead of the starts, at worst so far: each time that grows, an end had nothing to end.
PAIRED = """WITH given AS ({rows}),
known AS (
  SELECT row_ AS at_row, raw_event_type = 'fault_start' AS opens, TRY_CAST(raw_event_time AS DOUBLE) AS day,
    [raw_node_id, coalesce(raw_level, ''), coalesce(raw_cause, ''), coalesce(raw_detail, '')] AS fault_key
  FROM given WHERE raw_event_type IN ('fault_start', 'fault_end') AND raw_node_id IS NOT NULL
    AND TRY_CAST(raw_event_time AS DOUBLE) BETWEEN 0 AND {max_days}),
walked AS (
  SELECT *, sum(CASE WHEN opens THEN -1 ELSE 1 END) OVER (PARTITION BY fault_key ORDER BY day, at_row) AS ahead
  FROM known),
lowest AS (
  SELECT *, greatest(0, max(ahead) OVER (PARTITION BY fault_key ORDER BY day, at_row)) AS lone FROM walked),
counted AS (
  SELECT *, lone > coalesce(lag(lone) OVER (PARTITION BY fault_key ORDER BY day, at_row), 0) AS is_lone,
    count(*) OVER (PARTITION BY fault_key, opens ORDER BY day, at_row) - CASE WHEN opens THEN 0 ELSE lone END AS nth
  FROM lowest)
SELECT given.*, coalesce(here.is_lone, FALSE) AS is_lone, there.day AS end_time
FROM given LEFT JOIN counted AS here ON here.at_row = given.row_
LEFT JOIN counted AS there ON here.opens AND NOT there.opens AND NOT there.is_lone
  AND there.fault_key = here.fault_key AND there.nth = here.nth
ORDER BY given.row_"""


def _paired(file: Path, fields: tuple[Field, ...]) -> Relation:
    """Events with the time at which the fault they start ends, and whether they end a fault that never started."""
    is_array = file.name.removesuffix(".gz").endswith(".json")
    found = json_array(file, fields) if is_array else with_names(file, fields)
    return Relation(PAIRED.format(rows=found.sql, max_days=MAX_DAYS), found.line, found.rules, found.header_rows)


FAULT_EVENTS = Layout(
    "faults",
    (NODE, _days("event_time"), KIND, *CAUSE_FIELDS),
    {"start_us": _microseconds("event_time"), "end_us": _microseconds("end_time"), "node": "node_id", **CAUSE},
    _paired,
    (
        Rule("event_type", f"must be one of {', '.join(EVENTS)}", f"event_type NOT IN {EVENTS!r}"),
        Rule("event_type", "must follow a fault_start of the same node, Level, Class and Desc", "is_lone"),
    ),
    where="event_type = 'fault_start'",
)  # fmt: skip
FAULT_INTERVALS = Layout(
    "faults",
    (NODE, _days("start_day"), _days("end_day", mandatory=False), *CAUSE_FIELDS),
    {"start_us": _microseconds("start_day"), "end_us": _microseconds("end_day"), "node": "node_id", **CAUSE},
    with_names,
    (Rule("end_day", "must not be before the start", "end_day < start_day"),),
)


def _choose(sources: Sequence[Path]) -> tuple[Sequence[Path], list[str]]:
    """One file: of a folder that holds the same faults several times, the form that was published."""
    chosen, notes = [], []
    for source in sources:
        found = [] if not source.is_dir() else [
            path
            for table in READER.tables
            for path in sorted(source.iterdir())
            if path.name.startswith(table) and path.name.endswith(SUFFIXES)
        ]  # fmt: skip
        chosen.append(found[0] if found else source)
        if len(found) > 1:
            notes.append(f"{found[0].name} was taken of {', '.join(path.name for path in found)}: the same faults")
    return chosen, notes


def _claim(path: Path) -> str | None:
    return next((table for table in READER.tables if path.name.startswith(table)), None)


def _fleet(files: Sequence[SourceFile]) -> int | None:
    """What the generator noted beside its file, else what the publisher says."""
    try:
        return int(json.loads((files[0].path.parent / "synth.json").read_bytes())["machines"])
    except (OSError, ValueError, KeyError, TypeError):
        return PUBLISHED_NODES


READER = Reader(
    "infinitehbd",
    PLAIN_UNITS,
    TIERS_NONE,
    {"fault_trace": (FAULT_EVENTS,), "fault_events": (FAULT_EVENTS,), "fault_intervals": (FAULT_INTERVALS,)},
    SUFFIXES,
    _claim,
    _choose,
    fleet=_fleet,
)
