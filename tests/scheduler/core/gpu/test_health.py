from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.hazard import MEASURED
from scheduler.core.gpu.health import (
    NodeHistory,
    Quarantine,
    Wish,
    judge_node,
    judge_nodes,
    open_signals,
    step_quarantine,
)
from scheduler.core.gpu.signals import Signal

HOUR = 3600.0
NOW = 1e9


def a_signal(node: str = "n1", **changes: Any) -> Signal:
    usual = Signal(NOW - 60, node, None, "gpu", "fatal", "xid-79", "kernel-log", "", True)
    return dataclasses.replace(usual, **changes)


def test_a_node_nobody_complains_about_is_healthy() -> None:
    health = judge_node("n1", [a_signal("n2")], NOW)
    assert (health.state, health.reasons, health.usable_gpus(8)) == ("healthy", (), 8)
    assert health.score == pytest.approx(np.exp(-24 * MEASURED.per_h[-1]))


def test_probation_decays_with_the_time_since_repair() -> None:
    def score(hours: float) -> float:
        return judge_node("n1", [], NOW, NodeHistory(NOW - hours * HOUR)).score

    scores = [score(hours) for hours in (0.1, 0.5, 1, 3, 12, 48, 100, 400, 2000)]
    assert scores == sorted(scores)
    assert scores[0] < 0.85 < 0.99 < scores[-1]
    steps = np.array([score(hours) for hours in np.geomspace(0.1, 2000, 300)])
    assert np.diff(steps).max() < 0.02  # no edge where an age class begins
    assert judge_node("n1", [], NOW, NodeHistory(NOW - HOUR)).state == "probation"
    assert judge_node("n1", [], NOW, NodeHistory(NOW - 2000 * HOUR)).state == "healthy"


def test_many_old_faults_do_not_lower_the_score() -> None:
    long_ago = NOW - 3000 * HOUR
    once, often = (judge_node("n1", [], NOW, NodeHistory(long_ago, count)) for count in (1, 14))
    assert once.score == often.score
    assert often.past_faults == 14


@pytest.mark.parametrize(
    ("severity", "state", "factor"),
    [("info", "healthy", 1.0), ("warning", "warning", 0.9), ("degraded", "degraded", 0.5), ("fatal", "faulty", 0.0)],
)
def test_the_worst_open_signal_decides(severity: Any, state: str, factor: float) -> None:
    well = judge_node("n1", [], NOW).score
    health = judge_node("n1", [a_signal(severity="info", code="a"), a_signal(severity=severity)], NOW)
    assert health.state == state
    assert health.score == pytest.approx(factor * well)
    assert health.usable_gpus(8) == (0 if state == "faulty" else 8)


def test_a_broken_gpu_leaves_the_node_what_it_has() -> None:
    health = judge_node("n1", [a_signal(gpu=3), a_signal(gpu=3, code="xid-48"), a_signal(gpu=5)], NOW)
    assert (health.state, health.broken_gpus, health.usable_gpus(8)) == ("degraded", frozenset({3, 5}), 6)
    assert health.score == pytest.approx(judge_node("n1", [], NOW).score)


def test_a_fault_of_more_than_a_gpu_takes_the_node_whatever_gpu_reported_it() -> None:
    assert judge_node("n1", [a_signal(gpu=3, component="nvswitch")], NOW).usable_gpus(8) == 0


def test_a_signal_is_closed_by_a_later_one_of_the_same_monitor_only() -> None:
    told = a_signal(time_s=10.0)
    assert open_signals([told, a_signal(time_s=11.0, is_open=False)]) == []
    assert open_signals([a_signal(time_s=9.0, is_open=False), told]) == [told]
    assert open_signals([told, a_signal(time_s=11.0, is_open=False, source="dcgm-exporter")]) == [told]


def test_nodes_are_judged_by_name_whoever_names_them() -> None:
    found = judge_nodes([a_signal("b")], NOW, {"c": NodeHistory(NOW - HOUR, 2), "a": NodeHistory()})
    assert {name: health.state for name, health in found.items()} == {"a": "healthy", "b": "faulty", "c": "probation"}
    assert list(found) == ["a", "b", "c"]


def a_wish(node: str, urgency: float = 0.0, for_s: float = 3600.0) -> Wish:
    return Wish(node, "test", for_s, urgency)


def test_the_breaker_lets_the_worst_tenth_pass_and_the_rest_wait() -> None:
    wishes = [a_wish(f"n{i:02}", urgency=i) for i in range(5)]
    first = step_quarantine(Quarantine(), 0.0, 30, wishes)
    assert first.taken == ("n02", "n03", "n04")
    assert [wish.node for wish in first.deferred] == ["n01", "n00"]
    soon = step_quarantine(first.quarantine, 599.0, 30, first.deferred)
    assert soon.taken == ()
    later = step_quarantine(soon.quarantine, 600.0, 30, soon.deferred)
    assert later.taken == ("n00", "n01")


def test_a_quarantine_ends_by_itself_and_a_second_wish_prolongs_it_without_counting() -> None:
    held = step_quarantine(Quarantine(), 0.0, 10, [a_wish("a", for_s=100)]).quarantine
    again = step_quarantine(held, 50.0, 10, [a_wish("a", for_s=100)])
    assert (again.taken, again.deferred) == ((), ())
    assert step_quarantine(again.quarantine, 149.0, 10, []).released == ()
    over = step_quarantine(again.quarantine, 150.0, 10, [])
    assert over.released == ("a",)
    assert over.quarantine.until_s == {}


def test_a_quarantine_without_end_is_refused() -> None:
    with pytest.raises(StowageInputError, match="ends"):
        step_quarantine(Quarantine(), 0.0, 10, [a_wish("a", for_s=float("inf"))])
    with pytest.raises(StowageInputError, match="breaker"):
        Quarantine(most_share=0.0)


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.floats(0, 400), st.lists(st.integers(0, 59), max_size=12)), min_size=1, max_size=25),
)
def test_no_window_of_ten_minutes_ever_sees_more_than_a_tenth(fleet: int, turns: list[tuple[float, list[int]]]) -> None:
    held, now_s, entries = Quarantine(), 0.0, []
    waiting: tuple[Wish, ...] = ()
    for wait_s, nodes in turns:
        now_s += wait_s
        step = step_quarantine(held, now_s, fleet, [*waiting, *(a_wish(f"n{i}", i, 300.0) for i in set(nodes))])
        held, waiting = step.quarantine, step.deferred
        entries += [now_s] * len(step.taken)
    for start in entries:
        assert sum(start <= at < start + 600 for at in entries) <= max(1, fleet // 10)
