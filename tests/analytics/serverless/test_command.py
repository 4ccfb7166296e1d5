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


def test_compare_meets_each_policy_at_no_more_memory(tiny: Path, tmp_path: Path) -> None:
    words = ["compare", tiny, "--against", "fixed", "--against", "hybrid", "--plot", tmp_path / "f.svg", "--json"]
    found, again = run(*words), run(*words, "--force")
    assert found["frontiers"] == again["frontiers"]
    assert found["equal_memory"] == again["equal_memory"]
    assert len(found["equal_memory"]) + len(found["unmet"]) == 2
    for meeting in found["equal_memory"]:
        memory = meeting["metrics"]["idle_gb_h"]
        assert memory["candidate"] <= memory["against"]
        assert memory["difference"] == pytest.approx(memory["candidate"] - memory["against"])
    assert "idle memory, GB h" in (tmp_path / "f.svg").read_text()
    with pytest.raises(InputError, match="--force"):
        run(*words)


def test_a_cache_keeps_busy_pods_and_evicts_the_cheapest(tmp_path: Path) -> None:
    rows = [
        {"function": n, "name": name, "memory_mib": 512.0, "duration_us": 0, "max_duration_us": cost * 1_000_000}
        for n, (name, cost) in enumerate((("cheap", 1), ("dear", 9), ("new", 5)))
    ]
    calls = [
        {"start_us": minute * MINUTE_US, "window_us": MINUTE_US, "function": n, "count": 1}
        for minute, n in ((0, 0), (0, 1), (5, 2), (6, 1), (7, 0))
    ]
    trace = write_trace(tmp_path / "trace", rows, calls)
    found = run("replay", trace, "--policy", "greedy-dual:memory=1Gi", "--json", "-o", tmp_path / "run")
    # At 5 "cheap" goes for "new", at 7 "new" goes for "cheap", which is cold again; "dear" stays warm.
    assert found["cold_starts"] == 4
    assert found["idle_gb_h"] == pytest.approx(0.5 / 60 * (4 + 5 + 1 + 1))


def test_calls_of_one_pod_overlap_up_to_its_concurrency(tmp_path: Path) -> None:
    rows = [
        {"function": 0, "name": "f", "memory_mib": 1024.0, "duration_us": 10_000_000, "max_duration_us": 12_000_000}
    ]
    calls = [
        {"start_us": second * 1_000_000, "window_us": 0, "function": 0, "count": count}
        for second, count in ((0, 1), (5, 2), (8, 1), (60, 1))
    ]
    trace = write_trace(tmp_path / "trace", rows, calls)
    alone, shared = (
        run("replay", trace, "--grain", "event", "--concurrency", places, "--json", "--keep-alive", "1m")
        for places in (1, 2)
    )
    # Alone: the calls at 0, 5, 5 and 8 find nothing free. Shared: that at 5 joins the pod of 0, its twin does not, and
    # that at 8 joins the new pod only when it is ready, at 7.
    assert (alone["cold_starts"], shared["cold_starts"]) == (4, 2)


@pytest.mark.parametrize("policy", ["oracle", "greedy-dual"])
def test_what_needs_minutes_says_so_at_event_grain(tiny: Path, policy: str) -> None:
    with pytest.raises(InputError, match="--grain minute"):
        run("replay", tiny, "--grain", "event", "--policy", policy)


def test_calls_one_by_one_and_by_window_all_count(tmp_path: Path) -> None:
    calls = [
        {"start_us": MINUTE_US + second * 1_000_000, "window_us": window, "function": 0, "count": count}
        for second, window, count in ((0, MINUTE_US, 2), (5, 0, 1), (9, 0, 1))
    ]
    rows = [{"function": 0, "name": "f", "memory_mib": 1024.0, "duration_us": 2_000_000, "max_duration_us": 4_000_000}]
    trace = write_trace(tmp_path / "trace", rows, calls)
    minute, event = (run("replay", trace, "--grain", grain, "--json") for grain in ("minute", "event"))
    assert minute["invocations"] == event["invocations"] == 4
    assert event["cold_starts"] == 1  # at 60, 65, 69 and 90 s, the second when the first, from 62 to 64 s, is over
