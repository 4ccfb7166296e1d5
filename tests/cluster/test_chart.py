"""The chart on a real API server: every object accepted, installed, upgraded, and nothing left of it after uninstall.

kwok plays the kubelets, so the chart's pods "run" without running anything; objects, rights, hooks, admission and the
definition of Plan are real. What the pods would run is run beside the cluster, with the chart's own rights.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.live.api import Api
from scheduler.live.cleanup import clean_up, stop_planner
from tests.cluster.api_client import ApiFailure, Json, wait_for
from tests.cluster.control_plane import Cluster, CommandFailed, ControlPlane
from tests.cluster.objects import a_pod
from tests.helm.conftest import CHART, EVERYTHING

NAMESPACE, RELEASE = "stowage-system", "s"
# Written by the cluster's own machinery for whatever runs, and outlived by it; events go after an hour.
OF_THE_CLUSTER = {"events", "endpoints", "endpointslices", "nodes", "namespaces"}


def everything(cluster: Cluster) -> set[tuple[str, str, str]]:
    """(resource, namespace, name) of every object that can be listed, but in namespaces of other tests that go."""
    found = set()
    namespaces = cluster.client.items("/api/v1/namespaces")
    going = {entry["metadata"]["name"] for entry in namespaces if "deletionTimestamp" in entry["metadata"]}
    groups = [entry["preferredVersion"]["groupVersion"] for entry in cluster.client.get("/apis")["groups"]]
    for group in ["/api/v1", *(f"/apis/{version}" for version in groups)]:
        for resource in found_at(cluster, group)["resources"]:
            if "/" in resource["name"] or "list" not in resource["verbs"]:
                continue
            for entry in found_at(cluster, f"{group}/{resource['name']}")["items"]:
                meta = entry["metadata"]
                where = meta.get("namespace", "")
                if resource["name"] not in OF_THE_CLUSTER and where not in going:
                    found.add((resource["name"], where, meta["name"]))
    return found


def found_at(cluster: Cluster, path: str) -> Json:
    """What the API server says there; nothing where a definition has just gone."""
    try:
        return cluster.client.get(path)
    except ApiFailure as failure:
        if failure.status != 404:
            raise
        return {"resources": [], "items": []}


def values_file(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / f"values-{time.monotonic_ns()}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


# The Prometheus operator's definitions are not in a bare cluster; claims named journal and runs are not either.
INSTALLABLE = without(EVERYTHING, "serviceMonitor") | {
    "planner": {"mode": "auto"},
    "dashboard": without(EVERYTHING["dashboard"], "runsVolume"),
}


@pytest.fixture
def restricted(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with nodes, a stock scheduler, and a namespace that admits restricted pods only."""
    control_plane.add_nodes(3)  # without zones: the chart's pods must be spread over such nodes too
    control_plane.start_scheduler()
    drop_definition(control_plane)
    if not control_plane.client.items("/api/v1/namespaces", fieldSelector=f"metadata.name={NAMESPACE}"):
        pod_security = {f"pod-security.kubernetes.io/{word}": "restricted" for word in ("enforce", "warn", "audit")}
        control_plane.make_namespace(NAMESPACE, pod_security)
    yield control_plane
    with contextlib.suppress(CommandFailed):  # most tests have done so
        control_plane.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    wait_for("pods gone", lambda: not control_plane.pods(NAMESPACE), timeout_s=60)


