from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.charges import clarke, silence, weigh
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import UNPLACED, Outcome, bid_of, broken_rules
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, random_market, solve_by_trying_all

seeds = st.integers(0, 2**32 - 1)


def charges_of(market):
    outcome = solve_by_trying_all(market)
    return dict(zip(market.tenants, clarke(market, outcome, solve_by_trying_all).charge.tolist(), strict=True))


def test_one_node_is_sold_at_the_second_bid():
    market = a_market({"a": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0}), "z": ([1], {"a": 7.0})})
    assert charges_of(market) == {"tenant-of-x": 7.0, "tenant-of-y": 0.0, "tenant-of-z": 0.0}


def test_a_tenants_own_pods_do_not_raise_its_charge():
    requests = {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 8.0}), "z": ([1], {"a": 2.0})}
    assert charges_of(a_market({"a": [1]}, requests, tenants={"x": "p", "y": "p", "z": "q"})) == {"p": 2.0, "q": 0.0}


def test_a_large_pod_pays_for_all_that_it_displaces():
    market = a_market({"a": [4]}, {"x": ([4], {"a": 9.0}), "y": ([2], {"a": 3.0}), "z": ([2], {"a": 4.0})})
    assert charges_of(market)["tenant-of-x"] == 7.0


def test_a_tenant_in_nobodys_way_pays_nothing():
    market = a_market({"a": [4], "b": [1]}, {"x": ([2], {"a": 5.0}), "y": ([2], {"a": 5.0}), "z": ([1], {"b": 9.0})})
    assert set(charges_of(market).values()) == {0.0}


def test_a_gang_is_charged_for_what_it_displaces_as_one():
    market = a_market(
        {"a": [1], "b": [1]},
        {"x": ([1], {"a": 3.0, "b": 3.0}), "y": ([1], {"a": 3.0, "b": 3.0}), "z": ([1], {"a": 5.0, "b": 1.0})},
        tenants={"x": "p", "y": "p", "z": "q"},
        gangs={"x": 0, "y": 0},
    )
    assert charges_of(market) == {"p": 5.0, "q": 0.0}


def test_a_gang_of_two_tenants_is_refused():
    market = a_market({"a": [2]}, {"x": ([1], {"a": 3.0}), "y": ([1], {"a": 3.0})}, gangs={"x": 0, "y": 0})
    with pytest.raises(StowageInputError, match="request y of tenant tenant-of-y is in gang 0 of tenant tenant-of-x"):
        clarke(market, solve_by_trying_all(market), solve_by_trying_all)


def test_only_tenants_that_won_are_solved_without():
    market = a_market({"a": [1]}, {"x": ([1], {"a": 9.0}), "y": ([1], {"a": 4.0})})
    asked = []

    def solve(changed):
        asked.append(np.diff(changed.first).tolist())
        return solve_by_trying_all(changed)

    clarke(market, solve_by_trying_all(market), solve)
    assert asked == [[0, 1]]


@settings(max_examples=60)
@given(seeds, st.booleans(), st.booleans())
def test_charges_lie_between_nothing_and_the_bids_and_equal_the_harm_done(seed, exclusive, gangs):
    market = random_market(np.random.default_rng(seed), requests=5, nodes=3, exclusive=exclusive, gangs=gangs)
    outcome = solve_by_trying_all(market)
    found = clarke(market, outcome, solve_by_trying_all)
    bids = bid_of(market, outcome.at)
    assert found.won.tolist() == per_tenant(market, bids).tolist()
    for t in range(len(market.tenants)):
        harm = solve_by_trying_all(silence(market, t)).welfare - bids[market.tenant != t].sum()
        assert found.charge[t] == pytest.approx(harm if found.won[t] else 0, abs=1e-9)
        assert 0 <= found.charge[t] <= found.won[t]
    assert not found.slack.any()


@settings(max_examples=60)
@given(seeds, st.booleans())
def test_with_a_gap_charges_stay_within_bounds_and_the_slack_covers_the_exact_charge(seed, exclusive):
    """A solver that forgets one winner of the exact answer and knows only that bound."""
    rng = np.random.default_rng(seed)
    market = random_market(rng, requests=5, nodes=3, exclusive=exclusive)
    exact = solve_by_trying_all(market)

    def poor(changed):
        best = solve_by_trying_all(changed)
        at = best.at.copy()
        at[rng.integers(len(at))] = UNPLACED
        return replace(best, at=at, welfare=float(bid_of(changed, at).sum()), verdict="feasible")

    found = clarke(market, exact, poor)
    truth = clarke(market, exact, solve_by_trying_all)
    assert (found.charge <= truth.charge + 1e-9).all()
    assert (truth.charge <= found.charge + found.slack + 1e-9).all()
    rough = clarke(market, poor(market), poor)
    assert ((rough.charge >= 0) & (rough.charge <= rough.won)).all()


@settings(max_examples=60)
@given(seeds, st.booleans())
def test_equal_requests_meet_the_same_charge(seed, exclusive):
    """Two tenants bid the same for the same demand: who wins is a matter of names, not what the winner has left."""
    rng = np.random.default_rng(seed)
    value = {f"node-{n}": float(rng.integers(0, 10)) for n in range(3)}
    demand = rng.integers(0, 4, 1).tolist()
    others = {f"other-{j}": (rng.integers(0, 4, 1).tolist(), {"node-0": float(rng.integers(9))}) for j in range(2)}
    market = a_market(
        {f"node-{n}": rng.integers(0, 6, 1).tolist() for n in range(3)},
        {"twin-a": (demand, value), "twin-b": (demand, value), **others},
        exclusive=exclusive,
    )
    outcome = solve_by_trying_all(market)
    found = clarke(market, outcome, solve_by_trying_all)
    left = dict(zip(market.tenants, (found.won - found.charge).tolist(), strict=True))
    assert left["tenant-of-twin-a"] == pytest.approx(left["tenant-of-twin-b"])


