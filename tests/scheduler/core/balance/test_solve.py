"""Every method against the validator, and those that prove against trying all placements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scheduler.core.balance import metaheuristics
from scheduler.core.balance.problem import WAITING, Budget
from scheduler.core.balance.solve import METHODS, balance
from scheduler.core.balance.validator import broken_rules, measure
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.balance.instances import a_random_instance, an_instance

SEEDS = range(8)
SMALL = Budget(0.02)


def best_of_all(instance):
    """The least objective of all placements that break no rule."""
    places = range(WAITING, len(instance.nodes))
    every = (np.array(at, np.int32) for at in itertools.product(places, repeat=len(instance.tasks)))
    return min(measure(instance, at) for at in every if not broken_rules(instance, at))


@pytest.mark.parametrize("seed", SEEDS)
def test_trying_all_placements_agrees_with_full_scan_and_cp_sat(seed):
    instance = a_random_instance(seed)
    least = best_of_all(instance)
    scanned, solved = (balance(instance, method, Budget(1.0)) for method in ("full-scan", "cp-sat"))
    assert scanned.objective == least
    assert solved.objective[:3] == least[:3]
    assert scanned.verdict == solved.verdict == "optimal"


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_breaks_no_rule_harms_nothing_and_bounds_are_bounds(method):
    for seed in SEEDS:
        instance = a_random_instance(seed)
        least = best_of_all(instance)
        result = balance(instance, method, SMALL, seed)
        assert broken_rules(instance, result.at) == []
        assert result.objective == measure(instance, result.at)
        assert result.objective[:3] <= result.before[:3]
        bound = result.bound
        assert (bound.overload, bound.unplaced, bound.cost) <= least[:3]
        if result.verdict == "optimal":
            assert result.objective[:3] == least[:3]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "full-scan"])
def test_larger_instances_too_and_the_same_seed_gives_the_same_placement(method):
    instance = a_random_instance(3, nodes=12, tasks=50)
    first, second = (balance(instance, method, Budget(0.05), 4) for _ in range(2))
    assert broken_rules(instance, first.at) == []
    assert first.at.tolist() == second.at.tolist()
    assert first.objective[:3] <= first.before[:3]


def test_the_seeded_genetic_algorithm_is_not_worse_than_its_seeds(monkeypatch):
    seeds = []
    evolve = metaheuristics._evolve

    def remember(search, found):
        seeds.extend(found)
        evolve(search, found)

    monkeypatch.setattr(metaheuristics, "_evolve", remember)
    instance = a_random_instance(2, nodes=10, tasks=40)
    result = balance(instance, "seeded-genetic", Budget(0.25), 2)
    assert len(seeds) == 3
    assert result.objective[:3] <= min(measure(instance, at)[:3] for at in seeds)


def test_the_cheapest_cover_is_moved_and_proven():
    tasks = [{"use": (6, 1), "home": 0, "cost": 9}, {"use": (3, 1), "home": 0, "cost": 2}]
    tasks += [{"use": (3, 1), "home": 0, "cost": 3}]
    result = balance(an_instance([(9, 9), (9, 9)], tasks))
    assert result.at.tolist() == [0, 1, 0]
    assert (result.objective.overload, result.objective.cost, result.verdict, result.gap) == (0, 2, "optimal", 0.0)
    assert result.before.overload_nodes == pytest.approx(3 / 9)


def test_a_third_task_makes_room_where_no_node_has_it():
    tasks = [{"use": (6, 1), "home": 0, "cost": 5}, {"use": (6, 1), "home": 0, "cost": 5}]
    tasks += [{"use": (4, 1), "home": 1, "cost": 1}]
    for method in ("cover", "cp-sat", "full-scan"):
        result = balance(an_instance([(10, 9), (9, 9)], tasks), method, Budget(0.3))
        assert result.objective[:3] == (0, 0, 6), method


def test_a_task_that_waits_is_placed_only_where_there_is_room():
    instance = an_instance([(5, 5)], [{"use": (3, 1), "home": 0}, {"use": (3, 1), "priority": 4}, {"use": (2, 1)}])
    for method in METHODS:
        result = balance(instance, method, SMALL)
        assert result.at.tolist() == [0, WAITING, 0], method
        assert result.objective[:3] == (0, 5, 0)


def test_a_task_larger_than_every_node_is_left_waiting_with_the_reason():
    result = balance(an_instance([(5, 5), (6, 6)], [{"use": (7, 1)}, {"use": (1, 1), "home": 0}]))
    assert result.at.tolist() == [WAITING, 0]
    assert result.verdict == "optimal"
    assert result.reasons == ("task t0 waits and no node may take it: it asks for more than any node has",)


def test_too_much_for_all_nodes_has_no_stable_placement_and_says_so():
    instance = an_instance([(5, 5), (5, 5)], [{"use": (4, 1), "home": 0} for _ in range(3)])
    for method in METHODS:
        result = balance(instance, method, SMALL)
        assert result.objective.overload == 600_000_000_000, method
        assert (result.verdict == "optimal") == (method in ("cp-sat", "full-scan"))
        assert result.reasons[0] == "no placement is stable: running tasks use 2 cpu more than all nodes have"


def test_a_running_task_larger_than_every_node_keeps_its_node_overloaded():
    instance = an_instance([(5, 5), (4, 4)], [{"use": (7, 1), "home": 0}, {"use": (1, 1), "home": 1}])
    result = balance(instance)
    assert result.objective[:3] == (400_000_000_000, 0, 0)
    assert "tasks that cannot leave n0 use 2 cpu more than it has" in result.reasons[0]


def test_no_stable_placement_that_only_a_proof_can_tell():
    tasks = [{"use": (4, 1), "home": 0}, {"use": (4, 1), "home": 0}, {"use": (4, 1), "home": 1}]
    result = balance(an_instance([(6, 9), (6, 9)], tasks), "cp-sat")
    assert result.objective.overload == result.bound.overload == 333_333_333_334
    proven = balance(an_instance([(7, 9), (7, 9)], tasks), "full-scan")
    assert "no placement is stable: the search has proven it" in proven.reasons


def test_what_no_stable_placement_would_cost_less_than_says_nothing_where_none_is_stable():
    tasks = [{"use": (7, 7), "home": 1, "cost": 3}, {"use": (7, 7), "home": 3, "cost": 7, "pinned": True}]
    tasks += [{"use": (4, 7), "home": 2, "mask": 1}, {"use": (6, 7), "home": 0, "cost": 3, "mask": 2}]
    tasks += [{"use": (2, 4), "home": 3, "cost": 7, "mask": 2}]
    allowed = [[False] * 4, [False, False, False, True], [False, False, True, False]]
    result = balance(an_instance([(15, 6), (11, 9), (13, 12), (11, 10)], tasks, allowed=allowed), "cp-sat")
    assert (result.objective.cost, result.bound.cost, result.verdict) == (7, 7, "optimal")


def test_nothing_to_balance_is_an_answer():
    for instance in (an_instance([], []), an_instance([(1, 1)], []), an_instance([], [{"use": (1, 1)}])):
        for method in METHODS:
            result = balance(instance, method)
            assert (result.verdict, result.objective.overload) == ("optimal", 0), method
    assert balance(an_instance([], [])).reasons == ("there are no tasks: nothing to balance",)


def test_a_full_scan_of_too_much_answers_nothing_and_says_so():
    instance = a_random_instance(1, nodes=12, tasks=50)
    result = balance(instance, "full-scan", SMALL)
    assert result.verdict == "undecided"
    assert result.at.tolist() == instance.home.tolist()
    assert "the full scan is for tiny cases" in " ".join(result.reasons)


def test_a_clock_ends_a_search():
    ticks = iter(range(10_000))
    budget = Budget(1000.0, 10.0, lambda: float(next(ticks)))
    result = balance(a_random_instance(3, nodes=12, tasks=50), "tabu", budget)
    assert result.work < 100


def test_bad_input_names_the_rule():
    with pytest.raises(StowageInputError, match="no method is called 'magic'; there are cover"):
        balance(an_instance([], []), "magic")
    with pytest.raises(StowageInputError, match="waits and costs 3 to move"):
        an_instance([(1, 1)], [{"use": (1, 1), "cost": 3}])
    with pytest.raises(StowageInputError, match="at most 2\\^40 is counted"):
        an_instance([(2**41, 1)], [])
    with pytest.raises(StowageInputError, match="a budget's work is 0"):
        Budget(0)
    with pytest.raises(StowageInputError, match="needs a clock"):
        Budget(1.0, 1.0)