def drop_definition(cluster: Cluster) -> None:
    """Take away a definition of Plan that another test brought: Helm takes over nobody's objects."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

    def is_gone() -> bool:
        return not cluster.client.items(path, fieldSelector="metadata.name=plans.stowage.dev")

    if not is_gone():
        clean_up(Api.connect(cluster.kubeconfig))
        cluster.client.delete(f"{path}/plans.stowage.dev")
        wait_for("no definition of Plan", is_gone)


def install(cluster: Cluster, folder: Path, values: dict[str, Any], *words: str, verb: str = "install") -> str:
    where = ["--namespace", NAMESPACE, "--values", values_file(folder, values)]
    if verb == "upgrade":
        where.append("--reset-values")  # or an empty file would mean the values of last time
    return cluster.helm(verb, RELEASE, CHART, *where, *words)


@pytest.mark.parametrize("values", [{}, INSTALLABLE], ids=["defaults", "everything"])
def test_the_api_server_accepts_every_object_of_the_chart(
    restricted: ControlPlane, tmp_path: Path, values: dict[str, Any]
) -> None:
    where = ["--namespace", NAMESPACE, "--values", values_file(tmp_path, values)]
    rendered = restricted.helm("template", RELEASE, CHART, *where)
    objects = [entry for entry in yaml.safe_load_all(rendered) if entry]
    assert len(objects) > 20
    for entry in objects:
        entry["metadata"].setdefault("namespace", NAMESPACE)
        path = restricted.client.path_of(entry, collection=True)
        # fieldValidation=Strict: an unknown or doubled field is an error, as a typing error in a template would make.
        restricted.client.post(f"{path}?dryRun=All&fieldValidation=Strict", entry)


def test_install_upgrade_and_uninstall_leave_nothing_behind(restricted: ControlPlane, tmp_path: Path) -> None:
    before = everything(restricted)
    install(restricted, tmp_path, {}, "--wait", "--timeout", "120s")
    running = restricted.wait_until_running(NAMESPACE, 4)
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in running} == {"scheduler", "planner"}
    for component in ("scheduler", "planner"):
        pods = [pod for pod in running if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        assert len({pod["spec"]["nodeName"] for pod in pods}) == 2  # spread

    install(restricted, tmp_path, INSTALLABLE, "--wait", "--timeout", "120s", verb="upgrade")
    restricted.wait_until_running(NAMESPACE, 5)
    install(restricted, tmp_path, {}, "--wait", "--timeout", "120s", verb="upgrade")
    deployments = restricted.client.items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    assert {entry["metadata"]["name"] for entry in deployments} == {"s-stowage-scheduler", "s-stowage-planner"}

    restricted.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s")
    wait_for("nothing of the release", lambda: everything(restricted) - before == set(), timeout_s=60, every_s=0.5)
    assert before - everything(restricted) == set()


def test_without_the_hook_an_unused_release_leaves_nothing_either(
    restricted: ControlPlane, tmp_path: Path
) -> None:
    before = everything(restricted)
    install(restricted, tmp_path, {"cleanup": {"enabled": False}})
    restricted.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    wait_for("nothing of the release", lambda: everything(restricted) - before == set(), timeout_s=60, every_s=0.5)


def a_plan(name: str) -> Json:
    spec = {"mode": "observe", "order": "no-harm", "purpose": "test", "summary": "", "verdict": "optimal",
            "snapshot": {}, "steps": []}  # fmt: skip
    meta = {"name": name, "finalizers": ["stowage.dev/plan"]}
    return {"apiVersion": "stowage.dev/v1alpha1", "kind": "Plan", "metadata": meta, "spec": spec}


def test_the_hook_has_the_rights_that_it_needs_and_takes_back_what_was_written(
    restricted: ControlPlane, tmp_path: Path
) -> None:
    """kwok ends the hook's Job without running it, so its command is run here, with the hook's own account."""
    client = restricted.client
    install(restricted, tmp_path, {})
    client.create(a_plan("p"))
    client.patch("/api/v1/nodes/node-0000", {
        "metadata": {"annotations": {"stowage.dev/price-milli": "3"}},
        "spec": {"taints": [{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}]},
    })  # fmt: skip
    held = a_pod("held", "default")
    held["spec"]["schedulingGates"] = [{"name": "stowage.dev/hold"}]
    client.create(held)
    api = Api.connect(account_of_hooks(restricted, tmp_path))
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=planner"
    assert stop_planner(api, f"{NAMESPACE}/{RELEASE}-stowage-planner", selector, 60, time.sleep) == []
    done = clean_up(api)
    assert (done.plans, done.nodes, done.pods) == (["p"], ["node-0000"], ["default/held"])
    assert client.items("/apis/stowage.dev/v1alpha1/plans") == []
    node = client.get("/api/v1/nodes/node-0000")
    assert "taints" not in node["spec"]
    assert "stowage.dev/price-milli" not in node["metadata"]["annotations"]
    restricted.wait_until_bound("default", 1)  # the gate is off
    client.delete("/api/v1/namespaces/default/pods/held")
    restricted.helm("uninstall", RELEASE, "--namespace", NAMESPACE)


def account_of_hooks(cluster: ControlPlane, folder: Path) -> Path:
    """A kubeconfig of the clean-up hook's account; its objects exist only while the hook runs, so they are made."""
    hook = ["--show-only", "templates/cleanup.yaml"]
    rendered = cluster.helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *hook)
    objects = [entry for entry in yaml.safe_load_all(rendered) if entry and entry["kind"] != "Job"]
    (folder / "hook.yaml").write_text(yaml.safe_dump_all(objects))
    cluster.kubectl("apply", "-f", folder / "hook.yaml")
    return cluster.kubeconfig_for_service_account(NAMESPACE, f"{RELEASE}-stowage-cleanup")


