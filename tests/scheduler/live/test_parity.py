"""One snapshot, two drivers: the live decision path and the replay's scoring place the same pods on the same nodes."""

from __future__ import annotations

import json
import random

import msgspec
import numpy as np
import pytest

from analytics.replay.ranking import score_batch_of
from scheduler.core.cluster import AXES, node_table, place, pod_table
from scheduler.core.feasibility import refuse_nodes
from scheduler.core.policies import get_policy
from scheduler.core.snapshot import Snapshot, parse_snapshot
from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.decide import Candidates, PodAsked, filter_nodes, prioritize_nodes
from scheduler.live.kube_objects import LiveNode, LivePod
from scheduler.live.scoring import Ranking, scorer
from tests.scheduler.live.api_world import Object, a_node, a_pod

MIB = 1 << 20


def a_cluster(seed: int, nodes: int = 40, running: int = 60, waiting: int = 120) -> tuple[list[Object], list[Object]]:
    """Nodes of some sizes, pods that run on them, and pods that wait; all amounts whole MiB, as traces have them."""
    draw = random.Random(seed)
    sizes = [("8", "32Gi", 0), ("16", "64Gi", 0), ("32", "128Gi", 8), ("3920m", "13500Mi", 0)]
    made = []
    for n in range(nodes):
        cpu, memory, gpus = draw.choice(sizes)
        made.append(a_node(f"node-{n:03}", cpu=cpu, memory=memory, gpus=gpus))
    pods = []
    for p in range(running + waiting):
        shape = draw.choice([("500m", "1Gi", 0), ("2", "3Gi", 0), ("1", "12Gi", 0), (None, None, 0), ("4", "16Gi", 2)])
        node = f"node-{draw.randrange(nodes):03}" if p < running and shape[2] == 0 else ""
        pods.append(a_pod(f"pod-{p:03}", node=node, cpu=shape[0], memory=shape[1], gpus=shape[2]))
    return made, pods


def place_live(nodes: list[Object], pods: list[Object], policy: str) -> dict[str, str | None]:
    """Through filter and prioritize, pod by pod; the watch confirms each placement before the next but one."""
    cache, ranking = ClusterCache(), Ranking(scorer(policy))
    for node in nodes:
        cache.put_node(msgspec.convert(node, LiveNode))
    for pod in pods:
        cache.put_pod(msgspec.convert(pod, LivePod))
    names = [node["metadata"]["name"] for node in nodes]
    random.Random(0).shuffle(names)  # the order in which the scheduler names them must not matter
    placed: dict[str, str | None] = {}
    unconfirmed: list[LivePod] = []
    for pod in pods:
        if pod["spec"]["nodeName"]:
            continue
        asked = PodAsked.of(msgspec.convert(pod, LivePod))
        passed = filter_nodes(cache, asked, candidates(cache, names), 0.0, ranking, shortlist=4).passed or names
        best = prioritize_nodes(cache, ranking, asked, candidates(cache, passed), 0.0, count=1, clock_s=0.0)
        placed[asked.key] = best[0][0] if best else None
        while unconfirmed:
            cache.put_pod(unconfirmed.pop())
        if best:
            bound = {**pod, "spec": {**pod["spec"], "nodeName": best[0][0]}}
            unconfirmed.append(msgspec.convert(bound, LivePod))
    return placed


def candidates(cache: ClusterCache, names: list[str]) -> Candidates:
    return Candidates(cache, msgspec.json.encode(names))


def place_by_replay(snapshot: Snapshot, policy: str) -> dict[str, str | None]:
    """With the core's tables and the replay's own scoring loop: highest score, first by name."""
    score = score_batch_of(get_policy(policy).score)._batch
    axes = (*AXES, "pods")

    def column(amounts: dict[str, int]) -> list[int]:
        return [amounts.get("cpu", 0), amounts.get("memory", 0) // MIB, amounts.get("ephemeral-storage", 0) // MIB,
                1000 * amounts.get("nvidia.com/gpu", 0), amounts.get("pods", 0)]  # fmt: skip

    nodes = node_table(
        [n.name for n in snapshot.nodes], [column(n.allocatable) for n in snapshot.nodes], axes=axes, devices=False
    )
    demand = [column({**p.requests, "pods": 1}) for p in snapshot.pods]
    pods = pod_table([p.key for p in snapshot.pods], demand, axes=axes)
    for p, pod in enumerate(snapshot.pods):
        if pod.node is not None:
            place(nodes, pods, p, nodes.row(pod.node))
    placed: dict[str, str | None] = {}
    for p, pod in enumerate(snapshot.pods):
        if pod.node is not None:
            continue
        rows = np.flatnonzero(refuse_nodes(nodes, pods, p).fits)
        scores = np.zeros(len(rows))
        score(
            pods.demand[p], pods.demand_nonzero[p], nodes.allocatable, nodes.requested, nodes.requested_nonzero,
            rows, len(rows), 0, scores,
        )  # fmt: skip
        placed[pod.key] = str(nodes.name[rows[int(np.argmax(scores))]]) if len(rows) else None
        if len(rows):
            place(nodes, pods, p, int(rows[int(np.argmax(scores))]))
    return placed


@pytest.mark.parametrize("policy", ["kube-default", "best-fit", "most-allocated", "worst-fit", "dot-product"])
@pytest.mark.parametrize("seed", [1, 2])
def test_live_and_replay_place_the_same_pods_on_the_same_nodes(policy: str, seed: int) -> None:
    nodes, pods = a_cluster(seed)
    snapshot = parse_snapshot(json.dumps({"kind": "List", "items": nodes + pods}).encode())
    live = place_live(nodes, pods, policy)
    assert live == place_by_replay(snapshot, policy)
    assert len(set(live.values())) > 5
