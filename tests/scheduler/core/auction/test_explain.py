from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.explain import explain, explain_all
from scheduler.core.auction.market import UNPLACED, Outcome, dual_bound
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market, solve_by_trying_all

seeds = st.integers(0, 2**32 - 1)


def one_node(**more):
    market = a_market({"a": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0})}, exclusive=True, **more)
    return market, Exchange(market).outcome()


def test_a_loser_reads_who_outbid_it_where_and_what_would_have_won():
    story = explain(*one_node(), 1)
    assert (story.answer, story.verdict, story.node, story.bid) == ("outbid", "proved", "a", 4.0)
    assert [(r.request, r.tenant, r.bid) for r in story.rivals] == [("x", "tenant-of-x", 9.0)]
    assert (story.change, story.winning_bid) == (5.0, 9.0)
    assert story.text == (
        "y of tenant-of-y bid 4 for a, which went to x of tenant-of-x (bid 9); it met a price of 4. "
        "Any bid above 9 wins (proved)."
    )
    assert story.smallest_change == "raise its bids by more than 5"


def test_a_winner_reads_which_bid_would_have_done():
    story = explain(*one_node(), 0)
    assert (story.answer, story.price, story.winning_bid, story.change) == ("won", 4.0, 4.0, 5.0)
    assert story.text == (
        "x of tenant-of-x won a: it bid 9, the price was 4. Any bid above 4 would have done (proved)."
    )


def test_who_fits_nowhere_reads_what_is_missing_on_the_nearest_node():
    market = a_market({"a": [4, 9], "b": [6, 1]}, {"x": ([8, 2], {"a": 9.0, "b": 9.0}), "y": ([1, 1], {})})
    large, silent = explain_all(market, solve_by_trying_all(market))
    assert (large.answer, large.verdict) == ("too-large", "proved")
    assert large.smallest_change == "ask for 4 less of resource-0, then a has room"
    assert large.text.startswith("x of tenant-of-x fits on no node that it bid for.")
    assert silent.text == "y of tenant-of-y bid for no node. To change that: bid for a node."


def test_a_member_of_a_gang_without_a_place_cannot_win_alone():
    market = a_market({"a": [1]}, {"x": ([1], {"a": 9.0}), "y": ([5], {"a": 4.0})}, gangs={"x": 0, "y": 0})
    story = explain(market, solve_by_trying_all(market), 0, solve_by_trying_all)
    assert (story.answer, story.verdict) == ("never", "proved")
    assert story.smallest_change == "find room for every member of its gang"


def test_without_a_solver_shared_nodes_are_explained_by_their_prices():
    market = a_market({"a": [4]}, {"x": ([4], {"a": 8.0}), "y": ([2], {"a": 3.0})})
    outcome = Outcome(np.array([0, UNPLACED], np.int32), 8.0, 8.0, np.zeros(1), np.array([[2.0]]), "optimal")
    won, lost = explain_all(market, outcome)
    assert (lost.verdict, lost.price, lost.change, lost.change_at_most) == ("estimate", 4.0, 1.0, np.inf)
    assert "A bid above 4 probably wins (estimate)." in lost.text
    assert (won.verdict, won.change_at_most) == ("proved", 0.0)  # it pays all that it bid


def raised(market, j, by):
    return replace(market, value=np.maximum(market.value + np.where(market.offer_request() == j, by, 0.0), 0.0))


def worth_with(market, j):
    """The best allocation that places j, by trying all."""
    bonus = 1000.0
    return best_by_trying_all(raised(market, j, bonus)) - bonus


@settings(max_examples=50)
@given(seeds, st.booleans(), st.booleans())
def test_raises_and_falls_are_those_of_trying_all(seed, exclusive, gangs):
    market = random_market(np.random.default_rng(seed), 5, 3, 1, exclusive=exclusive, gangs=gangs)
    outcome = solve_by_trying_all(market)
    for j, story in enumerate(explain_all(market, outcome, solve=solve_by_trying_all)):
        assert story.verdict == "proved"
        assert (outcome.at[j] != UNPLACED) == (story.answer == "won")
        if story.answer == "outbid":
            assert story.change == pytest.approx(max(outcome.welfare - worth_with(market, j), 0))
        elif story.answer == "won":
            mine = market.offer_request() == j
            without = replace(market, value=np.where(mine, 0.0, market.value))
            if market.gang[j] < 0:
                assert story.change == pytest.approx(outcome.welfare - best_by_trying_all(without))
            assert story.winning_bid == pytest.approx(max(story.bid - story.change, 0))
        else:
            assert worth_with(market, j) < 0


@settings(max_examples=40)
@given(seeds)
def test_no_bid_below_the_prices_wins_but_by_what_they_miss_of_the_optimum(seed):
    rng = np.random.default_rng(seed)
    market = random_market(rng, 5, 3, 1)
    outcome = replace(solve_by_trying_all(market), unit_price=rng.integers(0, 4, (3, 1)) / 2)
    missed = dual_bound(market, outcome.node_price, outcome.unit_price) - outcome.welfare
    for j, story in enumerate(explain_all(market, outcome)):
        if story.answer == "outbid":
            assert story.change <= outcome.welfare - worth_with(market, j) + missed + 1e-9


def test_an_outcome_short_of_the_optimum_is_explained_with_doubt():
    market, _ = one_node()
    poor = Outcome(np.array([UNPLACED, 0], np.int32), 4.0, 9.0, np.array([4.0]), np.zeros((1, 1)), "feasible")
    story = explain(market, poor, 0)
    assert (story.answer, story.verdict, story.change, story.change_at_most) == ("outbid", "estimate", 0.0, 5.0)
