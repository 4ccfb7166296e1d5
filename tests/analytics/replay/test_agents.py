"""Agents in a replay: the replay's own rules hold in every round, everybody is placed, overload goes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from random_traces import random_case
from replays import load, placements_of
from small_traces import S, SmallTrace, ran
from test_migrating import check_books

from analytics.replay import drive
from analytics.replay.agents import AgentRounds
from analytics.replay.state import WAITING
from scheduler.core.policies import get_policy
from scheduler.core.policies.parameters import read_settings

pytestmark = pytest.mark.usefixtures("few_slices")
POLICY = get_policy("agents")


class Checked(AgentRounds):
    """Looks at the books before and after every round."""

    def act(self, running, now_us):
        check_books(running, now_us)
        over = (running.given.nodes.requested > running.given.nodes.allocatable).any(axis=1)
        super().act(running, now_us)
        check_books(running, now_us)
        nodes, tasks = running.given.nodes, running.given.tasks
        now_over = (nodes.requested > nodes.allocatable).any(axis=1)
        assert not (now_over & ~over).any()  # nobody is put where there is no room
        assert nodes.up[tasks.node[tasks.node >= 0]].all()


def run(given, monkeypatch, seed=0, **settings):
    chosen = read_settings("agents", POLICY.parameters, settings.items())
    monkeypatch.setattr(drive, "new_planner", Checked)
    return drive.replay(given, POLICY, False, seed, 10 * S, settings=chosen)


def test_random_replays_keep_the_rules_and_repeat_themselves(tmp_path: Path, monkeypatch) -> None:
    placed = 0
    for seed in range(12):
        loss = ("0", "0.2")[seed % 2]
        case = random_case(seed)
        opens, closes = case.window_us
        given = load(case.trace.write(tmp_path / str(seed), (opens // S, closes // S)), **case.options)
        again = copy.deepcopy(given)
        first = run(given, monkeypatch, loss=loss)
        second = run(again, monkeypatch, loss=loss)
        assert placements_of(given) == placements_of(again)
        assert first.counters == second.counters
        placed += first.counters["placements"]
    assert placed > 100


def test_a_task_starts_in_the_round_after_it_came_where_most_room_is(tmp_path: Path, monkeypatch) -> None:
    trace = SmallTrace()
    for machine, cores in ((1, 4), (2, 16)):
        trace.machine(machine, cpu=1000 * cores, memory=65536)
    trace.task(ran(8.5, 8.5, 25, on=1), job=1, cpu=1000, memory=100)
    given = load(trace.write(tmp_path / "trace", (0, 100)))
    outcome = run(given, monkeypatch)
    assert placements_of(given)[0, 0].in_seconds()[:4] == (8.5, 9, 25.5, 2)
    assert outcome.counters["messages"] == 10


def test_who_finds_no_room_waits_and_comes_again(tmp_path: Path, monkeypatch) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=1000, memory=65536)
    for job in range(3):
        trace.task(ran(6, 6, 16, on=1), job=job, cpu=1000, memory=100)
    given = load(trace.write(tmp_path / "trace", (0, 200)))
    outcome = run(given, monkeypatch)
    starts = sorted(one.in_seconds()[1] for one in placements_of(given).values())
    assert starts[:2] == [6, 22]  # asks again after 1, 1, 2, 4 and 8 s
    assert outcome.counters["placements"] == 3


@pytest.mark.parametrize("seed", range(8))
def test_of_those_who_ask_in_one_round_the_most_important_has_the_room(seed: int, tmp_path: Path, monkeypatch) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=1000, memory=65536)
    for job, priority in enumerate((0, 2, 9, 4)):
        trace.task(ran(6, 6, 16, on=1), job=job, cpu=1000, memory=100, priority=priority)
    given = load(trace.write(tmp_path / "trace", (0, 12)))
    run(given, monkeypatch, seed=seed)
    assert [row for (row, _), one in placements_of(given).items() if one.start_us is not None] == [2]


def test_an_overloaded_node_sends_a_task_away_and_is_well(tmp_path: Path, monkeypatch) -> None:
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=2000, memory=65536)
    for job in range(3):
        trace.task(ran(0, 0, 900, on=1), job=job, cpu=1000, memory=100 + job)
    given = load(trace.write(tmp_path / "trace", (1, 1000)))
    outcome = run(given, monkeypatch)
    assert (outcome.counters["migrations"], outcome.counters["migrations_failed"]) == (1, 0)
    assert sorted(one.node for one in placements_of(given).values()) == [1, 1, 2]
    assert placements_of(given)[0, 0].node == 2  # the smallest memory is the cheapest to send
    assert (given.tasks.node != WAITING).all()


@pytest.mark.parametrize("depth", [3, 0])
def test_by_use_a_task_is_forced_on_a_node_that_has_no_room_but_by_requests(
    depth: int, tmp_path: Path, monkeypatch
) -> None:
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=4000, memory=8192)
        for job in (10 * machine, 10 * machine + 1):
            trace.task(ran(0, 1, 1000, on=machine), job=job, cpu=1000, memory=512)
            trace.used(120, 130, job=job, cpu=2000)
    trace.task(ran(100, 101, 1000, on=1), job=99, cpu=1000, memory=512)
    trace.used(120, 130, job=99, cpu=500)
    given = load(trace.write(tmp_path / "trace", (0, 1200)), load="use", from_us=10 * S)
    outcome = run(given, monkeypatch, depth=depth)
    start_s = placements_of(given)[4, 0].in_seconds()[1]
    assert start_s == 100 if depth else start_s > 1000  # when others have ended
    assert outcome.counters["migrations_forced"] == (1 if depth else 0)
    assert outcome.counters["migrations"] == 0  # either node would be as overloaded as the other is


def test_every_number_of_the_agents_can_be_set_and_nothing_else() -> None:
    assert POLICY.taxonomy.control == "decentralised"
    assert {one.name for one in POLICY.parameters} >= {"brokers", "candidates", "staleness_s", "loss", "depth"}
    with pytest.raises(ValueError, match="no parameter 'node_failure'"):
        read_settings("agents", POLICY.parameters, [("node_failure", "0.1")])
