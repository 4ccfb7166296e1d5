from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cold_start_trace import a_function, a_start, a_sum, write_trace
from typer.testing import CliRunner

from analytics.errors import InputError
from analytics.serverless.bounds import pool_regions, read_hours, read_running, read_running_csv, shave_peaks
from stowage import app
from traces.schema import open_trace


def test_hours_come_from_cold_starts_or_from_published_counts(tmp_path: Path) -> None:
    rows = write_trace(
        tmp_path / "rows",
        functions=[a_function(0), a_function(1, region="R2")],
        cold_starts=[a_start(1, 0, (1, 0, 0, 0)), a_start(7300, 0, (3, 0, 0, 0)), a_start(3601, 1, (2, 0, 0, 0))],
    )
    regions, counts, means = read_hours(open_trace(rows))
    assert regions == ["R1", "R2"]
    assert counts.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert means is not None
    assert means.tolist() == [[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]]  # an empty hour has the one before it
    sums = write_trace(tmp_path / "sums", series=[a_sum(0, 4, region="R1"), a_sum(1, 6, region="R2")])
    regions, counts, means = read_hours(open_trace(sums))
    assert counts.tolist() == [[4, 0], [0, 6]]
    assert means is None
    nothing = write_trace(tmp_path / "nothing", functions=[a_function(0)])
    with pytest.raises(InputError, match="counts no cold starts"):
        read_hours(open_trace(nothing))


def test_regions_with_opposite_days_halve_the_room() -> None:
    counts = np.array([[10, 0], [0, 10]] * 4)
    found = pool_regions(counts, None, 0.1)
    assert (found.room_apart, found.room_together, found.saved) == (20, 10, 0.5)
    assert found.learned == 10
    assert found.refused == 0
    assert found.moved == pytest.approx(0.5)  # each has room for half of its peak


def test_routing_gains_what_a_faster_region_has_room_for() -> None:
    counts = np.array([[10, 2]] * 6)
    means = np.array([[4.0, 0.5]] * 6)
    near = pool_regions(counts, means, 0.1)
    assert near.mean_home_s == pytest.approx((10 * 4 + 2 * 0.5) / 12)
    assert near.mean_s == near.mean_oracle_s == near.mean_home_s  # room was learnt from the peaks, none is left
    uneven = np.array([[10, 2], [2, 10]] * 4)
    assert pool_regions(uneven, np.array([[4.0, 0.5]] * 8), 0.1).mean_s < near.mean_home_s


def test_running_pods_are_split_by_trigger(tmp_path: Path) -> None:
    def pods(hour: int, value: float, function: int) -> dict[str, object]:
        return a_sum(hour, value, region="R2", function=function, metric="num_pods")

    trace = write_trace(
        tmp_path / "trace",
        functions=[a_function(0, region="R2", trigger="OBS-A"), a_function(1, region="R2", trigger="APIG-S")],
        series=[pods(0, 5, 0), pods(0, 7, 1), pods(1, 2, 1)],
    )
    fixed, movable = read_running(open_trace(trace), "R2", "OBS-A")
    assert fixed.tolist() == [7, 2]
    assert movable.tolist() == [5, 0]
    (row,) = shave_peaks(fixed, movable, (1,))
    assert row.bound == pytest.approx(1 - 7 / 12)
    with pytest.raises(InputError, match="no running pods of trigger 'CTS-A' in R2; there are APIG-S, OBS-A"):
        read_running(open_trace(trace), "R2", "CTS-A")


def test_published_regions_together_need_14_5_percent_less(shared_data: Callable[[str], Path]) -> None:
    with gzip.open(shared_data("huawei_serverless/cold_starts_per_minute_R1_R5.csv.gz"), "rt") as file:
        rows = [[int(row[f"R{n}"]) for n in range(1, 6)] for row in csv.DictReader(file)]
    counts = np.array(rows).reshape(-1, 60, 5).sum(axis=1)
    found = pool_regions(counts, None, 0.1)
    assert (found.room_apart, found.room_together) == (31_293, 26_769)
    assert found.saved == pytest.approx(0.145, abs=0.0005)


def test_published_peak_is_shaved_as_in_the_paper(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("huawei_serverless/digitised_from_eurosys25_pdf") / "fig08_running_pods_hourly_R2.csv"
    found = {row.hours: row for row in shave_peaks(*read_running_csv(path, "OBS-A"), (2, 4, 6, 12))}
    assert [round(100 * found[hours].blocks, 1) for hours in (2, 4, 6, 12)] == [6.2, 9.8, 14.6, 17.0]
    # A promise of two hours is worth more than a block of six, and four are the floor even without the future.
    assert found[2].bound > found[6].blocks
    assert found[4].reached == pytest.approx(found[12].blocks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hour,trigger:A\n0,1\n", "no column trigger:OBS-A; there are trigger:A"),
        ("", "there are none"),
        ("hour,trigger:OBS-A\n0,1\n2,1\n", "row 3: hour is '2'"),
        ("hour,trigger:OBS-A\n0,many\n", "row 2: trigger:OBS-A is 'many'"),
        ("hour,trigger:OBS-A\n0\n", "row 2: trigger:OBS-A is None"),
    ],
)
def test_running_pods_that_cannot_be_read_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pods.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_running_csv(path, "OBS-A")
    with pytest.raises(InputError, match="No such file"):
        read_running_csv(tmp_path / "none.csv", "OBS-A")


def test_the_command_says_what_it_can_and_what_is_missing(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "sums", series=[a_sum(hour, hour % 3, region="R1") for hour in range(6)])
    run = CliRunner().invoke(app, ["serverless", "bounds", str(trace), "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["pooling"]["room_apart"] == 2
    assert "no series of running pods" in found["missing"][0]
    shown = CliRunner().invoke(app, ["serverless", "bounds", str(trace)])
    assert "not in the input" in shown.stdout
    wrong = CliRunner().invoke(app, ["serverless", "bounds", str(trace), "--wait-hours", "2,x"])
    assert "whole hours" in str(wrong.exception)