def true_worth(market, lie, outcome, tenant):
    """What a tenant really has from an outcome of the round with its lie: its true bids where the pod runs.

    A pod that asked for less than it needs is given less and does not run, so it is worth nothing; one that asked for
    more runs. A node that it cannot use is worth nothing to it.
    """
    worth = 0.0
    for j in np.flatnonzero((market.tenant == tenant) & (outcome.at != UNPLACED)):
        offers = slice(market.first[j], market.first[j + 1])
        runs = (lie.demand[j] >= market.demand[j]).all()
        worth += float(market.value[offers][market.node[offers] == outcome.at[j]].sum()) if runs else 0.0
    return worth


def with_lies(rng, market, tenant):
    """The round as the tenant might tell it: other values, demands, and nodes that it could use."""
    theirs = np.flatnonzero(market.tenant == tenant)
    requests = {}
    for j, name in enumerate(market.requests.tolist()):
        offers = slice(market.first[j], market.first[j + 1])
        demand = market.demand[j].copy()
        bids = dict(zip(market.nodes[market.node[offers]].tolist(), market.value[offers].tolist(), strict=True))
        if j in theirs:
            kind = rng.choice(["value", "priority", "demand", "location"])
            if kind == "value":
                bids = {n: float(rng.integers(0, 12)) for n in bids}
            elif kind == "priority":
                bids = {n: value * float(rng.choice([0, 0.5, 2, 10])) for n, value in bids.items()}
            elif kind == "demand":
                demand = rng.integers(0, 6, len(demand))
            else:
                moved = rng.permutation(len(market.nodes))
                values = list(bids.values())
                bids = {str(market.nodes[n]): value for n, value in zip(moved, values, strict=False)}
        requests[name] = (demand.tolist(), bids)
    return a_market(
        dict(zip(market.nodes.tolist(), market.room.tolist(), strict=True)),
        requests,
        tenants={name: market.tenants[t] for name, t in zip(market.requests.tolist(), market.tenant, strict=True)},
        exclusive=market.exclusive,
    )


def gain_of_a_lie(seed, exclusive, charges):
    """What a drawn lie leaves its tenant more than the truth, after these charges."""
    rng = np.random.default_rng(seed)
    market = random_market(rng, requests=5, nodes=3, resources=1, exclusive=exclusive)
    tenant = int(rng.integers(len(market.tenants)))
    honest = solve_by_trying_all(market)
    kept = true_worth(market, market, honest, tenant) - charges(market, honest)[tenant]
    lie = with_lies(rng, market, tenant)
    told = solve_by_trying_all(lie)
    return true_worth(market, lie, told, tenant) - charges(lie, told)[tenant] - kept


@settings(max_examples=150)
@given(seeds, st.booleans())
def test_no_lie_of_a_single_tenant_gains_anything(seed, exclusive):
    assert gain_of_a_lie(seed, exclusive, lambda *round_: clarke(*round_, solve_by_trying_all).charge) <= 1e-9


def test_the_same_lies_gain_where_nothing_or_the_bid_is_charged():
    """So the lies are ones that Clarke charges have to stop."""

    def nothing(market, outcome):
        return np.zeros(len(market.tenants))

    def the_bid(market, outcome):
        return per_tenant(market, bid_of(market, outcome.at))

    for charges in (nothing, the_bid):
        assert sum(gain_of_a_lie(seed, seed % 2 == 0, charges) > 1e-9 for seed in range(100)) >= 5


def test_weights_tilt_the_round_and_the_charge_divided_by_them_is_what_the_bid_must_beat():
    market = a_market({"a": [1]}, {"x": ([1], {"a": 5.0}), "y": ([1], {"a": 4.0})})
    tilted = weigh(market, np.array([1.0, 2.0]))
    outcome = solve_by_trying_all(tilted)
    assert outcome.at.tolist() == [UNPLACED, 0]
    assert (clarke(tilted, outcome, solve_by_trying_all).charge / [1.0, 2.0]).tolist() == [0.0, 2.5]


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(bad):
    market = a_market({"a": [1]}, {"x": ([1], {"a": 5.0}), "y": ([1], {"a": 4.0})})
    with pytest.raises(StowageInputError, match="weight of tenant tenant-of-y"):
        weigh(market, np.array([1.0, bad]))
    with pytest.raises(StowageInputError, match="3 weights and 2 tenants"):
        weigh(market, np.ones(3))


def test_an_empty_round_and_one_without_room_charge_nobody():
    empty = a_market({"a": [4]}, {})
    nothing = Outcome(np.zeros(0, np.int32), 0.0, 0.0, np.zeros(1), np.zeros((1, 1)), "optimal")
    assert clarke(empty, nothing, solve_by_trying_all).charge.tolist() == []
    full = a_market({"a": [0]}, {"x": ([1], {"a": 5.0})})
    assert charges_of(full) == {"tenant-of-x": 0.0}


def test_silence_keeps_rows_and_drops_one_tenants_offers():
    market = a_market({"a": [1], "b": [1]}, {"x": ([1], {"a": 1.0, "b": 2.0}), "y": ([1], {"b": 3.0})})
    quiet = silence(replace(market, unlisted=np.array([4.0, 5.0])), 0)
    assert quiet.first.tolist() == [0, 0, 1]
    assert (quiet.node.tolist(), quiet.value.tolist(), quiet.unlisted.tolist()) == ([1], [3.0], [0.0, 5.0])
    assert broken_rules(quiet, np.array([UNPLACED, 1], np.int32)) == []
