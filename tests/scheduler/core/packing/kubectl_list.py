"""A small but complete cluster in the schema of `kubectl get nodes,pods,pdb,priorityclass,pv,pvc -A -o json`.

Nine workers in three zones, two of them with GPUs and a taint, and a control plane with static pods; DaemonSets,
Deployments under PDBs with spread and anti-affinity, a StatefulSet on zonal volumes, a batch job, a bare pod; some
pods wait although there is room in total. `python -m tests.scheduler.core.packing.kubectl_list` prints it.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

ZONES = ("eu-1a", "eu-1b", "eu-1c")
PRIORITIES = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000, "prod": 1000, "batch": 10}


def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _meta(name: str, namespace: str | None = None, **more: Any) -> dict[str, Any]:
    meta = {
        "name": name,
        "uid": _uid(f"{namespace}/{name}"),
        "resourceVersion": "48211",
        "creationTimestamp": "2026-11-02T08:11:40Z",
        **more,
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def node(name: str, zone: str, cpu: str, memory: str, taints: list | None = None, **resources: str) -> dict[str, Any]:
    """A v1.Node."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": "eu-1",
    }
    size = {"cpu": cpu, "ephemeral-storage": "101430960Ki", "memory": memory, "pods": "110", **resources}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": _meta(
            name, labels=labels, annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        ),
        "spec": {"podCIDR": "10.244.1.0/24", "providerID": f"kind://{name}", "taints": taints},
        "status": {
            "addresses": [{"address": name, "type": "Hostname"}],
            "allocatable": size,
            "capacity": size,
            "conditions": [
                {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
                {"type": "Ready", "status": "True", "reason": "KubeletReady"},
            ],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "operatingSystem": "linux"},
        },
    }


