"""Every constraint: one instance it allows, one it forbids. The validator checks each plan on the way."""

from __future__ import annotations

import pytest

from scheduler.core import kube_types as kube
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.snapshot import Budget, HostPort, a_snapshot
from tests.scheduler.core.packing.builders import (
    HOST,
    ZONE,
    a_node,
    a_pod,
    affinity,
    anti_affinity,
    node_affinity,
    select,
    solved,
    spread,
)

TAINT = kube.Taint(key="only", value="them", effect="NoSchedule")
GPU = "nvidia.com/gpu"
WEB = {"labels": {"app": "web"}}


def volume_in(zone):
    one = kube.Requirement(key=ZONE, operator="In", values=[zone])
    return {"default/data": kube.NodeSelector(node_selector_terms=[kube.NodeSelectorTerm(match_expressions=[one])])}


WAITING = {  # name -> (nodes, pods, rest of the snapshot, may p0 be placed)
    "cpu fits": ([a_node(cpu=4)], [a_pod(cpu=4)], {}, True),
    "cpu does not fit": ([a_node(cpu=4)], [a_pod(cpu=5)], {}, False),
    "memory does not fit": ([a_node(memory=4)], [a_pod(memory=5)], {}, False),
    "GPU is there": ([a_node(resources={GPU: 2})], [a_pod(resources={GPU: 2})], {}, True),
    "GPU is missing": ([a_node()], [a_pod(resources={GPU: 1})], {}, False),
    "pod count has room": ([a_node(pods=2)], [a_pod(), a_pod("q", node="n0", owner="")], {}, True),
    "pod count is reached": ([a_node(pods=1)], [a_pod(), a_pod("q", node="n0", owner="")], {}, False),
    "taint is tolerated": (
        [a_node(taints=[TAINT])],
        [a_pod(tolerations=[kube.Toleration(key="only", value="them")])],
        {},
        True,
    ),
    "taint is not tolerated": ([a_node(taints=[TAINT])], [a_pod()], {}, False),
    "taint only prefers": ([a_node(taints=[kube.Taint(key="a", effect="PreferNoSchedule")])], [a_pod()], {}, True),
    "selector matches": ([a_node(labels={"disk": "ssd"})], [a_pod(node_selector={"disk": "ssd"})], {}, True),
    "selector does not match": ([a_node()], [a_pod(node_selector={"disk": "ssd"})], {}, False),
    "node affinity matches": (
        [a_node(labels={"disk": "ssd"})],
        [a_pod(affinity=node_affinity("disk", "In", "ssd"))],
        {},
        True,
    ),
    "node affinity does not": (
        [a_node(labels={"disk": "hdd"})],
        [a_pod(affinity=node_affinity("disk", "NotIn", "hdd"))],
        {},
        False,
    ),
    "node affinity above": ([a_node(labels={"gen": "7"})], [a_pod(affinity=node_affinity("gen", "Gt", "6"))], {}, True),
    "cordoned": ([a_node(unschedulable=True)], [a_pod()], {}, False),
    "cordon tolerated": (
        [a_node(unschedulable=True)],
        [a_pod(tolerations=[kube.Toleration(operator="Exists")])],
        {},
        True,
    ),
    "not ready": ([a_node(ready=False)], [a_pod()], {}, False),
    "anti-affinity in another domain": (
        [a_node("n0"), a_node("n1")],
        [a_pod(affinity=anti_affinity(app="web")), a_pod("q", node="n0", **WEB)],
        {},
        True,
    ),
    "anti-affinity in the only domain": (
        [a_node(zone="a")],
        [a_pod(affinity=anti_affinity(ZONE, app="web")), a_pod("q", node="n0", **WEB)],
        {},
        False,
    ),
    "anti-affinity of the running pod": (
        [a_node()],
        [a_pod(**WEB), a_pod("q", node="n0", affinity=anti_affinity(app="web"))],
        {},
        False,
    ),
    "anti-affinity void without label": (
        [a_node()],
        [a_pod(affinity=anti_affinity(ZONE, app="web")), a_pod("q", node="n0", **WEB)],
        {},
        True,
    ),
    "affinity finds a match": (
        [a_node()],
        [a_pod(affinity=affinity(app="web")), a_pod("q", node="n0", **WEB)],
        {},
        True,
    ),
    "affinity finds none": ([a_node()], [a_pod(affinity=affinity(app="web")), a_pod("q", node="n0")], {}, False),
    "affinity to itself opens": ([a_node()], [a_pod(affinity=affinity(app="web"), **WEB)], {}, True),
    "affinity needs the label": ([a_node()], [a_pod(affinity=affinity(ZONE, app="web"), **WEB)], {}, False),
    "spread even": (
        [a_node("n0"), a_node("n1")],
        [a_pod(spread=[spread(app="web")], **WEB), a_pod("q", node="n0", owner="", **WEB)],
        {},
        True,
    ),
    "spread too skewed": (
        [a_node("n0"), a_node("n1", cpu=0)],
        [a_pod(spread=[spread(app="web")], **WEB), a_pod("q", node="n0", owner="", **WEB)],
        {},
        False,
    ),
    "spread with too few domains": (
        [a_node()],
        [a_pod(spread=[spread(min_domains=2, app="web")], **WEB), a_pod("q", node="n0", owner="", **WEB)],
        {},
        False,
    ),
    "host port free": (
        [a_node()],
        [a_pod(host_ports=[HostPort(port=80)]), a_pod("q", node="n0", owner="", host_ports=[HostPort(port=81)])],
        {},
        True,
    ),
    "host port taken": (
        [a_node()],
        [a_pod(host_ports=[HostPort(port=80)]), a_pod("q", node="n0", owner="", host_ports=[HostPort(port=80)])],
        {},
        False,
    ),
    "host port on another address": (
        [a_node()],
        [
            a_pod(host_ports=[HostPort(port=80, ip="10.0.0.1")]),
            a_pod("q", node="n0", owner="", host_ports=[HostPort(port=80, ip="10.0.0.2")]),
        ],
        {},
        True,
    ),
    "host port taken on all addresses": (
        [a_node()],
        [
            a_pod(host_ports=[HostPort(port=80, ip="10.0.0.1")]),
            a_pod("q", node="n0", owner="", host_ports=[HostPort(port=80)]),
        ],
        {},
        False,
    ),
    "volume reachable": ([a_node(zone="a")], [a_pod(claims=["default/data"])], {"claims": volume_in("a")}, True),
    "volume in another zone": ([a_node(zone="b")], [a_pod(claims=["default/data"])], {"claims": volume_in("a")}, False),
    "volume unknown": ([a_node(zone="b")], [a_pod(claims=["default/data"])], {}, False),
    "dynamic claims": ([a_node()], [a_pod(unmodelled=["resourceClaims"])], {}, False),
    "gate of another": ([a_node()], [a_pod(gates=["example.com/wait"])], {}, False),
    "our gate": ([a_node()], [a_pod(gates=["stowage.dev/gang"])], {}, True),
    "gang fits whole": ([a_node(cpu=4)], [a_pod(cpu=2, gang="g"), a_pod("q", cpu=2, gang="g")], {}, True),
    "gang fits in part": ([a_node(cpu=4)], [a_pod(cpu=2, gang="g"), a_pod("q", cpu=3, gang="g")], {}, False),
    "gang lacks members": (
        [a_node(cpu=4)],
        [a_pod(cpu=2, gang="g", gang_size=3), a_pod("q", cpu=2, gang="g", gang_size=3)],
        {},
        False,
    ),
    "node full beyond its size": ([a_node(cpu=4)], [a_pod(cpu=1), a_pod("q", cpu=6, node="n0")], {}, False),
}


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize("order", ["no-harm", "max-pack"])
def test_waiting_pod_is_placed_exactly_if_the_rule_allows(name, order):
    nodes, pods, rest, allowed = WAITING[name]
    result, after = solved(a_snapshot(nodes, pods, **rest), order)
    assert result.verdict == "optimal"
    assert (after["default/p0"] is not None) == allowed


