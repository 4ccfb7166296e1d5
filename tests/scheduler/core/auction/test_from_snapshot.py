"""A cluster as a market: who bids what for which nodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ortools.linear_solver import pywraplp

from scheduler.core import kube_types as kube
from scheduler.core.auction.from_snapshot import (
    MOST_OFFERS,
    MOVE_SHARE,
    Round,
    Terms,
    make_round,
    rate_of,
    why_refused,
)
from scheduler.core.auction.market import Market
from scheduler.core.errors import StowageInputError
from scheduler.core.snapshot import Node, Pod, a_snapshot

GIB = 1 << 30


def a_node(name: str, cpu: int = 8, memory: int = 32, gpus: int = 0, **rest: Any) -> Node:
    """cpu: whole CPUs. memory: GiB. rest: fields of a Node."""
    offered = {"cpu": cpu * 1000, "memory": memory * GIB, "pods": 110} | ({"nvidia.com/gpu": gpus} if gpus else {})
    return Node(name=name, allocatable=offered, **rest)


def a_pod(name: str, node: str | None = None, cpu: int = 1000, memory: int = 1, gpus: int = 0, **rest: Any) -> Pod:
    """cpu: millicores. memory: GiB."""
    asked = {"cpu": cpu, "memory": memory * GIB} | ({"nvidia.com/gpu": gpus} if gpus else {})
    return Pod(name=name, node=node, requests=asked, **rest)


def a_round(nodes: list[Node], pods: list[Pod], others: tuple[str, ...] = (), **terms: Any) -> Round:
    """All pods are ours but `others`, by name."""
    ours = frozenset(pod.key for pod in pods if pod.name not in others)
    return make_round(a_snapshot(nodes, pods), Terms(ours, **terms))


def offers(made: Round, pod: str) -> dict[str, float]:
    """What a pod bids, by the first node of each pool."""
    market = made.market
    j = market.requests.tolist().index(f"default/{pod}")
    rows = slice(market.first[j], market.first[j + 1])
    return dict(zip(market.nodes[market.node[rows]].tolist(), market.value[rows].tolist(), strict=True))


def relaxed(market: Market) -> tuple[float, np.ndarray]:
    """The value of the linear relaxation and the price of one unit of each resource of each node."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    request, fits = market.offer_request(), market.fits()
    share = [solver.NumVar(0, 1, "") for _ in request]
    for j in range(len(market.requests)):
        solver.Add(sum(share[e] for e in np.flatnonzero(request == j)) <= 1)
    limits = [
        solver.Add(sum(share[e] * int(market.demand[request[e], r]) for e in np.flatnonzero(market.node == n)) <= room)
        for n, rooms in enumerate(market.room.tolist()) for r, room in enumerate(rooms)
    ]  # fmt: skip
    solver.Maximize(sum(one * float(value * fit) for one, value, fit in zip(share, market.value, fits, strict=True)))
    assert solver.Solve() == pywraplp.Solver.OPTIMAL
    prices = np.array([limit.dual_value() for limit in limits]).reshape(market.room.shape)
    return solver.Objective().Value(), prices


def test_a_bid_grows_with_size_and_with_the_digits_of_the_priority() -> None:
    nodes = [a_node("n", cpu=8)]
    pods = [a_pod("small", cpu=1000), a_pod("large", cpu=4000), a_pod("dear", cpu=1000, priority=999)]
    pods += [a_pod("own", cpu=1000), a_pod("cheap", cpu=1000, priority=-9)]
    made = a_round(nodes, pods, bids={"default/own": 7.0})
    found = {name: offers(made, name)["n"] for name in ("small", "large", "dear", "own", "cheap")}
    assert found == pytest.approx({"small": 1 / 8, "large": 4 / 8, "dear": 4 / 8, "own": 7.0, "cheap": 1 / 16})
    assert [rate_of(p) for p in (0, 9, 999, 999_999_999)] == pytest.approx([1, 2, 4, 10])


def test_a_running_pod_bids_most_for_where_it_is_and_a_waiting_one_the_same_everywhere() -> None:
    nodes = [a_node("a"), a_node("b", labels={"disk": "ssd"}), a_node("c", cpu=2)]
    wishes = a_pod("picky", node_selector={"disk": "ssd"})
    made = a_round(nodes, [a_pod("runs", "a"), a_pod("waits"), a_pod("wide", cpu=4000), wishes])
    here = offers(made, "runs")
    assert here["a"] == pytest.approx(1 / 8)
    assert here["b"] == here["c"] == pytest.approx((1 - MOVE_SHARE) / 8)
    assert set(offers(made, "waits").values()) == {1 / 8}
    assert set(offers(made, "wide")) == {"a", "b"}  # it does not fit on c
    assert set(offers(made, "picky")) == {"b"}


