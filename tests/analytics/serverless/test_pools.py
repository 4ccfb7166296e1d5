"""`stowage serverless pools` on traces made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cold_start_trace import a_function, a_start, write_trace
from typer.testing import CliRunner

from analytics.errors import InputError
from analytics.serverless.pools import FIRST_STAGE_S, read_demand, size_all
from stowage import app
from traces.schema import open_trace

SMALL = {"cpu_milli": 300, "memory_mib": 1024}
MISSED_S = 2.0


def a_daily_trace(folder: Path, days: int = 4) -> Any:
    """At 9 o'clock of every day 2 cold starts in each minute, one at midnight; a tenth of them found a pod at once."""
    starts = []
    for day in range(days):
        for minute in [0, *(540 + n for n in range(60) for _ in range(2))]:
            allocation = FIRST_STAGE_S if len(starts) % 10 == 0 else MISSED_S
            starts.append(a_start(day * 86_400 + minute * 60 + 1, 0, (allocation, 0.5, 0, 0.5), **SMALL))
        starts.append(a_start(day * 86_400 + 700 * 60, 1, (10.2, 0, 0, 1), **SMALL))
    starts.append(a_start(days * 86_400 - 1, 0, (FIRST_STAGE_S, 0.5, 0, 0.5), **SMALL))
    functions = [a_function(0, region="R2", runtime="Python3"), a_function(1, region="R2", runtime="Custom")]
    return open_trace(
        write_trace(folder, functions=functions, cold_starts=sorted(starts, key=lambda row: row["time_us"]))
    )


def test_a_daily_pattern_is_met_by_the_hour(tmp_path: Path) -> None:
    found = size_all(read_demand(a_daily_trace(tmp_path / "t")), [0.9], 7)
    level = found.levels[0]
    # Days 1 to 3: the pool of 2 at 9 o'clock serves its 120, the lone ones at midnight and at the end are missed.
    assert (found.days, found.cold_starts, found.unpooled) == (3, 3 * 121 + 1, 4)
    assert level.by_hour.hit_share == pytest.approx(360 / 364)
    assert level.by_hour.idle_gb_h == 0
    assert level.by_hour.allocation_s == pytest.approx((360 * FIRST_STAGE_S + 4 * MISSED_S) / 364)
    assert found.rest_s == pytest.approx(1.0)
    # One size for the whole day cannot without standing idle; knowing the hours allows no more either.
    assert level.all_day is not None
    assert level.all_day.hit_share == 0
    assert level.bound == pytest.approx(level.by_hour.hit_share)


def test_no_rule_beats_the_bound_or_keeps_more_than_the_level(tmp_path: Path) -> None:
    for level in size_all(read_demand(a_daily_trace(tmp_path / "t")), [0.0, 0.5, 0.99, 1.0], 2).levels:
        for rule in (level.by_hour, level.by_price, level.all_day):
            assert rule is not None
            assert rule.hit_share <= level.bound + 1e-12
            assert rule.idle_gb_h <= level.by_hour.idle_gb_h


def test_the_command_prints_what_it_finds(tmp_path: Path) -> None:
    trace = a_daily_trace(tmp_path / "t").folder
    words = ["serverless", "pools", str(trace), "--quantile", "0.9"]
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert found["levels"][0]["by_hour"]["value"] == 0.9
    assert found["recorded_hits"] == pytest.approx(50 / 485)
    shown = CliRunner().invoke(app, words)
    assert "98.9 %" in shown.stdout
    assert "4 of functions without a pool" in shown.stdout


@pytest.mark.parametrize(
    ("region", "quantiles", "days", "words"),
    [(["R9"], [0.5], 4, "R9; there are R2"), ([], [1.5], 4, "1.5"), ([], [0.5], 1, "two whole days")],
)
def test_what_cannot_be_sized_is_refused(
    tmp_path: Path, region: list[str], quantiles: list[float], days: int, words: str
) -> None:
    trace = a_daily_trace(tmp_path / "t", days)
    with pytest.raises(InputError, match=words):
        size_all(read_demand(trace, region), quantiles, 7)


def test_a_trace_without_components_is_refused(tmp_path: Path) -> None:
    bare = {"time_us": 1, "function": 0, "total_us": 5}
    trace = open_trace(write_trace(tmp_path / "t", functions=[a_function(0)], cold_starts=[bare]))
    with pytest.raises(InputError, match="no cold start says"):
        read_demand(trace)
