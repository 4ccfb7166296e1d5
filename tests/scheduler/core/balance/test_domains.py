"""Teams that share a kind of NIC or a rack: the rule, against trying all placements, and what the answers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.balance.problem import WAITING, Budget
from scheduler.core.balance.solve import METHODS, PROVING, balance
from scheduler.core.balance.validator import broken_rules
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.balance.instances import a_domain, a_random_instance, an_instance
from tests.scheduler.core.balance.test_solve import best_of_all

SEEDS = range(10)
SMALL = Budget(0.02)


def in_domains(seed, *, is_hard=True):
    """A crowded instance of four nodes, two kinds of NIC, perhaps a node without, two teams, two racks for one team."""
    instance = a_random_instance(seed, nodes=4, tasks=4)
    rng = np.random.default_rng(seed)
    team = rng.integers(-1, 2, 4)
    nic = a_domain(["ib", "roce", rng.choice(["ib", None]), "roce"], team, is_hard=is_hard)
    rack = a_domain(["a", "a", "b", "b"], np.where(team == 1, 0, -1), "rack")
    return replace(instance, domains=(nic, rack) if seed % 2 else (nic,))


def test_every_rule_of_a_team_has_a_placement_that_it_allows_and_one_that_it_does_not():
    tasks = [{"use": (1, 1), "home": 0}, {"use": (1, 1), "home": 0}, {"use": (1, 1), "home": 2}]
    tasks += [{"use": (1, 1)}, {"use": (1, 1)}, {"use": (1, 1)}]
    nic = a_domain(["ib", "ib", "roce", "roce", None], [0, 0, 0, 0, 1, 1])
    instance = an_instance([(9, 9)] * 5, tasks, domains=[nic])

    def rules(*at):
        return broken_rules(instance, np.array(at, np.int32))

    assert rules(0, 0, 2, WAITING, WAITING, WAITING) == []
    assert rules(1, 0, 2, 1, 2, 3) == []  # who straddled before may stay; a team that waits chooses
    assert rules(0, 0, 1, 0, WAITING, 0) == []
    assert rules(2, 0, 2, -1, -1, -1) == ["task t0 came to nic roce, its team shares another"]
    assert rules(0, 0, 3, -1, -1, -1) == ["task t2 came to nic roce, its team shares another"]
    assert rules(0, 0, 2, 4, -1, -1) == ["task t3 came to nic none, its team shares another"]
    assert rules(0, 0, 2, -1, 0, 2) == ["task t5 came to nic roce, its team shares another"]
    assert rules(0, 0, 2, -1, 4, -1) == ["task t4 came to nic none, its team shares another"]
    assert broken_rules(replace(instance, domains=(replace(nic, is_hard=False),)), np.array([2, 0, 2, 4, 0, 2])) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_proves_agrees_with_trying_all_placements(seed):
    instance = in_domains(seed)
    least = best_of_all(instance)
    for method in PROVING:
        result = balance(instance, method, Budget(2.0))
        assert broken_rules(instance, result.at) == []
        assert result.objective[:3] == least[:3]
        assert result.verdict == "optimal"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_teams_together_and_claims_no_bound_that_does_not_hold(method):
    for seed in SEEDS:
        instance = in_domains(seed)
        least = best_of_all(instance)
        result = balance(instance, method, SMALL, seed)
        assert broken_rules(instance, result.at) == []
        assert (result.bound.overload, result.bound.unplaced, result.bound.cost) <= least[:3]
        assert result.objective[:3] >= least[:3]
        assert (result.verdict == "optimal") == (result.objective[:3] == tuple(bound_of(result)))


def bound_of(result):
    return result.bound.overload, result.bound.unplaced, result.bound.cost


@pytest.mark.parametrize("seed", SEEDS)
def test_a_preference_costs_no_overload_and_no_place(seed):
    instance = in_domains(seed, is_hard=False)
    free = best_of_all(instance)
    result = balance(instance, "full-scan", Budget(2.0))
    assert broken_rules(instance, result.at) == []
    assert result.objective[:2] == free[:2]
    kept = replace(instance, domains=tuple(replace(one, is_hard=True) for one in instance.domains))
    is_kept = not broken_rules(kept, result.at)
    assert is_kept or best_of_all(kept)[:2] > free[:2]


def test_a_team_that_waits_goes_where_most_of_it_finds_room_and_the_answer_says_so():
    tasks = [{"use": (4, 1)}, {"use": (4, 1)}, {"use": (4, 1)}]
    nic = a_domain(["ib", "roce", "roce", None], [0, 0, 0])
    instance = an_instance([(5, 9), (5, 9), (5, 9), (99, 99)], tasks, domains=[nic])
    result = balance(instance, budget=SMALL)
    assert sorted(result.at.tolist()) == [WAITING, 1, 2]
    assert "given nic roce for t0 and its team" in result.reasons[-1]
    assert "so not proven" in result.reasons[-1]
    assert balance(instance, "full-scan", SMALL).reasons[-1].endswith("every choice was tried")
    assert balance(instance, "full-scan", SMALL).verdict == "optimal"


def test_members_that_wait_join_those_that_run_though_others_have_more_room():
    tasks = [{"use": (4, 1), "home": 0}, {"use": (4, 1)}]
    rack = a_domain(["a", "a", "b"], [0, 0], "rack")
    instance = an_instance([(5, 9), (5, 9), (99, 99)], tasks, domains=[rack])
    assert balance(instance, budget=SMALL).at.tolist() == [0, 1]
    full = replace(instance, capacity=np.array([(5, 9), (3, 9), (99, 99)]))
    assert balance(full, budget=SMALL).at.tolist() == [0, WAITING]
    prefers = replace(full, domains=(replace(rack, is_hard=False),))
    result = balance(prefers, budget=SMALL)
    assert result.at.tolist() == [0, 2]
    assert "not kept together in one rack: it would cost overload or places" in result.reasons[-1]


def test_a_domain_that_does_not_belong_to_the_instance_is_refused():
    with pytest.raises(StowageInputError, match="nic of nodes has shape"):
        an_instance([(1, 1)], [], domains=[a_domain(["ib", "ib"], [])])
    with pytest.raises(StowageInputError, match="nic teams has shape"):
        an_instance([(1, 1)], [], domains=[a_domain(["ib"], [0])])
    with pytest.raises(StowageInputError, match="values of nic are not sorted"):
        an_instance([(1, 1)], [], domains=[replace(a_domain(["ib"], []), values=("b", "a"))])