def test_nodes_are_one_pool_unless_a_pod_can_tell_them_apart() -> None:
    nodes = [a_node(f"n{n}", labels={"host": f"n{n}", "zone": "east" if n < 2 else "west"}) for n in range(4)]
    assert a_round(nodes, [a_pod("p")]).pools == (("n0", "n1", "n2", "n3"),)
    assert a_round(nodes, [a_pod("p", node_selector={"zone": "west"})]).pools == (("n0", "n1"), ("n2", "n3"))
    pinned = a_round(nodes, [a_pod("p", node_selector={"host": "n2"})])
    assert pinned.pools == (("n0", "n1", "n3"), ("n2",))
    taint = kube.Taint(key="gpu", effect="NoSchedule")
    tainted = [*nodes, a_node("n4", taints=[taint])]
    some = a_round(tainted, [a_pod("p"), a_pod("q", tolerations=[kube.Toleration(key="gpu", operator="Exists")])])
    assert some.pools == (("n0", "n1", "n2", "n3"), ("n4",))
    assert set(offers(some, "p")) == {"n0"}
    assert set(offers(some, "q")) == {"n0", "n4"}


def test_a_pod_bound_to_a_node_by_name_makes_it_a_pool_of_its_own() -> None:
    field = kube.Requirement(key="metadata.name", operator="In", values=["n1"])
    affinity = kube.Affinity(node_affinity=kube.NodeAffinity(
        required=kube.NodeSelector(node_selector_terms=[kube.NodeSelectorTerm(match_fields=[field])])
    ))  # fmt: skip
    made = a_round([a_node(f"n{n}") for n in range(3)], [a_pod("p", affinity=affinity)])
    assert made.pools == (("n0", "n2"), ("n1",))
    assert set(offers(made, "p")) == {"n1"}


def test_nearly_equal_sizes_are_one_and_others_are_not() -> None:
    nodes = [a_node("a", memory=32), a_node("b", memory=32), a_node("c", memory=64)]
    offered = nodes[1].allocatable | {"memory": 32 * GIB - 3_000_000}  # the kernel reserved a little more
    nodes[1] = Node(name="b", allocatable=offered)
    assert a_round(nodes, [a_pod("p")]).pools == (("a", "b"), ("c",))


def test_room_is_what_others_leave_and_our_own_pods_bid_for_theirs() -> None:
    made = a_round([a_node("n", cpu=8)], [a_pod("ours", "n", cpu=2000), a_pod("theirs", "n", cpu=3000)], ("theirs",))
    market = made.market
    assert market.requests.tolist() == ["default/ours"]
    assert market.room[0, market.resources.index("cpu")] == 5000
    assert made.utilisation.tolist() == [5 / 8]


def test_nodes_out_of_service_are_not_for_sale_and_who_stands_there_does_not_bid() -> None:
    nodes = [a_node("a"), a_node("cordoned", unschedulable=True), a_node("lost", ready=False)]
    pods = [a_pod("p"), a_pod("q", "cordoned"), a_pod("r", "lost"), a_pod("going", "a", terminating=True)]
    pods += [a_pod("held", gates=["example.org/quota"]), a_pod("ours", gates=["stowage.dev/hold"])]
    made = a_round(nodes, pods)
    assert made.pools == (("a",),)
    assert made.market.requests.tolist() == ["default/ours", "default/p"]
    assert made.waits == (True, True)


def test_a_gang_bids_as_one_and_only_when_it_is_all_there() -> None:
    pods = [a_pod(f"g{n}", gang="default/g", gang_size=2) for n in range(2)]
    pods += [a_pod("half", gang="default/h", gang_size=2), a_pod("alone")]
    made = a_round([a_node("n")], pods)
    assert made.market.requests.tolist() == ["default/alone", "default/g0", "default/g1"]
    assert made.market.gang.tolist() == [-1, 0, 0]


def test_weights_multiply_and_budgets_cap_what_a_namespace_bids_together() -> None:
    nodes = [a_node("n", cpu=8)]
    pods = [a_pod("p", cpu=4000), a_pod("q", cpu=4000)]
    assert offers(a_round(nodes, pods, weights={"default": 3.0}), "p")["n"] == pytest.approx(1.5)
    capped = a_round(nodes, pods, weights={"default": 3.0}, budgets={"default": 2.0})
    assert offers(capped, "p")["n"] == pytest.approx(1.0)
    assert offers(a_round(nodes, pods, budgets={"default": 9.0}), "p")["n"] == pytest.approx(0.5)
    nothing = a_round(nodes, pods, budgets={"default": 0.0})
    assert nothing.market.value.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("terms", [
    {"bids": {"default/p": math.nan}}, {"bids": {"default/p": -1.0}}, {"budgets": {"default": math.inf}},
    {"budgets": {"default": -0.1}}, {"weights": {"default": 0.0}}, {"weights": {"default": -2.0}},
])  # fmt: skip
def test_terms_that_mean_nothing_are_refused_by_name(terms: dict[str, dict[str, float]]) -> None:
    with pytest.raises(StowageInputError, match="default"):
        Terms(frozenset(), **terms)