def pod(
    name: str,
    namespace: str,
    cpu: str,
    memory: str,
    on: str | None = None,
    owner: tuple[str, str] | None = None,
    priority: str = "prod",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    resources: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A v1.Pod; `owner` is (kind, name)."""
    meta = _meta(name, namespace, labels=labels or {}, annotations=annotations or {})
    if owner:
        kind, who = owner
        version = "batch/v1" if kind == "Job" else "v1" if kind == "Node" else "apps/v1"
        meta["ownerReferences"] = [
            {
                "apiVersion": version,
                "kind": kind,
                "name": who,
                "uid": _uid(who),
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    tolerations = spec.pop("tolerations", [])
    wanted = {"cpu": cpu, "memory": memory, **(resources or {})}
    body = {
        "containers": [
            {
                "name": "main",
                "image": f"registry.example/{name.split('-')[0]}:1",
                "resources": {"requests": wanted, "limits": resources or {}},
            }
        ],
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": PRIORITIES[priority],
        "priorityClassName": priority,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {
                "effect": "NoExecute",
                "key": "node.kubernetes.io/not-ready",
                "operator": "Exists",
                "tolerationSeconds": 300,
            },
            *tolerations,
        ],
        "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": []}}, *spec.pop("volumes", [])],
        **spec,
    }
    if on:
        body["nodeName"] = on
    status = {"phase": "Running" if on else "Pending", "qosClass": "Burstable"}
    if not on:
        status["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body, "status": status}


def _zone_spread(app: str, skew: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": skew,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": app}},
        }
    ]


def _apart(app: str) -> dict[str, Any]:
    return {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }


def _budget(name: str, namespace: str, app: str, allowed: int) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta(name, namespace),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}},
        "status": {"currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": allowed, "expectedPods": 3},
    }


def cluster() -> dict[str, Any]:
    """The v1.List."""
    workers = [f"worker-{i}" for i in range(9)]
    gpu_taint = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    items = [
        node(
            "control-plane",
            ZONES[0],
            "4",
            "8Gi",
            [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}],
        )
    ]
    for i, name in enumerate(workers):
        gpus = {"nvidia.com/gpu": "4"} if i >= 7 else {}
        items.append(node(name, ZONES[i % 3], "4", "16Gi", gpu_taint if i >= 7 else None, **gpus))
    for name in ("kube-apiserver", "etcd", "kube-scheduler"):
        items.append(
            pod(
                f"{name}-control-plane",
                "kube-system",
                "250m",
                "256Mi",
                "control-plane",
                ("Node", "control-plane"),
                "system-node-critical",
                annotations={"kubernetes.io/config.mirror": "7f", "kubernetes.io/config.source": "file"},
                hostNetwork=True,
            )
        )
    for name in ["control-plane", *workers]:
        items.append(
            pod(
                f"node-agent-{name}",
                "kube-system",
                "100m",
                "128Mi",
                name,
                ("DaemonSet", "node-agent"),
                "system-node-critical",
                {"app": "node-agent"},
                tolerations=[{"operator": "Exists"}],
                hostNetwork=True,
                volumes=[{"name": "logs", "hostPath": {"path": "/var/log", "type": ""}}],
            )
        )
    for i, on in enumerate(["worker-0", "worker-1"]):
        items.append(
            pod(
                f"coredns-{i}",
                "kube-system",
                "100m",
                "70Mi",
                on,
                ("ReplicaSet", "coredns"),
                "system-cluster-critical",
                {"app": "coredns"},
                affinity=_apart("coredns"),
            )
        )
    for i, on in enumerate(["worker-0", "worker-1", "worker-2", "worker-3", "worker-4", None]):
        items.append(
            pod(
                f"web-{i}",
                "shop",
                "900m",
                "2Gi",
                on,
                ("ReplicaSet", "web-7c9"),
                "prod",
                {"app": "web"},
                topologySpreadConstraints=_zone_spread("web"),
            )
        )
    for i, on in enumerate(["worker-2", "worker-3", "worker-4"]):
        items.append(
            pod(
                f"api-{i}",
                "shop",
                "1500m",
                "3Gi",
                on,
                ("ReplicaSet", "api-5d4"),
                "prod",
                {"app": "api"},
                affinity=_apart("api"),
            )
        )
    for i, on in enumerate(["worker-3", "worker-4", "worker-5"]):
        items.append(
            pod(
                f"db-{i}",
                "shop",
                "1",
                "4Gi",
                on,
                ("StatefulSet", "db"),
                "prod",
                {"app": "db"},
                affinity=_apart("db"),
                volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": f"data-db-{i}"}}],
            )
        )
        items.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": _meta(f"data-db-{i}", "shop"),
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": f"pv-{i}"},
                "status": {"phase": "Bound"},
            }
        )
        zone = [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [ZONES[i]]}]}]
        items.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": _meta(f"pv-{i}"),
                "spec": {"capacity": {"storage": "10Gi"}, "nodeAffinity": {"required": {"nodeSelectorTerms": zone}}},
            }
        )
    cache = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "topology.kubernetes.io/zone"}
            ]
        }
    }
    items.append(
        pod(
            "cache-0",
            "shop",
            "300m",
            "1Gi",
            "worker-1",
            ("ReplicaSet", "cache-1"),
            "prod",
            {"app": "cache"},
            affinity=cache,
        )
    )
    for i, on in enumerate(["worker-0", "worker-1", "worker-5", "worker-5", "worker-6", "worker-6", "worker-2"]):
        items.append(pod(f"crunch-{i}", "batch", "700m", "1Gi", on, ("Job", "crunch"), "batch", {"app": "crunch"}))
    items.append(
        pod(
            "scratch-0",
            "batch",
            "600m",
            "1Gi",
            "worker-0",
            ("ReplicaSet", "scratch"),
            "batch",
            {"app": "scratch"},
            volumes=[{"name": "tmp", "emptyDir": {}}],
        )
    )
    items.append(pod("by-hand", "default", "500m", "512Mi", "worker-6", None, "batch"))
    items.append(pod("report-0", "batch", "2500m", "2Gi", None, ("ReplicaSet", "report"), "prod", {"app": "report"}))
    items.append(pod("report-1", "batch", "2500m", "2Gi", None, ("ReplicaSet", "report"), "prod", {"app": "report"}))
    items.append(
        pod(
            "train-0",
            "ml",
            "2",
            "8Gi",
            None,
            ("Job", "train"),
            "batch",
            {"app": "train"},
            resources={"nvidia.com/gpu": "4"},
            tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
        )
    )
    items.append(
        pod(
            "train-big",
            "ml",
            "2",
            "8Gi",
            None,
            ("Job", "train"),
            "batch",
            {"app": "train"},
            resources={"nvidia.com/gpu": "8"},
            tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
        )
    )
    items.append(
        pod("old-job", "batch", "3", "1Gi", "worker-6", ("Job", "old"), "batch") | {"status": {"phase": "Succeeded"}}
    )
    items += [_budget("web", "shop", "web", 1), _budget("api", "shop", "api", 1), _budget("db", "shop", "db", 0)]
    for name, value in PRIORITIES.items():
        items.append(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": _meta(name),
                "value": value,
                "globalDefault": name == "batch",
                "preemptionPolicy": "PreemptLowerPriority",
            }
        )
    return {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}}


def as_bytes() -> bytes:
    """What kubectl would print."""
    return json.dumps(cluster(), indent=4).encode()


if __name__ == "__main__":
    print(as_bytes().decode())
