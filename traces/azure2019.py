"""Azure Functions 2019 (Shahrad et al., ATC 2020): invocations per minute, run times and memory, a file a day each.

Invocations have a column per minute of the day, counted when an execution ended; run times are milliseconds without
cold starts, memory is megabytes per application and split evenly over its functions. Samples (InVitro's) have one file
a table and no day in the name (taken as day 1), fewer minutes, and memory per function. Minute 1 of day 1 is the
trace's zero, so column 480 is the minute that begins at 479 min. A function is told by owner, application and function
together. What the whole platform did per minute is read too, as `series`.

Not every function is in all tables: each that is in any becomes a row of `functions`. Its run time is the daily mean
weighted by the executions it was taken over; a minute's is that of its day.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import Field, Layout, Relation, once
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE, Gap
from traces.serverless import SERIES, Assembly, sql_of, synthetic_days
from traces.sources import SourceFile, ranges
from traces.wide import WHOLE, lines_csv, read_header, wide_csv

MINUTES = 1440
DAYS = {"invocations_per_function_md": 14, "function_durations_percentiles": 14, "app_memory_percentiles": 12}
DAY_OF = re.compile(r"\.d(\d\d)\.")
MAX_COUNT = 10**15
CALLS = ("invocations", "invocations_per_function_md")


def _id(key: str, name: str, *, mandatory: bool = True) -> Field:
    return Field(key, name, mandatory=mandatory, names=(name,))


def _number(key: str, name: str, *, mandatory: bool = True) -> Field:
    return Field(key, name, "number", mandatory=mandatory, low=0, names=(name,))


OWNER, APP, FUNCTION = _id("owner", "HashOwner"), _id("app", "HashApp"), _id("name", "HashFunction")
KEY = {"owner": "str", "app": "str", "name": "str"}


def _day(file: Path) -> int:
    """The day in a file's name, from 1; a sample has none and is day 1."""
    found = DAY_OF.search(file.name)
    return int(found[1]) if found else 1


def _minutes(file: Path, names: Sequence[str]) -> list[int]:
    wrong = [name for name in names if not (name.isascii() and name.isdigit() and 1 <= int(name) <= MINUTES)]
    if wrong or not names:
        raise TraceFormatError(
            f"the columns after Trigger must be minutes of the day, 1 to {MINUTES}; found {wrong[0]!r}" if wrong
            else "no minutes: there is no column after Trigger",
            file=file, row=1, fix="Export the whole table, names unchanged",
        )  # fmt: skip
    return [int(name) for name in names]


def _calls(file: Path, fields: tuple[Field, ...]) -> Relation:
    return wide_csv(
        file, fields, labels=_minutes, cell=WHOLE, unique=("owner", "app", "name"), constants={"day": _day(file)}
    )


def _daily(file: Path, fields: tuple[Field, ...]) -> Relation:
    return lines_csv(file, fields, {"day": _day(file)})


CALL_FIELDS = (OWNER, APP, FUNCTION, _id("trigger", "Trigger", mandatory=False))
LISTED = Layout(
    "_invocations",
    CALL_FIELDS,
    {"day": "day", "row": "row_", "owner": "owner", "app": "app", "name": "name", "trigger": "trigger"},
    _calls,
    helper={"day": "i64", "row": "i64", **KEY, "trigger": "str?"},
)
BUSY_MINUTES = Layout(
    "_minutes",
    CALL_FIELDS,
    {
        "start_us": f"((day - 1) * {MINUTES} + label - 1) * 60000000::BIGINT", "window_us": "60000000", "day": "day",
        "row": "row_", "count": "cell",
    },
    _calls,
    source="""(SELECT row_, fault, day, unnest(CASE WHEN fault = 0 THEN labels ELSE [NULL] END) AS label,
        unnest(CASE WHEN fault = 0 THEN cells ELSE [NULL] END) AS cell FROM checked)""",
    where="cell <> '0' AND ltrim(cell, '0') <> ''",  # the first alone costs half: most cells are 0
    helper={"start_us": "i64", "window_us": "i64", "day": "i64", "row": "i64", "count": "i64"},
    rejects=False,
    may_be_empty=True,
)  # fmt: skip
DURATIONS = Layout(
    "_durations",
    (OWNER, APP, FUNCTION, _number("average", "Average"), _number("calls", "Count"), _number("maximum", "Maximum")),
    {name: name for name in ("day", *KEY, "average", "calls", "maximum")},
    once(_daily, "owner", "app", "name"),
    helper={"day": "i64", **KEY, "average": "f64", "calls": "f64", "maximum": "f64"},
)
MEMORY = Layout(
    "_memory",
    (
        OWNER, APP, _id("name", "HashFunction", mandatory=False), _number("samples", "SampleCount"),
        _number("mib", "AverageAllocatedMb"),
    ),
    {name: name for name in ("day", *KEY, "samples", "mib")},
    once(_daily, "owner", "app", "name"),
    helper={"day": "i64", **KEY, "name": "str?", "samples": "f64", "mib": "f64"},
)  # fmt: skip


