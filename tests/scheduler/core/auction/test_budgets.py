from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.budgets import UNLIMITED, budgets_of, most_to_win, within_budgets
from scheduler.core.auction.charges import clarke
from scheduler.core.auction.market import bid_of
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, random_market, solve_by_trying_all


def three_for_one_node(**more):
    requests = {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 6.0}), "z": ([1], {"a": 4.0})}
    return a_market({"a": [1]}, requests, tenants={"x": "p", "y": "p", "z": "q"}, **more)


def test_a_tenant_can_win_the_best_offer_of_each_request():
    assert most_to_win(three_for_one_node()).tolist() == [15.0, 4.0]


def test_where_a_node_takes_one_request_no_more_than_nodes_count():
    assert most_to_win(three_for_one_node(exclusive=True)).tolist() == [9.0, 4.0]


def test_offers_that_fit_nowhere_count_for_nothing():
    assert most_to_win(a_market({"a": [1]}, {"x": ([2], {"a": 9.0})})).tolist() == [0.0]


def test_bids_are_scaled_to_the_budget_and_others_stay():
    market = within_budgets(three_for_one_node(exclusive=True), np.array([3.0, UNLIMITED]))
    assert market.value.tolist() == [3.0, 2.0, 4.0]


def test_without_a_budget_a_tenant_wins_only_what_nobody_else_wants_and_pays_nothing():
    requests = {"x": ([1], {"a": 9.0, "b": 9.0}), "y": ([1], {"a": 1.0})}
    market = within_budgets(a_market({"a": [1], "b": [1]}, requests), np.array([0.0, UNLIMITED]))
    outcome = solve_by_trying_all(market)
    assert outcome.at[1] == 0
    assert outcome.at[0] != 0
    assert clarke(market, outcome, solve_by_trying_all).charge[0] == 0


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_nobody_is_charged_more_than_its_budget(seed, exclusive):
    rng = np.random.default_rng(seed)
    market = random_market(rng, 5, 3, 1, exclusive=exclusive)
    budgets = rng.integers(0, 12, len(market.tenants)).astype(np.float64)
    limited = within_budgets(market, budgets)
    outcome = solve_by_trying_all(limited)
    charges = clarke(limited, outcome, solve_by_trying_all).charge
    assert (charges <= budgets + 1e-9).all()
    assert bid_of(limited, outcome.at).sum() <= bid_of(market, outcome.at).sum() + 1e-9


def test_budgets_are_read_by_name():
    market = three_for_one_node()
    assert budgets_of(market, {"q": 2.0}).tolist() == [UNLIMITED, 2.0]
    assert budgets_of(market, {}, default=1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"r": 1.0, "a-team": 2.0}, "a budget for a-team, r, no tenant of this round"),
        ({"q": -1.0}, "budget of tenant q is -1.0"),
        ({"p": float("nan")}, "budget of tenant p is nan"),
    ],
)
def test_broken_budgets_are_refused(budgets, message):
    with pytest.raises(StowageInputError, match=message):
        budgets_of(three_for_one_node(), budgets)


def test_budgets_of_another_round_and_empty_rounds():
    with pytest.raises(StowageInputError, match="3 budgets and 2 tenants"):
        within_budgets(three_for_one_node(), np.ones(3))
    empty = a_market({"a": [1]}, {}, exclusive=True)
    assert within_budgets(empty, np.zeros(0)).value.tolist() == []
