"""Values are checked before anything reaches a cluster, and the schema is the one that values.yaml makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import values_schema
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.settings import ServeSettings, load_settings
from tests.helm.conftest import CHART, EVERYTHING, ROOT, Helm, Objects, Render


def test_the_schema_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "helm/values_schema.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"schedulername": "x"}, "schedulername"),
        ({"scheduler": {"replica": 2}}, "replica"),
        ({"scheduler": {"extender": {"managedResources": ["nvidia.com/gpu", "nvidia.com/gpu"]}}}, "managedResources"),
        ({"scheduler": {"extender": {"managedResources": ["cpu"]}}}, "managedResources"),
        ({"scheduler": {"extender": {"managedResources": ["example.kubernetes.io/gpu"]}}}, "managedResources"),
        ({"scheduler": {"extender": {"httpTimeout": "5s"}}}, "httpTimeout"),
        ({"scheduler": {"extender": {"weight": 0}}}, "weight"),
        ({"scheduler": {"extender": {"settings": {"polcy": "best-fit"}}}}, "polcy"),
        ({"scheduler": {"extender": {"settings": {"mode": "guess"}}}}, "mode"),
        ({"scheduler": {"extender": {"settings": {"port": 80}}}}, "port"),  # the chart's own value decides it
        ({"planner": {"settings": {"budget_totel": 5}}}, "budget_totel"),
        ({"planner": {"settings": {"mode": "auto"}}}, "mode"),  # planner.mode decides it, and the rights with it
        ({"planner": {"settings": {"node_health": "auto"}}}, "node_health"),  # nor this one
        ({"planner": {"nodeHealth": False}}, "nodeHealth"),
        ({"planner": {"priceRound": "on"}}, "priceRound"),
        ({"planner": {"rebalance": "auto"}}, "rebalance"),  # a person approves what moves pods that run well
        ({"planner": {"settings": {"rebalance": "observe"}}}, "rebalance"),
        ({"planner": {"settings": {"rebalance_target": 1.5}}}, "rebalance_target"),
        ({"scheduler": {"replicas": 0}}, "replicas"),
        ({"scheduler": {"replicas": "2"}}, "replicas"),
        ({"scheduler": {"kubeScheduler": {"percentageOfNodesToScore": 101}}}, "percentageOfNodesToScore"),
        ({"scheduler": {"kubeScheduler": {"resources": {"requests": {"gpu": 1}}}}}, "gpu"),
        ({"planner": {"mode": "automatic"}}, "mode"),
        ({"planner": {"namespaces": {"shop": "on"}}}, "shop"),
        ({"schedulerName": "default-scheduler"}, "schedulerName"),
        ({"image": {"digest": "sha256:abc"}}, "digest"),
        ({"networkPolicy": {"apiServer": {"cidrs": []}}}, "cidrs"),
        ({"remote": {"tls": {"source": "none"}}}, "source"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(
    helm: Helm, tmp_path: Any, values: dict[str, Any], complaint: str
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    for words in (("template", "s", str(CHART)), ("lint", str(CHART))):
        done = helm(*words, "--values", str(file))
        assert done.returncode != 0, words
        assert complaint in done.stdout + done.stderr


def test_helms_own_global_values_are_let_through(helm: Helm) -> None:
    assert helm("template", "s", str(CHART), "--set", "global.anything=1").returncode == 0


def test_what_is_rendered_is_what_the_commands_accept(render: Render, tmp_path: Any) -> None:
    given = {"policy": "best-fit", "mode": "prefer", "stale_after_s": 20}
    objects = render({**EVERYTHING, "scheduler": {"extender": {"settings": given, "port": 9999}}})
    file = tmp_path / "extender.json"
    file.write_text(objects["ConfigMap", "s-stowage-scheduler"]["data"]["extender.json"])
    settings = load_settings(ServeSettings, file)
    assert (settings.policy, settings.mode, settings.stale_after_s, settings.port) == ("best-fit", "prefer", 20, 9999)
    assert settings.tls_cert == ""
    file.write_text(objects["ConfigMap", "s-stowage-remote"]["data"]["extender.json"])
    remote = load_settings(ServeSettings, file)
    assert (remote.policy, remote.port) == ("best-fit", 8443)
    assert remote.tls_client_ca
    given = {"budget_total": 3, "journal_keep_days": 7}
    objects = render({"planner": {"namespaces": {"shop": "auto"}, "settings": given}, "schedulerName": "batch"})
    file.write_text(objects["ConfigMap", "s-stowage-planner"]["data"]["planner.json"])
    planner = load_settings(PlannerSettings, file)
    assert (planner.budget_total, planner.mode, planner.namespaces) == (3, "observe", {"shop": "auto"})
    assert planner.scheduler == scheduler_name(objects) == "batch"
    pod = objects["Deployment", "s-stowage-planner"]["spec"]["template"]["spec"]["containers"][0]
    assert planner.port == pod["ports"][0]["containerPort"]
    assert Path(planner.journal).is_relative_to(pod["volumeMounts"][-1]["mountPath"])


def scheduler_name(objects: Objects) -> str:
    written = yaml.safe_load(objects["ConfigMap", "s-stowage-scheduler"]["data"]["scheduler.yaml"])
    found: str = written["profiles"][0]["schedulerName"]
    return found


def test_a_setting_that_the_chart_decides_must_exist() -> None:
    with pytest.raises(values_schema.ValuesError, match="gone"):
        values_schema.settings_definition({"properties": {"port": {}}}, frozenset({"port", "gone"}))


def test_every_mapping_is_closed_or_says_what_it_admits() -> None:
    def walk(schema: dict[str, Any], path: str) -> None:
        if schema.get("type") == "object" and path != ".global":
            assert "additionalProperties" in schema, path
        for name, inner in schema.get("properties", {}).items():
            walk(inner, f"{path}.{name}")

    walk(json.loads(values_schema.SCHEMA.read_text()), "")


def test_a_value_without_a_comment_is_a_fault() -> None:
    with pytest.raises(values_schema.ValuesError, match="line 3: b has no comment"):
        values_schema.make_schema("# A.\na: 1\nb: 2\n", {})


def test_a_type_comes_from_the_default_and_rules_from_the_comment() -> None:
    text = '# Words.\n# More.\n# @schema {"minimum": 1}\n# @schema {"maximum": 9}\ncount: 3\n'
    made = values_schema.make_schema(text, {})["properties"]["count"]
    assert made == {"description": "Words. More.", "type": "integer", "minimum": 1, "maximum": 9}