def _whole(name: str, low: int, high: int) -> Field:
    return Field(name, name, "whole", mandatory=True, low=low, high=high, names=(name,))


PLATFORM = Layout(
    "_series",
    (_whole("day", 1, 366), _whole("minute", 1, MINUTES), _whole("invocations", 0, MAX_COUNT)),
    {
        "time_us": f"((day - 1) * {MINUTES} + minute - 1) * 60000000::BIGINT", "window_us": "60000000",
        "metric": "'invocations'", "value": "invocations",
    },
    once(lines_csv, "day", "minute"),
    helper=SERIES,
)  # fmt: skip


def _place(table: str, path: Path) -> SourceFile | None:
    if table not in DAYS:
        return None
    if not DAY_OF.search(path.name):
        raise TraceFormatError("the name must say the day, as .d01. does", file=path, fix="Restore the published name")
    return SourceFile(path, table, _day(path), synthetic_days(path) or DAYS[table], first=1)


def _holes(files: Sequence[SourceFile]) -> list[Gap]:
    """Minutes of the day that a file of invocations has no column for."""
    gaps = []
    for file in files:
        if file.table in CALLS:
            names = {field.names[0] for field in CALL_FIELDS}
            present = set(_minutes(file.path, [name for name in read_header(file.path) if name not in names]))
            missing = [minute for minute in range(1, MINUTES + 1) if minute not in present]
            if missing:
                name = f"{file.table}, minutes of day {_day(file.path)}"
                gaps.append(Gap(table=name, parts=MINUTES, present=len(present), missing=list(ranges(missing))))
    return gaps


def _finish(assembly: Assembly) -> None:
    for layout in (LISTED, DURATIONS, MEMORY, PLATFORM):
        assembly.view(layout)
    if assembly.count("SELECT count(*) - count(DISTINCT (day, row)) FROM _invocations"):
        raise TraceFormatError(
            "day 1 is there twice, as published and as a sample", fix="Import either the one or the other"
        )
    if assembly.number(("_invocations", "_durations", "_memory WHERE name IS NOT NULL")):
        assembly.write_functions("azure2019_functions")
        _remark(assembly)
        assembly.con.execute(f"CREATE TABLE mentions AS {sql_of('azure2019_mentions')}")
    assembly.write_timed("invocations", "azure2019_invocations", BUSY_MINUTES.table)
    assembly.write_timed("series", "series", PLATFORM.table)
    assembly.find_holes()


def _remark(assembly: Assembly) -> None:
    """What does not agree between the tables, by the number of functions it concerns."""
    [found] = assembly.con.sql(sql_of("azure2019_remarks")).fetchall()
    for count, text in zip(found, REMARKS, strict=True):
        assembly.remark(count, text)


REMARKS = (
    "functions have invocations but no run times: their duration_us is not stated",
    "functions have run times but are not in the table of invocations: kept, without invocations",
    "functions have neither memory of their own nor of their application: their memory_mib is not stated",
    "applications have memory but no function in the other tables: left out",
    "functions have an average run time of 0 ms: kept as published",
    "functions have the hash of a function of another application: told apart by owner and application",
    "functions change their trigger from day to day: counted under the one of most days",
    "functions share the memory of their application, split evenly over its functions",
)

READER = Reader(
    "azure2019",
    PLAIN_UNITS,
    TIERS_NONE,
    {
        "invocations": (LISTED, BUSY_MINUTES), "invocations_per_function_md": (LISTED, BUSY_MINUTES),
        "durations": (DURATIONS,), "function_durations_percentiles": (DURATIONS,),
        "memory": (MEMORY,), "app_memory_percentiles": (MEMORY,),
        "platform_invocations_per_minute": (PLATFORM,),
    },
    (".csv", ".csv.gz"),
    place=_place,
    holes=_holes,
    finish=_finish,
)  # fmt: skip
