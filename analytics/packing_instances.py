"""The packing benchmark of "Priority Matters" (arXiv 2511.08373): its instances, to the byte.

A cell is (nodes, pods per node, priorities, usage); a seed makes one instance of a cell. Nodes are identical and as
large as the pods' sum divided by the usage, so 100 % fits only a perfect packing and 105 % never fits. The random
streams are Python's `random.Random`, one per subject, each seeded with a digest of the seed and the subject's name: the
draws of one subject therefore do not depend on those of another, nor on the cell's usage.

Memory is in bytes here, not MiB: the authors draw bytes, and whether the last pod fits can hang on one of them.

Source: github.com/henrikdchristensen/scheduler-plugins, scripts/kwok_workload_once/test_runner.py.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CPU_MILLI = (100, 1000)
MEMORY_BYTES = (100_000_000, 1_000_000_000)
REPLICAS = (1, 4)

NODES = (4, 8, 16, 32)
PODS_PER_NODE = (4, 8)
PRIORITIES = (1, 2, 4)
USAGES = (90, 95, 100, 105)

FIRST_FRESH_SEED = 101  # below that: seeds used while the solver was tuned


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One square of the grid. usage_pct: what the pods ask for, as a share of what the nodes have."""

    nodes: int
    pods_per_node: int
    priorities: int
    usage_pct: int

    def __post_init__(self) -> None:
        if min(self.nodes, self.pods_per_node, self.priorities, self.usage_pct) < 1:
            raise ValueError(f"every side of a cell must be at least 1, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class PackingInstance:
    """Identical empty nodes and the pods that will arrive; row p of every array is the same pod, in order of arrival.

    capacity: (2,) of one node; demand: (P, 2); columns are CPU millicores and memory bytes.
    priority: (P,), 1 is the lowest. replicaset: (P,), 0 is the first applied.
    """

    cell: Cell
    seed: int
    capacity: NDArray[np.int64]
    demand: NDArray[np.int64]
    priority: NDArray[np.int64]
    replicaset: NDArray[np.int64]

    @property
    def node_capacity(self) -> NDArray[np.int64]:
        """(N, 2): the capacity of every node."""
        return np.tile(self.capacity, (self.cell.nodes, 1))


def derive_random(seed: int, label: str) -> random.Random:
    """The random stream of one subject of one seed: `Random` of the big-endian blake2b of seed, zero byte and label."""
    message = seed.to_bytes(16, "big") + b"\x00" + label.encode()
    return random.Random(int.from_bytes(hashlib.blake2b(message, digest_size=16).digest(), "big"))


def generate(cell: Cell, seed: int) -> PackingInstance:
    """The instance of a cell and seed, as the authors' generator makes it. Raises ValueError for a negative seed."""
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")
    replicas = _draw_replicas(derive_random(seed, "rs-sizes"), cell.nodes * cell.pods_per_node)
    cpu_stream, memory_stream = derive_random(seed, "rs-cpu"), derive_random(seed, "rs-mem")
    cpu = [cpu_stream.randint(*CPU_MILLI) for _ in replicas]
    memory = [memory_stream.randint(*MEMORY_BYTES) for _ in replicas]
    base_stream = derive_random(seed, "base")
    priority = [base_stream.randint(1, cell.priorities) for _ in replicas]
    owner = np.repeat(np.arange(len(replicas)), replicas)
    demand = np.array([cpu, memory], dtype=np.int64).T[owner]
    capacity = [_size_node(demand[:, column], cell) for column in range(2)]
    return PackingInstance(
        cell, seed, np.array(capacity, dtype=np.int64), demand, np.array(priority, dtype=np.int64)[owner], owner
    )


def _draw_replicas(stream: random.Random, pods: int) -> list[int]:
    """Sizes of the ReplicaSets: 1 to 4 until the pods are used up."""
    sizes: list[int] = []
    while pods > 0:
        sizes.append(stream.randint(REPLICAS[0], min(REPLICAS[1], pods)))
        pods -= sizes[-1]
    return sizes


def _size_node(demand: NDArray[np.int64], cell: Cell) -> int:
    """One node's share of the capacity that the usage asks for, and at least the largest pod.

    The divisions are floating-point on purpose: the authors' are, and an exact one could differ by a byte.
    """
    total = math.ceil(int(demand.sum()) / (cell.usage_pct / 100))
    return max(int(demand.max()), math.ceil(total / cell.nodes))


def published_file(name: str) -> Path:
    """Where the authors' published figures lie: STOWAGE_PACKING_DATA, else shared/data/packing beside the repository.

    They are not ours to ship; without them the benchmark runs on fresh seeds and shows its own table alone.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "packing"
    return Path(os.environ.get("STOWAGE_PACKING_DATA", beside)) / name


def published_seeds() -> list[int]:
    """The 100 seeds of the authors' list. Raises ValueError where their file is absent."""
    path = published_file("published_seeds_32n_256p_u90.txt")
    if not path.exists():
        raise ValueError(f"the published seeds are not at {path}; set STOWAGE_PACKING_DATA to their folder")
    return [int(line) for line in path.read_text().split()]


def parse_seeds(text: str) -> list[int]:
    """Seeds named by an option: `published`, `published:5` (the first five), `4` (four fresh ones) or `101-140`.

    Raises ValueError with the rule for anything else.
    """
    rule = "seeds are a count (4), a range (101-140), published, or published:COUNT"
    head, _, tail = text.partition(":")
    try:
        if head == "published":
            known = published_seeds()
            count = int(tail) if tail else len(known)
            if not 1 <= count <= len(known):
                raise ValueError(f"{rule}; there are {len(known)} published seeds, not {count}")
            return known[:count]
        if "-" in text:
            low, high = (int(part) for part in text.split("-"))
            if low > high or low < 0:
                raise ValueError(f"{rule}; got {text!r}")
            return list(range(low, high + 1))
        count = int(text)
    except ValueError as error:
        raise ValueError(f"{rule}; got {text!r}") from error
    if count < 1:
        raise ValueError(f"{rule}; got {text!r}")
    return list(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + count))
