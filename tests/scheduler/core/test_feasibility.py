"""Every reason to refuse a node, one it refuses and one it does not; and all of them against a naive check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import AXES, NodeTable, PodTable, node_table, place, pod_table
from scheduler.core.feasibility import Refusal, explain, explain_node, refuse_by_rules, refuse_nodes
from scheduler.core.rules import Constraint, Expression, Rules, Taint, Term, Toleration

ROOMY = [8000, 16000, 1000, 0]


def a_node(allocatable: Sequence[int] = ROOMY, **columns: Any) -> NodeTable:
    return node_table(["node"], [allocatable], **{key: [value] for key, value in columns.items()})


def a_pod(demand: Sequence[int] = (100, 100, 0, 0), **columns: Any) -> PodTable:
    return pod_table(["pod"], [demand], **{key: [value] for key, value in columns.items()})


def the_refusals(nodes: NodeTable, pods: PodTable) -> tuple[Refusal, ...]:
    return explain_node(nodes, pods, pods.row("pod"), nodes.row("node"))


def ruled(**rules: Any) -> PodTable:
    return a_pod(rules=Rules(**rules))


ZONE = Term((Expression("zone", "In", ("a", "b")),))

ALLOWED: dict[str, tuple[NodeTable, PodTable]] = {
    "a pod that fits exactly": (a_node([100, 100, 0, 0]), a_pod()),
    "a tolerated taint": (a_node(taints=[Taint("k")]), ruled(tolerations=(Toleration("k", "Exists"),))),
    "a taint that is only a preference": (a_node(taints=[Taint("k", effect="PreferNoSchedule")]), a_pod()),
    "a cordoned node and a pod that tolerates all": (
        a_node(unschedulable=True), ruled(tolerations=(Toleration("", "Exists"),)),
    ),
    "a selected label": (a_node(labels={"disk": "ssd"}), ruled(selector=(("disk", "ssd"),))),
    "one term of two that matches": (a_node(labels={"zone": "b"}), ruled(affinity=(Term(), ZONE))),
    "the node's own name": (
        a_node(), ruled(affinity=(Term(fields=(Expression("metadata.name", "In", ("node",)),)),)),
    ),
    "a machine attribute": (a_node(labels={"kernel": "5"}), ruled(constraints=(Constraint("kernel", "GREATER", "4"),))),
    "an attribute no machine has": (a_node(), ruled(constraints=(Constraint("kernel", "NOT_EQUAL", "4"),))),
    "a listed GPU model": (a_node(gpu_model="T4"), ruled(gpu_models=("P100", "T4"))),
    "a share of a GPU": (a_node([8000, 16000, 0, 1000]), a_pod([0, 0, 0, 400])),
    "GPUs that are only counted": (
        node_table(["node"], [[8000, 16000, 0, 2500]], devices=False), a_pod([0, 0, 0, 2000]),
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[NodeTable, PodTable, str, str, bool]] = {
    "too little of a resource for any pod that size": (
        a_node([99, 100, 0, 0]), a_pod(),
        "cpu_milli", "pod pod asks for 100 cpu_milli; node node has 99 free of 99", False,
    ),
    "an untolerated taint": (
        a_node(taints=[Taint("soft", effect="PreferNoSchedule"), Taint("k", "v", "NoExecute")]), a_pod(),
        "taint", "pod pod does not tolerate taint k=v:NoExecute of node node", False,
    ),
    "a cordoned node": (
        a_node(unschedulable=True), a_pod(), "cordoned",
        "node node is cordoned, and pod pod does not tolerate node.kubernetes.io/unschedulable:NoSchedule", False,
    ),
    "another label": (
        a_node(labels={"disk": "hdd"}), ruled(selector=(("disk", "ssd"),)),
        "selector", "pod pod selects disk=ssd; node node has disk=hdd", False,
    ),
    "no such label": (
        a_node(), ruled(selector=(("disk", "ssd"),)),
        "selector", "pod pod selects disk=ssd; node node has no disk", False,
    ),
    "no term that matches": (
        a_node(labels={"zone": "c"}), ruled(affinity=(ZONE, Term((Expression("cores", "Gt", ("8",)),)))), "affinity",
        "the node affinity of pod pod accepts zone In (a, b) or cores Gt (8); node node has zone=c, no cores", False,
    ),
    "an affinity without terms": (
        a_node(), ruled(affinity=()),
        "affinity", "the node affinity of pod pod accepts nothing; node node has no say in it", False,
    ),
    "another node's name": (
        a_node(), ruled(affinity=(Term(fields=(Expression("metadata.name", "NotIn", ("node",)),)),)), "affinity",
        "the node affinity of pod pod accepts metadata.name NotIn (node); node node has metadata.name=node", False,
    ),
    "a machine constraint": (
        a_node(labels={"kernel": "4"}), ruled(constraints=(Constraint("kernel", "GREATER", "4"),)),
        "constraint", "pod pod needs kernel GREATER 4; node node has kernel=4", False,
    ),
    "a GPU model off the list": (
        a_node(gpu_model="T4"), ruled(gpu_models=("P100", "V100")),
        "gpu-model", "pod pod can use a GPU of model P100 or V100; node node has T4", False,
    ),
    "no GPU of any model": (
        a_node(), ruled(gpu_models=("P100",)),
        "gpu-model", "pod pod can use a GPU of model P100; node node has none", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "pods"), ALLOWED.values(), ids=ALLOWED.keys())
def test_a_pod_may_use_a_node_with(nodes: NodeTable, pods: PodTable) -> None:
    assert the_refusals(nodes, pods) == ()
    assert refuse_nodes(nodes, pods, 0).fits.tolist() == [True]
    assert explain(nodes, pods, 0) == ()


@pytest.mark.parametrize(("nodes", "pods", "rule", "sentence", "curable"), REFUSED.values(), ids=REFUSED.keys())
def test_a_node_is_refused_for(nodes: NodeTable, pods: PodTable, rule: str, sentence: str, curable: bool) -> None:
    assert the_refusals(nodes, pods) == (Refusal(rule, sentence, curable),)
    refusals = refuse_nodes(nodes, pods, 0)
    assert (refusals.fits.tolist(), refusals.is_curable.tolist()) == ([False], [curable])


def test_a_full_node_could_make_room_and_a_small_one_could_not() -> None:
    nodes = node_table(["full", "small"], [[1000, 1000, 0, 0], [500, 500, 0, 0]])
    pods = pod_table(["pod", "running"], [[600, 100, 0, 0], [700, 100, 0, 0]])
    place(nodes, pods, pods.row("running"), nodes.row("full"))
    refusals = refuse_nodes(nodes, pods, pods.row("pod"))
    assert refusals.is_curable.tolist() == [True, False]
    assert explain_node(nodes, pods, 0, 0) == (
        Refusal("cpu_milli", "pod pod asks for 600 cpu_milli; node full has 300 free of 1000", True),
    )


def test_one_incurable_reason_makes_a_full_node_incurable() -> None:
    nodes = a_node([1000, 1000, 0, 0], taints=[Taint("k")])
    pods = pod_table(["pod", "running"], [[600, 100, 0, 0], [700, 100, 0, 0]])
    place(nodes, pods, 1, 0)
    assert [(one.rule, one.is_curable) for one in the_refusals(nodes, pods)] == [("taint", False), ("cpu_milli", True)]
    assert refuse_nodes(nodes, pods, 0).is_curable.tolist() == [False]


def test_a_pod_that_asks_for_none_of_a_resource_fits_where_it_is_over_committed() -> None:
    nodes = a_node([1000, 1000, 0, 0])
    pods = pod_table(["pod", "running"], [[0, 100, 0, 0], [2000, 100, 0, 0]])
    place(nodes, pods, 1, 0)
    assert the_refusals(nodes, pods) == ()


def test_enough_gpu_in_sum_is_not_enough_when_no_single_device_has_it() -> None:
    nodes = a_node([8000, 8000, 0, 2000])
    pods = pod_table(["pod", "x", "y"], [[0, 0, 0, 600], [0, 0, 0, 500], [0, 0, 0, 501]])
    place(nodes, pods, 1, 0)
    place(nodes, pods, 2, 0)
    assert the_refusals(nodes, pods) == (
        Refusal("gpu-device", "pod pod needs 1 GPUs with 600 milli free each; node node has 0 of 2", True),
    )


def test_whole_gpus_must_be_idle_and_there_must_be_enough_of_them() -> None:
    nodes = node_table(["node", "other"], [[8000, 8000, 0, 2000], [8000, 8000, 0, 1000]])
    pods = pod_table(["pod", "x"], [[0, 0, 0, 2000], [0, 0, 0, 100]])
    place(nodes, pods, 1, 0)
    assert the_refusals(nodes, pods) == (
        Refusal("gpu_milli", "pod pod asks for 2000 gpu_milli; node node has 1900 free of 2000", True),
    )
    assert [(one.rule, one.is_curable) for one in explain_node(nodes, pods, 0, 1)] == [("gpu_milli", False)]


def test_shares_of_more_devices_than_a_node_has_cannot_be_had() -> None:
    nodes, pods = a_node([8000, 8000, 0, 1000]), a_pod([0, 0, 0, 900], gpu_milli=300)
    assert the_refusals(nodes, pods) == (
        Refusal("gpu-device", "pod pod needs 3 GPUs with 300 milli free each; node node has 1 of 1", False),
    )


def test_pods_of_a_job_that_demands_it_keep_to_different_machines() -> None:
    nodes = node_table(["node", "other"], [ROOMY, ROOMY])
    pods = pod_table(["pod", "mate"], [[1, 1, 0, 0]] * 2, job=[3, 3], different_machines=[True, True])
    place(nodes, pods, pods.row("mate"), nodes.row("node"))
    assert the_refusals(nodes, pods) == (
        Refusal("different-machine",
                "pod pod may not share a node with a pod of its job, and one runs on node node", False),
    )  # fmt: skip
    assert refuse_nodes(nodes, pods, pods.row("pod")).fits.tolist() == [False, True]
    relaxed = pod_table(["pod", "mate"], [[1, 1, 0, 0]] * 2, job=[3, 3])
    place(nodes, relaxed, relaxed.row("mate"), nodes.row("node"))
    assert refuse_nodes(nodes, relaxed, relaxed.row("pod")).fits.tolist() == [True, True]


def test_an_extended_resource_is_checked_and_named() -> None:
    axes = (*AXES, "pods")
    nodes = node_table(["node"], [[*ROOMY, 1]], axes=axes)
    pods = pod_table(["pod", "x"], [[1, 1, 0, 0, 1]] * 2, axes=axes)
    place(nodes, pods, 1, 0)
    assert the_refusals(nodes, pods) == (Refusal("pods", "pod pod asks for 1 pods; node node has 0 free of 1", True),)


def test_tables_of_different_resources_do_not_mix() -> None:
    with pytest.raises(ValueError, match="they must agree"):
        refuse_nodes(a_node(), pod_table(["pod"], [[1, 1, 0, 0, 1]], axes=(*AXES, "pods")), 0)


def test_causes_count_nodes_by_reason_and_show_an_example() -> None:
    nodes = node_table(
        ["a", "b", "c", "d"], [[50, 50, 0, 0], [50, 500, 0, 0], [500, 500, 0, 0], [500, 500, 0, 0]],
        taints=[[], [Taint("k")], [Taint("k")], []],
    )  # fmt: skip
    causes = explain(nodes, a_pod(), 0)
    assert [(one.rule, one.nodes, one.curable, one.example) for one in causes] == [
        ("taint", 2, 0, "c"), ("cpu_milli", 2, 0, "a"), ("memory_mib", 1, 0, "a"),
    ]  # fmt: skip
    assert causes[0].sentence == "pod pod does not tolerate taint k:NoSchedule of node c"


def test_a_cluster_without_nodes_has_no_causes() -> None:
    assert explain(node_table([], np.zeros((0, 4))), a_pod(), 0) == ()


_KEYS = ("zone", "cores", "disk")
_VALUES = st.sampled_from(["a", "b", "3", "12", "", "-1"])
_LABELS = st.dictionaries(st.sampled_from(_KEYS), _VALUES)
_TAINTS = st.lists(
    st.builds(Taint, st.sampled_from(["k", "l"]), st.sampled_from(["", "v"]),
              st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])), max_size=2)  # fmt: skip
_TOLERATIONS = st.lists(
    st.builds(Toleration, st.sampled_from(["k", "l", "node.kubernetes.io/unschedulable"]),
              st.sampled_from(["Equal", "Exists"]), st.sampled_from(["", "v"]),
              st.sampled_from(["", "NoSchedule", "NoExecute"])), max_size=2)  # fmt: skip
_ANY_KEY = st.sampled_from((*_KEYS, "none"))
_EXPRESSIONS = st.one_of(
    st.builds(Expression, _ANY_KEY, st.sampled_from(["In", "NotIn"]), st.tuples(_VALUES, _VALUES)),
    st.builds(Expression, _ANY_KEY, st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(Expression, _ANY_KEY, st.sampled_from(["Gt", "Lt"]), st.tuples(st.just("5"))),
)
_FIELDS = st.builds(Expression, st.just("metadata.name"), st.sampled_from(["In", "NotIn"]), st.just(("n0", "n2")))
_TERMS = st.builds(Term, st.lists(_EXPRESSIONS, max_size=2).map(tuple), st.lists(_FIELDS, max_size=1).map(tuple))
_CONSTRAINTS = st.builds(
    Constraint, _ANY_KEY,
    st.sampled_from(["EQUAL", "NOT_EQUAL", "LESS", "GREATER", "LESS_EQUAL", "GREATER_EQUAL", "PRESENT", "NOT_PRESENT"]),
    st.one_of(st.none(), _VALUES),
)  # fmt: skip
_RULES = st.builds(
    Rules,
    st.lists(st.tuples(st.sampled_from(_KEYS), _VALUES), max_size=1).map(tuple),
    st.one_of(st.none(), st.lists(_TERMS, max_size=2).map(tuple)),
    _TOLERATIONS.map(tuple),
    st.lists(_CONSTRAINTS, max_size=2).map(tuple),
    st.one_of(st.none(), st.just(("T4",)), st.just(("T4", "P100"))),
)
_NODES = st.lists(
    st.fixed_dictionaries({
        "size": st.tuples(*[st.integers(0, 100)] * 3, st.sampled_from([0, 1000, 3000])),
        "labels": _LABELS, "taints": _TAINTS, "model": st.sampled_from([None, "T4", "V100"]),
        "cordoned": st.booleans(),
    }), min_size=1, max_size=5)  # fmt: skip
_PODS = st.lists(
    st.fixed_dictionaries({
        "demand": st.tuples(*[st.integers(0, 60)] * 3, st.sampled_from([0, 300, 800, 1000, 2000])),
        "job": st.sampled_from([-1, 1, 2]), "different": st.booleans(), "rules": _RULES,
        "on": st.integers(0, 4),
    }), min_size=1, max_size=6)  # fmt: skip


@settings(max_examples=400)
@given(raw_nodes=_NODES, raw_pods=_PODS)
def test_refusals_equal_those_of_a_check_of_one_node_after_the_other(raw_nodes: Any, raw_pods: Any) -> None:
    nodes = node_table(
        [f"n{k}" for k in range(len(raw_nodes))], [one["size"] for one in raw_nodes],
        gpu_model=[one["model"] for one in raw_nodes], labels=[one["labels"] for one in raw_nodes],
        taints=[one["taints"] for one in raw_nodes], unschedulable=[one["cordoned"] for one in raw_nodes],
    )  # fmt: skip
    pods = pod_table(
        [f"p{k}" for k in range(len(raw_pods))], [one["demand"] for one in raw_pods],
        job=[one["job"] for one in raw_pods], different_machines=[one["different"] for one in raw_pods],
        rules=[one["rules"] for one in raw_pods],
    )  # fmt: skip
    held: dict[int, dict[int, int]] = {node: {} for node in range(len(raw_nodes))}  # milli of each device in use
    for pod, one in enumerate(raw_pods[1:], start=1):
        on = one["on"] % len(raw_nodes)
        if _too_few_devices(raw_nodes[on], held[on], one["demand"][3]) is None:
            for device in place(nodes, pods, pod, on).devices:
                held[on][device] = held[on].get(device, 0) + min(one["demand"][3], 1000)
            one["placed"] = on
    for node, raw in enumerate(raw_nodes):
        expected = _naive(node, raw, raw_pods, held[node])
        found = {one.rule: one.is_curable for one in explain_node(nodes, pods, 0, node)}
        assert found == expected
    refusals = refuse_nodes(nodes, pods, 0, static=refuse_by_rules(nodes, pods.rules[pods.rule[0]]))
    assert refusals.reasons.tolist() == refuse_nodes(nodes, pods, 0).reasons.tolist()
    counted = {cause.rule: (cause.nodes, cause.curable) for cause in explain(nodes, pods, 0)}
    each = [explain_node(nodes, pods, 0, node) for node in range(len(raw_nodes))]
    flat = [one for refused in each for one in refused]
    assert counted == {
        rule: (sum(one.rule == rule for one in flat), sum(one.rule == rule and one.is_curable for one in flat))
        for rule in {one.rule for one in flat}
    }


def _naive(node: int, raw: Any, raw_pods: Any, held: dict[int, int]) -> dict[str, bool]:
    """Rule -> whether an eviction could lift it, for pod 0 on one node, from the raw dictionaries."""
    pod, rules, labels = raw_pods[0], raw_pods[0]["rules"], raw["labels"]
    here = [one for one in raw_pods if one.get("placed") == node]
    found: dict[str, bool] = {}

    def tolerated(taint: Taint) -> bool:
        return any(
            t.effect in ("", taint.effect) and t.key == taint.key and (t.operator == "Exists" or t.value == taint.value)
            for t in rules.tolerations
        )

    def matches(term: Term) -> bool:
        both = [e.holds(labels.get(e.key)) for e in term.expressions] + [f.holds(f"n{node}") for f in term.fields]
        return bool(both) and all(both)

    if raw["cordoned"] and not tolerated(Taint("node.kubernetes.io/unschedulable")):
        found["cordoned"] = False
    if not all(tolerated(taint) for taint in raw["taints"] if taint.effect != "PreferNoSchedule"):
        found["taint"] = False
    if any(labels.get(key) != value for key, value in rules.selector):
        found["selector"] = False
    if rules.affinity is not None and not any(matches(term) for term in rules.affinity):
        found["affinity"] = False
    if not all(one.holds(labels.get(one.attribute)) for one in rules.constraints):
        found["constraint"] = False
    if rules.gpu_models is not None and raw["model"] not in rules.gpu_models:
        found["gpu-model"] = False
    if pod["different"] and pod["job"] >= 0 and any(one["job"] == pod["job"] for one in here):
        found["different-machine"] = False
    lacking = _too_few_devices(raw, held, pod["demand"][3])
    if lacking is not None and pod["demand"][3] <= raw["size"][3] - sum(one["demand"][3] for one in here):
        found["gpu-device"] = lacking
    for axis, name in enumerate(AXES):
        used = sum(one["demand"][axis] for one in here)
        if pod["demand"][axis] > 0 and pod["demand"][axis] > raw["size"][axis] - used:
            found[name] = pod["demand"][axis] <= raw["size"][axis]
    return found


def _too_few_devices(raw: Any, held: dict[int, int], demand: int) -> bool | None:
    """None if the devices can hold that much; else whether the node has enough of them at all."""
    count, each = (demand // 1000, 1000) if demand >= 1000 else (int(demand > 0), demand)
    devices = raw["size"][3] // 1000
    able = sum(1000 - held.get(device, 0) >= each for device in range(devices))
    return None if able >= count else devices >= count
