from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.assignment import solve_assignment
from scheduler.core.auction.market import UNPLACED, bid_of, broken_rules, dual_bound
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market


def alone(room, bids, **more):
    """A market of one request per node, without resources to speak of."""
    return a_market(
        {node: [1] for node in room}, {name: ([1], offers) for name, offers in bids.items()}, exclusive=True, **more
    )


def placed(market, outcome):
    return {str(market.requests[j]): str(market.nodes[n]) for j, n in enumerate(outcome.at.tolist()) if n != UNPLACED}


def assert_sound(market, outcome):
    assert broken_rules(market, outcome.at) == []
    assert outcome.welfare == pytest.approx(bid_of(market, outcome.at).sum())
    assert outcome.bound >= outcome.welfare
    assert (outcome.node_price >= 0).all()
    paid = outcome.node_price[outcome.at[outcome.at != UNPLACED]]
    assert (paid <= bid_of(market, outcome.at)[outcome.at != UNPLACED] * (1 + 1e-12)).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_winners_are_worth_what_trying_all_finds(seed):
    market = random_market(np.random.default_rng(seed), exclusive=True)
    outcome = solve_assignment(market, tolerance=0)
    assert_sound(market, outcome)
    best = best_by_trying_all(market)
    assert outcome.welfare == pytest.approx(best, rel=1e-9)
    assert outcome.bound >= best * (1 - 1e-12)
    assert outcome.verdict == "optimal"
    assert outcome.bound == pytest.approx(dual_bound(market, outcome.node_price, outcome.unit_price), rel=1e-9)
    left_over = np.setdiff1d(np.arange(len(market.nodes)), outcome.at)
    assert not outcome.node_price[left_over].any()


def test_shared_nodes_are_refused():
    with pytest.raises(StowageInputError, match="nodes are shared"):
        solve_assignment(replace(alone("a", {"x": {"a": 1}}), exclusive=False))
