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


@settings(deadline=None, max_examples=40)
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


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_one_more_node_never_lowers_the_optimum(seed):
    market = random_market(np.random.default_rng(seed), requests=8, nodes=5, exclusive=True)
    fewer = replace(market, room=np.where(np.arange(5)[:, None] == seed % 5, 0, market.room))
    assert solve_assignment(fewer, tolerance=0).welfare <= solve_assignment(market, tolerance=0).welfare + 1e-9


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_a_cut_auction_is_sound_and_its_bound_holds(seed, limit):
    market = random_market(np.random.default_rng(seed), requests=20, nodes=10, exclusive=True)
    best = solve_assignment(market, tolerance=0).welfare
    cut = solve_assignment(market, tolerance=0, limit=limit)
    assert_sound(market, cut)
    assert cut.welfare <= best + 1e-9 <= cut.bound + 2e-9


def test_a_budget_of_nothing_leaves_the_round_undecided():
    market = alone("a", {"x": {"a": 1.0}})
    cut = solve_assignment(market, limit=0)
    assert (cut.verdict, cut.welfare, cut.bound) == ("undecided", 0, 1)


def test_what_may_be_bid_elsewhere_is_in_the_bound():
    market = replace(alone("ab", {"x": {"a": 2.0}, "y": {"a": 3.0}}), unlisted=np.array([1.5, 0.0]))
    outcome = solve_assignment(market, tolerance=0)
    assert placed(market, outcome) == {"y": "a"}
    assert 4.5 <= outcome.bound <= dual_bound(market, outcome.node_price, outcome.unit_price) + 1e-12
    assert outcome.verdict == "feasible"


@pytest.mark.parametrize(
    ("bids", "winners"),
    [
        ({"x": {"a": 5}, "y": {"a": 5}, "z": {"a": 5}}, {"x": "a"}),
        ({name: {"a": 5, "b": 5} for name in "vwxyz"}, {"v": "a", "w": "b"}),
        ({name: {"a": 7, "b": 5} for name in "vwxyz"}, {"v": "a", "w": "b"}),
        ({"x": {"a": 0, "b": 0}, "y": {"a": 0}}, {}),
        ({"x": {}, "y": {}}, {}),
        ({"x": {"a": 1e9, "b": 1e-9}, "y": {"a": 1e-9, "b": 1e9}}, {"x": "a", "y": "b"}),
    ],
)
def test_bids_that_are_equal_nothing_or_far_apart(bids, winners):
    market = alone("ab", bids)
    outcome = solve_assignment(market, tolerance=0)
    assert_sound(market, outcome)
    assert placed(market, outcome) == winners
    assert outcome.verdict == "optimal"


def test_nobody_bids_and_nothing_is_offered():
    nobody = solve_assignment(alone("ab", {}))
    assert (nobody.at.tolist(), nobody.bound, nobody.verdict) == ([], 0, "optimal")
    bare = replace(alone("a", {"x": {}}), nodes=np.zeros(0, np.str_), room=np.zeros((0, 1), np.int64))
    nothing = solve_assignment(bare)
    assert (nothing.at.tolist(), nothing.bound, nothing.verdict) == ([UNPLACED], 0, "optimal")


def test_bids_of_billions_and_billionths_meet_the_optimum():
    rng = np.random.default_rng(3)
    size = {f"r{j}": 10.0 ** (9 * rng.choice([-1, 0, 1])) for j in range(6)}
    market = alone("abcd", {name: {n: one * rng.random() for n in "abcd"} for name, one in size.items()})
    outcome = solve_assignment(market, tolerance=0)
    assert_sound(market, outcome)
    assert outcome.welfare == pytest.approx(best_by_trying_all(market), rel=1e-9)


def test_a_price_war_is_short():
    names = [f"r{j:03}" for j in range(200)]
    nodes = [f"n{j:03}" for j in range(199)]
    market = alone(nodes, {name: dict.fromkeys(nodes, 1.0) for name in names})
    outcome = solve_assignment(market, tolerance=0)
    assert outcome.verdict == "optimal"
    assert outcome.welfare == 199
    assert placed(market, outcome) == dict(zip(names, nodes, strict=False))
    # By the last epsilon alone, every price would take a billion bids from 0 to 1.
    assert outcome.steps < 1000 * len(market.node)


def test_a_price_war_from_useless_prices_is_short_too():
    nodes = [f"n{n:03}" for n in range(199)]
    market = alone(nodes, {f"r{j:03}": dict.fromkeys(nodes, 1.0) for j in range(200)})
    cold = solve_assignment(market)
    useless = replace(cold, node_price=np.zeros(199), at=np.full(200, UNPLACED, np.int32))
    again = solve_assignment(market, start=useless)
    assert again.welfare == 199
    assert again.gap <= 1e-6
    assert again.steps < cold.steps + 15 * len(market.node)


def contended(seed=0, requests=600, nodes=150):
    rng = np.random.default_rng(seed)
    market = random_market(rng, requests, nodes, exclusive=True)
    return replace(market, value=rng.random(len(market.value)), room=np.full_like(market.room, 9))


def test_the_last_prices_save_work_when_a_few_bids_change():
    market = contended()
    before = solve_assignment(market)
    value = market.value.copy()
    value[::500] *= 0.5
    changed = replace(market, value=value)
    cold, warm = solve_assignment(changed), solve_assignment(changed, start=before)
    assert_sound(changed, warm)
    assert warm.gap <= 1e-6
    assert warm.steps < cold.steps / 2
    assert solve_assignment(market, start=before).at.tolist() == before.at.tolist()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_any_start_ends_at_the_optimum(seed):
    rng = np.random.default_rng(seed)
    market, other = (random_market(rng, exclusive=True) for _ in range(2))
    start = solve_assignment(other)
    wild = replace(start, node_price=rng.random(4) * 20, at=rng.permutation(6).astype(np.int32) % 4)
    best = solve_assignment(market, tolerance=0).welfare
    assert solve_assignment(market, start=start, tolerance=0).welfare == pytest.approx(best, rel=1e-9)
    assert solve_assignment(market, start=wild, tolerance=0).welfare == pytest.approx(best, rel=1e-9)


def test_the_same_market_gives_the_same_bytes():
    one, two = solve_assignment(contended(5)), solve_assignment(contended(5))
    assert (one.at.tobytes(), one.node_price.tobytes(), one.steps) == (
        two.at.tobytes(), two.node_price.tobytes(), two.steps,
    )  # fmt: skip


def test_a_start_of_other_nodes_is_refused():
    with pytest.raises(StowageInputError, match="had 2 nodes, this one has 1"):
        solve_assignment(alone("a", {"x": {"a": 1}}), start=solve_assignment(alone("ab", {"x": {"a": 1}})))


def test_gangs_are_refused():
    with pytest.raises(StowageInputError, match="has gangs"):
        solve_assignment(alone("a", {"x": {"a": 1}}, gangs={"x": 0}))


def test_shared_nodes_are_refused():
    with pytest.raises(StowageInputError, match="nodes are shared"):
        solve_assignment(replace(alone("a", {"x": {"a": 1}}), exclusive=False))
