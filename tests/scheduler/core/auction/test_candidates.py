from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.auction.assignment import solve_assignment
from scheduler.core.auction.candidates import NodeSearch, PlaneBids, list_best, solve_plane
from scheduler.core.auction.market import UNPLACED, Market
from scheduler.core.errors import StowageInputError

seeds = st.integers(0, 2**32 - 1)


def plane(seed=0, requests=30, nodes=12, shapes=3, near=1.0, reach=100.0):
    """Bids at random places; a third of the nodes refuse a shape."""
    rng = np.random.default_rng(seed)
    score = rng.random((shapes, nodes))
    score[rng.random((shapes, nodes)) < 1 / 3] = -np.inf
    return PlaneBids(
        rng.uniform(-50, 50, (nodes, 2)), rng.uniform(-50, 50, (requests, 2)),
        rng.integers(shapes, size=requests, dtype=np.int32), score, near, reach,
    )  # fmt: skip


def matrix(bids):
    """(J, N) every bid."""
    requests, nodes = len(bids.request_xy), len(bids.node_xy)
    pairs = np.indices((requests, nodes)).reshape(2, -1)
    return bids.of(pairs[0], pairs[1]).reshape(requests, nodes)


def whole_market(bids):
    """The same bids as a market that lists every pair."""
    all_bids = matrix(bids)
    requests, nodes = all_bids.shape
    used = np.isfinite(all_bids)
    return Market(
        nodes=np.array([f"node-{n:04}" for n in range(nodes)], np.str_),
        room=np.ones((nodes, 1), np.int64),
        requests=np.array([f"request-{j:04}" for j in range(requests)], np.str_),
        demand=np.ones((requests, 1), np.int64),
        resources=("pods",),
        tenants=("t",),
        tenant=np.zeros(requests, np.int32),
        first=np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64),
        node=np.nonzero(used)[1].astype(np.int32),
        value=all_bids[used],
        gang=np.full(requests, -1, np.int32),
        unlisted=np.zeros(requests),
        exclusive=True,
    )


@settings(deadline=None)
@given(seeds, st.integers(1, 5), st.booleans())
def test_the_search_finds_what_sorting_all_finds(seed, wanted, priced):
    rng = np.random.default_rng(seed)
    bids = plane(seed, nodes=int(rng.integers(1, 60)))
    price = rng.random(len(bids.node_xy)) * priced
    above = rng.random(len(bids.request_xy))
    best, gain = NodeSearch(bids).best(price, wanted, above)
    net = np.sort(np.hstack([matrix(bids) - price, np.full((len(above), wanted), -np.inf)]), axis=1)[:, ::-1]
    assert gain == pytest.approx(np.maximum(net[:, :wanted], above[:, None]))
    assert ((best >= 0) == (net[:, :wanted] > above[:, None])).all()
    request, place = np.nonzero(best >= 0)
    nodes = best[request, place]
    assert bids.of(request, nodes) - price[nodes] == pytest.approx(gain[request, place])


@settings(deadline=None)
@given(seeds, st.integers(1, 5))
def test_lists_hold_the_best_and_say_what_the_next_is_worth(seed, listed):
    bids = plane(seed)
    lists = list_best(bids, listed)
    every = np.where(np.isfinite(matrix(bids)), matrix(bids), 0.0)
    for j in range(len(bids.request_xy)):
        rows = slice(lists.first[j], lists.first[j + 1])
        assert (np.diff(lists.node[rows]) > 0).all()
        expected = np.sort(every[j])[::-1][: listed + 1]
        assert np.sort(lists.value[rows])[::-1] == pytest.approx(expected[:listed][expected[:listed] > 0])
        assert lists.unlisted[j] == pytest.approx(expected[listed])


@settings(deadline=None)
@given(seeds, st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_short_lists_end_at_the_optimum_of_all_pairs(seed, requests, nodes, listed):
    bids = plane(seed, requests, nodes)
    found = solve_plane(bids, tolerance=0, listed=listed)
    best = solve_assignment(whole_market(bids), tolerance=0)
    assert best.verdict == "optimal"
    assert found.bound >= best.welfare * (1 - 1e-9)
    assert found.welfare == pytest.approx(best.welfare, rel=1e-8)
    assert found.verdict == "optimal"
    winners = found.at[found.at != UNPLACED]
    assert len(np.unique(winners)) == len(winners)
    assert matrix(bids)[found.at != UNPLACED, winners].sum() == pytest.approx(found.welfare)


def test_the_bound_holds_though_the_rounds_are_cut():
    bids = plane(3, 60, 40)
    best = solve_assignment(whole_market(bids), tolerance=0)
    for limit in (1, 500, 1500, 3000):
        cut = solve_plane(bids, tolerance=0, listed=1, limit=limit)
        assert cut.welfare <= best.welfare + 1e-9 <= cut.bound + 2e-9


@pytest.mark.parametrize("near", [0.0, 1.0])
def test_requests_in_one_place_are_spread_over_all_nodes(near):
    bids = replace(plane(5, 300, 200, near=near), request_xy=np.zeros((300, 2)))
    found = solve_plane(bids, listed=4)
    assert found.gap <= 1e-4
    assert (found.at != UNPLACED).sum() > 190


def test_the_last_prices_save_work_when_a_few_nodes_change():
    bids = plane(7, 2000, 500)
    before = solve_plane(bids)
    score = bids.score.copy()
    score[:, :5] *= 0.9
    changed = replace(bids, score=score)
    cold, warm = solve_plane(changed), solve_plane(changed, start=before)
    assert warm.gap <= 1e-4
    assert warm.steps < 0.7 * cold.steps


def test_the_same_bids_give_the_same_bytes():
    one, two = solve_plane(plane(9, 200, 60)), solve_plane(plane(9, 200, 60))
    assert (one.at.tobytes(), one.node_price.tobytes(), one.steps) == (
        two.at.tobytes(), two.node_price.tobytes(), two.steps,
    )  # fmt: skip


@pytest.mark.parametrize(("requests", "nodes"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_is_an_empty_answer(requests, nodes):
    found = solve_plane(plane(0, requests, nodes))
    assert (found.welfare, found.bound, found.verdict) == (0, 0, "optimal")
    assert found.at.tolist() == [UNPLACED] * requests
    assert list_best(plane(0, requests, nodes), 2).unlisted.tolist() == [0] * requests


def test_nodes_that_take_nobody_stay_empty():
    bids = plane(0, 5, 4)
    refused = solve_plane(replace(bids, score=np.full_like(bids.score, -np.inf)))
    assert refused.at.tolist() == [UNPLACED] * 5
    assert refused.verdict == "optimal"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_xy": np.full((12, 2), np.nan)}, "node 0 is at .nan, nan."),
        ({"request_xy": np.full((30, 2), np.inf)}, "request 0 is at .inf, inf."),
        ({"score": np.full((3, 12), -1.0)}, "score of shape 0 for node 0 is -1.0"),
        ({"score": np.full((3, 12), np.nan)}, "score of shape 0 for node 0 is nan"),
        ({"near": -1.0}, "near is -1.0"),
        ({"reach": 0.0}, "reach 0.0"),
        ({"shape": np.full(30, 3, np.int32)}, "shape has codes"),
    ],
)
def test_broken_bids_are_refused_with_the_rule(change, message):
    with pytest.raises(StowageInputError, match=message):
        replace(plane(), **change)


def test_a_start_of_other_nodes_is_refused():
    with pytest.raises(StowageInputError, match="had 12 nodes, this one has 13"):
        solve_plane(plane(nodes=13), start=solve_plane(plane()))
