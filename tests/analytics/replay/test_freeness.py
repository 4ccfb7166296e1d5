"""Freeness in a replay: overloaded nodes give, nodes are made free for who waits, drained ones are switched off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_traces import random_case
from replays import load, placements_of
from small_traces import S, SmallTrace, ran
from test_migrating import check_books

from analytics.replay import drive
from analytics.replay.freeness import FreenessPlanner
from analytics.replay.running import Running
from analytics.replay.state import SUBMITTED, WAITING
from scheduler.core.policies import get_policy
from scheduler.core.policies.parameters import read_settings

pytestmark = pytest.mark.usefixtures("few_slices")
# 80 Mbit/s are 10 MB/s; 100 MiB take 10.5 s
QUIET = {"interval_s": "30", "bandwidth_mbit_s": "80", "dirty_mib_s": "0", "stop_mib": "0", "resume_s": "0"}


def run(
    folder: Path, trace: SmallTrace, until: float = 1000, **settings: str
) -> tuple[list[tuple[float | int | None, ...]], dict[str, int]]:
    """(submit, start, end, node, ...) of every task, and the counters."""
    policy = get_policy("freeness")
    given = load(trace.write(folder / "trace", (0, until)))
    chosen = read_settings(policy.name, policy.parameters, (QUIET | settings).items())
    outcome = drive.replay(given, policy, False, 0, 10 * S, settings=chosen)
    placed = placements_of(given)
    return [placed[task, 0].in_seconds() for task in range(len(trace.tasks))], outcome.counters


def machines(*cores: int) -> SmallTrace:
    trace = SmallTrace()
    for machine, cpu in enumerate(cores, 1):
        trace.machine(machine, cpu=1000 * cpu, memory=65536)
    return trace


def test_an_overloaded_node_gives_until_it_is_not_and_then_all_stays(tmp_path: Path) -> None:
    trace = machines(4, 9)
    for job in range(6):
        trace.task(ran(0, 0, 900, on=1), job=job, cpu=1000, memory=100)
    placed, counters = run(tmp_path, trace)
    assert sorted(row[3] for row in placed) == [1, 1, 1, 1, 2, 2]
    assert counters["migrations"] == 2
    assert {row[2] for row in placed} == {900}


def test_a_node_is_made_free_for_a_task_that_fits_nowhere_and_others_keep_off(tmp_path: Path) -> None:
    trace = machines(4, 4, 4)
    for job, (machine, cpu) in enumerate([(1, 2000), (2, 2000), (3, 3000)]):
        trace.task(ran(0, 0, 900, on=machine), job=job, cpu=cpu, memory=100)
    trace.task(ran(5, 5, 900, on=3), job=8, cpu=4000, memory=100)
    trace.task(ran(35, 35, 900, on=3), job=9, cpu=2000, memory=100)
    placed, counters = run(tmp_path, trace, high="0")
    assert placed[3][1] == 60  # the first round moves, the second starts it
    assert placed[3][3] == 1
    assert placed[0][3] == 2
    assert placed[4][1] is None or placed[4][1] >= 900  # it would have found room on the node that is being freed
    assert (counters["nodes_freed"], counters["migrations"]) == (1, 1)
    held_back, without = run(tmp_path / "none", trace, high="0", heads="0")
    assert (held_back[3][1], without["nodes_freed"]) == (900, 0)
    assert held_back[4][1] == 35


def test_headroom_moves_others_away_from_an_important_task(tmp_path: Path) -> None:
    trace = machines(4, 9)
    trace.task(ran(0, 0, 900, on=1), job=1, cpu=1000, memory=100, priority=10)
    for job in (2, 3, 4):
        trace.task(ran(0, 0, 900, on=1), job=job, cpu=1000, memory=100)
    assert [row[3] for row in run(tmp_path, trace)[0]] == [1, 1, 1, 1]
    placed, counters = run(tmp_path / "headroom", trace, headroom="0.25")
    assert placed[0][3] == 1
    assert sorted(row[3] for row in placed[1:]) == [1, 1, 2]
    assert counters["migrations"] == 1


def test_idle_nodes_are_drained_and_switched_off_and_taken_back_for_who_waits(tmp_path: Path) -> None:
    trace = machines(4, 4, 4)
    for machine in (1, 2, 3):
        trace.task(ran(0, 0, 900, on=machine), job=machine, cpu=1000, memory=100)
    # 3 each; two nodes with 3 tasks are 2.5 on average, one has 1
    _, counters = run(tmp_path, trace, until=301, drain="2")
    assert (counters["drained"], counters["migrations"]) == (1, 1)
    assert counters["off_node_seconds"] == 301 - 30  # it drains at 0 and is empty at 30
    for job in range(4, 10):
        trace.task(ran(200, 200, 900, on=1), job=job, cpu=1000, memory=100)
    placed, counters = run(tmp_path / "later", trace, until=301, drain="2")
    assert counters["taken_back"] == 1
    assert {row[1] for row in placed[3:]} <= {200, 210}
    _, never = run(tmp_path / "never", trace, until=301)
    assert (never["drained"], never["off_node_seconds"]) == (0, 0)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_trace_books_are_right_no_task_is_lost_and_the_same_seed_gives_the_same(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = random_case(seed)
    trace = case.trace.write(tmp_path / "trace", tuple(time_us / S for time_us in case.window_us))
    policy = get_policy("freeness")
    chosen = {"interval_s": "7", "drain": "2", "fill": "1", "headroom": "0.1", "low": "0.5", "important": "5"}
    settings = read_settings(policy.name, policy.parameters, (QUIET | chosen).items())
    seen: list[Running] = []

    class Watched(FreenessPlanner):
        def act(self, running: Running, now_us: int) -> None:
            super().act(running, now_us)
            check_books(running, now_us)
            barred = self.draining | np.isin(np.arange(len(self.draining)), list(self.kept_for.values()))
            assert now_us >= running.given.window_us[1] or (running.ranking.barred == barred).all()
            seen.append(running)

    monkeypatch.setattr(drive, "new_planner", lambda running, policy, settings: Watched(running, policy, settings))
    found = []
    for _ in range(2):
        given = load(trace, **case.options)
        outcome = drive.replay(given, policy, False, 0, 10 * S, settings=settings)
        found.append((placements_of(given), outcome.counters))
        tasks = seen[-1].given.tasks
        current = tasks.first_attempt[:-1] + tasks.ordinal
        alive = given.attempts.status[np.minimum(current, len(given.attempts.status) - 1)] == SUBMITTED
        assert ((tasks.node[alive] >= 0) | (tasks.node[alive] == WAITING)).all()
    assert found[0] == found[1]
