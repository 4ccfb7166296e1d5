from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.charges import clarke
from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import UNPLACED, bid_of
from scheduler.core.auction.prices import (
    NodePrices,
    above_reserve,
    prices_of,
    reserve_paid,
    reserve_price,
    smooth,
    utilisation,
)
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, random_market, solve_by_trying_all


def prices(**unit):
    names = sorted(unit)
    values = np.array([float(unit[n]) for n in names])
    return NodePrices(np.array(names, np.str_), ("cpu",), np.zeros(len(names)), values[:, None])


def test_a_reserve_is_the_cost_at_the_target_and_rises_with_use():
    reserve = reserve_price(np.array([[0.0], [0.7], [1.0]]), np.array([10.0]))
    assert reserve[:, 0].tolist() == pytest.approx([10 * np.exp(-1.4), 10.0, 10 * np.exp(0.6)])
    assert reserve_price(np.array([[0.2]]), np.array([10.0]), steepness=0).tolist() == [[10.0]]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 10))
def test_more_use_never_lowers_a_reserve(one, other, steepness):
    low, high = (
        reserve_price(np.array([[u]]), np.array([3.0]), steepness=steepness)[0, 0] for u in sorted((one, other))
    )
    assert low <= high


def test_use_is_what_is_not_free_and_what_a_node_lacks_is_full():
    assert utilisation(np.array([[4.0, 0.0]]), np.array([[1.0, 0.0]])).tolist() == [[0.75, 1.0]]


def test_bids_below_the_reserve_are_dropped_and_the_rest_count_what_is_above():
    market = a_market({"a": [4], "b": [4]}, {"x": ([2], {"a": 5.0, "b": 5.0}), "y": ([1], {"b": 1.0})})
    above = above_reserve(market, np.array([[1.0], [2.5]]))
    assert (above.first.tolist(), above.node.tolist(), above.value.tolist()) == ([0, 2, 2], [0, 1], [3.0, 0.0])


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_reserve_and_charge_together_never_exceed_the_bids(seed, exclusive):
    rng = np.random.default_rng(seed)
    market = random_market(rng, 5, 3, 1, exclusive=exclusive)
    reserve = rng.integers(0, 3, (3, 1)).astype(np.float64)
    above = above_reserve(market, reserve)
    outcome = solve_by_trying_all(above)
    paid = reserve_paid(market, outcome.at, reserve)
    total = clarke(above, outcome, solve_by_trying_all).charge + per_tenant(market, paid)
    bids = bid_of(market, outcome.at)
    assert (paid <= bids + 1e-9).all()
    assert (total <= per_tenant(market, bids) + 1e-9).all()
    assert not paid[outcome.at == UNPLACED].any()


def test_published_prices_are_the_duals_but_at_least_the_reserve():
    market = a_market({"a": [1], "b": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0})}, exclusive=True)
    outcome = Exchange(market).outcome()
    assert prices_of(market, outcome).of([1]).tolist() == [4.0, 0.0]
    assert prices_of(market, outcome, np.array([[1.0], [2.0]])).of([1]).tolist() == [5.0, 2.0]
    shared = replace(outcome, node_price=np.zeros(2), unit_price=np.array([[4.0], [0.0]]))
    assert prices_of(market, shared, np.array([[1.0], [2.0]])).unit.tolist() == [[4.0], [2.0]]


def test_a_price_counts_half_after_its_half_life():
    after = smooth(prices(a=8, b=0), prices(a=0, b=4), elapsed_s=60, half_life_s=60)
    assert after.unit.tolist() == [[4.0], [2.0]]
    later = smooth(after, prices(a=0, b=4), elapsed_s=120, half_life_s=60)
    assert later.unit.tolist() == [[1.0], [3.5]]


def test_two_short_rounds_with_one_price_are_one_long_one():
    once = smooth(prices(a=8), prices(a=2), 30, 20)
    twice = smooth(smooth(prices(a=8), prices(a=2), 10, 20), prices(a=2), 20, 20)
    assert twice.unit == pytest.approx(once.unit)


def test_a_new_node_has_its_latest_price_and_a_lost_one_none():
    after = smooth(prices(a=8, c=8), prices(a=0, b=4, d=6), elapsed_s=60, half_life_s=60)
    assert after.nodes.tolist() == ["a", "b", "d"]
    assert after.unit.tolist() == [[4.0], [4.0], [6.0]]
    assert smooth(prices(), prices(a=1), 1, 1).unit.tolist() == [[1.0]]
    assert smooth(prices(a=8), prices(a=2), 1, 0).unit.tolist() == [[2.0]]


def test_broken_input_is_refused():
    with pytest.raises(StowageInputError, match="resource 0 on node 1 is"):
        reserve_price(np.array([[0.5], [1.5]]), np.array([1.0]))
    with pytest.raises(StowageInputError, match="a cost is -1"):
        reserve_price(np.array([[0.5]]), np.array([-1.0]))
    with pytest.raises(StowageInputError, match="steepness -1"):
        reserve_price(np.array([[0.5]]), np.array([1.0]), steepness=-1)
    with pytest.raises(StowageInputError, match="a price is nan"):
        prices(a=np.nan)
    with pytest.raises(StowageInputError, match="do not go on"):
        smooth(prices(a=1), replace(prices(a=1), resources=("gpu",)), 1, 1)
    with pytest.raises(StowageInputError, match="times are at least 0"):
        smooth(prices(a=1), prices(a=1), -1, 1)
    with pytest.raises(StowageInputError, match="the reserve has shape"):
        above_reserve(a_market({"a": [1]}, {}), np.zeros((2, 1)))
