"""The state machine against a reference that knows only the rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.lifecycle import (
    ATTEMPT,
    BELIEVED,
    DEAD,
    ILLEGAL,
    NO_MACHINE,
    PENDING,
    QUEUED,
    RUNNING,
    STATES,
    TASK,
    UNSUBMITTED,
    Seats,
    compiled,
    empty_tasks,
    legal_order,
    next_state,
    record_attempts,
    whole_microseconds,
)
from traces.schema import AFTER_END_US, EVENTS

CODE = {name: code for code, name in enumerate(EVENTS)}
ENDS = {"EVICT", "FAIL", "FINISH", "KILL", "LOST"}
# The format documents' state machine, written out: every pair that is not here is illegal.
LEGAL = {
    (UNSUBMITTED, "SUBMIT"): PENDING, (DEAD, "SUBMIT"): PENDING, (PENDING, "SCHEDULE"): RUNNING,
    (PENDING, "QUEUE"): QUEUED, (PENDING, "ENABLE"): PENDING, (QUEUED, "ENABLE"): PENDING,
    (PENDING, "UPDATE_PENDING"): PENDING, (QUEUED, "UPDATE_PENDING"): QUEUED, (RUNNING, "UPDATE_RUNNING"): RUNNING,
    **{(state, end): DEAD for state in (PENDING, QUEUED, RUNNING) for end in ENDS},
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", range(len(STATES)))
def test_transitions(state: int, event: str) -> None:
    assert next_state(state, CODE[event]) == LEGAL.get((state, event), ILLEGAL)


def follow(*events: tuple[int, int, str], seats: int = 4) -> tuple[list[int], list[bool], list[str]]:
    """Order, legality and final states of (time, seat, event) rows."""
    time, seat, event = zip(*events, strict=True)
    state, scratch = np.zeros(seats, np.int8), np.zeros(seats, np.int32)
    codes = np.array([CODE[name] for name in event], np.int8)
    order, _, legal = legal_order(np.array(time), np.array(seat), codes, state, scratch)
    return order.tolist(), legal.tolist(), [STATES[number] for number in state]


def test_the_order_of_the_file_is_kept_where_it_is_legal() -> None:
    order, legal, states = follow((0, 0, "SUBMIT"), (0, 0, "SCHEDULE"), (5, 0, "EVICT"), (5, 0, "SUBMIT"))
    assert (order, legal, states[0]) == ([0, 1, 2, 3], [True] * 4, "PENDING")


def test_a_resubmission_written_before_the_eviction_comes_after_it() -> None:
    order, legal, states = follow(
        (0, 0, "SCHEDULE"), (0, 0, "SUBMIT"), (5, 0, "SCHEDULE"), (5, 0, "SUBMIT"), (5, 0, "EVICT")
    )
    assert order == [1, 0, 4, 3, 2]
    assert all(legal)
    assert states[0] == "RUNNING"


def test_a_kill_does_not_hide_the_schedule_before_it() -> None:
    order, legal, _ = follow((0, 0, "SUBMIT"), (5, 0, "KILL"), (5, 0, "SCHEDULE"))
    assert order == [0, 2, 1]
    assert all(legal)


def test_other_tasks_keep_their_places() -> None:
    order, legal, _ = follow((0, 1, "SUBMIT"), (0, 0, "SCHEDULE"), (0, 2, "SUBMIT"), (0, 0, "SUBMIT"))
    assert order == [0, 3, 2, 1]
    assert all(legal)


def test_an_illegal_event_is_counted_once_and_believed() -> None:
    _, legal, states = follow((0, 0, "SCHEDULE"), (1, 0, "UPDATE_RUNNING"), (2, 0, "FINISH"), (3, 0, "SUBMIT"))
    assert legal == [False, True, True, True]
    assert states[0] == "PENDING"


def test_many_events_of_a_task_in_one_microsecond() -> None:
    lives = ["SCHEDULE", "EVICT", "SUBMIT"] * 10
    order, legal, _ = follow((0, 0, "SUBMIT"), *((7, 0, event) for event in reversed(lives)))
    assert all(legal)
    assert sorted(order) == list(range(31))


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(EVENTS)), min_size=1, max_size=12).map(
    lambda events: sorted(events, key=lambda event: event[0])
)


def fewest_illegal(state: int, events: list[str]) -> tuple[int, int]:
    """Over all orders: the fewest illegal transitions, and the state after the first order that has them."""
    best = (len(events) + 1, state)
    for candidate in itertools.permutations(events):
        wrong, now = 0, state
        for event in candidate:
            after = LEGAL.get((now, event), ILLEGAL)
            wrong += after == ILLEGAL
            now = int(BELIEVED[CODE[event]]) if after == ILLEGAL else after
        if wrong < best[0]:
            best = (wrong, now)
    return best


@settings(max_examples=150)
@given(rows)
def test_no_order_is_more_legal(events: list[tuple[int, int, str]]) -> None:
    groups: dict[tuple[int, int], list[str]] = {}
    for time, seat, event in events:
        groups.setdefault((time, seat), []).append(event)
    if max(map(len, groups.values())) > 5:
        return
    wrong, states = 0, [UNSUBMITTED] * 3
    for (_, seat), names in sorted(groups.items()):
        illegal, states[seat] = fewest_illegal(states[seat], names)
        wrong += illegal
    order, legal, final = follow(*events, seats=3)
    assert sorted(order) == list(range(len(events)))
    assert [events[row][0] for row in order] == [time for time, _, _ in events]
    assert legal.count(False) == wrong
    assert final == [STATES[state] for state in states]


@settings(max_examples=60)
@given(rows, st.integers(1, 5))
def test_chunks_change_nothing(events: list[tuple[int, int, str]], size: int) -> None:
    columns = {
        "time_us": np.array([time for time, _, _ in events]),
        "seat": np.array([seat for _, seat, _ in events]),
        "event": np.array([CODE[event] for _, _, event in events], np.int8),
    }
    chunks = ({name: column[at : at + size] for name, column in columns.items()} for at in range(0, len(events), size))
    state, scratch = np.zeros(3, np.int8), np.zeros(3, np.int32)
    order: list[int] = []
    for chunk in whole_microseconds(chunks):
        offset = len(order)
        order += (legal_order(chunk["time_us"], chunk["seat"], chunk["event"], state, scratch)[0] + offset).tolist()
    assert order == follow(*events, seats=3)[0]


def attempts_of(*events: tuple[int, str]) -> tuple[list[tuple[int, ...]], np.void]:
    """(attempt, submit, schedule, end, event) of the attempts of one task that ended, and the task's record."""
    time = np.array([time for time, _ in events])
    codes = np.array([CODE[event] for _, event in events], np.int8)
    seat, state, scratch = np.zeros(len(events), np.int64), np.zeros(1, np.int8), np.zeros(1, np.int32)
    tasks, closed = empty_tasks(1), np.empty(len(events), ATTEMPT)
    order, before, _ = legal_order(time, seat, codes, state, scratch)
    machine = np.full(len(events), 9, np.int64)
    ended = record_attempts(order, before, time, seat, codes, machine, tasks, closed)
    fields = ("attempt", "submit_us", "schedule_us", "end_us", "end")
    return [tuple(int(row[field]) for field in fields) for row in closed[:ended]], tasks[0]


