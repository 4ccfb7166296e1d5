"""A price round of the planner at the size of real clusters: CPU on the planner's thread and in the child, and writes.

Five kinds of nodes in three zones, two of them with 8 GPUs; pods of several priorities, some bound to a zone or a kind,
four in nine after GPUs; they stand wherever there was room. Between rounds one pod in twenty gives way to another.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np

from scheduler.core.snapshot import Node, Pod
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.price_marks import price_annotations
from scheduler.live.planner.price_round import PriceRound
from scheduler.live.planner.price_solver import PriceAnswer, PriceQuestion, answer
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.world import PodView, World
from tests.benchmarks.harness import Report

GIB = 1 << 30
KINDS = ((16, 64, 0), (32, 128, 0), (64, 256, 0), (64, 512, 8), (96, 768, 8))  # CPUs, GiB, GPUs
SIZES = ((100, 1_000), (1_000, 10_000))
ROUNDS = 12
CHURN = 0.05


class Cluster:
    """Nodes and pods that come and go; the round's source, in this process, and its writes."""

    def __init__(self, nodes: int, pods: int, use: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.world, self.shown = World(), dict[str, ShownNode]()
        self.written = 0
        self.answers: list[PriceAnswer] = []
        for n in range(nodes):
            cpus, gib, gpus = KINDS[n % len(KINDS)]
            offered = {"cpu": cpus * 1000, "memory": gib * GIB, "pods": 110, "nvidia.com/gpu": gpus}
            labels = {"kind": "abcde"[n % len(KINDS)], "zone": f"z{n % 3}", "kubernetes.io/hostname": f"n{n:05}"}
            self.world.put_node(Node(name=f"n{n:05}", allocatable=offered, labels=labels))
            self.shown[f"n{n:05}"] = msgspec.convert({"metadata": {"name": f"n{n:05}"}}, ShownNode)
        self.nodes = list(self.world.nodes.values())
        self.free = {node.name: dict(node.allocatable) for node in self.nodes}
        self.mean = sum(node.allocatable["cpu"] for node in self.nodes) * use / pods
        self.made = 0
        for _ in range(pods):
            self.come()

    def come(self) -> None:
        """One more pod; it waits where twenty nodes have no room for it."""
        rng = self.rng
        cpu = max(100, int(rng.exponential(self.mean)) // 100 * 100)
        asked = {"cpu": cpu, "memory": int(cpu * rng.uniform(2, 6)) * 1_000_000, "pods": 1}
        if gpus := int(rng.choice([0, 0, 0, 0, 0, 1, 2, 4, 8])):
            asked["nvidia.com/gpu"] = gpus
        selector, wish = dict[str, str](), rng.random()
        if wish < 0.25:
            selector = {"zone": f"z{rng.integers(3)}"} if wish < 0.2 else {"kind": "abcde"[rng.integers(5)]}
        node = None
        for n in rng.integers(len(self.nodes), size=20):
            here = self.nodes[n]
            free, accepts = self.free[here.name], selector.items() <= here.labels.items()
            if accepts and all(free[name] >= amount for name, amount in asked.items()):
                node = here.name
                for name, amount in asked.items():
                    free[name] -= amount
                break
        self.made += 1
        pod = Pod(
            name=f"p{self.made:06}", namespace=f"ns{rng.integers(20)}", uid=f"u{self.made}", node=node, requests=asked,
            node_selector=selector, priority=int(rng.choice([0, 0, 100, 1_000, 100_000])),
        )  # fmt: skip
        self.world.put_pod(PodView(pod, scheduler="stowage"))

    def change(self, count: int) -> None:
        """So many pods leave, and as many come."""
        for key in self.rng.choice(sorted(self.world.pods), count, replace=False).tolist():
            pod = self.world.pods[key].pod
            self.world.drop_pod(key)
            if pod.node is not None:
                for name, amount in pod.requests.items():
                    self.free[pod.node][name] += amount
        for _ in range(count):
            self.come()

    def ask(self, question: PriceQuestion) -> PriceAnswer:
        self.answers.append(answer(question))
        return self.answers[-1]

    def stop(self) -> None:
        pass

    def price_node(self, node: ShownNode, price_milli: int) -> None:
        notes = {key: text for key, text in price_annotations(price_milli).items() if text is not None}
        meta = {"name": node.metadata.name, "annotations": notes}
        self.shown[node.metadata.name] = msgspec.convert({"metadata": meta}, ShownNode)
        self.written += 1


def measure(nodes: int, pods: int, use: float, seed: int = 1) -> dict[str, float | int]:
    """ROUNDS rounds with pods coming and going between them; medians."""
    cluster = Cluster(nodes, pods, use, seed)
    recorder = Recorder.make(lambda event: None, None, "bench", lambda: 1_790_000_000.0)
    round_ = PriceRound(PlannerSettings(price_round="auto"), cluster.shown, cluster, recorder, cluster)
    writes, own = [], []
    for _ in range(ROUNDS):
        began, before = time.thread_time(), cluster.written
        running = round_.begin(cluster.world, {}, lambda: True)
        own.append(time.thread_time() - began)
        assert running is not None
        running.result()
        writes.append(cluster.written - before)
        cluster.change(int(pods * CHURN))
    gaps = [max(one.bound - one.welfare, 0.0) / one.bound for one in cluster.answers]
    prices = sorted(pool.price for pool in cluster.answers[-1].pools)
    return {
        "planner_thread_cpu_s": float(np.median(own)),
        "child_cpu_s": float(np.median([one.cpu_s for one in cluster.answers])),
        "pools": len(cluster.answers[-1].pools), "gap": float(np.median(gaps)),
        "waiting": sum(live.is_waiting for live in cluster.world.pods.values()),
        "cheapest": prices[0], "dearest": prices[-1],
        "writes_first": writes[0], "writes_in_all": sum(writes), "writes_last_three": sum(writes[-3:]),
    }  # fmt: skip


def bench(work: Path) -> Report:
    report = Report("price_round", "A price round: CPU seconds on the planner's thread and in the child, nodes written")
    for nodes, pods in SIZES:
        for use in (0.6, 0.9):
            report.add(f"{nodes:,} nodes, {pods:,} pods asking for {use:.0%} of the CPU", **measure(nodes, pods, use))
    report.notes.append(f"{ROUNDS} rounds, one pod in {1 / CHURN:g} replaced between two; at most 200 writes a round")
    return report
