from __future__ import annotations

import json
from pathlib import Path

import pytest
from cold_start_trace import a_call, a_function, a_start, write_trace
from typer.testing import CliRunner

from analytics.errors import InputError
from analytics.serverless.analyse import Table, analyse
from stowage import app
from traces.schema import open_trace


def tables_of(trace: Path, *regions: str) -> dict[str, Table]:
    return {table.name: table for table in analyse(open_trace(trace), regions)}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two functions of R1 and one of R2: four cold starts, of which two have dependencies."""
    return write_trace(
        tmp_path / "trace",
        functions=[
            a_function(0, runtime="Python3", trigger="TIMER-A", cpu_milli=300, limit_mib=128),
            a_function(1, runtime="Java", trigger="APIG-S", cpu_milli=1000, limit_mib=1024),
            a_function(2, region="R2", owner="u1"),
        ],
        cold_starts=[
            a_start(10, 0, (0.1, 0.2, 0.0, 0.7), pod="a"),
            a_start(70, 0, (0.1, 0.2, 1.0, 0.7), pod="b"),
            a_start(4000, 1, (2.0, 0.5, 0.5, 1.0), pod="c"),
            a_start(4001, 2, (0.0, 0.1, 0.0, 0.1), pod="d"),
        ],
        invocations=[
            a_call(11, 0, pod="a"),
            a_call(13, 0, pod="a"),
            a_call(71, 0, pod="b"),
            a_call(4010, 1, count=6, pod="c"),
        ],
    )


def test_components_are_means_and_medians_by_group(trace: Path) -> None:
    by_runtime = {row["runtime"]: row for row in tables_of(trace)["by runtime"].rows if row["region"] == "R1"}
    python = by_runtime["Python3"]
    assert python["cold_starts"] == 2
    assert python["share"] == pytest.approx(2 / 3)
    assert python["mean_s"] == pytest.approx(1.5)
    assert python["deploy_dependency_mean_s"] == pytest.approx(0.5)
    assert python["dependencies_median_s"] == pytest.approx(1.0)  # of those that had any
    assert python["p50_s"] == pytest.approx(1.5)
    assert by_runtime["Java"]["mean_s"] == pytest.approx(4.0)


def test_what_the_source_does_not_say_is_a_group_of_its_own(trace: Path) -> None:
    rows = [row for row in tables_of(trace)["by trigger"].rows if row["region"] == "R2"]
    assert [row["trigger"] for row in rows] == ["unknown"]


def test_sizes_are_the_papers(trace: Path) -> None:
    sizes = {(row["region"], row["size"]): row["cold_starts"] for row in tables_of(trace)["by size"].rows}
    assert sizes == {("R1", "small"): 2, ("R1", "large"): 1, ("R2", "unknown"): 1}


def test_hours_count_from_the_start(trace: Path) -> None:
    hours = {(row["region"], row["hour"]): row["cold_starts"] for row in tables_of(trace)["by hour"].rows}
    assert hours == {("R1", 0): 2, ("R1", 1): 1, ("R2", 1): 1}


def test_pod_utility_is_an_estimate_from_the_last_call(trace: Path) -> None:
    table = tables_of(trace)["pod utility by runtime"]
    assert table.basis == "estimated"
    found = {row["runtime"]: row for row in table.rows}
    # Pod a worked 3 s for a cold start of 1 s, pod b 1 s for 2 s.
    assert found["Python3"]["p50"] == pytest.approx((3 + 0.5) / 2)
    assert found["Python3"]["share_below_1"] == pytest.approx(0.5)
    assert found["Java"]["p50"] == pytest.approx(10 / 4)


def test_concentration_counts_calls_and_owners(trace: Path) -> None:
    found = {row["region"]: row for row in tables_of(trace)["concentration"].rows}
    assert found["R1"]["top_function"] == pytest.approx(6 / 9)
    assert found["R1"]["users_with_one_function"] == 0
    assert found["R2"]["users_with_one_function"] == 1
    assert found["R2"]["top_function"] is None


def test_one_region_can_be_looked_at_alone(trace: Path) -> None:
    assert {row["region"] for row in tables_of(trace, "R2")["by region"].rows} == {"R2"}
    with pytest.raises(InputError, match="no function is of region 'R9'; there are R1, R2"):
        tables_of(trace, "R9")


def test_what_is_not_in_the_input_is_said(tmp_path: Path) -> None:
    calls_only = write_trace(tmp_path / "calls", functions=[a_function(0)], invocations=[a_call(1, 0)])
    found = tables_of(calls_only)
    assert found["by region"].basis == "not in the input"
    assert found["pod utility by region"].basis == "not in the input"
    assert found["concentration"].basis == "measured"


def test_load_correlates_ranks_over_minutes(tmp_path: Path) -> None:
    starts = [
        a_start(60 * minute + second, 0, (0.0, 0.0, 0.0, 1.0 + minute**3))
        for minute in range(5)
        for second in range(minute + 1)
    ]
    trace = write_trace(tmp_path / "trace", functions=[a_function(0)], cold_starts=starts)
    (row,) = tables_of(trace)["load"].rows
    assert row["total_spearman"] == pytest.approx(1.0)
    assert row["peak_hour"] == 15


def test_the_command_writes_tables_and_plots_whole_or_not_at_all(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = CliRunner().invoke(app, ["serverless", "analyse", str(trace), "-o", str(out), "--json"])
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert printed["tables"]["by region"]["basis"] == "measured"
    assert json.loads((out / "tables.json").read_text()) == printed
    files = {path.name for path in out.iterdir()}
    assert {"by_runtime.csv", "by_region_components_R1.svg", "by_hour_cold_starts.svg"} <= files
    again = CliRunner().invoke(app, ["serverless", "analyse", str(trace), "-o", str(out)])
    assert isinstance(again.exception, InputError)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    refused = CliRunner().invoke(app, ["serverless", "analyse", str(trace), "-o", str(mine), "--force"])
    assert "not an analysis" in str(refused.exception)
    forced = CliRunner().invoke(app, ["serverless", "analyse", str(trace), "-o", str(out), "--force"])
    assert forced.exit_code == 0


def test_a_table_that_is_none_is_named(trace: Path) -> None:
    run = CliRunner().invoke(app, ["serverless", "analyse", str(trace), "--table", "by moon"])
    assert "no table is called 'by moon'; there are by region" in str(run.exception)
