"""The agents against the reference of their rules, and what they answer where nothing can be done."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from scheduler.core.balance.agents.desk import F_HELD, F_PLACED, F_REJECTED, F_RELEASED, TIMERS
from scheduler.core.balance.agents.settings import Settings
from scheduler.core.balance.agents.simulate import FIRST_ROWS, Agents, Outcome, simulate
from scheduler.core.balance.agents.validator import broken_rules
from scheduler.core.balance.agents.world import FINISHED, make_books
from scheduler.core.balance.problem import WAITING
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.balance.agents.worlds import a_random_world, a_world

QUICK = {"staleness_s": 0.1, "check_s": 0.2, "lease_s": 0.03}


def run(world, rows=(), at_us=None, window_s=2.0, seed=0, **settings) -> Outcome:
    rows = np.array(rows, np.int32)
    times = np.zeros(len(rows), np.int64) if at_us is None else np.array(at_us, np.int64)
    rules = Settings(**(QUICK | settings))
    outcome = simulate(world, times, rows, window_s, rules, seed, keeps_log=True)
    assert broken_rules(world, rules, outcome) == []
    return outcome


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("failure", [0.0, 0.05])
def test_random_runs_keep_every_rule_and_lose_nobody(loss, failure):
    seen = Counter()
    for seed in range(30):
        world, times, rows = a_random_world(seed)
        depth = seed % 4
        outcome = run(world, rows, times, seed=seed, loss=loss, node_failure=failure, depth=depth)
        assert outcome.counters["longest_chain"] <= depth
        assert ((outcome.home >= 0) | (outcome.home == WAITING) | (outcome.home == FINISHED)).all()
        assert len(outcome.reasons) == len(outcome.waiting)
        seen.update(outcome.counters)
    assert min(seen[name] for name in ("placed", "migrated", "collisions", "forced", "stayed", "unplaced")) > 0
    assert (seen["messages_lost"] > 0) == (loss > 0)
    assert (seen["leases_expired"] > 0) == (loss > 0)
    assert seen["restarted"] > 0  # a node may be down from the start


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    world, times, rows = a_random_world(1)
    rules = Settings(**QUICK, loss=0.2, node_failure=0.1)
    first, again, other = (simulate(world, times, rows, 2.0, rules, seed, keeps_log=True) for seed in (5, 5, 6))
    assert first.facts.tobytes() == again.facts.tobytes()
    assert (first.home.tobytes(), first.moves.tobytes()) == (again.home.tobytes(), again.moves.tobytes())
    assert first.counters == again.counters
    assert first.facts.tobytes() != other.facts.tobytes()


def test_an_overloaded_node_is_cured_by_its_cheapest_task():
    world = a_world(
        [[10], [10]],
        [{"demand": [6], "home": 0, "cost": 5}, {"demand": [4], "home": 0, "cost": 2}, {"demand": [3], "home": 0}],
    )
    outcome = run(world)
    assert outcome.home.tolist() == [0, 0, 1]
    assert outcome.overloaded == 0
    assert (outcome.counters["migrated"], outcome.counters["messages"]) == (1, 8)


def test_a_new_task_costs_two_messages_for_each_candidate_and_six_more():
    outcome = run(a_world([[10]] * 5, [{"demand": [1]}]), [0], candidates=3)
    assert outcome.moves[0, 5] == outcome.counters["messages"] == 12


def test_two_that_want_the_last_room_collide_and_one_waits_with_a_reason():
    world = a_world([[10], [1]], [{"demand": [6]}, {"demand": [6]}])
    for seed in range(20):
        outcome = run(world, [0, 1], seed=seed, depth=0)
        assert sorted(outcome.home.tolist()) == [WAITING, 0]
        assert outcome.reasons == ("no node has room",)
        if outcome.counters["collisions"]:
            return
    raise AssertionError("20 seeds without a collision")


def test_of_one_instant_the_more_important_task_asks_first():
    world = a_world([[10]], [{"demand": [6]}, {"demand": [6], "priority": 3}])
    firsts = [run(world, [0, 1], seed=seed, depth=0, latency_s=1e-6).home.tolist() for seed in range(8)]
    assert [WAITING, 0] in firsts


def test_what_is_forced_drives_others_away_no_deeper_than_the_limit():
    world = a_world([[10, 10]] * 4, [{"demand": [7, 1], "home": n} for n in range(4)] + [{"demand": [7, 1]}])
    for depth in range(5):
        outcome = run(world, [4], depth=depth, window_s=5.0)
        assert outcome.counters["longest_chain"] <= depth
        assert (outcome.home[4] == WAITING) == (depth == 0)


def test_with_full_nodes_and_a_stale_view_a_forced_task_comes_to_the_node_with_least_to_add():
    world = a_world([[10], [10]], [{"demand": [9], "home": 0}, {"demand": [5], "home": 1}, {"demand": [7]}])
    assert run(world, [2], depth=1).home[2] == 1


def test_a_move_is_forced_only_where_it_adds_less_overload_than_it_takes_away():
    full = a_world([[10], [10]], [{"demand": [6], "home": 0}, {"demand": [6], "home": 0}, {"demand": [10], "home": 1}])
    outcome = run(full)
    assert outcome.home.tolist() == [0, 0, 1]
    assert (outcome.counters["migrated"], outcome.counters["stayed"] > 0) == (0, True)
    tasks = [{"demand": [6], "home": 0} for _ in range(3)] + [{"demand": [7], "home": 1, "movable": False}]
    outcome = run(a_world([[10], [10]], tasks))  # 8 too many against 3: 2 and 3 are left
    assert sorted(outcome.home.tolist()) == [0, 0, 1, 1]
    assert (outcome.counters["migrated"], outcome.counters["forced"]) == (1, 1)


def test_groups_never_meet():
    tasks = [{"demand": [1], "group": 0} for _ in range(4)]
    outcome = run(a_world([[10]] * 3, tasks), range(4))
    assert sorted(outcome.home.tolist()) == [WAITING, 0, 1, 2]
    assert outcome.reasons[0].startswith("some node has room")


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (a_world([[10], [20]], [{"demand": [21]}]), "it asks for more than any node has"),
        (a_world([[10], [20]], [{"demand": [5]}], up=[False, False]), "every node it may use is down"),
        (a_world([[10], [20]], [{"demand": [15], "mask": 0}], allowed=[[True, False]]), "the nodes it may use are too"),
        (a_world(np.zeros((0, 1)), [{"demand": [5]}]), "there are no nodes"),
    ],
)
def test_what_nobody_can_place_waits_with_the_reason(world, reason):
    outcome = run(world, [0])
    assert outcome.home.tolist() == [WAITING]
    assert outcome.reasons[0].startswith(reason)
    assert outcome.counters["unplaced"] == 1


def test_where_nothing_is_stable_the_window_ends_with_overload_and_few_messages():
    world = a_world([[10], [10]], [{"demand": [9], "home": n} for n in (0, 0, 1)])
    outcome = run(world, window_s=100.0)
    assert outcome.overloaded == 1
    assert outcome.counters["messages"] < 500  # a look at 0.2 s each would be 500 attempts


def test_all_nodes_fail_and_everything_waits():
    world, times, rows = a_random_world(3)
    outcome = run(world, rows, times, node_failure=1.0)
    assert set(outcome.home.tolist()) <= {WAITING, FINISHED}
    assert set(outcome.reasons) <= {
        "every node it may use is down",
        "the nodes it may use are too small, or there are none",
    }


def test_more_candidates_than_nodes_are_all_nodes():
    assert run(a_world([[10]] * 2, [{"demand": [1]}]), [0], candidates=32).counters["messages"] == 10


def test_pinned_tasks_stay():
    world = a_world([[10], [10]], [{"demand": [9], "home": 0, "movable": False}, {"demand": [5], "home": 0, "cost": 9}])
    assert run(world).home.tolist() == [0, 1]


def test_loads_beside_the_tasks_count():
    world = a_world([[10], [10]], [{"demand": [4], "home": 0}])
    loaded = type(world)(
        **{name: getattr(world, name) for name in world.__slots__ if name not in ("load", "requested")},
        load=np.array([[12], [0]]), requested=np.array([[4], [0]]),
    )  # fmt: skip
    outcome = simulate(loaded, np.zeros(0, np.int64), np.zeros(0, np.int32), 1.0, Settings(**QUICK))
    assert outcome.home.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda log: np.delete(log, _first(log, F_HELD), axis=0), "holds no room for it"),
        (lambda log: np.delete(log, _first(log, F_RELEASED), axis=0), "still counts task"),
        (lambda log: np.insert(log, 1 + _first(log, F_PLACED), log[_first(log, F_PLACED)], axis=0), "holds no room"),
        (lambda log: np.delete(log, _first(log, F_PLACED), axis=0), "room is still held"),
        (lambda log: _with_node(log, F_HELD, 99), "of 10"),
    ],
)
def test_the_reference_finds_a_log_that_was_changed(change, words):
    world = a_world([[10], [10]], [{"demand": [9], "home": 0}, {"demand": [5], "home": 0}])
    rules = Settings(**QUICK)
    outcome = simulate(world, np.zeros(0, np.int64), np.zeros(0, np.int32), 2.0, rules, keeps_log=True)
    assert broken_rules(world, rules, outcome) == []
    log = change(outcome.facts)
    changed = Outcome(*(log if name == "facts" else getattr(outcome, name) for name in Outcome.__slots__))
    assert any(words in one for one in broken_rules(world, rules, changed))


def _first(log, fact):
    return int(np.flatnonzero(log[:, 1] == fact)[0])


def _with_node(log, fact, task):
    """The first of those facts, once more and for the full node."""
    row = log[_first(log, fact)].copy()
    row[3], row[4] = 0, task
    return np.insert(log, _first(log, fact), row, axis=0)


def test_refused_room_is_in_the_log():
    world = a_world([[10]], [{"demand": [6]}, {"demand": [6]}])
    logs = [run(world, [0, 1], seed=seed, depth=0) for seed in range(20)]
    assert {one.counters["collisions"] for one in logs} == {int((one.facts[:, 1] == F_REJECTED).sum()) for one in logs}


@pytest.mark.parametrize(
    ("rows", "times", "words"),
    [
        ([0], [0], "runs already"),
        ([1, 1], [0, 0], "arrives twice"),
        ([1], [9_000_000], "the window from 0"),
        ([7], [0], "of 2 tasks"),
    ],
)
def test_broken_arrivals_are_refused(rows, times, words):
    world = a_world([[10]], [{"demand": [6], "home": 0}, {"demand": [6]}])
    with pytest.raises(StowageInputError, match=words):
        simulate(world, np.array(times, np.int64), np.array(rows, np.int32), 2.0)


def test_a_window_has_a_length():
    with pytest.raises(StowageInputError, match="window is 0 s"):
        simulate(a_world([[1]], [{"demand": [1]}]), np.zeros(0, np.int64), np.zeros(0, np.int32), 0.0)


def test_more_nodes_than_there_are_timers_at_first_watch_themselves():
    count = 2 * FIRST_ROWS
    world = a_world([[1]] * count, [{"demand": [2], "home": n} for n in range(count)])
    agents = Agents(make_books(world), Settings(), 0)
    agents.watch_overloaded(np.arange(count), 0)
    assert agents.desk.at[TIMERS] == count <= len(agents.desk.timer_keys)
    assert agents.desk.is_watched.all()
