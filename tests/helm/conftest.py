"""Real helm on the chart; where there is none, the tests say so and are skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.find import find_helm

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm" / "stowage"

Helm = Callable[..., subprocess.CompletedProcess[str]]
Objects = dict[tuple[str, str], dict[str, Any]]
Render = Callable[..., Objects]

# All that the chart can make, in one release.
EVERYTHING: dict[str, Any] = {
    "planner": {
        "mode": "auto", "namespaces": {"bank": "observe"},
        "journalVolume": {"persistentVolumeClaim": {"claimName": "journal"}},
    },
    "dashboard": {
        "enabled": True, "runsVolume": {"persistentVolumeClaim": {"claimName": "runs"}},
        "allowedHosts": ["stowage.example.org"],
    },
    "remote": {"enabled": True, "from": ["10.0.0.0/8"], "extraNames": ["10.1.2.3", "stowage.example.org"]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "dashboardFrom": [{"podSelector": {"matchLabels": {"app": "ingress"}}}],
    },
    "imagePullSecrets": ["registry"],
    "scheduler": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"example.org/team": "batch"},
        "kubeScheduler": {
            "plugins": {"score": {"disabled": [{"name": "ImageLocality"}]}},
            "pluginConfig": [{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 5}}],
        },
        "extender": {"managedResources": ["nvidia.com/gpu", "amd.com/gpu"], "ignorable": False},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run helm with words; its output is text, a failure is for the caller to judge."""
    binary = find_helm()
    if binary is None:
        pytest.skip("no helm: make cluster-tools builds one, or put your own on the path")
    home = tmp_path_factory.mktemp("helm")
    environment = {
        **os.environ, "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home), "HELM_DATA_HOME": str(home),
    }  # fmt: skip

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *words], capture_output=True, text=True, env=environment, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """A function from values to the chart's objects by (kind, name); hooks are among them."""
    folder = tmp_path_factory.mktemp("values")

    def objects(values: dict[str, Any] | None = None, *words: str) -> Objects:
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump(values or {}))
        done = helm("template", "s", str(CHART), "--namespace", "stowage-system", "--values", str(file), *words)
        assert done.returncode == 0, done.stderr
        made = [entry for entry in yaml.safe_load_all(done.stdout) if entry]
        places = {(e["kind"], e["metadata"]["name"], e["metadata"].get("namespace")) for e in made}
        assert len(places) == len(made), "two objects of one kind and name"
        # A binding of one name in several namespaces: the others keep the namespace in their key.
        named: Objects = {}
        for entry in made:
            kind, name = entry["kind"], entry["metadata"]["name"]
            named[(kind, name if (kind, name) not in named else f"{entry['metadata']['namespace']}/{name}")] = entry
        return named

    return objects


def pod_templates(objects: Objects) -> dict[str, dict[str, Any]]:
    """The spec of every pod that the objects make, by the name of its maker."""
    found = {}
    for (kind, name), entry in objects.items():
        if kind in ("Deployment", "Job"):
            found[f"{kind}/{name}"] = entry["spec"]["template"]["spec"]
        elif kind == "Pod":
            found[f"{kind}/{name}"] = entry["spec"]
    return found
