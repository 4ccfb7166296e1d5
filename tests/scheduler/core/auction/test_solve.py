from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.market import broken_rules, dual_bound
from scheduler.core.auction.solve import solve_market
from tests.scheduler.core.auction.markets import best_by_trying_all, random_market


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_every_kind_of_market_is_solved_as_well_as_by_trying_all(seed, exclusive, gangs):
    market = random_market(np.random.default_rng(seed), requests=5, nodes=3, exclusive=exclusive, gangs=gangs)
    outcome = solve_market(market)
    best = best_by_trying_all(market)
    assert broken_rules(market, outcome.at) == []
    assert outcome.welfare == pytest.approx(best, rel=1e-5)
    assert outcome.bound >= best - 1e-9
    assert dual_bound(market, outcome.node_price, outcome.unit_price) >= best - 1e-9


def test_a_warm_start_of_an_exclusive_market_with_gangs_takes_prices_of_nodes():
    market = random_market(np.random.default_rng(4), requests=6, nodes=4, exclusive=True, gangs=True)
    cold = solve_market(market)
    assert solve_market(market, start=cold).welfare == pytest.approx(cold.welfare)