def test_an_upgrade_changes_the_definition_of_plan(restricted: ControlPlane, tmp_path: Path) -> None:
    install(restricted, tmp_path, {})
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/plans.stowage.dev"
    shipped = restricted.client.get(path)["spec"]["names"]["shortNames"]
    restricted.client.patch(path, {"spec": {"names": {"shortNames": ["old"]}}})
    install(restricted, tmp_path, {}, "--force-conflicts", verb="upgrade")
    assert restricted.client.get(path)["spec"]["names"]["shortNames"] == shipped
    restricted.helm("uninstall", RELEASE, "--namespace", NAMESPACE)


def test_kube_scheduler_starts_with_the_charts_configuration_and_account_and_binds(
    restricted: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Nobody answers on the extender's port: with the chart's default the pods are placed all the same."""
    install(restricted, tmp_path, {})
    config = restricted.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{RELEASE}-stowage-scheduler")
    account = restricted.kubeconfig_for_service_account(NAMESPACE, f"{RELEASE}-stowage-scheduler")
    written = tmp_path / "scheduler.yaml"
    written.write_text(config["data"]["scheduler.yaml"])
    restricted.start_scheduler("of-the-chart", written, kubeconfig=account)
    restricted.client.create_all([a_pod(f"p{n}", namespace, scheduler="stowage") for n in range(5)])
    restricted.wait_until_bound(namespace, 5)
    lease = restricted.client.get(
        f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}-stowage-scheduler"
    )
    assert lease["spec"]["holderIdentity"]  # the chart's empty Lease was taken, none was created
    assert lease["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    log = restricted.component["of-the-chart"].log_tail(400)
    assert "forbidden" not in log.lower(), log
    restricted.end_program("of-the-chart")
    install(restricted, tmp_path, {"planner": {"mode": "approve"}}, verb="upgrade")  # the Lease's holder is no conflict
    restricted.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    with pytest.raises(ApiFailure, match="404"):
        restricted.client.get(
            f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}-stowage-scheduler"
        )


def test_certificates_outlive_upgrades_and_are_made_anew_when_old_or_asked_for(
    restricted: ControlPlane, tmp_path: Path
) -> None:
    def certificates() -> tuple[str, str, str]:
        found = {entry["metadata"]["name"]: entry["data"] for entry in restricted.client.items(
            f"/api/v1/namespaces/{NAMESPACE}/secrets", fieldSelector="type=kubernetes.io/tls")}  # fmt: skip
        ca, server = found[f"{RELEASE}-stowage-remote-ca"], found[f"{RELEASE}-stowage-remote-server"]
        assert server["ca.crt"] == ca["ca.crt"] == found[f"{RELEASE}-stowage-remote-client"]["ca.crt"]
        return ca["tls.crt"], server["tls.crt"], base64.b64decode(ca["ca.crt"]).decode()

    def upgrade(**tls: Any) -> tuple[str, str, str]:
        install(restricted, tmp_path, {"remote": {"enabled": True, "tls": tls}}, verb="upgrade")
        return certificates()

    install(restricted, tmp_path, {"remote": {"enabled": True}})
    first = certificates()
    assert upgrade() == first
    asked = upgrade(rotate="1")
    assert (asked[0], asked[2]) == (first[0], first[2])
    assert asked[1] != first[1]
    assert upgrade(rotate="1") == asked

    secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-stowage-remote-server"
    long_ago = str(int(time.time()) - 300 * 86400)  # of 365 days
    restricted.client.patch(secret, {"metadata": {"annotations": {"stowage.dev/made-at": long_ago}}})
    install(restricted, tmp_path, {"remote": {"enabled": True, "tls": {"rotate": "1"}}}, "--force-conflicts",
            verb="upgrade")  # fmt: skip
    renewed = certificates()
    assert renewed[1] != asked[1]
    assert renewed[0] == first[0]

    whole = upgrade(rotate="ca-2")
    assert whole[0] != first[0]
    assert whole[1] != renewed[1]
    assert base64.b64decode(first[0]).decode() in whole[2]  # the old CA is trusted until the next
    assert base64.b64decode(whole[0]).decode() in whole[2]
