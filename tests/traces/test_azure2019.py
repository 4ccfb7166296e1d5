"""Azure Functions 2019: three tables a day become functions and invocations; the real samples give their totals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.traces.serverless_builders import (
    an_azure_trace,
    azure_durations,
    calls_header,
    calls_row,
    duration_row,
    read,
    write,
)
from traces.importer import ImportReport, import_trace
from traces.schema import open_trace

MINUTE = 60_000_000
DAY = 1440 * MINUTE


def imported(source: Path, out: Path) -> ImportReport:
    return import_trace("azure2019", [source], out)


def test_days_become_functions_and_invocations_in_order_of_time(tmp_path: Path) -> None:
    report = imported(an_azure_trace(tmp_path / "source"), tmp_path / "trace")
    assert report.rows == {"functions": 3, "invocations": 5}
    assert (report.rejected, report.gaps) == ({}, [])
    found = read(tmp_path / "trace", "functions", "function, name, app, owner, trigger, triggers, memory_mib")
    assert found == [
        (0, "f", "a", "o", "timer", "timer", 125.0),  # (300 x 30 + 100 x 10) / 40 samples, two functions in the app
        (1, "g", "a", "o", "http", "http", 125.0),
        (2, "h", "b", "o", "http", "http|queue", 64.0),
    ]
    times = read(tmp_path / "trace", "functions", "duration_us, max_duration_us")
    assert times == [
        (150_000, 1_200_500),
        (20_500, 900_000),
        (50_000, 900_000),
    ]  # (3 x 100 + 300) / 4; no call: no weight
    calls = read(tmp_path / "trace", "invocations", "start_us, window_us, function, count, duration_us")
    assert calls == [
        (0, MINUTE, 0, 2, 100_000),
        (6 * MINUTE, MINUTE, 1, 30, 20_500),
        (1439 * MINUTE, MINUTE, 0, 1, 100_000),
        (DAY, MINUTE, 0, 5, 300_000),
        (DAY, MINUTE, 2, 4, 50_000),
    ]
    assert open_trace(tmp_path / "trace").meta.time_range_us == (0, DAY + MINUTE)


def test_the_sampled_form_keeps_its_minutes_and_memory_per_function(tmp_path: Path) -> None:
    source, minutes = tmp_path / "sample", range(480, 490)
    rows = [calls_row("o,a,g", "http", {480: 1, 489: 3}, minutes), calls_row("o,a,f", "http", {480: 2}, minutes)]
    write(source / "invocations.csv", [calls_header(minutes), *rows])
    azure_durations(source, 1, [duration_row("o,a,f", 10), duration_row("o,a,g", 10)]).rename(source / "durations.csv")
    memory = "HashFunction,HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1"
    write(source / "memory.csv", [memory, "f,o,a,5,9.25,9", "g,o,a,5,20,9"])
    report = imported(source, tmp_path / "trace")
    assert read(tmp_path / "trace", "functions", "name, memory_mib") == [("f", 9.25), ("g", 20.0)]
    assert read(tmp_path / "trace", "invocations", "start_us, function, count") == [
        (479 * MINUTE, 0, 2), (479 * MINUTE, 1, 1), (488 * MINUTE, 1, 3),
    ]  # fmt: skip
    [gap] = report.gaps
    assert (gap.table, gap.parts, gap.present, gap.missing) == (
        "invocations, minutes of day 1", 1440, 10, ["1-479", "490-1440"],
    )  # fmt: skip


def test_the_same_rows_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    first = imported(an_azure_trace(tmp_path / "one"), tmp_path / "first")
    source = an_azure_trace(tmp_path / "two")
    for path in source.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        write(path, [header, *reversed(rows)])
    assert import_trace("azure2019", [source], tmp_path / "second", threads=1).digest == first.digest


@pytest.mark.parametrize(("sample", "invocations", "busy_minutes"), [(100, 339_657, 11_485), (500, 3_037_902, 58_121)])
def test_real_samples_give_their_totals(
    shared_data: Callable[[str], Path], tmp_path: Path, sample: int, invocations: int, busy_minutes: int
) -> None:
    report = imported(shared_data(f"azure_functions/2019_invitro_sample/{sample}"), tmp_path / "trace")
    assert report.rows == {"functions": sample, "invocations": busy_minutes}
    assert report.rejected == {}
    assert read(tmp_path / "trace", "invocations", "sum(count)") == [(invocations,)]
    assert read(tmp_path / "trace", "functions", "count(memory_mib), count(duration_us)") == [(sample, sample)]


def test_the_real_curve_of_14_days(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    imported(shared_data("azure_functions/2019_aggregate"), tmp_path / "trace")
    [(total, mean, top, first, last)] = read(
        tmp_path / "trace", "series", "sum(value)::BIGINT, round(avg(value)), max(value), min(time_us), max(time_us)"
    )
    assert (total, mean, top) == (12_495_810_846, 619_832, 1_258_768)
    assert (first, last) == (0, 14 * DAY - MINUTE)
