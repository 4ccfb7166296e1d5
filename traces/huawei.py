"""What Huawei's releases have in common: files of a day, times from the start of the trace, columns per function."""

from __future__ import annotations

import re
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import Field, Layout, Opener, Rule
from traces.serverless import SERIES
from traces.wide import CELL, LABEL

DAY_S = 86_400
MAX_S = 10**9
FIX = "Times must count from the start of the trace; add day x 86400 where they count within the day"
DAY = Field("day", "day", "whole", mandatory=True, low=0, high=366, names=("day",))
TIME = Field("time", "time", "number", mandatory=True, low=0, high=MAX_S, names=("time",))
_IS_OF_DAY = f"time BETWEEN day * {DAY_S} AND (day + 1) * {DAY_S}"
TIME_RULES = (
    Rule("day", "must be the day in the file's name", "file_day IS NOT NULL AND day <> file_day"),
    Rule("time", f"must be seconds from the start of the trace, day x {DAY_S} and on", f"NOT ({_IS_OF_DAY})", fix=FIX),
)
WHOLE_CELL = Rule("cell", "must be a whole number", "cell <> trunc(cell)")
_SOUND = _IS_OF_DAY.replace("time", "TRY_CAST(raw_time AS DOUBLE)").replace("day", "TRY_CAST(raw_day AS BIGINT)")
_DAY_OF = re.compile(r"day_(\d+)\.")


def day_of(file: Path) -> int | None:
    """The day in a file's name, from 0."""
    found = _DAY_OF.search(file.name)
    return int(found[1]) if found else None


def named_day(file: Path) -> int:
    """As `day_of`; TraceFormatError if there is none."""
    day = day_of(file)
    if day is None:
        raise TraceFormatError("the name must say the day, as day_00 does", file=file, fix="Restore the published name")
    return day


def is_sound(day: int | None) -> str:
    """SQL for a row of a wide table whose day and time, still text, are those of this day (None: of any)."""
    return _SOUND if day is None else f"{_SOUND} AND raw_day = '{day}'"


def to_us(seconds: str) -> str:
    """SQL for seconds as whole microseconds."""
    return f"round({seconds} * 1000000)"


def per_function(relation: Opener) -> tuple[Layout, Layout]:
    """Of wide tables, calls per window (`_calls`) and other metrics (`_series`) by region and function.

    relation: gives file_day, region, window_us, metric and quantile beside the long form of the table.
    """
    fields = (DAY, TIME, LABEL, CELL)
    told = {"window_us": "window_us", "region": "region", "name": "label"}
    calls = Layout(
        "_calls", fields, {"start_us": to_us("time"), "count": "cell", **told}, relation, (*TIME_RULES, WHOLE_CELL),
        where="cell > 0",
        helper={"start_us": "i64", "window_us": "i64", "region": "str?", "name": "str", "count": "i64"},
        may_be_empty=True,
    )  # fmt: skip
    columns = {"time_us": to_us("time"), "metric": "metric", "quantile": "quantile", "value": "cell", **told}
    series = Layout("_series", fields, columns, relation, TIME_RULES, helper=SERIES, may_be_empty=True)
    return calls, series