def test_zero_is_a_bid_and_a_budget_but_no_weight() -> None:
    assert why_refused("bid", 0.0) == why_refused("budget", 0.0) == ""
    assert "above 0" in why_refused("weight", 0.0)


def test_an_empty_cluster_and_one_without_our_pods_are_empty_markets() -> None:
    assert len(a_round([], [a_pod("p")]).market.node) == 0
    made = a_round([a_node("n")], [a_pod("p")], ("p",))
    assert len(made.market.requests) == 0
    assert made.pools == (("n",),)


def test_of_very_many_pools_a_pod_lists_some_and_says_what_it_would_bid_for_others() -> None:
    nodes = [a_node(f"n{n:03}", labels={"host": f"n{n:03}"}) for n in range(3 * MOST_OFFERS)]
    pods = [a_pod(f"pin{n:03}", node_selector={"host": f"n{n:03}"}) for n in range(len(nodes))]
    made = a_round(nodes, [*pods, a_pod("free-1"), a_pod("free-2"), a_pod("runs", "n001")])
    assert len(made.pools) == len(nodes)
    listed = {name: offers(made, name) for name in ("free-1", "free-2", "runs")}
    assert {len(listed["free-1"]), len(listed["free-2"])} == {MOST_OFFERS}
    assert listed["free-1"].keys() != listed["free-2"].keys()
    assert "n001" in listed["runs"]
    j = made.market.requests.tolist().index("default/free-1")
    assert made.market.unlisted[j] == listed["free-1"].popitem()[1]


@pytest.mark.parametrize("seed", range(6))
def test_a_pool_is_worth_what_its_nodes_are_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = [a_node(f"n{n}", cpu=4 + 4 * (n % 2), labels={"host": f"n{n}", "kind": "ab"[n % 2]}) for n in range(6)]
    pods = [
        a_pod(f"p{n}", cpu=int(rng.integers(1, 5)) * 1000, memory=int(rng.integers(1, 12)),
              priority=int(rng.integers(0, 1000)), node_selector={"kind": "a"} if rng.random() < 0.3 else {})
        for n in range(24)
    ]  # fmt: skip
    pooled = a_round(nodes, pods)
    pins = [Pod(name=f"z{n}", requests={}, node_selector={"host": f"n{n}"}) for n in range(6)]
    one_by_one = a_round(nodes, [*pods, *pins], bids={pin.key: 0.0 for pin in pins})
    assert (len(pooled.pools), len(one_by_one.pools)) == (2, 6)
    worth, prices = relaxed(pooled.market)
    assert worth == pytest.approx(relaxed(one_by_one.market)[0], rel=1e-7)
    assert (pooled.pool_prices(prices) >= 0).all()
    assert pooled.pool_prices(prices).max() > 0


def test_the_price_of_a_bundle_is_what_the_last_bidder_out_would_pay() -> None:
    nodes = [a_node("gpu", gpus=8), a_node("plain")]
    pods = [a_pod(f"g{n}", gpus=4, cpu=100) for n in range(3)] + [a_pod("c", cpu=100)]
    made = a_round(nodes, pods)
    _, unit = relaxed(made.market)
    prices = dict(zip((pool[0] for pool in made.pools), made.pool_prices(unit).tolist(), strict=True))
    assert prices == pytest.approx({"gpu": 1.0, "plain": 0.0})  # 4 of 8 GPUs are half a bundle, bid at rate 1


def test_what_nobody_can_use_up_costs_nothing_whatever_a_solver_says() -> None:
    nodes = [a_node("gpu", gpus=8), a_node("plain"), a_node("quiet", labels={"kind": "q"})]
    pods = [a_pod(f"g{n}", gpus=4, cpu=100) for n in range(3)] + [a_pod("c", cpu=5000), a_pod("d", cpu=5000)]
    pods += [a_pod("q", cpu=8000, node_selector={"kind": "q"})]
    made = a_round(nodes, pods)
    kept = made.contended(np.full(made.market.room.shape, 7.0))
    column = {name: r for r, name in enumerate(made.market.resources)}
    priced = {(pool[0], name) for n, pool in enumerate(made.pools) for name, r in column.items() if kept[n, r]}
    assert priced == {("gpu", "nvidia.com/gpu"), ("gpu", "cpu"), ("plain", "cpu"), ("quiet", "cpu")}
