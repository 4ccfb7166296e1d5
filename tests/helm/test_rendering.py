"""What the chart renders, with its defaults and with everything switched on."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
import yaml

import stowage
from tests.helm.conftest import CHART, EVERYTHING, Helm, Objects, Render, pod_templates


@pytest.fixture(params=["defaults", "everything"])
def objects(request: pytest.FixtureRequest, render: Render) -> Objects:
    return render({} if request.param == "defaults" else EVERYTHING)


def test_lint_finds_nothing(helm: Helm, tmp_path: Any) -> None:
    values = tmp_path / "everything.yaml"
    values.write_text(yaml.safe_dump(EVERYTHING))
    for words in ((), ("--values", str(values))):
        done = helm("lint", "--strict", str(CHART), *words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_pod_is_restricted(objects: Objects) -> None:
    pods = pod_templates(objects)
    assert pods
    for maker, pod in pods.items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, maker
        assert security["runAsUser"] > 0, maker
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, maker
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), maker
        allowed = {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
        assert all(volume.keys() - {"name"} <= allowed for volume in pod.get("volumes", [])), maker
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }, maker  # fmt: skip
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, maker
            assert "memory" in container["resources"]["limits"], maker


def test_every_server_has_three_probes(objects: Objects) -> None:
    for maker, pod in pod_templates(objects).items():
        if maker.startswith("Deployment/"):
            for container in pod["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), maker


def test_no_right_is_a_wildcard_and_no_role_is_borrowed_but_kube_schedulers(objects: Objects) -> None:
    own = {name for kind, name in objects if kind in ("Role", "ClusterRole")}
    for (kind, name), entry in objects.items():
        if kind in ("Role", "ClusterRole"):
            for rule in entry["rules"]:
                words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
                assert not any("*" in word for word in words), (name, rule)
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), (name, rule)
                assert not {"secrets", "pods/exec", "serviceaccounts/token", "nodes/proxy"} & set(rule["resources"])
        elif kind in ("RoleBinding", "ClusterRoleBinding"):
            borrowed = {"system:kube-scheduler", "system:volume-scheduler", "extension-apiserver-authentication-reader"}
            assert entry["roleRef"]["name"] in own | borrowed, name
            assert {(subject["kind"], subject["namespace"]) for subject in entry["subjects"]} == {
                ("ServiceAccount", "stowage-system")
            }


def rights(objects: Objects, account: str) -> set[tuple[str, str]]:
    """(verb, resource) pairs that our own roles give a service account."""
    roles = {
        entry["roleRef"]["name"] for (kind, _), entry in objects.items()
        if kind.endswith("Binding") and entry["subjects"][0]["name"] == account
    }  # fmt: skip
    rules = [rule for (kind, name), entry in objects.items() if kind.endswith("Role") and name in roles
             for rule in entry["rules"]]  # fmt: skip
    return {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}


@pytest.mark.parametrize(("mode", "evicts"), [("observe", False), ("approve", True), ("auto", True)])
def test_only_the_planner_may_evict_and_only_where_its_mode_moves_pods(
    render: Render, mode: str, evicts: bool
) -> None:
    objects = render({"planner": {"mode": mode}})
    assert (("create", "pods/eviction") in rights(objects, "s-stowage-planner")) is evicts
    assert ("create", "pods/eviction") not in rights(objects, "s-stowage-scheduler")


def test_one_namespace_in_auto_gives_rights_in_that_namespace_only(render: Render) -> None:
    objects = render({"planner": {"namespaces": {"shop": "auto", "lab": "approve", "bank": "observe"}}})
    role = "stowage-system-s-stowage-planner-mover"
    bindings = [entry for (kind, _), entry in objects.items() if kind.endswith("Binding")]
    assert ("ClusterRoleBinding", role) not in objects
    named = [entry["metadata"].get("namespace") for entry in bindings if entry["roleRef"]["name"] == role]
    assert sorted(named) == ["lab", "shop"]
    settings = json.loads(objects["ConfigMap", "s-stowage-planner"]["data"]["planner.json"])
    assert (settings["mode"], settings["namespaces"]["shop"]) == ("observe", "auto")
    assert settings["lease_name"] == objects["Role", "s-stowage-planner"]["rules"][0]["resourceNames"][0]


@pytest.mark.parametrize(("mode", "marks"), [("disabled", False), ("observe", False), ("auto", True)])
def test_only_the_planner_may_mark_nodes_and_only_where_it_is_told_to(render: Render, mode: str, marks: bool) -> None:
    objects = render({"planner": {"nodeHealth": mode}})
    assert (("patch", "nodes") in rights(objects, "s-stowage-planner")) is marks
    assert json.loads(objects["ConfigMap", "s-stowage-planner"]["data"]["planner.json"])["node_health"] == mode
    assert ("patch", "nodes") not in rights(render({}), "s-stowage-planner")


@pytest.mark.parametrize(("mode", "reads", "writes"), [
    ("disabled", False, False), ("observe", True, False), ("auto", True, True),
])  # fmt: skip
def test_a_price_round_brings_the_rights_it_needs_and_no_round_brings_none(
    render: Render, mode: str, reads: bool, writes: bool
) -> None:
    objects = render({"planner": {"priceRound": mode}})
    has = rights(objects, "s-stowage-planner")
    assert {verb for verb, resource in has if resource == "namespaces"} == ({"list", "watch"} if reads else set())
    assert (("patch", "nodes") in has) is writes
    assert json.loads(objects["ConfigMap", "s-stowage-planner"]["data"]["planner.json"])["price_round"] == mode


@pytest.mark.parametrize("mode", ["disabled", "observe", "approve"])
def test_a_rebalance_brings_the_right_to_read_what_pods_use_and_no_other(render: Render, mode: str) -> None:
    objects = render({"planner": {"rebalance": mode}})
    rules = objects["ClusterRole", "stowage-system-s-stowage-planner"]["rules"]
    without = render({})["ClusterRole", "stowage-system-s-stowage-planner"]["rules"]
    use = [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["list"]}]
    assert [rule for rule in rules if rule not in without] == ([] if mode == "disabled" else use)
    assert json.loads(objects["ConfigMap", "s-stowage-planner"]["data"]["planner.json"])["rebalance"] == mode


def test_the_extender_may_only_read(objects: Objects) -> None:
    role = objects["ClusterRole", "stowage-system-s-stowage-extender"]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch"}


def test_only_pods_that_call_the_api_carry_a_token(objects: Objects) -> None:
    for maker, pod in pod_templates(objects).items():
        expects = any(word in maker for word in ("scheduler", "planner", "remote", "cleanup"))
        assert pod["automountServiceAccountToken"] is expects, maker
    for (kind, name), entry in objects.items():
        if kind == "ServiceAccount":
            assert entry["automountServiceAccountToken"] is False, name


def test_each_component_has_an_account_of_its_own(render: Render) -> None:
    pods = pod_templates(render(EVERYTHING))
    accounts = [pod["serviceAccountName"] for maker, pod in pods.items() if maker.startswith("Deployment/")]
    assert len(set(accounts)) == len(accounts)


def test_two_replicas_have_a_budget_and_are_spread_and_one_has_none(render: Render) -> None:
    objects = render()
    for component in ("scheduler", "planner"):
        name = f"s-stowage-{component}"
        deployment = objects["Deployment", name]["spec"]
        assert deployment["replicas"] == 2
        budget = objects["PodDisruptionBudget", name]["spec"]
        assert budget["selector"] == deployment["selector"]
        terms = deployment["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        keys = {term["podAffinityTerm"]["topologyKey"] for term in terms}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert all(term["podAffinityTerm"]["labelSelector"] == deployment["selector"] for term in terms)
    single = render({"scheduler": {"replicas": 1}, "planner": {"replicas": 1}})
    assert not [name for kind, name in single if kind == "PodDisruptionBudget"]


def test_selectors_find_their_own_pods_only(objects: Objects) -> None:
    deployments = {name: entry["spec"] for (kind, name), entry in objects.items() if kind == "Deployment"}
    for name, spec in deployments.items():
        wanted = spec["selector"]["matchLabels"].items()
        labels = {other: pods["template"]["metadata"]["labels"].items() for other, pods in deployments.items()}
        found = {other for other, own in labels.items() if wanted <= own}
        assert found == {name}


def test_everything_is_denied_first(render: Render) -> None:
    objects = render(EVERYTHING)
    deny = objects["NetworkPolicy", "s-stowage-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    selected = deny["podSelector"]["matchLabels"].items()
    for (kind, name), entry in objects.items():
        if kind in ("Deployment", "Job"):
            assert selected <= entry["spec"]["template"]["metadata"]["labels"].items(), name
        if kind == "Pod":
            assert selected <= entry["metadata"]["labels"].items(), name


def test_without_metrics_peers_only_the_test_may_connect_to_the_scheduler(render: Render) -> None:
    objects = render()
    (rule,) = objects["NetworkPolicy", "s-stowage-scheduler"]["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    assert ("NetworkPolicy", "s-stowage-planner") not in objects


def test_the_dashboard_may_ask_for_the_metrics_that_it_shows_and_for_nothing_else(render: Render) -> None:
    objects = render({"dashboard": {"enabled": True}})
    rule, names = objects["NetworkPolicy", "s-stowage-dashboard-asks"]["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [8787, 8788]
    assert {port["port"] for port in names["ports"]} == {53}
    for asked in ("scheduler", "planner"):
        (heard,) = [
            rule
            for rule in objects["NetworkPolicy", f"s-stowage-{asked}"]["spec"]["ingress"]
            for peer in rule["from"]
            if peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "dashboard"
        ]
        assert len(heard["ports"]) == 1
    for values in ({"dashboard": {"enabled": True, "metrics": False}}, {"dashboard": {"metrics": True}}):
        objects = render(values)
        assert ("NetworkPolicy", "s-stowage-dashboard-asks") not in objects
        assert ("NetworkPolicy", "s-stowage-planner") not in objects
        assert "component: dashboard" not in yaml.safe_dump(objects["NetworkPolicy", "s-stowage-scheduler"])
    alone = render({"dashboard": {"enabled": True}, "planner": {"enabled": False}})
    words = alone["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [word for word in words if word.startswith("--metrics")] == ["--metrics=http://s-stowage:8787/metrics"]


def test_a_changed_setting_restarts_the_pods_and_an_unchanged_one_does_not(render: Render) -> None:
    def checksum(objects: Objects, component: str) -> str:
        template = objects["Deployment", f"s-stowage-{component}"]["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    before, same = render(), render({"serviceMonitor": {"interval": "60s"}})
    changed = render({"scheduler": {"extender": {"weight": 7}}})
    assert checksum(before, "scheduler") == checksum(same, "scheduler") != checksum(changed, "scheduler")
    assert checksum(before, "planner") == checksum(changed, "planner") != checksum(
        render({"planner": {"mode": "auto"}}), "planner"
    )


@pytest.mark.parametrize(
    ("cluster", "tag"),
    [("v1.33.1-eks-4a5b6c", "v1.33.1"), ("v1.34.0+k3s1", "v1.34.0"), ("v1.35.7-gke.9", "v1.35.7")],
)
def test_kube_schedulers_tag_is_the_clusters_version_without_what_vendors_add(
    render: Render, cluster: str, tag: str
) -> None:
    pod = render({}, "--kube-version", cluster)["Deployment", "s-stowage-scheduler"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"registry.k8s.io/kube-scheduler:{tag}"


def test_an_older_cluster_is_refused(helm: Helm) -> None:
    done = helm("template", "s", str(CHART), "--kube-version", "v1.30.9-eks-1")
    assert done.returncode != 0
    assert "1.31" in done.stderr


def test_a_digest_decides_the_image(render: Render) -> None:
    digest = "sha256:" + "a" * 64
    pods = pod_templates(render({"image": {"digest": digest, "tag": "9.9"}}))
    assert pods["Deployment/s-stowage-planner"]["containers"][0]["image"] == f"ghcr.io/stowage/stowage:9.9@{digest}"


def scheduler_configuration(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(objects["ConfigMap", "s-stowage-scheduler"]["data"]["scheduler.yaml"])
    return found


def test_the_scheduler_configuration_says_what_the_values_say(render: Render) -> None:
    stock = scheduler_configuration(render())
    (extender,) = stock["extenders"]
    assert extender == {
        "urlPrefix": "http://127.0.0.1:8787", "filterVerb": "filter", "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt", "weight": 3, "httpTimeout": "1s", "nodeCacheCapable": True, "ignorable": True,
    }  # fmt: skip
    assert stock["profiles"] == [{"schedulerName": "stowage"}]
    assert stock["leaderElection"]["resourceName"] == "s-stowage-scheduler"
    assert stock["leaderElection"]["resourceNamespace"] == "stowage-system"
    full = scheduler_configuration(render(EVERYTHING))
    assert full["extenders"][0]["ignorable"] is False
    assert full["extenders"][0]["managedResources"] == [
        {"name": "nvidia.com/gpu", "ignoredByScheduler": False}, {"name": "amd.com/gpu", "ignoredByScheduler": False},
    ]  # fmt: skip
    assert full["profiles"][0]["plugins"]["score"]["disabled"] == [{"name": "ImageLocality"}]
    quiet = scheduler_configuration(render({"scheduler": {"extender": {"preempt": False}}}))
    assert "preemptVerb" not in quiet["extenders"][0]
    assert "bindVerb" not in str(full)


def test_what_the_scheduler_may_lock_is_what_it_is_told_to_lock(objects: Objects) -> None:
    election = scheduler_configuration(objects)["leaderElection"]
    (rule,) = objects["Role", "s-stowage-scheduler"]["rules"]
    assert rule["resourceNames"] == [election["resourceName"]]
    assert ("Lease", election["resourceName"]) in objects  # the chart's, so that uninstall removes it


def test_the_dashboard_is_pointed_at_what_is_mounted_and_at_nothing_else(render: Render) -> None:
    alone = render({"dashboard": {"enabled": True}})["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]
    asked = ["--metrics=http://s-stowage:8787/metrics", "--metrics=http://s-stowage-planner:8788/metrics"]
    assert alone["containers"][0]["args"] == ["dashboard", *asked, "--host=", "--port=8501", "--sessions=50"]
    pod = render(EVERYTHING)["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == [
        "dashboard", "/var/lib/stowage-runs", "--journal=/var/lib/stowage/journal", *asked, "--host=", "--port=8501",
        "--sessions=50", "--allow-host=stowage.example.org",
    ]  # fmt: skip
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["runs"] == {"name": "runs", "mountPath": "/var/lib/stowage-runs", "readOnly": True}
    assert mounts["journal"] == {"name": "journal", "mountPath": "/var/lib/stowage", "readOnly": True}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert volumes["runs"] == EVERYTHING["dashboard"]["runsVolume"]
    assert volumes["journal"] == EVERYTHING["planner"]["journalVolume"]
    assert [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")] == [
        "/healthz", "/readyz", "/healthz",
    ]  # fmt: skip
    assert pod["automountServiceAccountToken"] is False


def test_the_dashboard_may_patch_plans_only_where_live_access_was_asked_for(render: Render) -> None:
    off = render({"dashboard": {"enabled": True}})
    assert not any(kind == "ClusterRole" and name.endswith("-dashboard") for kind, name in off)
    assert off["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    found = render({"dashboard": {"enabled": True, "live": {"enabled": True, "proxySecret": "proxy"}}})
    (role,) = [one for (kind, name), one in found.items() if kind == "ClusterRole" and name.endswith("-dashboard")]
    assert {(verb, what) for rule in role["rules"] for verb in rule["verbs"] for what in rule["resources"]} == {
        ("get", "plans"), ("list", "plans"), ("patch", "plans"), ("create", "subjectaccessreviews"),
        ("list", "namespaces"),
    }  # fmt: skip
    pod = found["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert {"--in-cluster", "--proxy-secret=/etc/stowage-proxy/secret"} <= set(pod["containers"][0]["args"])
    assert {"name": "proxy", "secret": {"secretName": "proxy", "defaultMode": 0o440}} in pod["volumes"]


def test_the_words_of_the_dashboards_pod_are_options_of_the_command(render: Render) -> None:
    command = typer.main.get_command(stowage.app)
    pod = render(EVERYTHING)["Deployment", "s-stowage-dashboard"]["spec"]["template"]["spec"]
    name, *words = pod["containers"][0]["args"]
    context = command.commands[name].make_context(name, words)  # raises for what it does not know
    assert context.params["host"] == ""
    assert context.params["allow_host"] == ["stowage.example.org"]


def test_the_definition_of_plan_is_a_template_that_upgrade_changes_and_uninstall_removes(render: Render) -> None:
    written = yaml.safe_load((CHART / "files" / "plans.yaml").read_text())
    rendered = render()["CustomResourceDefinition", "plans.stowage.dev"]
    assert rendered["spec"] == written["spec"]
    assert rendered["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert "annotations" not in rendered["metadata"]
    assert not list((CHART / "crds").glob("*"))  # Helm would install what is there, and then never touch it again
    kept = render({"crds": {"keep": True}})["CustomResourceDefinition", "plans.stowage.dev"]
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert ("CustomResourceDefinition", "plans.stowage.dev") not in render({"crds": {"install": False}})
