from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.baselines import (
    drf,
    first_price,
    kube_default,
    kube_score,
    priority_greedy,
    random_order,
)
from scheduler.core.auction.market import UNPLACED, broken_rules
from scheduler.core.auction.scores import score
from scheduler.core.auction.terms import Terms, terms_of
from scheduler.core.errors import StowageInputError
from scheduler.core.policies.kube_default import score as score_of_policy
from tests.scheduler.core.auction.markets import a_market, random_market


def one_each(exclusive: bool = True):
    return a_market(
        {"a": [4], "b": [4]},
        {"x": ([1], {"a": 1.0, "b": 2.0}), "y": ([1], {"a": 3.0, "b": 5.0}), "z": ([1], {"a": 4.0})},
        exclusive=exclusive,
    )


def test_priority_goes_first_and_takes_the_cheapest_node():
    market = one_each()
    terms = replace(terms_of(market, np.array([9, 5, 1])), cost=np.array([0.7, 0.3]))
    award = priority_greedy(market, terms)
    assert award.at.tolist() == [1, 0, UNPLACED]
    assert award.payment.tolist() == [2.0, 3.0, 0.0]


def test_equal_priorities_go_by_budget():
    award = priority_greedy(one_each(), terms_of(one_each()))
    assert award.at.tolist() == [1, 0, UNPLACED]  # y, z, x by budget; y took the only node that z wants, by name


def test_the_highest_bid_wins_and_is_paid():
    award = first_price(one_each(), terms_of(one_each()))
    assert award.at.tolist() == [UNPLACED, 1, 0]
    assert award.payment.tolist() == [0.0, 5.0, 4.0]


def test_random_is_the_same_for_the_same_seed_and_not_for_all():
    market = random_market(np.random.default_rng(1), 40, 10)
    found = [random_order(market, terms_of(market), seed).at.tolist() for seed in range(8)]
    assert random_order(market, terms_of(market), 3).at.tolist() == found[3]
    assert len({tuple(at) for at in found}) > 1


def test_drf_serves_the_tenant_with_least():
    # a has asked first for everything; dominant shares alternate a, b, a, b
    market = a_market(
        {"n": [4, 100]},
        {f"{t}{i}": ([1, 1], {"n": 1.0}) for t in "ab" for i in range(4)},
        tenants={f"{t}{i}": t for t in "ab" for i in range(4)},
    )
    at = drf(market, terms_of(market)).at
    assert at.tolist() == [0, 0, UNPLACED, UNPLACED, 0, 0, UNPLACED, UNPLACED]


def test_drf_evens_dominant_shares_of_unlike_resources():
    # Ghodsi et al., section 4: 9 CPUs, 18 GB; A asks <1, 4>, B <3, 1>: A runs 3 tasks, B 2
    market = a_market(
        {"n": [9, 18]},
        {f"a{i}": ([1, 4], {"n": 1.0}) for i in range(6)} | {f"b{i}": ([3, 1], {"n": 1.0}) for i in range(6)},
        tenants={f"{t}{i}": t for t in "ab" for i in range(6)},
    )
    at = drf(market, terms_of(market)).at
    assert (at[:6] != UNPLACED).sum() == 3
    assert (at[6:] != UNPLACED).sum() == 2


def test_kube_default_spreads_and_goes_by_priority():
    market = a_market(
        {"a": [4, 4], "b": [8, 8]},
        {name: ([4, 4], {"a": 1.0, "b": 1.0}) for name in ("w", "x", "y", "z")},
    )
    # z leaves b half empty and a full, so it takes b; then y finds both filled alike and takes a, by name; x takes b
    at = kube_default(market, terms_of(market, np.array([0, 1, 2, 3]))).at
    assert at.tolist() == [UNPLACED, 1, 0, 1]


def test_kube_points_are_those_of_the_policy_for_two_resources():
    rng = np.random.default_rng(5)
    size = rng.integers(4, 50, (300, 2))
    demand = np.array([2, 1])
    used = rng.integers(0, size - demand + 1)
    policy = [score_of_policy(demand, demand, size, used, used, n, 0) for n in range(300)]
    assert kube_score(size, size - used, demand).tolist() == policy


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_rule_is_broken_and_nobody_pays_above_the_bid(seed, exclusive):
    market = random_market(np.random.default_rng(seed), exclusive=exclusive, gangs=True)
    terms = terms_of(market)
    for award in (
        priority_greedy(market, terms), first_price(market, terms), random_order(market, terms, seed),
        drf(market, terms), kube_default(market, terms),
    ):  # fmt: skip
        assert broken_rules(market, award.at) == []
        request = market.offer_request()
        won = award.at[request] == market.node
        assert (award.payment[request[won]] <= market.value[won]).all()
        assert (award.payment >= 0).all()


def test_scores_are_those_worked_out_by_hand():
    market = a_market(
        {"a": [4], "b": [4]},
        {"x": ([1], {"a": 1.0}), "y": ([3], {"b": 3.0}), "z": ([4], {"a": 9.0})},
        tenants={"x": "t", "y": "t", "z": "u"},
    )
    found = score(market, np.array([0, 1, UNPLACED], np.int32), scale=2.0)
    assert found.welfare == 4.0
    assert found.efficiency == pytest.approx(4 / 2 / 3)
    assert found.satisfaction == pytest.approx(2 / 3)
    assert found.placed == {"resource-0": 0.5}
    assert found.jain_requests == pytest.approx(16 / (3 * 10))
    assert found.jain_tenants == pytest.approx(0.5)  # 2 per request of t, nothing for u
    assert found.least_tenant == 0.0


def test_an_empty_round_scores_nothing_and_treats_all_alike():
    found = score(a_market({"a": [4]}, {}), np.zeros(0, np.int32))
    assert (found.efficiency, found.satisfaction, found.welfare, found.placed) == (0.0, 0.0, 0.0, {})
    assert (found.jain_requests, found.jain_tenants, found.least_tenant) == (1.0, 1.0, 1.0)


def test_terms_refuse_what_is_no_amount():
    with pytest.raises(StowageInputError, match="budget is nan in row 1"):
        replace(terms_of(one_each()), budget=np.array([1.0, np.nan, 1, 1, 1]))
    assert isinstance(terms_of(a_market({"a": [0]}, {})), Terms)