def test_attempts_and_the_run_time_of_the_last_that_was_not_evicted() -> None:
    ended, task = attempts_of(
        (1, "SUBMIT"), (2, "SCHEDULE"), (10, "FAIL"), (10, "SUBMIT"), (12, "SCHEDULE"), (15, "EVICT"), (15, "SUBMIT")
    )
    assert ended == [(0, 1, 2, 10, CODE["FAIL"]), (1, 10, 12, 15, CODE["EVICT"])]
    assert (task["attempts"], task["open"], task["run_us"], task["first_submit_us"]) == (3, 1, 8, 1)
    assert task["machine"] == NO_MACHINE


def test_a_task_never_submitted_has_an_attempt_from_its_first_sign_of_life() -> None:
    ended, task = attempts_of((5, "SCHEDULE"), (9, "FINISH"))
    assert ended == [(0, 5, 5, 9, CODE["FINISH"])]
    assert task["run_us"] == 4


def test_a_task_scheduled_anew_while_it_ran_lost_the_end_of_its_attempt() -> None:
    ended, task = attempts_of((1, "SUBMIT"), (2, "SCHEDULE"), (7, "SCHEDULE"), (9, "KILL"))
    assert ended == [(0, 1, 2, 7, CODE["LOST"]), (1, 7, 7, 9, CODE["KILL"])]
    assert task["attempts"] == 2


def test_an_end_after_the_trace_leaves_the_run_time_open() -> None:
    ended, task = attempts_of((1, "SUBMIT"), (2, "SCHEDULE"), (AFTER_END_US, "FINISH"))
    assert ended == [(0, 1, 2, AFTER_END_US, CODE["FINISH"])]
    assert task["run_us"] == -1


def test_seats() -> None:
    seats = Seats.of(np.array([70, 7, 8]), np.array([2, 0, 4]))
    assert seats.count == 9
    job = np.array([7, 7, 8, 8, 70, 70, 71, 1])
    index = np.array([0, 1, 4, 5, 0, 2, 0, 0], np.int32)
    assert seats.find(job, index).tolist() == [0, -1, 5, -1, 6, 8, -1, -1]
    assert seats.job[seats.jobs_of(np.arange(9))].tolist() == [7, 8, 8, 8, 8, 8, 70, 70, 70]


def test_a_task_record_is_one_cache_line() -> None:
    assert TASK.itemsize == 64


def test_it_compiles_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert compiled(lambda number: number + 1)(1) == 2
