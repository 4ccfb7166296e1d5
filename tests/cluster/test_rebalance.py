"""Moves off overloaded nodes on a real control plane: proposed, printed, and moved only once somebody approves.

A node cannot be asked for more than it offers, so what is overloaded here is above a share of it: by requests, or by
what metrics.k8s.io says. That group is served by a definition of our own, since kwok's pods use nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from tests.cluster.api_client import ApiFailure, Json, wait_for
from tests.cluster.objects import a_budget, a_deployment, a_pod, pod_spec
from tests.cluster.planning import PlannerProcess, check_the_end, plans_of, running, start_scheduler, tidy_planners
from tests.cluster.test_plans import run_stowage
from tests.cluster.test_price_round import metric

FAST = {"rebalance": "observe", "rebalance_s": 1.0, "rebalance_solve_s": 1.0, "journal_flush_s": 0.5, "mode": "observe"}
METRICS = "/apis/metrics.k8s.io/v1beta1"


@pytest.fixture(autouse=True)
def definition(control_plane):
    with tidy_planners(control_plane):
        yield


def cordon(plane: Any, name: str, *, closed: bool) -> None:
    plane.client.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": closed}})


def one_full_node(plane: Any, namespace: str, count: int = 4, cpu: str = "900m") -> list[str]:
    """Three nodes of 4 cores; the pods of Deployment `small` are all on the first. Others of its pods may not move."""
    start_scheduler(plane)
    names = plane.add_nodes(3, cpu=4, prefix=namespace, labels={"pool": namespace})
    for name in names[1:]:
        cordon(plane, name, closed=True)
    where = {"nodeSelector": {"pool": namespace}, "memory": "64Mi", "scheduler": "stowage"}
    plane.client.create(a_deployment("small", namespace, count, cpu=cpu, **where))
    plane.client.create(a_deployment("held", namespace, 1, cpu="10m", **where))
    plane.client.create(a_budget("held", namespace, "held", maxUnavailable=0))
    plane.client.create(a_pod("bare", namespace, cpu="10m", **where))
    labels = {"app": "agent"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(cpu="10m", **where)}
    plane.client.create({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })  # fmt: skip
    plane.wait_until_running(namespace, count + 5)  # an agent runs on cordoned nodes, too
    for name in names[1:]:
        cordon(plane, name, closed=False)
    return names


def the_plan(plane: Any, phase: str) -> Json:
    def found() -> Json | None:
        plans = [p for p in plans_of(plane.client) if p["spec"]["purpose"] == "rebalance"]
        return next((p for p in plans if p.get("status", {}).get("phase") == phase), None)

    plan: Json = wait_for(f"a rebalance plan in phase {phase}", found, 120)
    return plan


def uids(plane: Any, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in plane.pods(namespace)}


def test_observing_proposes_moves_of_what_may_move_prints_them_and_moves_nothing(control_plane, namespace):
    full, *others = one_full_node(control_plane, namespace)
    before = uids(control_plane, namespace)
    planner = PlannerProcess(control_plane, **FAST)
    plan = the_plan(control_plane, "Proposed")
    spec, found = plan["spec"], plan["spec"]["rebalance"]
    (step,) = spec["steps"]  # 3.63 of 4 cores: one pod of 0.9 brings it below 80 %
    assert (step["action"], step["from"], step["to"] in others) == ("move", full, True)
    assert step["pod"].startswith("small-")  # neither the bare pod, nor an agent, nor what its budget holds
    assert "% of its cpu is requested, 80 % at most" in step["why"]
    assert (spec["mode"], spec["verdict"], found["method"]) == ("observe", "optimal", "cover")
    assert (found["cost"], found["costBound"], found.get("gapOf", "")) == (64, 64, "")
    (load,) = found["loads"]
    assert (load["basis"], load["nodesBefore"], load["nodesAfter"]) == ("requests", 1, 0)
    assert load["highestMilliBefore"] == 908  # 3.6 cores, and 10 m each of three more
    assert any("metrics.k8s.io" in note for note in found["notes"])
    text = run_stowage(control_plane, "plan", "show", plan["metadata"]["name"])
    assert "overloaded nodes 1 -> 0" in text
    assert "limit: 80 % of cpu, memory by requests; method cover" in text
    looks = metric(planner, 'rebalances_total{verdict="optimal"}')
    wait_for("more looks", lambda: metric(planner, 'rebalances_total{verdict="optimal"}') >= looks + 3)
    assert [p["metadata"]["name"] for p in plans_of(control_plane.client)] == [plan["metadata"]["name"]]  # not again
    assert uids(control_plane, namespace) == before
    wait_for("a segment", lambda: list(planner.journal.glob("segment-*.parquet")))
    assert (planner.journal / "snapshots" / f"{spec['snapshot']['digest'].removeprefix('sha256:')}.json").exists()
    control_plane.client.patch(f"/apis/apps/v1/namespaces/{namespace}/deployments/small", {"spec": {"replicas": 1}})
    ended = the_plan(control_plane, "Superseded")
    assert "no node is above 90 %" in ended["status"]["message"]


def test_a_plan_that_is_approved_moves_its_pods_to_where_it_says(control_plane, namespace):
    one_full_node(control_plane, namespace)
    PlannerProcess(control_plane, **FAST | {"rebalance": "approve", "mode": "approve"})
    plan = the_plan(control_plane, "Waiting")
    before = {pod["metadata"]["name"] for pod in running(control_plane.client, namespace, "small")}
    run_stowage(control_plane, "plan", "approve", plan["metadata"]["name"])
    done = the_plan(control_plane, "Succeeded")
    ((step,), (state,)) = done["spec"]["steps"], done["status"]["steps"]
    wait_for("all four run again", lambda: len(running(control_plane.client, namespace, "small")) == 4)
    after = {
        pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in running(control_plane.client, namespace, "small")
    }
    assert before - after.keys() == {step["pod"]}
    assert after[state["replacement"]] == step["to"]
    assert max(Counter(after.values()).values()) == 3
    check_the_end(control_plane.client)


@pytest.fixture
def pod_metrics(control_plane):
    """metrics.k8s.io/v1beta1 pods, as objects that a test creates."""
    kind = {"kind": "PodMetrics", "listKind": "PodMetricsList", "plural": "pods", "singular": "pod"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    control_plane.client.create({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pods.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "metrics.k8s.io", "scope": "Namespaced", "names": kind,
            "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": schema}],
        },
    })  # fmt: skip

    def answers() -> bool:
        with suppress(ApiFailure):
            return control_plane.client.items(f"{METRICS}/pods") == []
        return False

    wait_for("metrics.k8s.io", answers)
    yield
    control_plane.client.delete(f"{path}/pods.metrics.k8s.io")


@pytest.mark.usefixtures("pod_metrics")
def test_by_use_a_node_is_overloaded_that_requests_leave_alone(control_plane, namespace):
    full, *others = one_full_node(control_plane, namespace, count=3, cpu="500m")
    busy = sorted(pod["metadata"]["name"] for pod in running(control_plane.client, namespace, "small"))
    for name, cpu in zip(busy, ("1900m", "1200000000n", "100m"), strict=True):
        of_pod = {
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": name, "namespace": namespace},
            "containers": [{"name": "main", "usage": {"cpu": cpu, "memory": "1Mi"}}],
        }  # fmt: skip
        control_plane.client.post(f"{METRICS}/namespaces/{namespace}/pods", of_pod)
    PlannerProcess(
        control_plane, **FAST | {"rebalance_load": "use", "rebalance_target": 0.7, "rebalance_threshold": 0.8}
    )
    plan = the_plan(control_plane, "Proposed")
    (step,) = plan["spec"]["steps"]
    assert step["pod"] in busy[:2]  # either brings 3.23 of 4 cores in use below 70 %; requests are 1.53
    assert (step["from"], step["to"] in others) == (full, True)
    use, requests = plan["spec"]["rebalance"]["loads"]
    assert (use["basis"], use["nodesBefore"], use["nodesAfter"], use["highestMilliBefore"]) == ("use", 1, 0, 808)
    assert (requests["basis"], requests["nodesBefore"]) == ("requests", 0)
    shown = json.loads(run_stowage(control_plane, "plan", "show", plan["metadata"]["name"], "--json"))
    assert shown["spec"]["rebalance"]["targetMilli"] == 700
