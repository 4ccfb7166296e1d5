"""Approve and stop from the dashboard, against a real API server: one person who may, one who may not."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from dashboard import live, settings
from scheduler.live.planner.plan_resource import Plan, PlanMetadata, PlanSpec, SnapshotRef, StepSpec, encode_plan
from tests.cluster.planning import PLANS, delete_plans, install_definition

ROLES = "/apis/rbac.authorization.k8s.io/v1"
ANN, BEN = live.Person("ann@example.com"), live.Person("ben@example.com", ("tenants",))
SERVER_ROLE = [
    {"apiGroups": ["stowage.dev"], "resources": ["plans"], "verbs": ["get", "list", "patch"]},
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]},
]


def role(kind, name, rules):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}


def binding(kind, name, to, subject, namespace=None):
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": to},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": subject[0], "name": subject[1]}],
    }  # fmt: skip


@pytest.fixture
def cluster(control_plane, namespace, tmp_path):
    """The dashboard's own access, and two people: ann may patch plans, ben's group lists pods of one namespace."""
    client = control_plane.client
    install_definition(control_plane)
    delete_plans(client)
    made = [
        role("ClusterRole", "dashboard", SERVER_ROLE),
        role("ClusterRole", "approver", [
            {"apiGroups": ["stowage.dev"], "resources": ["plans"], "verbs": ["list", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ]),
        role("ClusterRole", "pod-reader", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]),
        binding("ClusterRoleBinding", "dashboard", "dashboard", ("User", "dashboard")),
        binding("ClusterRoleBinding", "approver", "approver", ("User", ANN.name)),
        binding("RoleBinding", "pod-reader", "pod-reader", ("Group", "tenants"), namespace),
    ]  # fmt: skip
    for one in made:
        client.create(one)
    (tmp_path / "journal").mkdir()
    kubeconfig = control_plane.kubeconfig_for_user("dashboard")
    settings.use(settings.Settings(journal=tmp_path / "journal", cluster=str(kubeconfig)))
    yield live.cluster()
    settings.use(settings.Settings())
    delete_plans(client)
    for one in reversed(made):
        client.delete(client.path_of(one))


def a_plan(control_plane, namespace, name="p1"):
    step = {"action": "place", "uid": "u", "why": "waiting", "to": "n1"}
    steps = [
        StepSpec(index=0, namespace=namespace, pod="mine", **step),
        StepSpec(index=1, namespace="elsewhere", pod="theirs", **step),
    ]
    spec = PlanSpec(
        mode="approve", order="no-harm", purpose="pending", summary="2 pods", verdict="optimal",
        snapshot=SnapshotRef(), steps=steps,
    )  # fmt: skip
    plan = Plan(spec=spec, metadata=PlanMetadata(name=name))
    control_plane.client.post(PLANS, json.loads(encode_plan(plan)))


def journalled(folder: Path):
    rows = f"select reason, verdict, split_part(message, ':', 1) from '{folder}/segment-*.parquet'"
    return duckdb.execute(rows).fetchall()


def test_who_may_approves_and_who_may_not_is_refused_and_both_are_journalled(
    control_plane, namespace, cluster, tmp_path
):
    a_plan(control_plane, namespace)
    with pytest.raises(live.Refused, match=r"ben@example\.com may not patch"):
        cluster.act(BEN, "approve", "p1")
    assert not control_plane.client.get(f"{PLANS}/p1")["spec"].get("approved")
    cluster.act(ANN, "approve", "p1")
    after = control_plane.client.get(f"{PLANS}/p1")
    assert after["spec"]["approved"] is True
    assert after["metadata"]["annotations"]["stowage.dev/approved-by"] == ANN.name
    cluster.act(ANN, "stop", "p1")
    assert control_plane.client.get(f"{PLANS}/p1")["spec"]["stopped"] is True
    rows = sorted(journalled(tmp_path / "journal"))
    assert rows == sorted([
        ("Approve", "asked", BEN.name), ("Approve", "403", BEN.name),
        ("Approve", "asked", ANN.name), ("Approve", "done", ANN.name),
        ("Stop", "asked", ANN.name), ("Stop", "done", ANN.name),
    ])  # fmt: skip


def test_a_tenant_sees_the_steps_of_their_namespaces_only(control_plane, namespace, cluster):
    a_plan(control_plane, namespace)
    assert cluster.namespaces_of(ANN) is None
    assert cluster.namespaces_of(BEN) == {namespace}
    assert [len(one["spec"]["steps"]) for one in cluster.plans(ANN)] == [2]
    (seen,) = cluster.plans(BEN)
    assert [step["pod"] for step in seen["spec"]["steps"]] == ["mine"]
    assert cluster.plans(live.Person("nobody@example.com")) == []


def test_what_cannot_be_journalled_is_not_done(control_plane, namespace, cluster, tmp_path):
    a_plan(control_plane, namespace)
    (tmp_path / "journal").rmdir()
    with pytest.raises(live.Refused, match="what nobody can look up later is not done"):
        cluster.act(ANN, "approve", "p1")
    assert not control_plane.client.get(f"{PLANS}/p1")["spec"].get("approved")
