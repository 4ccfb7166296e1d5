"""Least privilege, as the API server's audit log saw it: each right that the chart grants is used, none is missing.

kube-scheduler and `stowage serve` run beside the cluster with tokens of the chart's own ServiceAccounts.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api_client import TimedOut, wait_for
from tests.cluster.component import free_port
from tests.cluster.control_plane import ControlPlane, is_healthy
from tests.cluster.fixtures import find_programs
from tests.cluster.objects import a_deployment, a_pod, node_condition
from tests.cluster.planning import PlannerProcess, fragment, running, start_scheduler, wait_for_end
from tests.helm.conftest import CHART, ROOT

pytestmark = pytest.mark.xdist_group("cluster")
NAMESPACE, WORK = "stowage-system", "shop"
POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{NAMESPACE}"]}, {"level": "None"}],
}  # fmt: skip
Right = tuple[str, str, str]  # verb, API group, resource


@dataclass
class Audited:
    """A control plane with the chart installed, and the log of what the chart's accounts asked of it."""

    plane: ControlPlane
    log: Path

    def asked(self, account: str) -> list[dict[str, Any]]:
        """Every finished request of one account, oldest first."""
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        events = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [event for event in events if event["user"]["username"] == user]

    def used(self, account: str) -> set[Right]:
        """What it asked for and was allowed."""
        return {right(event) for event in self.asked(account) if "objectRef" in event and is_allowed(event)}

    def refused(self, account: str) -> list[Right | str]:
        """What it asked for and was not allowed."""
        return [right(event) if "objectRef" in event else event["requestURI"]
                for event in self.asked(account) if not is_allowed(event)]  # fmt: skip

    def granted(self, kind: str, name: str) -> set[Right]:
        """The rights in one of the chart's roles, as the cluster has it."""
        where = "clusterroles" if kind == "ClusterRole" else f"namespaces/{NAMESPACE}/roles"
        role = self.plane.client.get(f"/apis/rbac.authorization.k8s.io/v1/{where}/{name}")
        return {(verb, group, resource) for rule in role["rules"] for verb in rule["verbs"]
                for group in rule["apiGroups"] for resource in rule["resources"]}  # fmt: skip


def right(event: dict[str, Any]) -> Right:
    found = event["objectRef"]
    resource = "/".join(filter(None, (found["resource"], found.get("subresource", ""))))
    return event["verb"], found.get("apiGroup", ""), resource


