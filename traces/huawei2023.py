"""Huawei's serverless release of 2023 ("How Does It Function?", SoCC 2023): a private and a public data set.

`private_dataset/METRIC/day_000.csv`: 200 functions, 141 of 235 days, metrics per minute (requests_minute,
function_delay_minute, instances_minute, ...) and some per second. `public_dataset/requests_minute/day_00.csv`: 5,093
functions, 26 days. All are wide: day, time (seconds from the start of the trace), a column per function; NaN is none.

A function is told by its data set, kept as its region, and number. Requests become `invocations`; as requests per
minute are the sums of those per second, the latter are left out where a data set comes with both. The other metrics
become `series`, in the published units: delays and usage are means over all pods of a function, limits sums over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.huawei import day_of, is_sound, named_day, per_function
from traces.layout import Field, Relation
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE
from traces.serverless import Assembly
from traces.sources import SourceFile
from traces.wide import long_csv

DATA_SETS = {"private_dataset": ("private", 235), "public_dataset": ("public", 26)}  # folder -> region, days
REQUESTS = ("requests_minute", "requests_second")
MICROSECONDS = {"minute": 60_000_000, "second": 1_000_000}


def _data_set(file: Path) -> tuple[str, int]:
    """(region, days) of the data set whose folder a file is in."""
    found = next((DATA_SETS[folder.name] for folder in list(file.parents)[:3] if folder.name in DATA_SETS), None)
    if found is None:
        raise TraceFormatError(
            f"no folder above it is called {' or '.join(DATA_SETS)}", file=file, fix="Lay it out as released"
        )
    return found


def _window_us(file: Path) -> int:
    """The length of a row's window, which the folder's name ends in."""
    unit = file.parent.name.rpartition("_")[2]
    if unit not in MICROSECONDS:
        raise TraceFormatError(
            f"its folder must be called METRIC_minute or METRIC_second, not {file.parent.name!r}",
            file=file,
            fix="Restore the published name",
        )
    return MICROSECONDS[unit]


def _per_function(file: Path, fields: tuple[Field, ...]) -> Relation:
    told = {
        "file_day": day_of(file), "region": _data_set(file)[0], "window_us": _window_us(file),
        "metric": file.parent.name.rpartition("_")[0], "quantile": None,
    }  # fmt: skip
    return long_csv(file, fields, labels=_functions, sound=is_sound(day_of(file)), constants=told)


def _functions(file: Path, names: Sequence[str]) -> Sequence[str]:
    wrong = [name for name in names if not name.isdecimal()]
    if wrong or not names:
        raise TraceFormatError(
            f"the columns after time must be functions by number; found {', '.join(wrong[:3])!r}",
            file=file, row=1, fix="Export the whole table, names unchanged",
        )  # fmt: skip
    return names


CALLS, METRICS = per_function(_per_function)


def _place(table: str, path: Path) -> SourceFile:
    region, days = _data_set(path)
    metric = path.parent.name
    table = "requests" if metric in REQUESTS else "metrics"
    return SourceFile(path, table, named_day(path), days, group=f"{region}/{metric}")


def _finish(assembly: Assembly) -> None:
    for layout in (CALLS, METRICS):
        assembly.view(layout)
    if assembly.number(("_calls", "_series"), ("region", "name")):
        assembly.write_functions("huawei2023_functions")
    kept = "SELECT region, max(window_us) AS window_us FROM _calls GROUP BY ALL"
    assembly.con.execute(f"CREATE TABLE kept AS {kept}")
    left_out = assembly.count("SELECT count(*) FROM _calls ANTI JOIN kept USING (region, window_us)")
    assembly.remark(left_out, "rows of requests per second were left out: the requests per minute are their sums")
    assembly.write_timed("invocations", "huawei2023_invocations", "_calls")
    assembly.write_timed("series", "huawei_series", "_series")


READER = Reader(
    "huawei2023",
    PLAIN_UNITS,
    TIERS_NONE,
    {"private_dataset": (), "public_dataset": (), "requests": (CALLS,), "metrics": (METRICS,)},
    (".csv", ".csv.gz"),
    place=_place,
    finish=_finish,
    deep=True,
)
