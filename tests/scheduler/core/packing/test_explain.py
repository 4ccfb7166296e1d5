"""Explanations: causes, minimal conflict, smallest change; fit; fewest nodes."""

from __future__ import annotations

import json

import pytest

from scheduler.core import kube_types as kube
from scheduler.core.packing import Budget
from scheduler.core.packing.consolidate import minimise_nodes
from scheduler.core.packing.explain import explain_pod
from scheduler.core.packing.fit import fit_pods
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.packing.manifest import read_manifest
from scheduler.core.packing.validator import find_violations
from scheduler.core.snapshot import SnapshotError, a_snapshot, parse_snapshot
from tests.scheduler.core.packing import kubectl_list
from tests.scheduler.core.packing.builders import HOST, a_node, a_pod, anti_affinity

TAINT = kube.Taint(key="only", value="them", effect="NoSchedule")


def explain(nodes, pods, key="p0"):
    return explain_pod(a_snapshot(nodes, pods), key, budget=Budget(20.0))


def test_taint_is_the_cause_the_conflict_and_the_change():
    answer = explain([a_node(taints=[TAINT])], [a_pod()])
    assert (answer.verdict, answer.answer) == ("optimal", "impossible")
    assert answer.conflict == ["node rules (taints, selectors, volumes)"]
    assert answer.causes[0].rule == "taint only=them:NoSchedule"
    assert answer.smallest_change == "tolerate the taint only=them:NoSchedule"


def test_missing_cpu_is_named_to_the_millicore():
    answer = explain([a_node(cpu=1000), a_node("n1", cpu=1200)], [a_pod(cpu=1250)])
    assert answer.conflict == ["room for cpu"]
    assert {(c.rule, c.nodes) for c in answer.causes} == {("too small: cpu", 2)}
    assert answer.smallest_change.startswith("ask for 5")
    assert "less cpu" in answer.smallest_change


def test_conflict_keeps_only_rules_that_matter():
    nodes = [a_node("n0", cpu=4), a_node("n1", cpu=4, taints=[TAINT])]
    pods = [a_pod(affinity=anti_affinity(HOST, app="x"), cpu=2), a_pod("q", node="n0", owner="", labels={"app": "x"})]
    answer = explain(nodes, pods)
    assert answer.conflict == ["node rules (taints, selectors, volumes)", "pod anti-affinity"]
    assert answer.changes[0] == "tolerate the taint only=them:NoSchedule"
    assert any("let default/q go from n0" in change for change in answer.changes)


def test_room_that_a_pinned_pod_holds_is_pointed_out():
    answer = explain([a_node(cpu=4)], [a_pod(cpu=4), a_pod("q", cpu=1, node="n0", local_volumes=["tmp"])])
    assert "let default/q go from n0 (it stays because it has local storage (tmp))" in answer.changes
    assert any(change.startswith("one more node like n0") for change in answer.changes)


def test_pod_that_fits_after_a_move_gets_the_steps():
    nodes = [a_node("n0", cpu=4, labels={"here": "yes"}), a_node("n1", cpu=2)]
    answer = explain(nodes, [a_pod(cpu=4, priority=1, node_selector={"here": "yes"}), a_pod("q", cpu=2, node="n0")])
    assert (answer.answer, answer.node) == ("fits after moves", "n0")
    assert [step.action for step in answer.steps] == ["move", "place"]
    assert answer.smallest_change == "move default/q from n0 to n1"


def test_running_gated_and_unknown_pods_have_an_answer_too():
    snapshot = a_snapshot([a_node()], [a_pod(node="n0"), a_pod("w", gates=["example.com/x"])])
    assert explain_pod(snapshot, "p0").answer == "runs"
    assert explain_pod(snapshot, "default/w").verdict == "undecided"
    with pytest.raises(LookupError, match="no pod is named 'nobody'"):
        explain_pod(snapshot, "nobody")


def a_deployment(replicas=2, cpu="1", **rest):
    spec = {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}], **rest}
    body = {"replicas": replicas, "template": {"metadata": {"labels": {"app": "new"}}, "spec": spec}}
    return json.dumps({"kind": "Deployment", "metadata": {"name": "new", "namespace": "shop"}, "spec": body}).encode()


def fit(manifest):
    cluster = parse_snapshot(kubectl_list.as_bytes())
    return fit_pods(cluster, read_manifest(manifest, cluster), budget=Budget(8.0))


def test_manifest_that_fits_gets_its_nodes():
    answer = fit(a_deployment(2, "200m", priorityClassName="prod"))
    assert (answer.verdict, answer.answer, answer.placed) == ("optimal", "fits", 2)
    assert answer.victims == []
    assert len(answer.placements) == 2


def test_manifest_that_does_not_fit_gets_the_nearest_shape():
    answer = fit(a_deployment(1, "16"))
    assert (answer.verdict, answer.answer) == ("optimal", "does not fit")
    assert set(answer.nearest_shape) == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b'{"kind": "Service", "spec": {}}', "holds no pod template"),
        (a_deployment(-1), "replicas is -1"),
        (a_deployment(1, "5x"), 'template.spec.containers.*"5x" is no quantity'),
        (b"null", "holds no pods"),
        (b"[1, 2]", "not an object"),
    ],
)
def test_broken_manifest_is_refused_with_the_field(manifest, message):
    with pytest.raises(SnapshotError, match=message):
        fit(manifest)


def test_nodes_are_drained_down_to_the_bound_and_nobody_is_lost():
    nodes = [a_node(f"n{i}", cpu=10) for i in range(6)]
    pods = [a_pod(f"p{i}", cpu=5, node=f"n{i}") for i in range(6)]
    snapshot = a_snapshot(nodes, pods)
    packing = make_packing(snapshot)
    found = minimise_nodes(packing, Budget(3.0))
    assert (found.nodes_after, found.bound, len(found.drained)) == (3, 3, 3)
    after = {pod: packing.problem.nodes[n] for pod, n in zip(packing.problem.pods, found.assign, strict=True)}
    assert find_violations(snapshot, after) == []
    assert not set(after.values()) & set(found.drained)


def test_node_with_a_pod_that_must_stay_is_kept():
    snapshot = a_snapshot([a_node("n0"), a_node("n1")], [a_pod("p", node="n0", local_volumes=["tmp"])])
    found = minimise_nodes(make_packing(snapshot), Budget(2.0))
    assert found.drained == ["n1"]
    assert list(found.kept) == ["n0"]