def is_allowed(event: dict[str, Any]) -> bool:
    return bool(event["annotations"]["authorization.k8s.io/decision"] == "allow")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    find_programs()
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    values = {
        "remote": {"enabled": True}, "scheduler": {"replicas": 1},
        # Plans that have ended are soon deleted, which is else done when there are fifty.
        "planner": {
            "namespaces": {WORK: "auto"}, "nodeHealth": "auto", "priceRound": "auto",
            "settings": {
                "keep_plans": 1, "budget_window_s": 1.0, "rest_s": 0.0, "node_scan_s": 1.0, "price_round_s": 1.0,
            },
        },
    }  # fmt: skip
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    log = folder / "audit.log"
    flags = [f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-log-path={log}"]
    with ControlPlane(apiserver_flags=flags) as plane:
        plane.add_nodes(3)
        plane.make_namespace(NAMESPACE)
        plane.make_namespace(WORK)
        plane.helm("install", "s", CHART, "--namespace", NAMESPACE, "--values", folder / "values.yaml")
        yield Audited(plane, log)


def test_the_extender_uses_each_right_of_its_role_and_needs_no_other(
    audited: Audited, tmp_path: Path
) -> None:
    """As the account of the extender that serves another scheduler: that one has the extender's role and no more."""
    account = audited.plane.kubeconfig_for_service_account(NAMESPACE, "s-stowage-remote")
    rendered = audited.plane.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/s-stowage-scheduler")
    settings = json.loads(rendered["data"]["extender.json"])
    port = free_port()
    # Compared with a fresh list at once, which is else done every ten minutes.
    settings |= {"host": "127.0.0.1", "port": port, "kubeconfig": str(account), "resync_s": 1.0}
    config = tmp_path / "extender.json"
    config.write_text(json.dumps(settings))
    audited.plane.run(
        "extender", [sys.executable, ROOT / "stowage.py", "serve", "--config", config],
        lambda: is_healthy(f"http://127.0.0.1:{port}/readyz"), timeout_s=180,
    )  # fmt: skip
    granted = audited.granted("ClusterRole", "stowage-system-s-stowage-extender")
    wait_for("every right used", lambda: audited.used("s-stowage-remote") >= granted, timeout_s=60)
    audited.plane.end_program("extender")
    assert audited.used("s-stowage-remote") == granted
    assert audited.refused("s-stowage-remote") == []


def test_kube_scheduler_is_refused_nothing_and_uses_each_right_that_the_chart_adds(
    audited: Audited, tmp_path: Path
) -> None:
    account = audited.plane.kubeconfig_for_service_account(NAMESPACE, "s-stowage-scheduler")
    rendered = audited.plane.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/s-stowage-scheduler")
    (tmp_path / "scheduler.yaml").write_text(rendered["data"]["scheduler.yaml"])
    audited.plane.start_scheduler("stowage", tmp_path / "scheduler.yaml", kubeconfig=account)
    namespace = audited.plane.make_namespace("work")
    audited.plane.client.create_all([a_pod(f"p{n}", namespace, scheduler="stowage") for n in range(3)])
    audited.plane.wait_until_bound(namespace, 3)
    added = audited.granted("Role", "s-stowage-scheduler")
    wait_for("every right used", lambda: audited.used("s-stowage-scheduler") >= added, timeout_s=60)
    audited.plane.end_program("stowage")
    assert added == {(verb, "coordination.k8s.io", "leases") for verb in ("get", "update")}
    assert audited.refused("s-stowage-scheduler") == []


def test_the_planner_moves_pods_with_the_rights_of_its_roles_and_uses_each_of_them(audited: Audited) -> None:
    plane, account = audited.plane, "s-stowage-planner"
    kubeconfig = plane.kubeconfig_for_service_account(NAMESPACE, account)
    rendered = plane.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/s-stowage-planner")
    settings = json.loads(rendered["data"]["planner.json"])
    del settings["journal"], settings["host"], settings["port"]
    start_scheduler(plane)
    for node in plane.client.items("/api/v1/nodes"):  # only the nodes of the fragmented workload count
        path = f"/api/v1/nodes/{node['metadata']['name']}"
        plane.client.patch(path, {"spec": {"unschedulable": True}})
        broken = {"status": {"conditions": [node_condition("KernelDeadlock", "True", "Test")]}}
        plane.client.patch(f"{path}/status", broken, "strategic")  # so that there are nodes to mark
    fragment(plane, WORK)
    PlannerProcess(plane, **settings | {"kubeconfig": str(kubeconfig)})
    wait_for("three wide pods run", lambda: len(running(plane.client, WORK, "wide")) == 3, 90)
    wait_for_end(plane.client)
    granted = {
        *audited.granted("ClusterRole", f"{NAMESPACE}-{account}"), *audited.granted("Role", account),
        *audited.granted("ClusterRole", f"{NAMESPACE}-{account}-mover"),
    }  # fmt: skip
    # A watch begins with what is there; a list checks it every ten minutes (the extender's test waits for one).
    # A Plan is read alone only after a write to it was refused, because somebody else had written.
    expected = {right for right in granted if right[0] != "list"} - {("get", "stowage.dev", "plans")}
    plane.client.create(a_deployment("later", WORK, 1, cpu="3900m", memory="16Mi", scheduler="stowage"))
    with contextlib.suppress(TimedOut):
        wait_for("every right used", lambda: audited.used(account) >= expected, timeout_s=60)
    assert expected - audited.used(account) == set()
    plane.end_program("planner")
    assert audited.used(account) <= granted
    assert audited.refused(account) == []
    evictions = [event for event in audited.asked(account) if right(event)[2] == "pods/eviction"]
    assert {event["objectRef"]["namespace"] for event in evictions} == {WORK}
