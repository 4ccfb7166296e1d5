from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.market import UNPLACED, Outcome, bid_of, broken_rules, dual_bound, price_met
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market


def two_for_one():
    return a_market({"a": [4], "b": [1]}, {"x": ([3], {"a": 5.0}), "y": ([1], {"a": 2.0, "b": 1.0})})


def test_bids_are_summed_over_the_nodes_won():
    market = two_for_one()
    assert bid_of(market, np.array([0, 1], np.int32)).tolist() == [5.0, 1.0]
    assert bid_of(market, np.array([0, UNPLACED], np.int32)).tolist() == [5.0, 0.0]
    with pytest.raises(StowageInputError, match="x stands on b, for which it did not bid"):
        bid_of(market, np.array([1, UNPLACED], np.int32))


def test_an_allocation_of_another_round_is_refused():
    with pytest.raises(StowageInputError, match="is not one of 2 requests"):
        bid_of(two_for_one(), np.array([0], np.int32))


def test_a_sound_allocation_breaks_no_rule():
    assert broken_rules(two_for_one(), np.array([0, 0], np.int32)) == []


def test_each_rule_is_named_when_it_is_broken():
    market = a_market(
        {"a": [4], "b": [9]},
        {"x": ([3], {"a": 1}), "y": ([2], {"a": 1, "b": 1}), "z": ([2], {"b": 1})},
        gangs={"x": 0, "z": 0},
    )
    assert broken_rules(market, np.array([0, 0, UNPLACED], np.int32)) == [
        "node a has 4 of resource-0; 5 are used",
        "gang 0 is placed in part",
    ]
    assert broken_rules(market, np.array([1, UNPLACED, 1], np.int32)) == [
        "request x stands on b, for which it did not bid"
    ]
    alone = replace(market, exclusive=True)
    assert broken_rules(alone, np.array([0, 1, 1], np.int32)) == ["node b takes one request and has 2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": np.array([1.0, np.nan, 1.0])}, "bid of request y is nan"),
        ({"value": np.array([-1.0, 1.0, 1.0])}, "bid of request x is -1.0"),
        ({"unlisted": np.array([0.0, np.inf])}, "not listed of request y is inf"),
        ({"tenant": np.array([0, 2], np.int32)}, "tenant has codes from 0 to 2; there are 2 values"),
        ({"room": np.array([[-4], [1]])}, "room is negative in row 0"),
        ({"demand": np.array([[3, 1], [1, 1]])}, "demand has shape"),
        ({"node": np.array([0, 1, 0], np.int32)}, "do not ascend"),
        ({"node": np.array([0, 0, 9], np.int32)}, "node of an offer has codes"),
        ({"first": np.array([0, 2, 1])}, "without falling"),
    ],
)
def test_a_broken_market_is_refused_with_the_rule(change, message):
    with pytest.raises(StowageInputError, match=message):
        replace(two_for_one(), **change)


def test_an_empty_round_is_a_market():
    market = a_market({"a": [4]}, {})
    assert broken_rules(market, np.zeros(0, np.int32)) == []
    assert dual_bound(market, np.zeros(1), np.zeros((1, 1))) == 0


def test_the_price_met_counts_the_node_and_every_unit():
    market = two_for_one()
    outcome = Outcome(np.array([0, 1], np.int32), 6.0, 6.0, np.array([0.5, 0.0]), np.array([[1.0], [0.25]]), "optimal")
    assert price_met(market, outcome, 1).tolist() == [1.5, 0.25]
    assert outcome.gap == 0


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_prices_give_a_bound(seed, exclusive):
    rng = np.random.default_rng(seed)
    market = random_market(rng, requests=4, nodes=3, exclusive=exclusive)
    node_price = rng.random(3) * 5 * exclusive
    assert dual_bound(market, node_price, rng.random((3, 2))) >= best_by_trying_all(market) - 1e-9


def test_prices_that_bound_nothing_are_refused():
    market = two_for_one()
    with pytest.raises(ValueError, match="below 0"):
        dual_bound(market, np.zeros(2), np.array([[-1.0], [0.0]]))
    with pytest.raises(ValueError, match="no price of its own"):
        dual_bound(market, np.ones(2), np.zeros((2, 1)))
