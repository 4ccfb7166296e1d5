"""What kubectl prints of a real control plane is packed, explained and asked about: nothing moves that must not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stowage import app
from tests.cluster.api_client import wait_for
from tests.cluster.control_plane import Cluster
from tests.cluster.objects import a_budget, a_deployment, a_pod, pod_spec

Json = dict[str, Any]
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}
APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}
        ]
    }
}


@pytest.fixture
def snapshot(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """26 places for `web` on 13 nodes, 24 taken: `big` fits if one web pod moves, and no node has room for it now."""
    cluster.add_nodes(13, prefix="pack", cpu=4, memory="16Gi", zones=("a", "b"))
    cluster.start_scheduler()
    agent = {"metadata": {"labels": {"app": "agent"}}, "spec": pod_spec(cpu="100m")}
    cluster.client.create(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": agent},
        }
    )
    cluster.wait_until_running(namespace, 13, timeout_s=60)
    web = a_deployment("web", namespace, 24, cpu="1500m", topologySpreadConstraints=[SPREAD])
    cluster.client.create_all([web, a_budget("web", namespace, "web", minAvailable=22)])
    cluster.wait_until_running(namespace, 37, timeout_s=60)
    solid = a_deployment("solid", namespace, 1, cpu="200m")
    solid["spec"]["template"]["metadata"]["annotations"] = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    db = a_deployment("db", namespace, 3, cpu="400m", affinity=APART)
    cluster.client.create_all([db, a_budget("db", namespace, "db", maxUnavailable=0), solid])
    cluster.client.create(a_pod("tool", namespace, cpu="200m"))
    cluster.wait_until_running(namespace, 42, timeout_s=60)
    cluster.client.create(a_deployment("big", namespace, 1, cpu="3200m"))
    big = wait_for("the pod of big", lambda: pods_of(cluster, namespace, "big"))[0]
    cluster.wait_until_refused(namespace, big)

    def budget_is_counted() -> bool:
        budget = cluster.client.get(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/web")
        return bool(budget.get("status", {}).get("disruptionsAllowed") == 2)

    wait_for("the budget of web to be counted", budget_is_counted)
    path = tmp_path / "cluster.json"
    path.write_text(cluster.kubectl("get", "nodes,pods,pdb,priorityclass", "-A", "-o", "json"))
    return path


def pods_of(cluster: Cluster, namespace: str, name: str) -> list[str]:
    return [p["metadata"]["name"] for p in cluster.pods(namespace) if p["metadata"]["name"].startswith(f"{name}-")]


def ask(*words: str | Path) -> Json:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    found: Json = json.loads(result.stdout)
    return found


def test_packed_explained_and_fitted(cluster: Cluster, namespace: str, snapshot: Path, tmp_path: Path) -> None:
    (big,) = pods_of(cluster, namespace, "big")
    why = ask("explain", snapshot, f"{namespace}/{big}")
    assert {cause["rule"] for cause in why["causes"]}
    assert why["answer"] == "fits after moves"
    assert "move" in why["smallest_change"]

    plan = ask("pack", snapshot, "--budget", "5s")
    assert plan["verdict"] == "optimal"
    assert plan["placed"]["0"] == 25
    assert plan["placements"][f"{namespace}/{big}"]
    moved = [move["pod"] for move in plan["moves"]] + plan["evicted"]
    assert moved
    assert all(pod.startswith(f"{namespace}/web-") for pod in moved)  # not db, solid, tool or an agent
    assert len(moved) == 1 <= 2  # the fewest, within the budget

    manifest = tmp_path / "pod.json"
    manifest.write_text(json.dumps(a_pod("small", namespace, cpu="500m")))
    assert ask("fit", snapshot, manifest)["nodes"]
    manifest.write_text(json.dumps(a_pod("vast", namespace, cpu="100")))
    answer = ask("fit", snapshot, manifest)
    assert (answer["verdict"], answer["nodes"]) == ("optimal", [])  # proven: no node can run it
    assert answer["nearest_shape"]
