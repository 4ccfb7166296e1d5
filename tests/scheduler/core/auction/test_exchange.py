from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.charges import clarke, silence
from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.market import UNPLACED, Outcome, bid_of, broken_rules, dual_bound
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market, solve_by_trying_all

seeds = st.integers(0, 2**32 - 1)


def a_round(seed, requests=5, nodes=4):
    return random_market(np.random.default_rng(seed), requests, nodes, resources=1, exclusive=True)


def assert_proved(exchange, market):
    """Sound, and worth what its own prices say nobody can exceed."""
    outcome = exchange.outcome()
    assert broken_rules(market, outcome.at) == []
    assert bid_of(market, outcome.at).sum() == pytest.approx(outcome.welfare)
    assert dual_bound(market, outcome.node_price, outcome.unit_price) == pytest.approx(outcome.welfare)
    assert outcome.verdict == "optimal"


@settings(max_examples=60)
@given(seeds)
def test_from_nothing_it_finds_the_optimum_and_proves_it(seed):
    market = a_round(seed)
    exchange = Exchange(market)
    assert_proved(exchange, market)
    assert exchange.outcome().welfare == pytest.approx(best_by_trying_all(market))


@given(seeds, st.integers(5, 60), st.integers(3, 40))
def test_larger_rounds_prove_themselves(seed, requests, nodes):
    market = a_round(seed, requests, nodes)
    assert_proved(Exchange(market), market)


@given(seeds)
def test_any_start_is_mended(seed):
    """Prices and places at random, as bad as can be."""
    rng = np.random.default_rng(seed)
    market = a_round(seed, 12, 6)
    at = np.full(12, UNPLACED, np.int32)
    for n in range(6):
        bidders = [j for j in range(12) if n in market.node[market.first[j] : market.first[j + 1]] and at[j] < 0]
        fit = [j for j in bidders if market.demand[j, 0] <= market.room[n, 0]]
        if fit and rng.random() < 0.7:
            at[rng.choice(fit)] = n
    start = Outcome(at, 0.0, 0.0, rng.random(6) * 10, np.zeros((6, 1)), "feasible")
    exchange = Exchange(market, start)
    assert_proved(exchange, market)
    assert exchange.outcome().welfare == pytest.approx(Exchange(market).outcome().welfare)


@given(seeds)
def test_requests_leave_and_come_back_with_other_bids(seed):
    rng = np.random.default_rng(seed)
    market = a_round(seed, 10, 5)
    exchange = Exchange(market)
    leaving = rng.choice(10, 4, replace=False).tolist()
    exchange.remove(leaving)
    offers = np.isin(market.offer_request(), leaving)
    quiet = replace(market, value=np.where(offers, 0.0, market.value))
    assert exchange.outcome().welfare == pytest.approx(Exchange(quiet).outcome().welfare)
    changed = replace(market, value=np.where(offers, rng.integers(0, 15, len(offers)), market.value).astype(np.float64))
    for j in leaving:
        mine = slice(market.first[j], market.first[j + 1])
        exchange.bid(j, np.where(changed.fits()[mine], changed.value[mine], -np.inf))
    assert_proved(exchange, changed)


@settings(max_examples=60)
@given(seeds)
def test_charges_are_those_of_a_solve_without_each_tenant(seed):
    market = a_round(seed)
    exchange = Exchange(market)
    expected = clarke(market, exchange.outcome(), solve_by_trying_all)
    found = exchange.charges()
    assert found.charge.tolist() == pytest.approx(expected.charge.tolist())
    assert found.won.tolist() == pytest.approx(expected.won.tolist())
    assert not found.slack.any()


def test_offers_that_are_not_listed_make_the_charge_uncertain():
    market = a_market({"a": [1], "b": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0}), "z": ([1], {"a": 3.0})})
    market = replace(market, exclusive=True, unlisted=np.array([0.0, 0.0, 2.0]))
    found = Exchange(market).charges()
    assert found.charge.tolist() == [4.0, 0.0, 0.0]
    assert found.slack.tolist() == [2.0, 0.0, 0.0]
    assert Exchange(market).outcome().verdict == "feasible"


@settings(max_examples=60)
@given(seeds)
def test_a_raise_above_what_is_needed_wins_and_one_below_does_not(seed):
    market = a_round(seed)
    exchange = Exchange(market)
    for j in np.flatnonzero(exchange.at == UNPLACED).tolist():
        needed, node = exchange.raise_needed(j)
        mine = market.offer_request() == j
        if node == UNPLACED:
            assert needed == np.inf
            assert not market.fits()[mine].any()
            continue
        for change, wins in ((0.01, True), (-0.01, False)):
            raised = Exchange(replace(market, value=market.value + np.where(mine, needed + change, 0.0).clip(0)))
            assert (raised.at[j] != UNPLACED) == wins or (not wins and needed == 0)
        raised = replace(market, value=market.value + np.where(mine & (market.node == node), needed + 0.01, 0.0))
        assert Exchange(raised).at[j] == node


@settings(max_examples=60)
@given(seeds)
def test_a_winner_may_lower_its_bids_by_its_room_to_fall_and_not_by_more(seed):
    market = a_round(seed)
    exchange = Exchange(market)
    for j in np.flatnonzero(exchange.at != UNPLACED).tolist():
        room = exchange.room_to_fall(j)
        alone = replace(market, tenant=np.arange(5, dtype=np.int32), tenants=tuple(f"t{i}" for i in range(5)))
        rest = Exchange(silence(alone, j)).outcome().welfare
        assert room == pytest.approx(exchange.outcome().welfare - rest)


def test_gangs_and_shared_nodes_are_refused():
    requests = {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0})}
    for market in (a_market({"a": [1]}, requests), a_market({"a": [1]}, requests, gangs={"x": 0}, exclusive=True)):
        with pytest.raises(StowageInputError, match="takes one request and there are no gangs"):
            Exchange(market)


def test_a_bid_must_be_of_a_request_that_left_and_cover_its_offers():
    exchange = Exchange(a_market({"a": [1]}, {"x": ([1], {"a": 9.0})}, exclusive=True))
    with pytest.raises(StowageInputError, match="request x takes part"):
        exchange.bid(0, np.array([1.0]))
    exchange.remove([0])
    with pytest.raises(StowageInputError, match="2 bids for 1 offers"):
        exchange.bid(0, np.array([1.0, 2.0]))


def test_empty_rounds_have_nobody_to_place():
    assert Exchange(a_market({"a": [1]}, {}, exclusive=True)).outcome().welfare == 0
    assert Exchange(a_market({"a": [0]}, {"x": ([1], {"a": 3.0})}, exclusive=True)).at.tolist() == [UNPLACED]


@settings(max_examples=60)
@given(seeds)
def test_the_lowest_and_highest_prices_both_clear_the_round(seed):
    market = a_round(seed)
    exchange = Exchange(market)
    low, high = exchange.price_range()
    assert (low <= exchange.price + 1e-9).all()
    assert (exchange.price <= high + 1e-9).all()
    for prices in (low, high, (low + high) / 2):
        bound = dual_bound(market, prices, np.zeros(market.room.shape))
        assert bound == pytest.approx(exchange.outcome().welfare)
