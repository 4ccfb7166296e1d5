"""Huawei's release of 2025: its tables become functions, invocations, cold starts and series; real counts are exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.traces.serverless_builders import (
    CALL_COLUMNS,
    FUNCTION,
    a_huawei_trace,
    call_row,
    cold_row,
    cold_starts,
    kinds,
    per_minute,
    read,
    write,
)
from traces.errors import TraceFormatError
from traces.importer import ImportReport, import_trace
from traces.schema import open_trace

MINUTE = 60_000_000
DAY = 1440 * MINUTE
OTHER = "11---22---pool30-1800-2048"


def imported(source: Path, out: Path) -> ImportReport:
    return import_trace("huawei2025", [source], out)


def test_functions_are_told_by_region_and_id(tmp_path: Path) -> None:
    report = imported(a_huawei_trace(tmp_path / "source"), tmp_path / "trace")
    assert report.rows == {"functions": 3, "invocations": 5, "cold_starts": 4, "series": 2}
    assert report.rejected == {}
    columns = "function, region, name, owner, pool, cpu_milli, request_milli, limit_mib, runtime, trigger, triggers"
    assert read(tmp_path / "trace", "functions", columns) == [
        (0, "R1", FUNCTION, "22", "pool22-300-128", 300, 100, 128, None, None, None),
        (1, "R2", FUNCTION, "22", "pool22-300-128", 300, 100, 128, "Python3", "TIMER-A", "APIG-S|TIMER-A"),
        (2, "R2", OTHER, "22", "pool30-1800-2048", 1800, 1000, 2048, "http", "APIG-S", "APIG-S"),
    ]
    measured = read(tmp_path / "trace", "functions", "duration_us, max_duration_us, memory_mib")
    assert measured == [(None, None, None), (500_000, 750_000, 34.5), (None, None, None)]


def test_calls_come_per_minute_and_one_by_one(tmp_path: Path) -> None:
    report = imported(a_huawei_trace(tmp_path / "source"), tmp_path / "trace")
    found = read(tmp_path / "trace", "invocations", "start_us, window_us, function, count, duration_us, pod")
    assert found == [
        (0, MINUTE, 1, 2, None, None),
        (MINUTE, MINUTE, 2, 1, None, None),
        (DAY, MINUTE, 2, 5, None, None),
        (DAY + 1_250_000, 0, 1, 1, 250_000, "pool22-300-128-0000000007"),
        (DAY + 2_000_000, 0, 1, 1, 750_000, "pool22-300-128-0000000007"),
    ]
    assert any("2 single calls are of days whose calls per minute are there too" in note for note in report.notes)


def test_a_call_listed_singly_is_taken_off_its_minute(tmp_path: Path) -> None:
    source = a_huawei_trace(tmp_path / "source")
    per_minute(source, "R2", 1, ["1,86400,5,4", "1,86460,1,", "1,172740,7,"])
    calls = [call_row(time) for time in (86401, 86459.999, 86460, 86461, 172799.5)]
    write(source / "per_request" / "R2" / "part_000.csv", [CALL_COLUMNS, *calls])
    imported(source, tmp_path / "trace")
    columns = "start_us - 86400000000, window_us, function, count"
    found = [row for row in read(tmp_path / "trace", "invocations", columns) if row[0] >= 0]
    assert found == [
        (0, MINUTE, 1, 3), (0, MINUTE, 2, 4), (1_000_000, 0, 1, 1), (59_999_000, 0, 1, 1), (60_000_000, 0, 1, 1),
        (61_000_000, 0, 1, 1), (86_340_000_000, MINUTE, 1, 6), (86_399_500_000, 0, 1, 1),
    ]  # fmt: skip


def test_cold_starts_keep_their_components_in_order_of_time(tmp_path: Path) -> None:
    imported(a_huawei_trace(tmp_path / "source"), tmp_path / "trace")
    found = read(tmp_path / "trace", "cold_starts")
    pod = "pool22-300-128-0000000007"
    parts = (1, "pool22-300-128", pod, 300, 128, 700_000, 100_000, 200_000, 300_000, 100_000, "abc")
    assert found == [
        (12_500_000, 0, *parts), (12_500_000, 1, *parts), (30_250_000, 1, *parts), (DAY + 500_000, 1, *parts),
    ]  # fmt: skip


def test_quantiles_become_series_of_functions(tmp_path: Path) -> None:
    imported(a_huawei_trace(tmp_path / "source"), tmp_path / "trace")
    assert read(tmp_path / "trace", "series") == [
        (0, MINUTE, "R2", 1, "busCost", 0.5, 0.125), (DAY, MINUTE, "R2", 2, "busCost", 0.5, 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "functions"),
    [("cold_start", 2), ("cold_start/R2", 1), ("cold_start/R2/day_00.csv", 1), ("quantiles/R2/requests", 2)],
)
def test_any_folder_of_the_release_can_be_given(tmp_path: Path, part: str, functions: int) -> None:
    report = imported(a_huawei_trace(tmp_path / "source") / part, tmp_path / "trace")
    assert report.rows["functions"] == functions


def test_missing_days_and_regions_are_gaps(tmp_path: Path) -> None:
    cold_starts(tmp_path / "source", "R2", 0, [cold_row(0, 1)])
    cold_starts(tmp_path / "source", "R2", 3, [cold_row(3, 3 * 86400)])
    report = imported(tmp_path / "source", tmp_path / "trace")
    assert [(gap.table, gap.parts, gap.present, gap.missing) for gap in report.gaps] == [
        ("cold_start R2", 31, 2, ["1-2", "4-30"]), ("cold_start, regions", 5, 1, ["1", "3-5"]),
    ]  # fmt: skip


def test_triggers_are_grouped_as_in_the_paper(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    rollups = json.loads(shared_data("huawei_serverless/r1_day28_measured/statistical_rollups.json").read_text())
    listed = [words for words, count in rollups["trigger_type_distribution"].items() for _ in range(count)]
    kinds(tmp_path / "source", [f"{n}---1---pool22-300-128,100,Java,{words}" for n, words in enumerate(listed)])
    imported(tmp_path / "source", tmp_path / "trace")
    found = duckdb.sql(f"SELECT trigger, count(*) FROM {open_trace(tmp_path / 'trace').scan('functions')} GROUP BY ALL")
    # Figure 8's shares of 2,418 functions: 22.79, 2.48, 56.04, 2.77, 5.34, 8.35 and 2.23 %.
    assert dict(found.fetchall()) == {
        "APIG-S": 551, "OBS-A": 60, "TIMER-A": 1355, "other A": 67, "other S": 129, "unknown": 202, "workflow-S": 54,
    }  # fmt: skip


def test_the_real_counts_of_31_days(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared_data("huawei_serverless/cold_starts_per_minute_R1_R5.csv.gz")
    report = imported(source, tmp_path / "trace")
    assert report.rows == {"series": 5 * 44_640}
    series = open_trace(tmp_path / "trace").scan("series")
    found = duckdb.sql(f"SELECT region, sum(value)::BIGINT FROM {series} GROUP BY ROLLUP (region)")
    assert dict(found.fetchall()) == {
        None: 11_913_857, "R1": 7_107_399, "R2": 2_072_823, "R3": 308_605, "R4": 1_619_285, "R5": 805_745,
    }  # fmt: skip
    assert open_trace(tmp_path / "trace").meta.time_range_us == (0, 31 * DAY)


def test_the_real_rows(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    report = imported(shared_data("huawei_serverless/sample_rows"), tmp_path / "trace")
    assert report.rows == {"cold_starts": 20, "functions": 35, "invocations": 23}
    assert report.rejected == {}
    assert not any("add up" in note for note in report.notes)
    assert (0, 60_000_000, 2) in read(tmp_path / "trace", "invocations", "start_us, window_us, count")


def test_a_region_must_be_named(tmp_path: Path) -> None:
    write(tmp_path / "cold_start" / "day_00.csv", ["day,time", "0,0"])
    with pytest.raises(TraceFormatError, match="named after a region"):
        imported(tmp_path / "cold_start", tmp_path / "trace")
