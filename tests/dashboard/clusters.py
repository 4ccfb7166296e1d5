"""Busy clusters with pods that wait, as snapshots: for pages that look at one."""

from __future__ import annotations

import random

from scheduler.core import kube_types as kube
from scheduler.core.snapshot import Budget, Node, Pod, Snapshot, a_snapshot

ZONE, RACK, POOL = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack", "pool"
GPU = "nvidia.com/gpu"
GIB = 2**30
GPU_TAINT = kube.Taint(key=GPU, value="present", effect="NoSchedule")
SHAPES = ((250, 1), (500, 2), (1000, 4), (2000, 4), (4000, 16), (1500, 12), (7000, 20))  # millicores, GiB


def a_busy_cluster(nodes: int = 12, seed: int = 7, fill: float = 0.93) -> Snapshot:
    """Nodes in three zones and two pools filled up to `fill`, budgets, and waiting pods of every kind of trouble.

    ml/huge-0 is too large for any node, batch/pinned-0 selects a label that no node has, shop/held-0 has a gate,
    shop/web-new-* and batch/wide-* need room that is scattered.
    """
    rng = random.Random(seed)
    rows = [_a_node(i) for i in range(nodes)]
    free = {node.name: dict(node.allocatable) for node in rows}
    pods: list[Pod] = []
    number = 0
    goal = fill * sum(node.allocatable["cpu"] for node in rows)
    used = 0
    while used < goal and number < nodes * 40:
        cpu, memory = rng.choice(SHAPES)
        name = f"app-{number:05d}"
        number += 1
        for replica in range(rng.randint(1, 4)):
            pod = _a_pod(f"{name}-{replica}", cpu, memory, rng, name)
            home = next((n for n in rng.sample(rows, min(8, nodes)) if _fits(pod, free[n.name], n)), None)
            if home is None:
                continue
            for resource, amount in {**pod.requests, "pods": 1}.items():
                free[home.name][resource] -= amount
            used += cpu
            pods.append(_placed(pod, home.name))
    budgets = [
        Budget(
            name=name, namespace="shop", selector=kube.LabelSelector(match_labels={"app": name}),
            allowed=rng.choice((0, 1, 1, 2)),
        )
        for name in sorted({pod.labels["app"] for pod in pods if pod.namespace == "shop"})[: max(3, nodes // 10)]
    ]  # fmt: skip
    return a_snapshot(rows, [*pods, *_waiting(nodes, rng)], budgets=budgets)


def _a_node(i: int) -> Node:
    is_gpu, is_large = i % 6 == 5, i % 3 == 1
    cpu, memory = (32_000, 128) if is_gpu else (16_000, 64) if is_large else (8_000, 32)
    name = f"node-{i:04d}"
    return Node(
        name=name,
        allocatable={"cpu": cpu, "memory": memory * GIB, "pods": 110, **({GPU: 4} if is_gpu else {})},
        labels={
            "kubernetes.io/hostname": name, ZONE: "abc"[i % 3], RACK: f"r{i // 20:03d}",
            POOL: "gpu" if is_gpu else "large" if is_large else "small",
        },
        taints=[GPU_TAINT] if is_gpu else [],
    )  # fmt: skip


def _a_pod(name: str, cpu: int, memory: int, rng: random.Random, app: str) -> Pod:
    return Pod(
        name=name,
        namespace=rng.choice(("shop", "batch")),
        requests={"cpu": cpu, "memory": memory * GIB},
        priority=rng.choice((0, 0, 100, 1000)),
        labels={"app": app},
        owner_kind="ReplicaSet",
        owner=f"ReplicaSet/{app}",
    )


def _fits(pod: Pod, free: dict[str, int], node: Node) -> bool:
    return not node.taints and all(free.get(r, 0) >= v for r, v in {**pod.requests, "pods": 1}.items())


def _placed(pod: Pod, node: str) -> Pod:
    return Pod(
        name=pod.name, namespace=pod.namespace, requests=pod.requests, priority=pod.priority, labels=pod.labels,
        owner_kind=pod.owner_kind, owner=pod.owner, node=node,
    )  # fmt: skip


def _waiting(nodes: int, rng: random.Random) -> list[Pod]:
    def waits(name: str, namespace: str, cpu: int, memory: int, gpus: int = 0, **more: object) -> Pod:
        app = name.rpartition("-")[0]
        settings = {"priority": 500, "labels": {"app": app}, "created": "2026-11-02T08:11:40Z", **more}
        requests = {"cpu": cpu, "memory": memory * GIB, **({GPU: gpus} if gpus else {})}
        return Pod(
            name=name, namespace=namespace, requests=requests, owner_kind="ReplicaSet", owner=f"ReplicaSet/{app}",
            **settings,
        )  # fmt: skip

    some = max(2, nodes // 20)
    tolerate = [kube.Toleration(key=GPU, operator="Exists")]
    return [
        *(waits(f"web-new-{i}", "shop", 4_000, 12) for i in range(some)),
        *(waits(f"wide-{i}", "batch", 7_000, 28, priority=100) for i in range(some)),
        *(waits(f"train-{i}", "ml", 8_000, 32, 4, tolerations=tolerate, priority=1000) for i in range(some)),
        waits("huge-0", "ml", 200_000, 64),
        waits("pinned-0", "batch", 500, 1, node_selector={"disk": "nvme"}),
        waits("held-0", "shop", 500, 1, gates=["example.com/quota"]),
    ]
