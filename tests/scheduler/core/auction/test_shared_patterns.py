from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.market import broken_rules
from scheduler.core.auction.shared_master import WINDOW, around, losses, solve_windows
from scheduler.core.auction.shared_pattern_loops import near_sets, price_sets
from scheduler.core.auction.shared_patterns import Patterns
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_round import make_round
from scheduler.core.auction.shared_search import Allocation
from tests.scheduler.core.auction.markets import best_by_trying_all, random_market
from tests.scheduler.core.auction.test_shared import a_crowded_market

seeds = st.integers(0, 2**32 - 1)


def patterns_of(market):
    made = make_round(market)
    dual = Dual(made, np.zeros(made.room.shape))
    dual.smooth(60)
    dual.look(dual.price, np.empty_like(dual.price))
    return Patterns(made, dual), dual


def sets_by_trying_all(patterns, n, price):
    """Every set of requests that fits on node n, the empty one first, with its worth at these prices."""
    offers = patterns.offers
    rows = range(offers.first[n], offers.first[n + 1])
    for size in range(len(rows) + 1):
        for some in combinations(rows, size):
            who = offers.request[list(some)]
            if (offers.demand[who].sum(axis=0) <= offers.room[n]).all():
                yield some, float((offers.value[list(some)] - price[who]).sum())


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans())
def test_any_prices_of_requests_bound_every_allocation(seed, gangs):
    rng = np.random.default_rng(seed)
    market = random_market(rng, gangs=gangs)
    patterns, _ = patterns_of(market)
    low = np.where(patterns.made.gang >= 0, -4.0, 0.0)  # a gang's member may be paid by the others
    patterns.look(rng.uniform(low, 8.0))
    best = best_by_trying_all(market)
    assert patterns.bound >= best - 1e-9
    patterns.descend(40, best, 10**7)
    assert patterns.bound >= best - 1e-9


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_every_node_takes_its_best_set(seed):
    rng = np.random.default_rng(seed)
    patterns, _ = patterns_of(random_market(rng, requests=9, nodes=3, resources=3))
    price = rng.uniform(0, 6, 9)
    found = np.zeros(3)
    price_sets(patterns.offers, price, 10**6, np.zeros(9, np.int64), found)
    best = [max(worth for _, worth in sets_by_trying_all(patterns, n, price)) for n in range(3)]
    assert found == pytest.approx(best, abs=1e-9)


def test_a_knapsack_cut_short_is_bounded_by_its_fractional_one():
    patterns, _ = patterns_of(a_crowded_market(0, gangs=False))
    price = np.zeros(200)
    whole, _ = price_sets(patterns.offers, price, 10**6, np.zeros(200, np.int64), np.zeros(40))
    found = np.zeros(40)
    cut, steps = price_sets(patterns.offers, price, 5, np.zeros(200, np.int64), found)
    assert found.sum() <= whole <= cut
    assert steps <= 5 * 40


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_all_sets_that_are_nearly_best_are_listed_once(seed):
    rng = np.random.default_rng(seed)
    patterns, _ = patterns_of(random_market(rng, requests=8, nodes=2))
    price, within = rng.uniform(0, 6, 8), 2.0
    first, row, short = np.zeros(2_001, np.int64), np.zeros(20_000, np.int64), np.zeros(2_000)
    everybody = np.ones(8, np.bool_)
    count = near_sets(patterns.offers, np.arange(2), price, everybody, within, 10**6, first, row, short)
    listed = sorted(tuple(sorted(row[first[s] : first[s + 1]].tolist())) for s in range(count))
    wanted = []
    for n in range(2):
        sets = list(sets_by_trying_all(patterns, n, price))
        best = max(worth for _, worth in sets)
        wanted += [some for some, worth in sets[1:] if worth >= best - within]
    assert listed == sorted(wanted)


def test_sets_bound_a_crowded_market_better_than_the_lp():
    patterns, dual = patterns_of(a_crowded_market(1))
    patterns.descend(150, 0.9 * dual.bound, 10**7)
    assert patterns.bound < 0.96 * dual.bound


@pytest.mark.parametrize("nodes", [WINDOW, 2 * WINDOW])
def test_sets_chosen_again_gain_and_break_nothing(nodes):
    market = a_crowded_market(3, requests=5 * nodes, nodes=nodes)
    patterns, dual = patterns_of(market)
    allocation = Allocation(patterns.made, dual.price)
    allocation.round_prices(dual)
    before = allocation.welfare
    patterns.descend(60, before, 10**7)
    assert solve_windows(allocation, patterns, windows=2, work=1.0, seed=1) > 0
    assert allocation.welfare > 1.03 * before
    assert broken_rules(market, allocation.rows()) == []


def test_a_window_is_around_its_node_and_losses_add_up_to_the_gap():
    market = a_crowded_market(2, requests=500, nodes=100, gangs=False)
    patterns, dual = patterns_of(market)
    patterns.look(patterns.price)
    allocation = Allocation(patterns.made, dual.price)
    allocation.round_prices(dual)
    window = around(allocation, patterns, 7)
    assert len(window) <= WINDOW
    assert 7 in window
    waiting = patterns.price[allocation.board.at < 0].sum()
    assert losses(allocation, patterns).sum() + waiting == pytest.approx(patterns.bound - allocation.welfare)
