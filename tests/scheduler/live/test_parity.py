"""One snapshot, two drivers: the live decision path and the replay's scoring place the same pods on the same nodes."""

from __future__ import annotations

import json
import random

import msgspec
import numpy as np
import pytest

from analytics.replay.ranking import best_node, mark_changed, new_ranking, score_batch_of
from analytics.replay.state import Classes, Nodes
from scheduler.core.cluster import AXES, NodeTable, PodTable, node_table, place, pod_table
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
    nodes, pods = columns_of(snapshot)
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


def columns_of(snapshot: Snapshot) -> tuple[NodeTable, PodTable]:
    """The snapshot's nodes and pods as the replay has them, with the pods that run."""
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
    return nodes, pods


@pytest.mark.parametrize("policy", ["kube-default", "best-fit", "most-allocated", "worst-fit", "dot-product"])
@pytest.mark.parametrize("seed", [1, 2])
def test_live_and_replay_place_the_same_pods_on_the_same_nodes(policy: str, seed: int) -> None:
    nodes, pods = a_cluster(seed)
    snapshot = parse_snapshot(json.dumps({"kind": "List", "items": nodes + pods}).encode())
    live = place_live(nodes, pods, policy)
    assert live == place_by_replay(snapshot, policy)
    assert len(set(live.values())) > 5


def test_prices_turn_the_same_pods_to_the_same_nodes_live_and_in_the_replay() -> None:
    """The replay takes a price off a score as it is; the weight that means the same here is found for each decision."""
    made, pods = a_cluster(3, waiting=60)
    draw = random.Random(3)
    milli = {node["metadata"]["name"]: draw.choice([0, 0, 150, 400, 900]) for node in made}
    for node in made:
        node["metadata"]["annotations"]["stowage.dev/price-milli"] = str(milli[node["metadata"]["name"]])
    snapshot = parse_snapshot(json.dumps({"kind": "List", "items": made + pods}).encode())
    weights, chosen = choose_by_replay_at_prices(snapshot, milli)
    live = ClusterCache()
    for node in made:
        live.put_node(msgspec.convert(node, LiveNode))
    for pod in pods:
        live.put_pod(msgspec.convert(pod, LivePod))
    names = [node["metadata"]["name"] for node in made]
    turned = 0
    for pod in pods:
        asked = PodAsked.of(msgspec.convert(pod, LivePod))
        if pod["spec"]["nodeName"]:
            continue
        ranking = Ranking(scorer("auction"), weights.get(asked.key, 1.0))
        passed = filter_nodes(live, asked, candidates(live, names), 0.0, ranking, shortlist=0).passed or names
        best = prioritize_nodes(live, ranking, asked, candidates(live, passed), 0.0, count=1, clock_s=0.0)
        assert [name for name, _ in best] == ([chosen[asked.key]] if asked.key in chosen else [])
        if not best:
            continue
        free = prioritize_nodes(
            live, Ranking(scorer("auction")), asked, candidates(live, passed), 0.0, count=1, clock_s=0.0
        )
        turned += best[0][0] != free[0][0]
        live.put_pod(msgspec.convert({**pod, "spec": {**pod["spec"], "nodeName": best[0][0]}}, LivePod))
    assert len(chosen) > 30
    assert turned > 5


def choose_by_replay_at_prices(snapshot: Snapshot, milli: dict[str, int]) -> tuple[dict[str, float], dict[str, str]]:
    """By pod: the live price weight that is one for one with the replay, and the node that the replay's ranking takes.

    The span of prices times the weight is to count like the same span of scores.
    """
    table, pods = columns_of(snapshot)
    count, kinds = len(table.name), len(pods.demand)
    price = np.array([milli[name] / 1000 for name in table.name.tolist()])
    unused, amounts = np.zeros(count, np.int64), np.zeros(table.allocatable.shape)
    nodes = Nodes(
        table.allocatable, table.requested, table.requested_nonzero, np.ones(count, np.bool_),
        np.zeros((count, 0), np.int64), np.full(count, -1, np.int32), np.zeros((count, 0, len(table.axes)), np.int64),
        amounts, amounts, unused, unused,
    )  # fmt: skip
    anywhere = np.full(kinds, -1, np.int32)
    classes = Classes(
        pods.demand, pods.demand_nonzero, np.zeros(kinds, np.int64), np.zeros(kinds, np.int64), anywhere, anywhere,
        np.zeros((0, count), np.bool_), np.zeros((0, 1), np.uint8),
    )  # fmt: skip
    ranking = new_ranking(count, kinds)
    ranking.price[:] = price
    batch = score_batch_of(get_policy("auction").score)
    weights, chosen = {}, {}
    for p, pod in enumerate(snapshot.pods):
        if pod.node is not None:
            continue
        n = best_node(ranking, nodes, classes, p, batch, False, 0)
        if n < 0:
            continue
        rows = np.flatnonzero(refuse_nodes(table, pods, p).fits)
        scores = np.zeros(len(rows))
        batch._batch(
            pods.demand[p], pods.demand_nonzero[p], table.allocatable, table.requested, table.requested_nonzero,
            rows, len(rows), 0, scores,
        )  # fmt: skip
        weights[pod.key] = float(np.ptp(price[rows]) / (np.ptp(scores) or 1.0))
        chosen[pod.key] = str(table.name[n])
        place(table, pods, p, n)
        mark_changed(ranking, n)
    return weights, chosen
