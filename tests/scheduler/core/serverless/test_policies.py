"""What each policy says in cases that a reader can work out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless import get_serverless_policy, serverless_policy_names
from scheduler.core.serverless.forecast import forecast_next
from scheduler.core.serverless.greedy_dual import priority
from scheduler.core.serverless.policy import FACTS, MAX_WINDOWS, TRIGGERS, trigger_group

MIN = 60_000_000
HOUR = 60 * MIN
FAR = 100 * HOUR


def windows_after(
    name: str, idle_min: Sequence[float], trigger: str = "http", horizon_us: int = FAR, **settings: float
) -> list[tuple[float, float]]:
    """The windows in minutes, of a subject of 1 GiB and 2 s cold start, after it was idle so long each time."""
    policy = get_serverless_policy(name)
    facts = np.zeros((1, FACTS))
    facts[0] = (TRIGGERS.index(trigger), 1.0, 2_000_000)
    state = np.zeros((1, policy.state_width), np.int64)
    values = np.array(policy.settings({key.replace("_", "-"): value for key, value in settings.items()}))
    now_us = 0
    for idle in (-1.0, *idle_min):
        idle_us = round(idle * MIN) if idle >= 0 else -1
        now_us += max(idle_us, 0) + MIN
        if policy.learn is not None:
            policy.learn(values, facts, state, 0, now_us, idle_us)
    out = np.zeros((MAX_WINDOWS, 2), np.int64)
    assert policy.decide is not None
    count = policy.decide(values, facts, state, 0, now_us, horizon_us, out)
    return [(first / MIN, last / MIN) for first, last in out[:count].tolist()]


def test_fixed_keeps_from_the_start_on() -> None:
    assert windows_after("fixed", [], keep_alive=7 * MIN) == [(0, 7)]


def test_per_trigger_keeps_each_group_its_own_time() -> None:
    times = {"timer": 2 * MIN, "queue": 30 * MIN}
    assert windows_after("per-trigger", [], trigger="timer", **times) == [(0, 2)]
    assert windows_after("per-trigger", [], trigger="queue", **times) == [(0, 30)]
    assert windows_after("per-trigger", [], trigger="event", **times) == [(0, 10)]


def test_hybrid_without_history_keeps_the_whole_range() -> None:
    assert windows_after("hybrid", []) == [(0, 240)]


def test_hybrid_does_not_trust_a_flat_histogram() -> None:
    # One idle time of every length: all bins equal, CV 0. Of every tenth length: CV 3.
    assert windows_after("hybrid", range(240)) == [(0, 240)]
    assert windows_after("hybrid", range(0, 240, 10)) != [(0, 240)]


def test_hybrid_unloads_to_the_head_and_keeps_to_the_tail() -> None:
    # 5th percentile in bin 20, 99th in bin 40: load at 20 x 0.9, unload at (40 + 1) x 1.1.
    assert windows_after("hybrid", [20] * 10 + [40] * 10) == [pytest.approx((18, 45.1))]


def test_hybrid_with_a_head_of_zero_never_unloads() -> None:
    assert windows_after("hybrid", [0] * 10 + [5] * 10) == [pytest.approx((0, 6.6))]


def test_hybrid_forecasts_where_half_of_the_idle_times_are_out_of_bounds() -> None:
    # Always 5 h: unloaded for 4.25 h, then kept for 1.5 h.
    assert windows_after("hybrid", [300] * 8) == [pytest.approx((4.25 * 60, 5.75 * 60), rel=1e-6)]
    # Half of them: still a forecast, of 10 min, as the last ones were. Less than half: the histogram again.
    assert windows_after("hybrid", [300] * 4 + [10] * 4) == [pytest.approx((8.5, 11.5), rel=1e-4)]
    assert windows_after("hybrid", [300] * 4 + [10] * 5) == [pytest.approx((9, 12.1))]


def test_the_other_reading_trusts_regular_calls_and_keeps_the_rest_two_hours() -> None:
    assert windows_after("hybrid-iat", []) == [(0, 120)]
    assert windows_after("hybrid-iat", [30] * 5) == [pytest.approx((27, 34.1))]
    # Nineteen calls a minute apart and one after 200 minutes: CoV above 2.
    assert windows_after("hybrid-iat", [0] * 19 + [200]) == [(0, 120)]
    assert windows_after("hybrid", [0] * 19 + [200]) != [(0, 120)]


def test_timers_load_just_before_the_known_distance() -> None:
    assert windows_after("timers", [59, 59]) == [(0, 10)]
    assert windows_after("timers", [59, 59, 59]) == [(59, 60)]
    assert windows_after("timers", [59, 59], trigger="timer") == [(59, 60)]
    assert windows_after("timers", [59, 59, 7, 59]) == [(0, 10)]
    assert windows_after("timers", [58, 59, 60], tolerance=MIN) == [(59, 61)]


def test_hazard_loads_only_in_the_minutes_that_are_worth_it() -> None:
    assert windows_after("hazard", [30] * 20, price=60) == [(30, 31)]
    both = windows_after("hazard", [10] * 10 + [30] * 10, price=30)
    assert both == [(10, 11), (30, 31)]
    # Not called for 30 minutes: then it surely is, so the second window stays when the first is too dear.
    assert windows_after("hazard", [10] * 1 + [30] * 20, price=600) == [(30, 31)]


def test_hazard_knows_idle_times_of_days() -> None:
    assert windows_after("hazard", [1439] * 3, price=60) == [(1439, 1440)]
    assert windows_after("hazard", [1439] * 3 + [300] * 3, price=30) == [(300, 301), (1439, 1440)]
    # A horizon before the window's load does not change what is said of the time before.
    assert windows_after("hazard", [1439] * 3, price=60, horizon_us=20 * HOUR) == []


def test_hazard_keeps_less_at_a_higher_price() -> None:
    def kept(price: float) -> float:
        return sum(last - first for first, last in windows_after("hazard", [1, 2, 3, 5, 8, 13, 21], price=price))

    spent = [kept(price) for price in (0.1, 1, 10, 100, 10_000)]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > 240
    assert spent[-1] == 0


def test_oracles_keep_what_is_worth_its_price() -> None:
    # 30 minutes of 1 GiB are half a GB h.
    assert windows_after("oracle", [], horizon_us=30 * MIN, price=1.9) == [pytest.approx((0, 30))]
    assert windows_after("oracle", [], horizon_us=30 * MIN, price=2.1) == []
    assert windows_after("oracle", [], horizon_us=30 * MIN, price=3.9, by_time=1) == [pytest.approx((0, 30))]
    assert windows_after("oracle-pre-warm", [], horizon_us=30 * MIN, price=59) == [pytest.approx((30, 30))]
    assert windows_after("oracle-pre-warm", [], horizon_us=30 * MIN, price=61) == []


def test_greedy_dual_is_clock_plus_frequency_times_cost_over_size() -> None:
    facts = np.zeros((1, FACTS))
    facts[0] = (0, 0.5, 3_000_000)
    assert priority(np.zeros(1), facts, 0, 7.0, 4) == 7.0 + 4 * 3.0 / 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([10, 20], 15.0),
        ([300] * 10, 300.0),
        ([100, 500] * 6, 100.0),  # what alternates goes on alternating
        (list(range(100, 220, 10)), 220.0),  # what grows goes on growing
        ([7, 1, 4] * 4, 7.0),
    ],
)
def test_forecast_of_series_that_are_plain_to_see(values: list[float], expected: float) -> None:
    assert forecast_next(np.array(values, np.float64)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("trigger", "group"),
    [
        ("timer", "timer"), ("TIMER-A", "timer"), ("APIG-S", "http"), ("OBS-A", "storage"), ("queue", "queue"),
        ("workflow-S", "orchestration"), ("Kafka-A", "queue"), ("unknown", "others"), (None, "others"),
    ],
)  # fmt: skip
def test_triggers_are_sorted_into_groups(trigger: str | None, group: str) -> None:
    assert TRIGGERS[trigger_group(trigger)] == group


@pytest.mark.parametrize("name", serverless_policy_names())
def test_every_policy_explains_itself(name: str) -> None:
    policy: Any = get_serverless_policy(name)
    assert policy.name == name
    assert policy.summary.endswith(".")
    for parameter in policy.parameters:
        assert parameter.low <= parameter.default <= parameter.high
        assert parameter.help.endswith(".")


def test_wrong_parameters_are_all_listed() -> None:
    with pytest.raises(StowageInputError, match=r"cv of policy hybrid .*; policy hybrid has no parameter 'speed'"):
        get_serverless_policy("hybrid").settings({"cv": -1, "speed": 2})
