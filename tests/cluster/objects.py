"""Small builders of Kubernetes objects: what a test does not say has a sensible default."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

KWOK_ANNOTATION = "kwok.x-k8s.io/node"
ADDRESS = "192.0.2.1"  # of the range for documentation: nothing answers there
NODE_INFO = {"architecture": "amd64", "operatingSystem": "linux"}
NODE_INFO_KEYS = (
    *("architecture", "operatingSystem", "osImage", "bootID", "machineID", "systemUUID"),
    *("kernelVersion", "kubeProxyVersion", "kubeletVersion", "containerRuntimeVersion"),
)
IMAGE = "registry.k8s.io/pause:3.10"


def a_node(
    name: str,
    cpu: str | int = 8,
    memory: str = "32Gi",
    gpus: int = 0,
    pods: int = 110,
    zone: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    taints: list[Json] | None = None,
    resources: Mapping[str, str | int] | None = None,
) -> Json:
    """A Ready node that kwok looks after. resources: further allocatable ones by name."""
    size = {"cpu": str(cpu), "memory": memory, "pods": str(pods)}
    if gpus:
        size["nvidia.com/gpu"] = str(gpus)
    size |= {key: str(value) for key, value in (resources or {}).items()}
    known = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"}
    if zone:
        known["topology.kubernetes.io/zone"] = zone
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**known, **(labels or {})},
            "annotations": {KWOK_ANNOTATION: "fake", **(annotations or {})},
        },
        "spec": {"taints": taints} if taints else {},
        "status": {
            "capacity": size,
            "allocatable": size,
            # Ready from the start: kwok would take half a minute for a thousand.
            "conditions": [
                node_condition("Ready", "True"),
                *(node_condition(f"{what}Pressure", "False") for what in ("Memory", "Disk", "PID")),
            ],
            "nodeInfo": {key: NODE_INFO.get(key, "kwok") for key in NODE_INFO_KEYS},
            "addresses": [{"type": "InternalIP", "address": ADDRESS}, {"type": "Hostname", "address": name}],
            "phase": "Running",
        },
    }


def node_condition(kind: str, status: str, reason: str = "Kwok") -> Json:
    """A condition of a node's status, as of now."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": kind, "status": status, "reason": reason, "lastHeartbeatTime": now, "lastTransitionTime": now}


def a_pod(
    name: str,
    namespace: str = "default",
    cpu: str | int | None = "100m",
    memory: str | None = "64Mi",
    gpus: int = 0,
    scheduler: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A pod of one container that Pod Security's "restricted" lets in. spec: further fields, as in the API."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "spec": pod_spec(cpu, memory, gpus, scheduler, **spec),
    }


def pod_spec(
    cpu: str | int | None = "100m",
    memory: str | None = "64Mi",
    gpus: int = 0,
    scheduler: str | None = None,
    **spec: Any,
) -> Json:
    requests = {key: str(value) for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    container = {
        "name": "main",
        "image": IMAGE,
        "resources": {"requests": requests | limits, **({"limits": limits} if limits else {})},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        **({"schedulerName": scheduler} if scheduler else {}),
        **spec,
    }


def a_deployment(name: str, namespace: str = "default", replicas: int = 1, **pod: Any) -> Json:
    """A Deployment whose pods have the label app=NAME. pod: what `pod_spec` takes."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(**pod)},
        },
    }


def a_budget(name: str, namespace: str, app: str, **spec: Any) -> Json:
    """A PodDisruptionBudget over pods with the label app=APP; spec: minAvailable or maxUnavailable."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


def a_priority_class(name: str, value: int, **fields: Any) -> Json:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        **fields,
    }
