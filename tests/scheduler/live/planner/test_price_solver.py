"""Prices of small clusters, solved: who must pay for what."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.snapshot import Node, Pod, a_snapshot, encode_snapshot
from scheduler.live.planner.price_solver import PriceAnswer, PriceQuestion, answer


def a_node(name: str, kind: str, cpu: int = 4, ready: bool = True) -> Node:
    return Node(name=name, allocatable={"cpu": cpu * 1000, "pods": 110}, labels={"kind": kind}, ready=ready)


def a_pod(name: str, node: str | None = None, cpu: int = 3, kind: str = "", **rest: Any) -> Pod:
    return Pod(name=name, node=node, requests={"cpu": cpu * 1000}, node_selector={"kind": kind} if kind else {}, **rest)


def ask(nodes: list[Node], pods: list[Pod], **terms: Any) -> PriceAnswer:
    question = PriceQuestion(encode_snapshot(a_snapshot(nodes, pods)), sorted(pod.key for pod in pods), **terms)
    return answer(question)


def prices(found: PriceAnswer) -> dict[str, float]:
    return {pool.nodes[0]: round(pool.price, 3) for pool in found.pools}


A_THOUSANDTH = 2e-3  # duals are found to about that; a node's price moves by steps 25 times as large


NODES = [a_node("a0", "a"), a_node("a1", "a"), a_node("b0", "b")]


def test_room_that_more_want_than_fit_costs_what_they_bid_and_other_room_nothing() -> None:
    found = ask(NODES, [a_pod("p0", "a0", kind="a"), a_pod("p1", "a1", kind="a"), a_pod("p2", kind="a")])
    # Two of three fit, and all bid 1 for a bundle: below 1 all three want room, above it nobody.
    assert prices(found) == {"a0": pytest.approx(1.0, rel=A_THOUSANDTH), "b0": 0.0}
    (waits,) = found.waiting
    assert (waits.pod, waits.bid, waits.pool, waits.won) == ("default/p2", 0.75, "a0", False)
    assert waits.price == pytest.approx(0.75, rel=A_THOUSANDTH)
    assert (waits.rival, waits.rival_bid) == ("default/p0", 0.75)
    assert found.verdict == "optimal"


def test_of_equal_bids_those_that_run_win() -> None:
    """Whatever the names say: a waiting pod has not won where an equal one runs."""
    for running in (("p0", "p1"), ("p0", "p2"), ("p1", "p2")):
        pods = [a_pod(name, kind="a") for name in ("p0", "p1", "p2") if name not in running]
        pods += [a_pod(name, f"a{n}", kind="a") for n, name in enumerate(running)]
        assert [one.won for one in ask(NODES, pods).waiting] == [False], running


def test_who_bids_more_wins_and_a_weight_can_turn_it() -> None:
    pods = [a_pod("p", kind="b", namespace="shop", priority=9), a_pod("q", kind="b", namespace="lab")]
    won = {one.pod: one.won for one in ask(NODES, pods).waiting}
    assert won == {"shop/p": True, "lab/q": False}
    turned = ask(NODES, pods, weights={"lab": 4.0})
    assert {one.pod: one.won for one in turned.waiting} == {"shop/p": False, "lab/q": True}
    assert ask(NODES, pods, budgets={"shop": 0.0}).welfare == pytest.approx(0.75)


def test_a_pod_that_could_go_elsewhere_makes_no_price() -> None:
    found = ask(NODES, [a_pod("p0", "a0"), a_pod("p1", "a1"), a_pod("p2")])
    assert prices(found) == {"a0": 0.0}  # nobody tells a from b: one pool of three


def test_what_a_running_pod_of_little_worth_holds_costs_at_least_what_moving_it_costs() -> None:
    held = [a_pod("cheap", "b0"), a_pod("picky", kind="b", priority=999)]
    found = ask([a_node("a0", "a"), a_node("b0", "b")], held)
    assert prices(found)["a0"] == 0.0
    assert 0.249 < prices(found)["b0"] < 4.0  # it would go to a0 for a quarter of its bid less; the other bids 4
    assert [one.won for one in found.waiting] == [True]


def test_where_nobody_bids_and_where_no_node_is_left_there_is_an_answer() -> None:
    assert ask(NODES, []).verdict == "empty"
    assert prices(ask(NODES, [])) == {"a0": 0.0}
    gone = ask([a_node("a0", "a", ready=False)], [a_pod("p")])
    assert (gone.verdict, gone.pools) == ("empty", [])
    homeless = ask(NODES, [a_pod("p", kind="nowhere"), a_pod("wide", cpu=9)])
    assert [(one.pool, one.won) for one in homeless.waiting] == [("", False), ("", False)]


def test_who_got_in_last_is_named_among_those_that_use_what_is_short() -> None:
    nodes = [Node(name="g", allocatable={"cpu": 64_000, "pods": 110, "gpu": 4})]
    asked = {"big": (0, 2), "last": (9, 2), "lost": (0, 2), "other": (0, 0)}
    bids = {"default/big": 5.0, "default/last": 3.0, "default/lost": 2.0, "default/other": 0.001}
    pods = [Pod(name=name, requests={"cpu": 100, "gpu": gpus}, priority=p) for name, (p, gpus) in asked.items()]
    told = {one.pod: one for one in ask(nodes, pods, bids=bids).waiting}
    assert [told[f"default/{name}"].won for name in asked] == [True, True, False, True]
    assert (told["default/lost"].rival, told["default/lost"].rival_bid) == ("default/last", 3.0)
    assert 1.99 < told["default/lost"].price < 3.01
    assert told["default/big"].rival == ""


def test_a_reserve_makes_used_nodes_dearer_by_tenths_and_gives_way_to_what_bids_say() -> None:
    used = [a_pod("p0", "a0", cpu=4, kind="a"), a_pod("p1", "a1", cpu=3, kind="a")]
    found = prices(ask(NODES, used, reserve=0.1))
    assert found == {"a0": 0.149, "b0": 0.025}  # 0.9 and 0 of them used
    assert prices(ask(NODES, [], reserve=0.1)) == {"a0": 0.025}
    crowded = ask(NODES, [*used, a_pod("p2", kind="a", cpu=4), a_pod("p3", kind="a", cpu=4)], reserve=0.1)
    assert prices(crowded)["a0"] > 0.5


def test_bids_of_nothing_make_no_price() -> None:
    found = ask(NODES, [a_pod(f"p{n}", kind="b") for n in range(3)], budgets={"default": 0.0})
    assert prices(found) == {"a0": 0.0, "b0": 0.0}
