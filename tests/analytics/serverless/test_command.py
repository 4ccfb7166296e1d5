"""`stowage serverless` as scripts see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure_sample import MINUTE_US, write_trace
from typer.testing import CliRunner

from analytics.errors import InputError
from analytics.serverless_cli import app


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """One function of 512 MiB, cold start 2 s, called in minutes 0, 3 and 20 of a 30 minute recording."""
    return write_trace(
        tmp_path / "trace",
        [
            {"function": 0, "name": "f", "memory_mib": 512.0, "duration_us": 1_000_000, "max_duration_us": 3_000_000},
            {"function": 1, "name": "g", "memory_mib": 512.0, "duration_us": 1_000_000, "max_duration_us": 9_000_000},
        ],
        [
            {"start_us": minute * MINUTE_US, "window_us": MINUTE_US, "function": function, "count": 5}
            for minute, function in ((0, 0), (3, 0), (20, 0), (29, 1))
        ],
    )


def run(*words: object) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_replay_prints_the_agreed_keys(tiny: Path) -> None:
    found = run("replay", tiny, "--keep-alive", "10m", "--json")
    assert (found["cold_starts"], found["invocations"]) == (3, 20)
    assert found["idle_gb_h"] == pytest.approx((2 + 10 + 9) * 0.5 / 60)
    assert (found["cold_start_s"]["p50"], found["cold_start_s"]["p99"]) == (2.0, 8.0)
    assert found["cpu_s"] >= 0


def test_several_policies_share_a_pass_and_none_changes_another(tiny: Path) -> None:
    both = run("replay", tiny, "--keep-alive", "1m", "--keep-alive", "20m", "--policy", "fixed", "--json")["policies"]
    alone = run("replay", tiny, "--policy", "fixed:keep-alive=20m", "--json")
    assert [each["cold_starts"] for each in both] == [4, 2]
    assert both[1]["idle_gb_h"] == alone["idle_gb_h"]


def test_a_faster_cold_start_changes_its_time_only(tiny: Path) -> None:
    before, after = (run("replay", tiny, *words, "--json") for words in ((), ("--speed-up", "total=2")))
    assert before["cold_starts"] == after["cold_starts"]
    assert after["cold_start_s"]["p99"] == before["cold_start_s"]["p99"] / 2


def test_a_run_is_the_same_bytes_and_is_not_overwritten(tiny: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("replay", tiny, "--json", "-o", tmp_path / name)
    for file in ("run.json", "subjects.parquet", "summary.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with pytest.raises(InputError, match="--force"):
        run("replay", tiny, "--json", "-o", tmp_path / "a")
    run("replay", tiny, "--json", "-o", tmp_path / "a", "--force")


def test_a_window_leaves_out_what_is_outside(tiny: Path) -> None:
    found = run("replay", tiny, "--from", "1m", "--to", "21m", "--json")
    assert (found["cold_starts"], found["invocations"]) == (2, 10)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--policy", "fixd"], "Did you mean fixed"),
        (["--policy", "fixed:keep-alive=10"], "a duration has a unit"),
        (["--policy", "fixed:size=3"], "has no parameter"),
        (["--policy", "fixed", "--policy", "fixed"], "twice"),
        (["--policy", "per-trigger", "--keep-alive", "1m"], "--keep-alive is of policies"),
        (["--level", "pod"], "level is one of"),
        (["--grain", "hour"], "grain is one of"),
        (["--from", "2d"], "holds none of the recording"),
        (["--speed-up", "scheduling=2"], "no table cold_starts"),
        (["--speed-up", "network=2"], "components are"),
        (["--concurrency", "2"], "--grain event"),
        (["--region", "R9"], "no function is in R9"),
    ],
)
def test_bad_usage_names_the_rule(tiny: Path, words: list[str], rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        CliRunner().invoke(app, ["replay", str(tiny), *words], catch_exceptions=False)
    assert getattr(raised.value, "exit_code", None) == 2


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"function": 7}, "in the table functions"),
        ({"count": -1}, "at least 0"),
        ({"window_us": 2 * MINUTE_US}, "at most a minute"),
        ({"start_us": 0}, "sorted by start_us"),
    ],
)
def test_calls_that_break_a_rule_are_refused(tmp_path: Path, row: dict[str, int], rule: str) -> None:
    good = {"start_us": MINUTE_US, "window_us": MINUTE_US, "function": 0, "count": 1}
    trace = write_trace(tmp_path / "trace", [{"function": 0, "name": "f"}], [good, {**good, **row}])
    with pytest.raises(InputError, match=rule):
        CliRunner().invoke(app, ["replay", str(trace)], catch_exceptions=False)
