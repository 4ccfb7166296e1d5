"""The replay's `kube-default` decides as the real kube-scheduler does: 300 pods on 50 nodes, arriving one by one.

The scheduler breaks ties at random and we take the first node by name, so after the first tie the two clusters would
differ for reasons that say nothing. Each decision is therefore compared from the same state: our tables hold what the
scheduler has bound so far. A pod that it binds must fit there by our rules, on a node whose score is our best one; a
pod that it refuses must fit nowhere. Separately the replay engine runs the same pods by itself, with its own way of
breaking ties, and must schedule the same set.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from analytics.options import ReplayOptions
from analytics.replay import run_replay
from scheduler.core.cluster import DEVICE_MILLI, GPU, NodeTable, PodTable, node_table, place, pod_table
from scheduler.core.feasibility import refuse_nodes
from scheduler.core.policies import get_policy
from tests.analytics.small_traces import NEVER, SmallTrace, ran
from tests.cluster.api_client import wait_for
from tests.cluster.control_plane import ControlPlane, refusal
from tests.cluster.objects import a_node, a_pod

NODES, PODS = 50, 300
SCHEDULER = "parity"
# Only the stock limit of 50 calls a second is lifted, which decides nothing.
CONFIG = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "clientConnection": {"qps": 1000, "burst": 1000},
    "profiles": [{"schedulerName": SCHEDULER}],
}
CPU_SIZES = (4000, 8000, 16000, 32000)
GIB = 1024


@dataclass(frozen=True)
class Shape:
    """What a node has or a pod asks for; None is a request that the pod does not name."""

    cpu_milli: int | None
    memory_mib: int | None
    gpus: int = 0

    def row(self) -> list[int]:
        """In the columns of our tables."""
        return [self.cpu_milli or 0, self.memory_mib or 0, 0, self.gpus * DEVICE_MILLI]


@dataclass(frozen=True)
class Decision:
    """One arrival: where the pod fitted by our rules, the nodes of our best score, and what the scheduler chose."""

    pod: str
    fitting: frozenset[str]
    best: frozenset[str]
    first_best: str | None
    real: str | None
    score_of_real: float | None
    best_score: float | None


@pytest.mark.parametrize("largest_share", [0.12, 0.45], ids=["roomy", "tight"])
def test_every_decision_of_the_real_scheduler_is_one_of_our_best(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, largest_share: float
) -> None:
    nodes, pods = an_instance(largest_share, seed=7)
    decisions = arrive_one_by_one(control_plane, namespace, nodes, pods)
    replayed = replay_alone(nodes, pods, tmp_path)
    print(report(decisions, replayed))

    bound = {d.pod for d in decisions if d.real}
    assert bound == {d.pod for d in decisions if d.fitting}
    assert [d for d in decisions if d.real and d.real not in d.best] == []
    # The comparison has something to compare: choices between nodes, ties and none, and refusals.
    assert sum(len(d.fitting) > len(d.best) == 1 for d in decisions) >= 30
    assert sum(len(d.best) > 1 for d in decisions) >= 30
    assert len(pods) - len(bound) >= 10
    if largest_share < 0.2:  # enough room that no tie decides who gets in
        assert replayed.keys() == bound


def an_instance(largest_share: float, seed: int) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Nodes of many shapes, eight with GPUs, and pods of up to a share of a 16-core node: more GPU pods than GPUs, some
    pods larger than any node, some that name no request for CPU, memory, or both."""
    chance = random.Random(seed)
    nodes = {
        f"node-{i:04}": Shape(
            chance.choice(CPU_SIZES), chance.choice((16, 32, 64, 128)) * GIB, gpus=(i % 4 + 1) if i % 6 == 0 else 0
        )
        for i in range(NODES)
    }
    pods = {}
    for i in range(PODS):
        cpu = chance.randrange(50, int(16_000 * largest_share))
        memory = chance.randrange(32, int(64 * GIB * largest_share))
        kind = chance.random()
        if kind < 0.1:
            shape = Shape(chance.choice((cpu, None)), None)
        elif kind < 0.2:
            shape = Shape(None, memory)
        elif kind < 0.32:
            shape = Shape(cpu // 8 + 1, memory // 8 + 1, gpus=1)
        elif kind < 0.35:
            shape = Shape(64_000, memory)
        else:
            shape = Shape(cpu, memory)
        pods[f"pod-{i:04}"] = shape
    return nodes, pods


def arrive_one_by_one(
    control_plane: ControlPlane, namespace: str, nodes: dict[str, Shape], pods: dict[str, Shape]
) -> list[Decision]:
    """Create each pod when the one before is decided, and decide it ourselves from the same state."""
    objects = [a_node(n, cpu=f"{s.cpu_milli}m", memory=f"{s.memory_mib}Mi", gpus=s.gpus) for n, s in nodes.items()]
    control_plane.client.create_all(objects)
    control_plane.wait_until_nodes_ready(list(nodes))
    control_plane.start_scheduler(SCHEDULER, CONFIG)
    ours = node_table(list(nodes), [shape.row() for shape in nodes.values()])
    table = pod_table(list(pods), [shape.row() for shape in pods.values()])
    decisions = []
    for name, shape in pods.items():
        pod = table.row(name)
        fits = refuse_nodes(ours, table, pod).fits
        scores = np.where(fits, score_all(ours, table, pod), -np.inf)
        real = ask_kubernetes(control_plane, namespace, name, shape)
        best = np.flatnonzero(fits & (scores == scores.max()))
        decisions.append(
            Decision(
                name,
                frozenset(ours.name[fits].tolist()),
                frozenset(ours.name[best].tolist()),
                str(ours.name[best[0]]) if len(best) else None,
                real,
                None if real is None else float(scores[ours.row(real)]),
                float(scores.max()) if len(best) else None,
            )
        )
        if real is not None:
            place(ours, table, pod, ours.row(real))
    return decisions


def score_all(nodes: NodeTable, pods: PodTable, pod: int) -> np.ndarray:
    score = get_policy("kube-default").score
    amounts = (nodes.allocatable, nodes.requested, nodes.requested_nonzero)
    return np.array([score(pods.demand[pod], pods.demand_nonzero[pod], *amounts, n, 0) for n in range(len(nodes))])


def ask_kubernetes(control_plane: ControlPlane, namespace: str, name: str, shape: Shape) -> str | None:
    """Create the pod; the node that the scheduler binds it to, None if it finds none."""
    cpu = None if shape.cpu_milli is None else f"{shape.cpu_milli}m"
    memory = None if shape.memory_mib is None else f"{shape.memory_mib}Mi"
    control_plane.client.create(a_pod(name, namespace, cpu, memory, shape.gpus, scheduler=SCHEDULER))
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"

    def decided() -> tuple[str | None] | None:
        pod = control_plane.client.get(path)
        if node := pod["spec"].get("nodeName"):
            return (node,)
        return (None,) if refusal(pod) else None

    (node,) = wait_for(f"a decision on {name}", decided, every_s=0.003)
    return node


def replay_alone(nodes: dict[str, Shape], pods: dict[str, Shape], folder: Path) -> dict[str, str]:
    """Node by pod of a replay of the same arrivals, one a second, by the policy kube-default."""
    trace, node_names, pod_names = SmallTrace(), list(nodes), list(pods)
    for machine, shape in enumerate(nodes.values()):
        trace.machine(machine, cpu=shape.cpu_milli, memory=shape.memory_mib, gpus=shape.gpus)
    for arrival, shape in enumerate(pods.values()):
        never_ends = ran(1 + arrival, 1 + arrival, NEVER)
        trace.task(
            never_ends,
            job=arrival,
            cpu=shape.cpu_milli or 0,
            memory=shape.memory_mib or 0,
            gpus=shape.gpus,
            gpu_milli=DEVICE_MILLI if shape.gpus else 0,
        )
    folder.joinpath("run").parent.mkdir(exist_ok=True)
    written = trace.write(folder / "trace", time_range=(0, PODS + 10))
    run = run_replay(ReplayOptions(written.folder, folder / "run", policy="kube-default", initial="empty"))
    rows = pq.read_table(run / "placements.parquet").to_pylist()
    return {pod_names[row["job"]]: node_names[row["node"]] for row in rows if row["node"] is not None}


def report(decisions: list[Decision], replayed: dict[str, str]) -> str:
    """How the two agree, for people."""
    bound = {d.pod: d.real for d in decisions if d.real}
    ties = [d for d in decisions if d.real and len(d.best) > 1]
    single = [d for d in decisions if d.real and len(d.best) == 1]
    same = sum(replayed.get(pod) == node for pod, node in bound.items())
    per_node = Counter(bound.values()), Counter(replayed.values())
    apart = sum((per_node[0] - per_node[1]).values())
    return "\n".join(
        (
            f"{len(decisions)} pods: {len(bound)} bound, {len(decisions) - len(bound)} refused by both",
            f"one best node: the scheduler took it {sum(d.real in d.best for d in single)} of {len(single)} times",
            f"ties: it took one of our best {sum(d.real in d.best for d in ties)} of {len(ties)} times, "
            f"{sum(len(d.best) for d in ties) / max(1, len(ties)):.1f} nodes tied on average; "
            f"the first by name {sum(d.real == d.first_best for d in ties)} times",
            f"the replay by itself: {len(replayed)} scheduled, {same} on the same node; "
            f"{apart} pods would have to move for the same number on every node",
        )
    )


def test_gpu_column_of_the_instance_counts_devices() -> None:
    assert Shape(1000, 1024, gpus=2).row()[GPU] == 2000
