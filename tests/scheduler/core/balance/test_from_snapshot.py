"""Clusters as balancing instances: what loads a node, what may move, and which moves a cluster would really make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scheduler.core import kube_types as kube
from scheduler.core.balance.from_snapshot import Balancing, Limit, make_balancing
from scheduler.core.balance.moves import (
    MostMoves,
    executable,
    is_above,
    load_changes,
    measured,
    ordered_moves,
    within,
)
from scheduler.core.balance.problem import Budget
from scheduler.core.balance.solve import balance
from scheduler.core.balance.validator import broken_rules
from scheduler.core.errors import StowageInputError
from scheduler.core.packing.validator import find_violations
from scheduler.core.snapshot import Budget as DisruptionBudget
from scheduler.core.snapshot import HostPort, Node, Pod, Snapshot, a_snapshot

GIB = 1 << 30


def a_node(name: str, cpu: int = 4000, **more: Any) -> Node:
    return Node(name=name, allocatable={"cpu": cpu, "memory": 8 * GIB, "pods": 110}, **more)


def a_pod(name: str, node: str | None = "a", cpu: int = 900, memory: int = GIB, **more: Any) -> Pod:
    owned = {"owner_kind": "ReplicaSet", "owner": "r", **more}
    return Pod(name=name, node=node, requests={"cpu": cpu, "memory": memory}, uid=name, **owned)


def four_on_one(**more: Any) -> Snapshot:
    """Node a is at 90 % of its CPU, b and c are empty."""
    return a_snapshot([a_node(name) for name in "abc"], [a_pod(f"p{n}", **more) for n in range(4)])


def solve(balancing: Balancing, method: str = "cover") -> np.ndarray:
    result = balance(balancing.instance, method, Budget(0.05))
    assert broken_rules(balancing.instance, result.at) == []
    return result.at


def test_a_node_above_the_target_gives_up_the_cheapest_pod_that_cures_it():
    made = make_balancing(four_on_one(), Limit(0.8))
    assert made.instance.capacity[0].tolist()[:2] == [3200, 6553]
    at = solve(made)
    assert executable(made, at).tolist() == at.tolist()
    (step,) = ordered_moves(made, at)
    assert (step.action, step.pod, step.source, step.room_is_free) == ("move", "default/p0", "a", True)
    assert step.why == "a is overloaded: 90.0 % of its cpu is requested, 80 % at most"
    (change,) = load_changes(made, at)
    assert (change.basis, change.nodes, change.highest) == ("requests", (1, 0), (0.9, 0.675))
    assert change.overload == pytest.approx((0.125, 0.0))
    assert is_above(made, 0.89)
    assert not is_above(made, 0.9)


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        ({"owner_kind": "DaemonSet"}, "it belongs to a DaemonSet"),
        ({"owner": "", "owner_kind": ""}, "it has no controller"),
        ({"local_volumes": ["data"]}, "it has local storage (data)"),
        ({"priority_class": "system-node-critical"}, "critical to the system"),
        ({"unmodelled": ["a resource claim"]}, "a resource claim: not modelled"),
        ({"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}, "safe-to-evict"),
        ({"host_ports": [HostPort(port=80)]}, "it has a port of its node"),
    ],
)
def test_what_the_planner_does_not_model_it_does_not_move(pod, why):
    made = make_balancing(four_on_one(**pod), Limit(0.8))
    assert made.instance.pinned.all()
    assert all(why in text for text in made.pinned.values())
    assert solve(made).tolist() == made.instance.home.tolist()


def test_pods_that_spreading_binds_to_others_stay_and_the_rest_moves():
    spread = [
        kube.SpreadConstraint(
            max_skew=1, topology_key="zone", when_unsatisfiable="DoNotSchedule",
            label_selector=kube.LabelSelector(match_labels={"app": "web"}),
        )
    ]  # fmt: skip
    nodes = [a_node(name, labels={"zone": name}) for name in "ab"]
    pods = [a_pod("bound", spread=spread, labels={"app": "web"}), a_pod("seen", labels={"app": "web"})]
    made = make_balancing(a_snapshot(nodes, [*pods, a_pod("free"), a_pod("other")]), Limit(0.8))
    assert sorted(made.pinned) == ["default/bound", "default/seen"]
    moved = {step.pod for step in ordered_moves(made, solve(made))}
    assert len(moved) == 1
    assert moved <= {"default/free", "default/other"}


@pytest.mark.parametrize(("allowed", "moves"), [(0, 0), (1, 1), (3, 2)])
def test_of_a_disruption_budget_no_more_move_than_it_allows(allowed, moves):
    budget = DisruptionBudget(name="all", selector=kube.LabelSelector(), allowed=allowed)
    snapshot = a_snapshot(four_on_one().nodes, four_on_one().pods, budgets=[budget])
    made = make_balancing(snapshot, Limit(0.5))  # two must go
    steps = ordered_moves(made, solve(made))
    assert len(steps) == moves
    if allowed < 4:
        assert any('disruption budget "default/all"' in why or "allows no" in why for why in made.pinned.values())


def test_cordoned_tainted_and_unready_nodes_take_nothing():
    taint = kube.Taint(key="k", value="v", effect="NoSchedule")
    nodes = [a_node("a"), a_node("b", unschedulable=True), a_node("c", taints=[taint]), a_node("d", ready=False)]
    made = make_balancing(a_snapshot(nodes, four_on_one().pods), Limit(0.8))
    assert not made.instance.can_arrive().any()


def test_by_use_other_nodes_are_overloaded_and_requests_still_have_to_fit():
    used = {"p0": 100, "p1": 100, "p2": 100, "p3": 100, "q": 2500, "r": 1300}
    pods = [*four_on_one().pods, a_pod("q", "b", 500), a_pod("r", "b", 500), a_pod("full", "c", 3950)]
    snapshot = a_snapshot([*four_on_one().nodes, a_node("d", 2000)], pods)
    made = make_balancing(snapshot, Limit(0.8, ("cpu",), "use"), {f"default/{k}": {"cpu": v} for k, v in used.items()})
    assert made.instance.resources == ("cpu", "memory", "pods", "cpu in use")
    use, requests = load_changes(made, made.instance.home)
    assert (use.basis, use.nodes[0], use.highest[0]) == ("use", 2, 0.9875)  # of `full` only the request is known
    assert (requests.basis, requests.nodes[0]) == ("requests", 2)  # a and c
    (step,) = ordered_moves(made, solve(made))
    assert (step.pod, step.target) == (
        "default/r",
        "d",
    )  # a uses little and has promised too much, q is too large for d
    assert step.why == "b is overloaded: 95.0 % of its cpu is used, 80 % at most"


def test_moves_that_requests_do_not_allow_are_taken_back():
    made = make_balancing(a_snapshot([a_node("a"), a_node("b", 1500)], four_on_one().pods), Limit(0.8))
    everyone = np.full(4, 1, np.int32)
    kept = executable(made, everyone)
    assert kept.tolist() == [1, 0, 0, 0]  # one fits, the first by name
    result = balance(made.instance, "greedy", Budget(0.05))
    told = measured(made, result, made.instance.home)
    assert (told.objective, told.verdict) == (result.before, "feasible")
    assert "moves are left out" in told.reasons[-1]


def test_no_more_moves_than_may_be_disturbed_and_the_worst_node_comes_first():
    pods = [a_pod(f"p{n}", "a") for n in range(4)] + [a_pod(f"q{n}", "b", namespace="shop") for n in range(3)]
    made = make_balancing(a_snapshot([a_node(name) for name in "abcd"], pods), Limit(0.4))
    everyone = np.array([2, 2, 2, 2, 3, 3, 3], np.int32)
    assert within(made, everyone, MostMoves(3, 9)).tolist() == [2, 2, 2, 0, 1, 1, 1]
    assert within(made, everyone, MostMoves(9, 1)).tolist() == [2, 0, 0, 0, 3, 1, 1]
    assert within(made, everyone, MostMoves(9, 1, {"shop": 0})).tolist() == [2, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_on_random_clusters_what_is_left_passes_packings_own_validator(seed):
    rng = np.random.default_rng(seed)
    nodes = [a_node(f"n{n}", int(rng.integers(3, 7)) * 1000) for n in range(5)]
    room = {node.name: node.allocatable["cpu"] for node in nodes}
    pods = []
    for n in range(30):
        cpu, node = int(rng.integers(1, 9)) * 100, nodes[int(rng.integers(3))].name
        if room[node] >= cpu:
            room[node] -= cpu
            more = {"owner_kind": "DaemonSet"} if rng.random() < 0.2 else {}
            pods.append(a_pod(f"p{n:02}", node, cpu, 1 << 20, labels={"app": "ab"[n % 2]}, **more))
    selector = kube.LabelSelector(match_labels={"app": "a"})
    snapshot = a_snapshot(nodes, pods, budgets=[DisruptionBudget(name="a", selector=selector, allowed=2)])
    made = make_balancing(snapshot, Limit(0.6))
    at = executable(made, solve(made, "tabu"))
    steps = ordered_moves(made, at)
    placements = {pod.key: pod.node for pod in pods} | {step.pod: step.target for step in steps}
    assert steps
    assert find_violations(snapshot, placements) == []


def test_bad_limits_are_refused_with_their_rule():
    for wrong, rule in (
        ({"target": 0.0}, "above 0 and at most 1"),
        ({"target": float("nan")}, "above 0 and at most 1"),
        ({"resources": ()}, "at least one"),
        ({"load": "guess"}, "there are requests, use"),
    ):
        with pytest.raises(StowageInputError, match=rule):
            Limit(**wrong)
    with pytest.raises(StowageInputError, match="no use of pods is known"):
        make_balancing(four_on_one(), Limit(load="use"))


def test_amounts_too_large_to_count_are_counted_in_larger_units():
    nodes = [Node(name=name, allocatable={"cpu": 4000, "x": 2**62, "pods": 9}) for name in "ab"]
    pods = [Pod(name="p", node="a", owner="o", requests={"cpu": 3900, "x": 2**61})]
    made = make_balancing(a_snapshot(nodes, pods), Limit(0.8, ("cpu",)))
    assert made.instance.use.sum() < 2**40
    assert not make_balancing(a_snapshot([], []), Limit(0.8)).instance.tasks.size
