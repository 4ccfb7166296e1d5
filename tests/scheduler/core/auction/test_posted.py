from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.market import UNPLACED, broken_rules
from scheduler.core.auction.posted import post_prices, serve
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market

seeds = st.integers(0, 2**32 - 1)


def free(market):
    return np.zeros(len(market.nodes)), np.zeros(market.room.shape)


def three_for_two():
    bids = {"x": {"a": 9.0, "b": 8.0}, "y": {"a": 7.0, "b": 3.0}, "z": {"a": 5.0, "b": 1.0}}
    return a_market({"a": [1], "b": [1]}, {name: ([1], bid) for name, bid in bids.items()}, exclusive=True)


def test_at_no_price_everybody_wants_the_best_node_and_most_are_unserved():
    found = serve(three_for_two(), *free(three_for_two()))
    assert found.at.tolist() == [0, UNPLACED, UNPLACED]
    assert (found.wanting, found.over_demand, found.welfare) == (3, pytest.approx(2 / 3), 9.0)


def test_at_clearing_prices_everybody_gets_what_it_wants():
    found = serve(three_for_two(), np.array([6.0, 3.0]), np.zeros((2, 1)))
    assert found.at.tolist() == [1, 0, UNPLACED]  # x is left 5 on b and 3 on a
    assert (found.wanting, found.over_demand, found.welfare) == (2, 0.0, 15.0)


def test_who_does_not_mind_is_served_from_what_is_left_and_is_not_missed():
    market = a_market({"a": [1]}, {"x": ([1], {"a": 5.0}), "y": ([1], {"a": 5.0}), "z": ([1], {"a": 4.0})})
    found = serve(market, np.zeros(1), np.array([[5.0]]))
    assert found.at.tolist() == [0, UNPLACED, UNPLACED]
    assert (found.wanting, found.over_demand) == (1, 0.0)


def test_among_equal_offers_one_with_room_is_taken():
    bids = {"a": 5.0, "b": 5.0}
    market = a_market({"a": [1], "b": [1]}, {"x": ([1], bids), "y": ([1], bids)})
    assert serve(market, *free(market)).at.tolist() == [0, 1]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_gang_is_served_whole_or_gives_its_room_back(exclusive):
    market = a_market(
        {"a": [1], "b": [1]},
        {"w": ([1], {"b": 1.0}), "x": ([1], {"a": 2.0}), "y": ([1], {"b": 2.0}), "z": ([1], {"a": 1.0})},
        gangs={"x": 0, "y": 0},
        exclusive=exclusive,
    )
    found = serve(market, *free(market))
    assert found.at.tolist() == [1, UNPLACED, UNPLACED, 0]
    assert found.over_demand == 0.5


@given(seeds, st.booleans(), st.booleans())
def test_whatever_the_prices_what_is_served_is_sound(seed, exclusive, gangs):
    rng = np.random.default_rng(seed)
    market = random_market(rng, 8, 4, exclusive=exclusive, gangs=gangs)
    found = serve(market, rng.random(4) * 4 * exclusive, rng.random((4, 2)))
    assert broken_rules(market, found.at) == []
    assert 0 <= found.over_demand <= 1


@settings(max_examples=40)
@given(seeds)
def test_one_request_per_node_clears_from_the_duals_of_the_round(seed):
    """Values without ties: prices exist at which nobody who wants room goes without, and they are found."""
    rng = np.random.default_rng(seed)
    nodes = {f"n{n}": [1] for n in range(6)}
    market = a_market(
        nodes, {f"r{j}": ([1], {n: float(rng.random()) for n in nodes}) for j in range(12)}, exclusive=True
    )
    best = Exchange(market).outcome()
    found = post_prices(market, best, rounds=0)
    assert found.converged
    assert found.over_demand == 0
    assert found.welfare >= 0.5 * best.welfare


@settings(max_examples=40)
@given(seeds, st.booleans())
def test_from_nothing_prices_converge_too(seed, exclusive):
    market = random_market(np.random.default_rng(seed), 8, 4, exclusive=exclusive)
    found = post_prices(market)
    assert found.converged
    assert found.over_demand <= 0.01
    assert found.welfare <= best_by_trying_all(market) + 1e-9


def test_prices_that_were_carried_over_fall_when_nobody_pays_them():
    """Prices of a busy round, then hardly anybody comes: they fall until the node sells."""
    busy = a_market({"a": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 8.0})}, exclusive=True)
    quiet = a_market({"a": [1]}, {"x": ([1], {"a": 2.0})}, exclusive=True)
    found = post_prices(quiet, Exchange(busy).outcome())
    assert found.at.tolist() == [0]
    assert found.node_price[0] <= 2


def test_empty_rounds_and_rounds_without_room_have_no_over_demand():
    for market in (a_market({"a": [4]}, {}), a_market({"a": [0]}, {"x": ([1], {"a": 5.0})})):
        found = post_prices(market)
        assert (found.wanting, found.over_demand, found.converged) == (0, 0.0, True)
