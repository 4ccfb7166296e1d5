"""The control plane behaves as a cluster does, and survives what the tests of failures do to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.api_client import ApiClient, ApiFailure, Unreachable, wait_for
from tests.cluster.control_plane import Cluster, CommandFailed, ControlPlane, refusal
from tests.cluster.objects import a_budget, a_deployment, a_pod

NAMED = "kubescheduler.config.k8s.io/v1"


def test_stock_scheduler_binds_pods_that_kwok_then_runs(cluster: Cluster, namespace: str) -> None:
    nodes = cluster.add_nodes(100, cpu=4, gpus=8, zones=("a", "b"))
    cluster.start_scheduler("second", a_scheduler("second"))
    cluster.client.create_all(
        a_pod(f"p{i}", namespace, gpus=8, scheduler="second") for i in range(101)
    )  # one more than there is room for
    placed = cluster.wait_until_bound(namespace, 100)
    assert sorted(placed.values()) == nodes
    cluster.wait_until_running(namespace, 100)
    (left,) = {f"p{i}" for i in range(101)} - placed.keys()
    assert "Insufficient nvidia.com/gpu" in cluster.wait_until_refused(namespace, left)


def test_eviction_that_a_budget_forbids_gets_429_and_the_pod_stays(cluster: Cluster, namespace: str) -> None:
    cluster.add_nodes(2)
    cluster.start_scheduler("second", a_scheduler("second"))
    cluster.client.create(a_budget("keep", namespace, "web", minAvailable=3))
    cluster.client.create(a_deployment("web", namespace, 3, scheduler="second"))
    pod = cluster.wait_until_running(namespace, 3)[0]["metadata"]
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/keep"
    wait_for("the budget counts 3 pods", lambda: cluster.client.get(path)["status"]["currentHealthy"] == 3)
    with pytest.raises(ApiFailure, match="disruption budget") as refused:
        cluster.client.evict(namespace, pod["name"])
    assert refused.value.status == 429
    kept = cluster.client.get(f"/api/v1/namespaces/{namespace}/pods/{pod['name']}")["metadata"]
    assert kept["uid"] == pod["uid"]
    assert "deletionTimestamp" not in kept


def test_evicted_pod_of_a_deployment_is_replaced(cluster: Cluster, namespace: str) -> None:
    cluster.add_nodes(2)
    cluster.start_scheduler("second", a_scheduler("second"))
    cluster.client.create(a_deployment("web", namespace, 2, scheduler="second"))
    old = {p["metadata"]["uid"]: p["metadata"]["name"] for p in cluster.wait_until_running(namespace, 2)}
    uid, name = next(iter(old.items()))
    cluster.client.evict(namespace, name)

    def replaced() -> bool:
        running = [p["metadata"]["uid"] for p in cluster.pods(namespace) if p["status"]["phase"] == "Running"]
        return len(running) == 2 and uid not in running

    wait_for("a replacement runs", replaced)


def test_service_account_may_do_what_its_role_says_and_no_more(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    cluster.kubectl("create", "role", "r", "--verb=list", "--resource=pods", "-n", namespace)
    cluster.kubectl("create", "rolebinding", "b", "--role=r", f"--serviceaccount={namespace}:reader", "-n", namespace)
    account = ApiClient(cluster.kubeconfig_for_service_account(namespace, "reader"))
    wait_for("the role counts", lambda: account.get(f"/api/v1/namespaces/{namespace}/pods")["kind"] == "PodList")
    with pytest.raises(ApiFailure, match=f"system:serviceaccount:{namespace}:reader") as refused:
        account.get("/api/v1/nodes")
    assert refused.value.status == 403


def test_restricted_namespace_admits_our_pods_and_refuses_a_privileged_one(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    cluster.client.create(a_pod("fine", namespace))
    privileged = a_pod("privileged", namespace, hostNetwork=True)
    with pytest.raises(ApiFailure, match="host namespaces"):
        cluster.client.create(privileged)


def test_helm_and_kubectl_talk_to_the_cluster(cluster: Cluster, namespace: str) -> None:
    assert cluster.helm("list", "-n", namespace, "-o", "json").strip() == "[]"
    with pytest.raises(CommandFailed, match='"nothing" not found'):
        cluster.kubectl("get", "pod", "nothing", "-n", namespace)


def test_restart_of_the_api_server_is_survived(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(2)
    control_plane.start_scheduler("second", a_scheduler("second"))
    control_plane.client.create(a_pod("before", namespace, scheduler="second"))
    control_plane.wait_until_running(namespace, 1)
    control_plane.component["kube-apiserver"].kill()
    with pytest.raises(Unreachable):
        control_plane.client.get("/readyz")
    control_plane.component["kube-apiserver"].start()
    control_plane.client.create(a_pod("after", namespace, scheduler="second"))
    control_plane.wait_until_running(namespace, 2)


def test_old_watch_gets_410_once_etcd_is_compacted_and_the_server_restarted(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    old = control_plane.client.get(path)["metadata"]["resourceVersion"]
    for i in range(3):
        control_plane.client.post(path, {"metadata": {"name": f"c{i}"}})
    added = [e for e in control_plane.client.watch(path, timeout_s=1, resourceVersion=old) if e["type"] == "ADDED"]
    assert [e["object"]["metadata"]["name"] for e in added] == ["c0", "c1", "c2"]
    assert control_plane.compact_etcd() > int(old)
    control_plane.component["kube-apiserver"].restart()
    (event,) = control_plane.client.watch(path, timeout_s=5, resourceVersion=old)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_paused_scheduler_binds_nothing_until_it_goes_on(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    scheduler = control_plane.start_scheduler("second", a_scheduler("second"))
    scheduler.pause()
    control_plane.client.create(a_pod("p", namespace, scheduler="second"))
    time.sleep(1)
    assert control_plane.nodes_of_pods(namespace) == {}
    scheduler.resume()
    control_plane.wait_until_bound(namespace, 1)


def test_forgotten_node_is_tainted_and_a_remembered_one_used_again(control_plane: ControlPlane, namespace: str) -> None:
    (node,) = control_plane.add_nodes(1)
    control_plane.start_scheduler("second", a_scheduler("second"))
    control_plane.forget_node(node)
    path = f"/api/v1/nodes/{node}"
    wait_for("the taint", lambda: "node.kubernetes.io/not-ready" in str(control_plane.client.get(path)["spec"]))
    control_plane.client.create(a_pod("p", namespace, scheduler="second"))
    assert "untolerated taint" in control_plane.wait_until_refused(namespace, "p")
    control_plane.remember_node(node)
    control_plane.wait_until_bound(namespace, 1)


def test_pods_wait_as_long_as_their_annotations_say(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    control_plane.start_scheduler("second", a_scheduler("second"))
    slow = {"pod-ready.stage.kwok.x-k8s.io/delay": "2s"}
    control_plane.client.create(a_pod("slow", namespace, scheduler="second", annotations=slow))
    control_plane.client.create(a_pod("fast", namespace, scheduler="second"))
    (first,) = control_plane.wait_until_running(namespace, 1)
    assert first["metadata"]["name"] == "fast"
    control_plane.wait_until_running(namespace, 2)


def test_nothing_outlives_the_python_that_started_it(tmp_path: Path, control_plane: ControlPlane) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from tests.cluster.component import Component\n"
        "c = Component('sleeper', ['/bin/sleep', '300'], pathlib.Path(sys.argv[1]), lambda: True)\n"
        "c.start(); print(c.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    pid = int(done.stdout)

    def is_gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    wait_for("the child ended", is_gone, timeout_s=5)
    assert os.getpid() != pid


def test_refusal_is_the_schedulers_own_message() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert refusal({"status": {"conditions": [condition]}}) == "0/3 nodes"
    assert refusal({"status": {"conditions": [{**condition, "reason": "SchedulingGated"}]}}) is None
    assert refusal({"status": {}}) is None


def a_scheduler(name: str) -> dict[str, object]:
    return {"apiVersion": NAMED, "kind": "KubeSchedulerConfiguration", "profiles": [{"schedulerName": name}]}
