"""What an overloaded node wants to be rid of, beside the cheapest set there is."""

from __future__ import annotations

import itertools

import numpy as np

from scheduler.core.balance.agents.offload import MOST, pick_tasks
from scheduler.core.balance.agents.world import make_books
from tests.scheduler.core.balance.agents.worlds import a_world


def pick(books):
    picked = np.zeros(MOST, np.int32)
    return picked[: pick_tasks(books, 0, np.zeros(books.capacity.shape[1], np.int64), picked)].tolist()


def a_full_node(seed):
    rng = np.random.default_rng(seed)
    tasks = [{"demand": rng.integers(0, 9, 2).tolist(), "home": 0, "cost": int(rng.integers(1, 20))} for _ in range(10)]
    return make_books(a_world([rng.integers(15, 40, 2).tolist()], tasks))


def cheapest(books):
    excess = books.load[0] - books.capacity[0]
    sets = itertools.chain.from_iterable(itertools.combinations(range(10), size) for size in range(11))
    covers = (one for one in sets if (books.demand[list(one)].sum(axis=0) >= excess).all())
    return min(sum(books.cost[t] for t in one) for one in covers)


def test_what_is_picked_cures_the_node_at_nearly_the_least_cost():
    ratios = []
    for seed in range(60):
        books = a_full_node(seed)
        chosen = pick(books)
        if not chosen:
            assert (books.load[0] <= books.capacity[0]).all()
            continue
        assert len(set(chosen)) == len(chosen)
        assert (books.load[0] - books.demand[chosen].sum(axis=0) <= books.capacity[0]).all()
        ratios.append(sum(books.cost[t] for t in chosen) / cheapest(books))
    assert len(ratios) > 40
    assert 1.0 <= np.mean(ratios) < 1.06
    assert np.median(ratios) == 1.0


def test_one_task_that_covers_all_is_taken_where_it_is_cheaper():
    tasks = [
        {"demand": [5], "home": 0, "cost": 3},
        {"demand": [4], "home": 0, "cost": 2},
        {"demand": [4], "home": 0, "cost": 2},
    ]
    assert pick(make_books(a_world([[8]], tasks))) == [0]


def test_tasks_on_their_way_count_as_gone():
    books = make_books(a_world([[8]], [{"demand": [5], "home": 0}, {"demand": [5], "home": 0}]))
    assert pick(books) == [0]
    books.request[1] = 7
    assert pick(books) == []
    books.request[1] = -1
    books.leaving[0, 0] = 2
    assert pick(books) == []


def test_where_nothing_cures_it_all_that_help_are_picked():
    tasks = [{"demand": [9], "home": 0, "movable": False}, {"demand": [3], "home": 0}, {"demand": [0], "home": 0}]
    assert pick(make_books(a_world([[8]], tasks))) == [1]
