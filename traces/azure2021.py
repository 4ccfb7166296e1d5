"""Azure Functions 2021 (Zhang et al., SOSP 2021): every invocation of 14 days with its end and duration.

One file, `AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt`: app, func, end_timestamp, duration, both in seconds. An
invocation starts at its end less its duration, which leaves cold starts out; one that began before the recording starts
at 0. A function is told by application and hash: the hash alone is unique within its application only.
"""

from __future__ import annotations

from pathlib import Path

from traces.layout import Field, Layout
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE
from traces.serverless import Assembly
from traces.wide import lines_csv, read_header

TABLE = "AzureFunctionsInvocationTraceForTwoWeeksJan2021"
COLUMNS = ("app", "func", "end_timestamp", "duration")
SUFFIXES = (".txt", ".txt.gz", ".csv", ".csv.gz")
MAX_S = 10**9


def _seconds(key: str, name: str) -> Field:
    return Field(key, name, "number", mandatory=True, low=0, high=MAX_S, names=(name,))


CALLS = Layout(
    "_calls",
    (
        Field("app", "app", mandatory=True, names=("app",)), Field("name", "func", mandatory=True, names=("func",)),
        _seconds("finish", "end_timestamp"), _seconds("duration", "duration"),
    ),
    {
        "start_us": "greatest(0, round((finish - duration) * 1000000))", "app": "app", "name": "name",
        "duration_us": "round(duration * 1000000)", "is_cut": "(finish < duration)::BIGINT",
    },
    lines_csv,
    helper={"start_us": "i64", "app": "str", "name": "str", "duration_us": "i64", "is_cut": "i64"},
)  # fmt: skip


def _claim(path: Path) -> str | None:
    is_text = path.name.endswith(SUFFIXES)
    return TABLE if is_text and set(COLUMNS) <= set(read_header(path)) else None


def _finish(assembly: Assembly) -> None:
    assembly.view(CALLS)
    assembly.number(("_calls",), ("app", "name"))
    assembly.write_functions("azure2021_functions")
    assembly.write_timed("invocations", "azure2021_invocations", CALLS.table)
    assembly.remark(
        assembly.count("SELECT count(*) FROM _calls WHERE is_cut = 1"),
        "invocations began before the recording: they start at 0 here",
    )
    assembly.remark(
        assembly.count("SELECT count(*) FROM _calls WHERE duration_us = 0"),
        "invocations have a duration of 0: kept as published",
    )


READER = Reader("azure2021", PLAIN_UNITS, TIERS_NONE, {TABLE: (CALLS,)}, SUFFIXES, _claim, finish=_finish)
