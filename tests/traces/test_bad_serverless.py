"""Serverless files that are not what they say: what is refused, what is set aside row by row, what is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.traces.serverless_builders import (
    COLD_COLUMNS,
    FUNCTION,
    POD,
    azure_calls,
    azure_durations,
    azure_memory,
    call_row,
    calls_header,
    calls_row,
    cold_row,
    cold_starts,
    duration_row,
    kinds,
    memory_row,
    per_minute,
)
from tests.traces.serverless_spoils import (
    CALLS,
    COLD,
    COLD_ROWS,
    GOOD,
    KINDS,
    PER_MINUTE,
    REQUESTS,
    SIZED,
    SIZES,
    TIMED,
    TIMES,
    Spoil,
    a_source,
    edit,
    more,
    put,
    replace,
    zipped,
)
from traces.errors import TraceFormatError
from traces.importer import import_trace
from traces.schema import open_trace

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
WITHIN_THE_DAY = "".join(f"{cold_row(1, time)}\n" for time in (0.5, 60, 61))

# what is done, the file named, the row named, words of the message
REFUSED: dict[str, tuple[str, Spoil, str, int | None, str]] = {
    "minutes renamed": (
        "azure2019",
        replace(CALLS, ",1,2,3,", ",m1,m2,m3,"),
        CALLS,
        1,
        "minutes of the day, 1 to 1440",
    ),
    "minutes from 0": ("azure2019", replace(CALLS, ",1,2,3,", ",0,2,3,"), CALLS, 1, "found '0'"),
    "a minute too many": ("azure2019", replace(CALLS, ",1440\n", ",1441\n"), CALLS, 1, "found '1441'"),
    "a minute twice": ("azure2019", replace(CALLS, ",1,2,3,", ",1,2,2,"), CALLS, 1, "two columns are called '2'"),
    "no minutes": (
        "azure2019",
        put(CALLS, "HashOwner,HashApp,HashFunction,Trigger\no,a,f,http\n"),
        CALLS,
        1,
        "no column after Trigger",
    ),
    "no hash": ("azure2019", replace(CALLS, "HashFunction", "Function"), CALLS, 1, "lacks the column HashFunction"),
    "a column before the hashes": (
        "azure2019",
        replace(CALLS, "HashOwner,", "1441,HashOwner,"),
        CALLS,
        1,
        "begin with",
    ),
    "run times without averages": (
        "azure2019",
        replace(TIMES, "Average,", "Mean,"),
        TIMES,
        1,
        "lacks the column Average",
    ),
    "most counts negative": (
        "azure2019",
        edit(CALLS, lambda text: text.replace(",0", ",-1")),
        CALLS,
        2,
        "3 of 3 rows break a rule",
    ),
    "no day in the name": (
        "azure2019",
        put("invocations_per_function_md.anon.csv", f"{calls_header()}\n"),
        "anon.csv",
        None,
        "say the day",
    ),
    "a day as published and as a sample": (
        "azure2019",
        put("invocations.csv", f"{calls_header()}\n{calls_row('o,a,f', 'http', {})}\n"),
        "",
        None,
        "day 1 is there twice",
    ),
    "a header alone": ("azure2019", put(CALLS, f"{calls_header()}\n"), CALLS, None, "no rows"),
    "an LFS pointer": ("azure2019", put(CALLS, POINTER), CALLS, None, "LFS pointer"),
    "an empty file": ("azure2019", put(SIZES, ""), SIZES, None, "is empty"),
    "gzip cut short": ("azure2019", zipped(CALLS, lambda data: data[: len(data) // 2]), CALLS, None, "truncated"),
    "gzip damaged": ("azure2019", zipped(CALLS, lambda data: data[:-6] + b"junkjunk"), CALLS, None, "damaged"),
    "times within the day": (
        "huawei2025",
        put("cold_start/R2/day_01.csv", f"{COLD_COLUMNS}\n{WITHIN_THE_DAY}"),
        "R2/day_01.csv",
        2,
        "seconds from the start of the trace",
    ),
    "the day of another file": (
        "huawei2025",
        edit(COLD, lambda text: text.replace("\n0,", "\n3,")),
        COLD,
        2,
        "the day in the file's name",
    ),
    "functions without a pool": (
        "huawei2025",
        replace(PER_MINUTE, FUNCTION, "11---22"),
        PER_MINUTE,
        1,
        "found '11---22'",
    ),
    "no time": ("huawei2025", replace(PER_MINUTE, "day,time,", "day,clock,"), PER_MINUTE, 1, "lacks the column time"),
    "no region": (
        "huawei2025",
        put("cold_start/day_00.csv", f"{COLD_COLUMNS}\n"),
        "day_00.csv",
        None,
        "after a region",
    ),
    "regions renamed": (
        "huawei2025",
        put("cold_starts_per_minute_R1_R5.csv", "day,time,north\n0,0,1\n"),
        "per_minute",
        1,
        "be regions",
    ),
    "a cold start without its cost": (
        "huawei2025",
        replace(COLD, "totalCost_cold_start", "cost"),
        COLD,
        1,
        "lacks the column totalCost_cold_start",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_is_not_what_it_says_stops_the_import(tmp_path: Path, kind: str) -> None:
    format_name, spoil, file, row, words = REFUSED[kind]
    source = a_source(format_name, tmp_path / "source")
    spoil(source)
    with pytest.raises(TraceFormatError) as caught:
        import_trace(format_name, [source], tmp_path / "trace")
    assert words in str(caught.value)
    assert file in (caught.value.file or "")
    assert caught.value.row == row
    assert caught.value.fix, "the message says what to do"
    assert not (tmp_path / "trace").exists()


# format, what is done, file and row (1-based, header counted), words of the reason
SET_ASIDE: dict[str, tuple[str, Spoil, str, int, str]] = {
    "a negative count": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, calls_row("o,b,h", "http", {17: -3})]),
        CALLS,
        4,
        "field cells: must be whole numbers >= 0, found '17 = -3'",
    ),
    "a fraction of a call": (
        "azure2019",
        more(azure_calls, 1, rows=[GOOD[0], calls_row("o,b,h", "http", {3: 1.5}), GOOD[1]]),
        CALLS,
        3,
        "3 = 1.5",
    ),
    "a count that is NaN": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, calls_row("o,b,h", "http", {1440: 9}).replace(",9", ",NaN")]),
        CALLS,
        4,
        "1440 = NaN",
    ),
    "a row cut short": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, "o,b,h,http,0,0,4"]),
        CALLS,
        4,
        "must be 1444 columns, as in the header",
    ),
    "a row too long": (
        "azure2019",
        more(azure_calls, 1, rows=[GOOD[0] + ",7", GOOD[1], calls_row("o,b,h", "http", {})]),
        CALLS,
        2,
        "found '1445'",
    ),
    "a function twice in a day": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, calls_row("o,a,f", "http", {5: 1})]),
        CALLS,
        4,
        "field HashFunction: must not be in two rows of a file, found 'f'",
    ),
    "a function without a name": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, calls_row("o,a,", "http", {5: 1})]),
        CALLS,
        4,
        "field HashFunction: is mandatory, found nothing",
    ),
    "run times twice": (
        "azure2019",
        more(azure_durations, 1, rows=[*TIMED, duration_row("o,a,f", 9)]),
        TIMES,
        4,
        "two rows of a file",
    ),
    "a negative run time": (
        "azure2019",
        more(azure_durations, 1, rows=[*TIMED, duration_row("o,b,h", -2)]),
        TIMES,
        4,
        "field Average: must be >= 0, found '-2'",
    ),
    "a run time in words": (
        "azure2019",
        more(azure_durations, 1, rows=[*TIMED, duration_row("o,b,h", "long")]),
        TIMES,
        4,
        "must be a number",
    ),
    "memory that is NaN": (
        "azure2019",
        more(azure_memory, 1, rows=[*SIZED, memory_row("o,c", "NaN")]),
        SIZES,
        4,
        "must be a number, found 'NaN'",
    ),
    "a cold start that took less than nothing": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[*COLD_ROWS, cold_row(0, 3, "-0.5")]),
        COLD,
        4,
        "must be >= 0",
    ),
    "a time within the day": (
        "huawei2025",
        more(cold_starts, "R2", 1, rows=[cold_row(1, 86401), cold_row(1, 7), cold_row(1, 86402)]),
        "cold_start/R2/day_01.csv",
        3,
        "field time: must be seconds from the start of the trace",
    ),
    "the wrong day": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[*COLD_ROWS, cold_row(4, 4 * 86400)]),
        COLD,
        4,
        "field day",
    ),
    "a pod that is none": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[*COLD_ROWS, cold_row(0, 3, pod="pod-7")]),
        COLD,
        4,
        "field podID: must be pool-CPU-memory-serial, found 'pod-7'",
    ),
    "a row of fewer columns": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[*COLD_ROWS, "0,3,1,11,22"]),
        COLD,
        4,
        "must be 12 columns",
    ),
    "a negative number of calls": (
        "huawei2025",
        more(per_minute, "R2", 0, rows=["0,0,2,1", "0,60,1,-4"]),
        PER_MINUTE,
        3,
        "must be >= 0, found '-4'",
    ),
    "half a call": (
        "huawei2025",
        more(per_minute, "R2", 0, rows=["0,0,2,1", "0,60,1,0.5"]),
        PER_MINUTE,
        3,
        "whole number, found '0.5'",
    ),
    "a minute in words": (
        "huawei2025",
        more(per_minute, "R2", 0, rows=["0,0,2,1", "0,soon,1,3"]),
        PER_MINUTE,
        3,
        "field time: must be a number",
    ),
    "a minute of another width": (
        "huawei2025",
        more(per_minute, "R2", 0, rows=["0,0,2,1", "0,60,1"]),
        PER_MINUTE,
        3,
        "must be 4 columns",
    ),
    "a function described twice": (
        "huawei2025",
        more(kinds, rows=[f"{FUNCTION},100,Java,OBS-A", "1---2---p-1-1,1,Go1.x,OBS-A", f"{FUNCTION},1,,"]),
        KINDS,
        4,
        "two rows of a file",
    ),
}


@pytest.mark.parametrize("kind", SET_ASIDE)
def test_a_row_at_fault_is_set_aside_with_its_place_and_reason(tmp_path: Path, kind: str) -> None:
    format_name, spoil, file, row, words = SET_ASIDE[kind]
    source = a_source(format_name, tmp_path / "source")
    spoil(source)
    report = import_trace(format_name, [source / file], tmp_path / "trace")
    assert sum(report.rejected.values()) == 1
    [(found_file, found_row, reason, line)] = rejected(tmp_path / "trace")
    assert (found_file.endswith(file), found_row) == (True, row)
    assert words in reason
    assert line == (source / file).read_text().splitlines()[row - 1][:4000]


def rejected(folder: Path) -> list[Any]:
    return duckdb.sql(f"FROM {open_trace(folder).scan('rejected')}").fetchall()


def test_what_is_good_in_a_bad_file_is_kept(tmp_path: Path) -> None:
    source = a_source("azure2019", tmp_path / "source")
    azure_calls(source, 1, [*GOOD, calls_row("o,b,h", "http", {17: -3}), "", calls_row("o,b,i", "http", {2: 8})])
    report = import_trace("azure2019", [source], tmp_path / "trace")
    calls = open_trace(tmp_path / "trace").scan("invocations")
    assert duckdb.sql(f"SELECT sum(count) FROM {calls} WHERE start_us < 86400000000").fetchall() == [(2 + 30 + 8,)]
    assert report.rejected == {"invocations": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path, end: str) -> None:
    rows = [calls_header(), GOOD[0], "", GOOD[1], "", "", calls_row("o,b,h", "http", {7: -2})]
    (tmp_path / CALLS).write_bytes(end.join(rows).encode())
    report = import_trace("azure2019", [tmp_path / CALLS], tmp_path / "trace")
    assert (report.rows["invocations"], [row for _, row, *_ in rejected(tmp_path / "trace")]) == (2, [7])


def test_strict_stops_at_the_first_row_at_fault(tmp_path: Path) -> None:
    source = a_source("azure2019", tmp_path / "source")
    azure_calls(source, 1, [*GOOD, calls_row("o,b,h", "http", {17: -3})])
    with pytest.raises(TraceFormatError, match=r"row 4, field cells: .*found '17 = -3'"):
        import_trace("azure2019", [source], tmp_path / "trace", strict=True)


def test_calls_without_the_frontend_are_kept(tmp_path: Path) -> None:
    source = a_source("huawei2025", tmp_path / "source")
    text = "\n".join([*(source / REQUESTS).read_text().splitlines(), call_row(86403, front="NaN"), call_row("late")])
    (source / REQUESTS).write_text(text)
    report = import_trace("huawei2025", [source], tmp_path / "trace")
    assert report.rejected == {"requests": 1}
    [(_, row, reason, _)] = rejected(tmp_path / "trace")
    assert (row, reason) == (5, "field time_worker: must be a number, found 'late'")
    assert POD in text
