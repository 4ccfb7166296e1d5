"""Pods are bound by the real kube-scheduler through the extender that `stowage serve` runs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_client import ApiFailure, wait_for
from tests.cluster.component import free_port
from tests.cluster.control_plane import Cluster, ControlPlane
from tests.cluster.objects import a_pod, a_priority_class

ROOT = Path(__file__).resolve().parents[2]
TAINT = {"key": "stowage.dev/quarantine", "value": "Xid-79", "effect": "NoSchedule"}


class Extender:
    """A running `stowage serve`."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self.port = free_port()
        config = cluster.folder / "serve.json"
        config.write_text(json.dumps({"port": self.port, "kubeconfig": str(cluster.kubeconfig), **settings}))
        command = [sys.executable, ROOT / "stowage.py", "serve", "--config", config]
        self.component = cluster.run("extender", command, self.is_ready, timeout_s=120)

    def get(self, page: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def filter(self, names: list[str]) -> dict[str, Any]:
        """What it answers about a pod that asks for nothing."""
        body = json.dumps({"Pod": {"metadata": {"name": "nobody"}}, "NodeNames": names}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/filter", body, timeout=5) as answer:
            result: dict[str, Any] = json.loads(answer.read())
            return result

    def is_ready(self) -> bool:
        try:
            return bool(self.get("readyz"))
        except (OSError, urllib.error.URLError):
            return False

    def metric(self, name: str) -> float:
        """The value of a line of /metrics; 0 if it is not there."""
        lines = (line.rpartition(" ") for line in self.get("metrics").splitlines())
        return next((float(value) for key, _, value in lines if key == name), 0.0)


def a_scheduler(extender: Extender, profile: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """A scheduler with our name and our extender, as the chart configures it. profile: more of its profile."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "stowage", **(profile or {})}],
        "extenders": [{
            "urlPrefix": f"http://127.0.0.1:{extender.port}", "filterVerb": "filter", "prioritizeVerb": "prioritize",
            "preemptVerb": "preempt", "weight": 3, "httpTimeout": "1s", "nodeCacheCapable": True, "ignorable": False,
        }],
        **options,
    }  # fmt: skip


@pytest.fixture
def extender(cluster: Cluster) -> Extender:
    return Extender(cluster)


def test_pods_are_bound_through_the_extender_on_100_nodes(
    cluster: Cluster, namespace: str, extender: Extender
) -> None:
    add_nodes(cluster, extender, 100, prefix="gpu", cpu=16, memory="64Gi", gpus=8)
    cluster.start_scheduler("stowage", a_scheduler(extender))
    pods = [a_pod(f"p{i}", namespace, gpus=i % 3, scheduler="stowage") for i in range(200)]
    cluster.client.create_all(pods)
    cluster.wait_until_bound(namespace, 200, timeout_s=60)
    answered = 'stowage_extender_requests_total{code="200",verb="%s"}'
    assert extender.metric(answered % "filter") >= 200
    assert extender.metric(answered % "prioritize") >= 200
    assert extender.metric('stowage_extender_stale_answers_total{verb="filter"}') == 0
    # The cache hears of every binding, and no assumption is left.
    wait_for("all are counted", lambda: extender.metric('stowage_cache_objects{kind="pods"}') >= 200)
    wait_for("none is assumed", lambda: extender.metric("stowage_cache_assumed_pods") == 0)


def test_the_policys_best_node_is_where_pods_go(cluster: Cluster, namespace: str) -> None:
    extender = Extender(cluster, policy="best-fit")
    add_nodes(cluster, extender, 10, prefix="fit", cpu=16, memory="64Gi")
    # The stock scores for free resources speak for the emptiest node; without them the policy alone decides.
    plugins = {"score": {"disabled": [{"name": f"NodeResources{one}"} for one in ("Fit", "BalancedAllocation")]}}
    cluster.start_scheduler("stowage", a_scheduler(extender, profile={"plugins": plugins}))
    for i in range(12):  # one by one, so that every decision sees the one before
        cluster.client.create(a_pod(f"p{i}", namespace, cpu="4", memory="1Gi", scheduler="stowage"))
        cluster.wait_until_bound(namespace, i + 1)
    placed = list(cluster.nodes_of_pods(namespace).values())
    assert {node: placed.count(node) for node in placed} == dict.fromkeys(("fit-0000", "fit-0001", "fit-0002"), 4)


def test_reserved_room_stays_free_for_its_pod(cluster: Cluster, namespace: str, extender: Extender) -> None:
    cluster.kubectl("apply", "-f", ROOT / "helm" / "stowage" / "files" / "plans.yaml")
    listed = 'stowage_watch_events_total{kind="plans",type="BOOKMARK"}'
    wait_for("the extender watches plans", lambda: extender.metric(listed))
    add_nodes(cluster, extender, 2, prefix="kept", cpu=4, memory="64Gi")
    make_plan(cluster, "kept-0000", f"{namespace}/mine", {"cpu": 3000})
    wait_for("the cache knows the plan", lambda: extender.metric("stowage_cache_reservations") == 1)
    cluster.start_scheduler("stowage", a_scheduler(extender))
    for name in ("a", "b"):
        cluster.client.create(a_pod(name, namespace, cpu="2", memory="1Gi", scheduler="stowage"))
    assert cluster.wait_until_bound(namespace, 2) == {"a": "kept-0001", "b": "kept-0001"}
    cluster.client.create(a_pod("c", namespace, cpu="2", memory="1Gi", scheduler="stowage"))
    reason = cluster.wait_until_refused(namespace, "c")
    assert f"keeps cpu on node kept-0000 for {namespace}/mine" in reason
    cluster.client.create(a_pod("mine", namespace, cpu="3", memory="1Gi", scheduler="stowage"))
    assert cluster.wait_until_bound(namespace, 3)["mine"] == "kept-0000"
    cluster.client.delete("/apis/stowage.dev/v1alpha1/plans/test-plan")


def test_a_refused_pod_of_high_priority_evicts_nobody(cluster: Cluster, namespace: str, extender: Extender) -> None:
    add_nodes(cluster, extender, 6, prefix="full", cpu=8, memory="64Gi")
    cluster.start_scheduler("stowage", a_scheduler(extender))
    low = [a_pod(f"low{i}", namespace, cpu="2", memory="1Gi", scheduler="stowage") for i in range(12)]
    cluster.client.create_all(low)
    cluster.wait_until_running(namespace, 12)
    before = {p["metadata"]["uid"] for p in cluster.pods(namespace)}
    for node in sorted(set(cluster.nodes_of_pods(namespace).values())):
        note = {"stowage.dev/health": '{"state":"failing","reason":"test"}'}
        cluster.client.patch(f"/api/v1/nodes/{node}", {"metadata": {"annotations": note}})
        cluster.client.patch(
            f"/api/v1/nodes/{node}/status", {"status": {"capacity": {"nvidia.com/gpu": "8"},
                                                        "allocatable": {"nvidia.com/gpu": "8"}}}, "strategic",
        )  # fmt: skip
    wait_for("the cache knows", lambda: extender.metric("stowage_cache_flagged_nodes") == 6)
    high = a_pod("high", namespace, cpu="1", memory="1Gi", gpus=1, scheduler="stowage", priorityClassName="urgent")
    cluster.client.create(a_priority_class("urgent", 1000))
    wait_for("admission knows the class", lambda: accepted(cluster, high))
    assert "are failing: test" in cluster.wait_until_refused(namespace, "high")
    time.sleep(2.0)  # what preemption would do it does at once
    assert before <= {p["metadata"]["uid"] for p in cluster.pods(namespace) if "deletionTimestamp" not in p["metadata"]}


def add_nodes(cluster: Cluster, extender: Extender, count: int, prefix: str, **node: Any) -> list[str]:
    """Nodes that the extender knows, by name. Each test has a prefix: pods of the one before may name its nodes."""
    names = cluster.add_nodes(count, prefix=prefix, **node)
    wait_for("the extender knows the nodes", lambda: extender.filter(names)["NodeNames"] == names)
    return names


def accepted(cluster: Cluster, pod: dict[str, Any]) -> bool:
    """Whether the API server takes the pod now; its admission hears of new priority classes a moment later."""
    with contextlib.suppress(ApiFailure):
        cluster.client.create(pod)
        return True
    return False


def make_plan(cluster: Cluster, node: str, pod: str, requests: dict[str, int]) -> None:
    """A Plan that keeps room."""
    path = "/apis/stowage.dev/v1alpha1/plans"
    spec = {"mode": "auto", "order": "no-harm", "purpose": "test", "summary": "test", "verdict": "optimal",
            "snapshot": {}, "steps": []}  # fmt: skip
    plan = {"apiVersion": "stowage.dev/v1alpha1", "kind": "Plan", "metadata": {"name": "test-plan"}, "spec": spec}
    wait_for("the API server serves plans", lambda: cluster.client.items(path) is not None)
    cluster.client.post(path, plan)
    held = {"node": node, "pod": pod, "requests": requests, "expires": "2100-01-01T00:00:00Z"}
    cluster.client.patch(f"{path}/test-plan/status", {"status": {"phase": "Executing", "reservations": [held]}})


def test_a_quiet_cluster_is_no_stale_cache(cluster: Cluster, extender: Extender) -> None:
    until_s = time.monotonic() + 15.0  # longer than a cache without a sign of life is trusted
    while time.monotonic() < until_s:
        assert extender.is_ready()
        time.sleep(0.25)
    # Renewed every few seconds, and listed only once.
    for kind in ("nodes", "pods"):
        assert extender.metric(f'stowage_watch_lists_total{{kind="{kind}",reason="start"}}') == 1
        assert extender.metric(f'stowage_watch_age_seconds{{kind="{kind}"}}') < 10
        assert extender.metric(f'stowage_watch_failures_total{{kind="{kind}"}}') == 0


def test_an_api_server_that_is_away_makes_answers_errors_until_it_is_back(
    control_plane: ControlPlane, namespace: str
) -> None:
    extender = Extender(control_plane, stale_after_s=3.0, watch_renew_s=1)
    names = add_nodes(control_plane, extender, 2, prefix="away")
    control_plane.component["kube-apiserver"].kill()
    wait_for("the cache is stale", lambda: "has not heard" in extender.filter(names)["Error"], timeout_s=20)
    assert not extender.is_ready()
    control_plane.component["kube-apiserver"].start()
    wait_for("the cache is trusted again", lambda: extender.filter(names)["NodeNames"] == names)
