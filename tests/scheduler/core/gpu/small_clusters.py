"""Small clusters and kinds of pods for the fragmentation tests, and the measure written down a second time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.gpu.fragmentation import Nodes, Types, types_of

MODELS = 3


@dataclass(frozen=True)
class NaiveNode:
    """A node as the definition speaks of it."""

    cpu: int
    memory: float
    left: tuple[int, ...]


@dataclass(frozen=True)
class NaiveType:
    """A type of pod, with how frequent it is and the memory it needs."""

    cpu: int
    gpus: int
    share: int
    weight: float
    memory: float = 0.0


def naive_fragment(node: NaiveNode, types: Sequence[NaiveType], cpu_worth: float = 0.0) -> float:
    """The paper's definition, read as it stands; types without a weight may not use the node's model."""
    total = sum(node.left)
    fragment = 0.0
    for one in types:
        able = [left for left in node.left if left >= one.share]
        runs = node.cpu >= one.cpu and node.memory >= one.memory and len(able) >= one.gpus
        fragment += one.weight * (total - sum(able) if runs and one.gpus else total)
        fragment += one.weight * (0.0 if runs else cpu_worth * node.cpu)
    return fragment + (1.0 - sum(one.weight for one in types)) * total


def naive_placements(node: NaiveNode, pod: NaiveType) -> dict[int, NaiveNode]:
    """The node after the pod, by device of a shared GPU; by -1 for a pod of whole ones."""
    cpu, memory = node.cpu - pod.cpu, node.memory - pod.memory
    if pod.gpus == 1 and pod.share < 1000:
        return {
            device: NaiveNode(cpu, memory, (*node.left[:device], left - pod.share, *node.left[device + 1 :]))
            for device, left in enumerate(node.left)
            if left >= pod.share
        }
    left = list(node.left)
    for _ in range(pod.gpus):
        left[left.index(1000)] = 0
    return {-1: NaiveNode(cpu, memory, tuple(left))}


def some_types(rng: np.random.Generator, count: int = 8) -> Types:
    """Kinds of pods: without a GPU, with a share of one, with whole ones."""
    gpus = rng.choice([0, 1, 1, 1, 2, 4], count)
    shared = (gpus == 1) & (rng.random(count) < 0.6)
    share = np.select([gpus == 0, shared], [0, rng.integers(1, 10, count) * 100], 1000)
    return types_of(rng.integers(1, 17, count) * 1000, gpus.astype(np.int64), share.astype(np.int64))


def some_nodes(rng: np.random.Generator, count: int = 6, used: bool = True) -> Nodes:
    """Nodes of one to four GPUs, partly used if asked."""
    gpus = rng.choice([1, 2, 4], count).astype(np.int64)
    left = rng.choice([0, 100, 250, 600, 1000, 1000], (count, 4)) if used else np.full((count, 4), 1000)
    left = np.where(np.arange(4) < gpus[:, None], left, 0).astype(np.int64)
    return Nodes(
        rng.integers(8, 65, count) * 1000, rng.integers(16, 257, count) * 1024, left, gpus,
        rng.integers(0, MODELS, count),
    )  # fmt: skip


def naive_node(nodes: Nodes, row: int) -> NaiveNode:
    """A row of the columns."""
    left = nodes.gpu_milli[row, : nodes.gpus[row]].tolist()
    return NaiveNode(int(nodes.cpu_milli[row]), float(nodes.memory_mib[row]), tuple(left))


def naive_types(types: Types, weight: np.ndarray, memory_of: np.ndarray) -> list[NaiveType]:
    """The columns as a list."""
    columns = (types.cpu_milli, types.gpus, types.gpu_milli, weight, memory_of)
    return [
        NaiveType(int(cpu), int(gpus), int(share), float(one), float(memory))
        for cpu, gpus, share, one, memory in zip(*columns, strict=True)
    ]
