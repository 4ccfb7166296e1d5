"""`stowage trace check` and `info` on traces of functions: what is there, by region and trigger, quiet hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.traces.builders import a_source
from tests.traces.serverless_builders import a_huawei_trace, azure_calls, calls_row, cold_row, cold_starts
from traces.check import CheckReport, check_trace
from traces.importer import import_trace
from traces.report import print_check, print_info
from traces.schema import open_trace


def checked(format_name: str, source: Path, out: Path) -> CheckReport:
    import_trace(format_name, [source], out)
    return check_trace(out)


def test_sizes_and_groups(tmp_path: Path) -> None:
    found = checked("huawei2025", a_huawei_trace(tmp_path / "source"), tmp_path / "trace").serverless
    assert found is not None
    assert {name: found[name] for name in ("functions", "silent", "busy", "invocations", "single_invocations")} == {
        "functions": 3, "silent": 1, "busy": 5, "invocations": 8, "single_invocations": 2,
    }  # fmt: skip
    assert found["cold_starts"] == 4
    assert [tuple(row.values()) for row in found["groups"]] == [
        ("R1", None, 1, 0, 0, 1, 0.7), ("R2", "APIG-S", 1, 6, 0, 0, None), ("R2", "TIMER-A", 1, 2, 2, 3, 0.7),
    ]  # fmt: skip
    [series] = found["series"]
    assert (series["region"], series["metric"], series["rows"], series["functions"]) == ("R2", "busCost", 2, 2)
    assert found["quiet"] == [{"from_hour": 1, "to_hour": 24, "hours": 23}]


def test_a_missing_day_is_a_gap_and_quiet_hours(tmp_path: Path) -> None:
    for day in (1, 3):
        azure_calls(tmp_path / "source", day, [calls_row("o,a,f", "timer", dict.fromkeys(range(1, 1441, 30), 1))])
    report = checked("azure2019", tmp_path / "source", tmp_path / "trace")
    assert report.serverless is not None
    assert report.serverless["quiet"] == [{"from_hour": 24, "to_hour": 48, "hours": 24}]
    assert report.gaps[0].missing == ["2", "4-14"]


def test_a_trace_of_tasks_says_nothing_about_functions(tmp_path: Path) -> None:
    assert checked("google2011", a_source(tmp_path / "source"), tmp_path / "trace").serverless is None


def test_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = checked("huawei2025", a_huawei_trace(tmp_path / "source"), tmp_path / "trace")
    print_check(report, as_json=False)
    print_info(open_trace(tmp_path / "trace").meta, as_json=False)
    out = capsys.readouterr().out
    assert "huawei2025: 3 functions, 8 invocations per window, 2 single invocations, 4 cold starts; time 0 s" in out
    assert "hours without anything" in out
    assert out.count("gap: cold_start, regions has 2 of 5 parts; missing 3-5") == 2
    assert "TIMER-A" in out


def test_series_alone(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    source = shared_data("huawei_serverless/cold_starts_per_minute_R1_R5.csv.gz")
    found = checked("huawei2025", source, tmp_path / "trace").serverless
    assert found is not None
    assert found["functions"] == 0
    assert {row["region"]: row["total"] for row in found["series"]} == {
        "R1": 7_107_399, "R2": 2_072_823, "R3": 308_605, "R4": 1_619_285, "R5": 805_745,
    }  # fmt: skip


def test_a_trace_of_cold_starts_alone(tmp_path: Path) -> None:
    cold_starts(tmp_path / "source", "R2", 0, [cold_row(0, 1), cold_row(0, 5)])
    found = checked("huawei2025", tmp_path / "source", tmp_path / "trace").serverless
    assert found is not None
    assert (found["functions"], found["cold_starts"], found["invocations"], found["series"]) == (1, 2, 0, [])