def one_full_node(**victim):
    """n0 is full of q (room for it on n1); p0 fits n0 only."""
    nodes = [a_node("n0", cpu=4, labels={"here": "yes"}), a_node("n1", cpu=4)]
    pods = [
        a_pod("p0", cpu=4, priority=5, node_selector={"here": "yes"}),
        a_pod("q", cpu=4, node="n0", **{"priority": 1, **victim}),
    ]
    return nodes, pods


MOVABLE = {  # what holds q: may it be moved for p0
    "an ordinary replica": ({}, True),
    "as important": ({"priority": 5}, True),
    "more important": ({"priority": 9}, False),
    "a DaemonSet's": ({"owner_kind": "DaemonSet"}, False),
    "static": ({"owner_kind": "Node"}, False),
    "mirror": ({"annotations": {"kubernetes.io/config.mirror": "x"}}, False),
    "without controller": ({"owner": "", "owner_kind": ""}, False),
    "local storage": ({"local_volumes": ["tmp"]}, False),
    "safe-to-evict false": ({"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}, False),
    "terminating": ({"terminating": True}, False),
    "unknown volume": ({"claims": ["default/x"]}, False),
}


@pytest.mark.parametrize("name", MOVABLE)
def test_running_pod_moves_exactly_if_it_may(name):
    victim, may_move = MOVABLE[name]
    nodes, pods = one_full_node(**victim)
    result, after = solved(a_snapshot(nodes, pods))
    assert result.verdict == "optimal"
    assert after == {"default/p0": "n0" if may_move else None, "default/q": "n1" if may_move else "n0"}


def test_more_important_pod_moves_under_max_pack_and_within_a_move_budget():
    nodes, pods = one_full_node(priority=9)
    _, after = solved(a_snapshot(nodes, pods), "max-pack")
    assert after == {"default/p0": "n0", "default/q": "n1"}


def test_system_critical_pod_moves_only_if_allowed():
    nodes, pods = one_full_node(priority_class="system-cluster-critical")
    assert solved(a_snapshot(nodes, pods))[1]["default/p0"] is None
    assert solved(a_snapshot(nodes, pods), allow_system_critical=True)[1]["default/p0"] == "n0"


@pytest.mark.parametrize(("allowed", "budgets", "moves"), [(1, 1, True), (0, 1, False), (2, 2, False)])
def test_disruption_budget_is_kept_and_two_budgets_forbid_eviction(allowed, budgets, moves):
    nodes, pods = one_full_node(labels={"app": "web"})
    pdbs = [Budget(name=f"b{i}", selector=select(app="web"), allowed=allowed) for i in range(budgets)]
    assert (solved(a_snapshot(nodes, pods, budgets=pdbs))[1]["default/p0"] == "n0") == moves


def test_disruption_budget_counts_every_pod_it_selects():
    nodes = [a_node("n0", cpu=4, labels={"here": "yes"}), a_node("n1", cpu=4)]
    pods = [a_pod("p0", cpu=4, priority=5, node_selector={"here": "yes"})]
    pods += [a_pod(f"q{i}", cpu=2, node="n0", labels={"app": "web"}) for i in range(2)]
    for allowed, placed in ((1, None), (2, "n0")):
        budget = Budget(name="b", selector=select(app="web"), allowed=allowed)
        assert solved(a_snapshot(nodes, pods, budgets=[budget]))[1]["default/p0"] == placed


@pytest.mark.parametrize(("preempts", "priority", "gone"), [(True, 5, True), (False, 5, False), (True, 1, False)])
def test_running_pod_gives_way_only_to_a_more_important_one_that_may_preempt(preempts, priority, gone):
    nodes = [a_node(cpu=4)]
    pods = [a_pod("p0", cpu=4, priority=priority, preempts=preempts), a_pod("q", cpu=4, node="n0", priority=1)]
    _, after = solved(a_snapshot(nodes, pods))
    assert (after["default/q"] is None) == gone


def test_never_pod_may_still_use_room_that_a_move_frees_under_max_pack():
    nodes, pods = one_full_node()
    pods[0] = a_pod("p0", cpu=4, priority=5, preempts=False, node_selector={"here": "yes"})
    assert solved(a_snapshot(nodes, pods), "max-pack")[1]["default/p0"] == "n0"


def test_affinity_chain_is_placed_together():
    nodes = [a_node("n0", cpu=6), a_node("n1", cpu=2)]
    pods = [
        a_pod("a", cpu=2, labels={"app": "a"}, affinity=affinity(HOST, app="b")),
        a_pod("b", cpu=2, labels={"app": "b"}, affinity=affinity(HOST, app="c")),
        a_pod("c", cpu=2, labels={"app": "c"}),
    ]
    _, after = solved(a_snapshot(nodes, pods))
    assert set(after.values()) == {"n0"}


def test_group_with_affinity_to_itself_opens_only_one_domain():
    nodes = [a_node("n0", cpu=2), a_node("n1", cpu=2)]
    pods = [a_pod(f"p{i}", cpu=1, labels={"app": "a"}, affinity=affinity(HOST, app="a")) for i in range(4)]
    result, after = solved(a_snapshot(nodes, pods))
    assert result.tiers[0].placed == 2
    assert len({n for n in after.values() if n}) == 1


def test_what_is_broken_now_stays_but_takes_nobody_new():
    nodes = [a_node("n0"), a_node("n1", cpu=1)]
    repel = {"labels": {"app": "a"}, "affinity": anti_affinity(app="a"), "cpu": 2}
    pods = [a_pod("q0", node="n0", **repel), a_pod("q1", node="n0", **repel), a_pod("p0", **repel)]
    _, after = solved(a_snapshot(nodes, pods))
    assert after == {"default/q0": "n0", "default/q1": "n0", "default/p0": None}


def test_pins_and_left_out_pods_are_reported_with_their_reason():
    nodes, pods = one_full_node(owner_kind="DaemonSet")
    packing = make_packing(a_snapshot(nodes, [*pods, a_pod("w", gates=["example.com/x"])]))
    assert packing.pinned == {"default/q": "it belongs to a DaemonSet"}
    assert packing.left_out == {"default/w": "it waits for scheduling gate example.com/x"}


@pytest.mark.parametrize(("other_match", "placed"), [(True, True), (False, False)])
@pytest.mark.parametrize("order", ["no-harm", "max-pack"])
def test_pod_held_in_place_keeps_a_match(other_match, placed, order):
    nodes = [a_node("n0", cpu=4, zone="a"), a_node("n1", cpu=2, zone="a")]
    held = a_pod("d", node="n1", owner_kind="DaemonSet", affinity=affinity(ZONE, app="web"))
    match = a_pod("q", cpu=4, node="n0", **WEB)
    more = [a_pod("r", node="n1", owner_kind="DaemonSet", **WEB)] if other_match else []
    result, after = solved(a_snapshot(nodes, [a_pod(cpu=4, priority=5), held, match, *more]), order)
    assert (after["default/p0"] is not None) == placed
    assert result.verdict == "optimal"
