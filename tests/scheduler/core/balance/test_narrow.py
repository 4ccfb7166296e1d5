"""The model of counts against trying every placement."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.balance import loops
from scheduler.core.balance.bounds import find_floor
from scheduler.core.balance.narrow import cover_with, solve_narrow
from scheduler.core.balance.problem import Budget
from scheduler.core.balance.scan_loop import scan_all
from scheduler.core.balance.search import begin
from scheduler.core.balance.validator import broken_rules, measure
from tests.scheduler.core.balance.instances import a_random_instance, an_instance


def least_of_all(search):
    """The least sums of all placements."""
    at, totals = search.best.copy(), search.totals.copy()
    start = loops.make_state(search.columns, search.instance.home)
    steps = 10_000_000
    assert scan_all(search.columns, start, at, totals, np.full(1, 2**62, np.int64), steps) < steps
    return totals.tolist()


def alike(seed, nodes=3, tasks=7):
    """Tasks that all run, of few sizes, so that a kind has several, some in groups that ask for different nodes."""
    rng = np.random.default_rng(seed)
    sizes, costs = [(2, 3), (3, 1), (1, 1)], [4, 4, 1]
    rows = []
    for _ in range(tasks):
        size = int(rng.integers(3))
        group = int(rng.integers(2)) if rng.random() < 0.4 else -1
        pinned = bool(rng.random() < 0.1)
        row = {"use": sizes[size], "home": int(rng.integers(nodes)), "cost": costs[size]}
        rows.append({**row, "group": group, "pinned": pinned, "mask": int(rng.integers(2))})
    allowed = [[True] * nodes, (rng.random(nodes) < 0.7).tolist()]
    return an_instance(rng.integers(5, 9, (nodes, 2)).tolist(), rows, allowed=allowed)


@pytest.mark.parametrize("make", [a_random_instance, alike])
def test_what_it_finds_and_what_it_proves_agree_with_all_placements(make):
    stable = closed = risen = 0
    for seed in range(60):
        instance = make(seed)
        floor = find_floor(instance, seed)
        if not floor.covers:
            continue
        search = begin(instance, Budget(10.0), seed, floor)
        least = least_of_all(search)
        for slack in (0, 2, 100):
            answered = solve_narrow(search, slack, 1.0)
            assert broken_rules(instance, search.best) == []
            assert measure(instance, search.best)[:3] == tuple(search.totals.tolist())
            assert least <= search.totals.tolist()
            if least[0] == 0 and least[1] == 0:
                assert search.bound.cost <= least[2]
        stable += least[0] == 0
        risen += least[0] == 0 and search.bound.cost > floor.bound.cost
        if least[0] == 0 and (instance.home >= 0).all():
            assert answered
            assert search.totals.tolist() == least
            assert search.bound.cost == least[2]
            closed += 1
    assert stable >= 5
    assert closed or make is a_random_instance
    assert risen


def test_a_task_of_a_well_node_makes_room_and_no_cheaper_answer_is_left():
    tasks = [{"use": (6, 1), "home": 0, "cost": 5}, {"use": (6, 1), "home": 0, "cost": 5}]
    tasks += [{"use": (4, 1), "home": 1, "cost": 1}]
    instance = an_instance([(10, 9), (9, 9)], tasks)
    search = begin(instance, Budget(1.0), 0, find_floor(instance, 0))
    assert solve_narrow(search, 0, 1.0)
    assert (search.totals[0] > 0, search.bound.cost) == (True, 6)  # the cover alone, 5, finds no room
    assert solve_narrow(search, 1, 1.0)
    assert search.totals.tolist() == [0, 0, 6]
    assert search.is_closed


def test_covers_with_a_task_cost_no_less_than_said():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        cost, use = rng.integers(1, 20, 6), rng.integers(0, 9, (6, 2))
        excess = np.array([int(rng.integers(1, 12)), int(rng.integers(-3, 8))])
        taken = (np.arange(64)[:, None] >> np.arange(6)) & 1
        is_cover = ((taken @ use >= excess) | (excess <= 0)).all(axis=1)
        for t, said in enumerate(cover_with(cost, use, excess)):
            with_t = is_cover & (taken[:, t] == 1)
            assert not with_t.any() or said <= (taken @ cost)[with_t].min()
