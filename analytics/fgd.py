"""The protocol of FGD's evaluation (Weng et al., ATC 2023), for its policies and ours.

Pods are shuffled with the seed, appended (drawn evenly from the list) until they ask for 1.3 times the cluster's
GPUs, or taken away at random until they do not ask for more, and placed one by one. One that fits nowhere is dropped,
and nothing leaves. What counts is the share of GPUs that is allocated when x % of the cluster's GPUs have been asked
for, dropped pods counted as asked for; fragmentation is measured with the published definition, whatever a policy
optimises.

As in the simulator, nodes get an order at random from the seed, and equal scores go by it. The generator is not Go's:
the ten seeds are ten draws of the same distribution, not the published ten.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.fgd_files import Cluster, Ints, Pods
from scheduler.core.compiled import compiled
from scheduler.core.gpu.fragmentation import Scratch, fragment_milli, scratch_for
from scheduler.core.gpu.fragmentation_choice import (
    NOWHERE,
    PATHS,
    POLICIES,
    STOWAGE,
    Board,
    board_for,
    choose,
    learn,
    place,
)  # fmt: skip
from scheduler.core.gpu.fragmentation_mix import Mix, unknown_mix, weigh_types

INFLATION = 1.3
TYPICAL_SHARE = 0.95
PUBLISHED_NAMES = {
    "random": "01-Random", "dot-product": "02-DotProd", "gpu-clustering": "03-GpuClustering",
    "gpu-packing": "04-GpuPacking", "best-fit": "05-BestFit", "fgd": "06-FGD",
}  # fmt: skip

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SeedRun:
    """What one seed gave. pods: (P,) rows of the pod list in order of arrival; node: (P,) or -1 where dropped; device.

    allocated_pct, fragmented_pct: {arrived %: mean over the arrivals that round to it}, of all the cluster's GPUs.
    """

    seed: int
    pods: Ints
    node: Ints
    device: Ints
    allocated_pct: dict[int, float]
    fragmented_pct: dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class FgdResult:
    """All seeds, in order, and the CPU seconds that placing took them."""

    policy: str
    path: str
    runs: tuple[SeedRun, ...]
    cpu_s: float

    def mean(self, name: str) -> dict[int, float]:
        """Mean over the seeds of allocated_pct or fragmented_pct, by arrived %."""
        curves: list[dict[int, float]] = [getattr(run, name) for run in self.runs]
        last = min(max(curve) for curve in curves)
        return {share: float(np.mean([curve[share] for curve in curves])) for share in range(last + 1)}

    def to_json(self) -> dict[str, Any]:
        """Keys allocated_pct and fragmented_pct {arrived %: mean}, per_seed {seed: {arrived %: allocated}}, cpu_s."""
        return {
            "policy": self.policy,
            "path": self.path,
            "allocated_pct": self.mean("allocated_pct"),
            "fragmented_pct": self.mean("fragmented_pct"),
            "dropped": {str(run.seed): int((run.node == NOWHERE).sum()) for run in self.runs},
            "per_seed": {str(run.seed): run.allocated_pct for run in self.runs},
            "cpu_s": round(self.cpu_s, 3),
        }


def run_fgd(cluster: Cluster, pods: Pods, policy: str, path: str, seeds: Sequence[int], workers: int = 1) -> FgdResult:
    """Run the protocol for each seed. The number of workers (threads) changes nothing but the time.

    Raises InputError for an unknown policy or path, or a list that cannot be inflated.
    """
    for what, name, known in (("policy", policy, POLICIES), ("path", path, PATHS)):
        if name not in known:
            raise InputError(f"no {what} is named {name!r}; known: {', '.join(known)}")
    if not pods.gpu_milli.sum():
        raise InputError("no pod asks for a GPU: the list cannot be inflated to 1.3 times the cluster's GPUs")
    run_seed(cluster, pods, policy, path, seeds[0], limit=0)  # loads the compiled code, or makes it
    began = time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        runs = tuple(pool.map(lambda seed: run_seed(cluster, pods, policy, path, seed), seeds))
    return FgdResult(policy, path, runs, time.process_time() - began)


def run_seed(cluster: Cluster, pods: Pods, policy: str, path: str, seed: int, limit: int | None = None) -> SeedRun:
    """One seed; with a limit, only the first so many arrivals."""
    rng = np.random.default_rng(seed)
    order = draw_workload(pods, cluster.gpu_milli, rng)[:limit]
    board = new_board(cluster, pods, policy, seed, rng)
    measure = typical_mix(pods)
    node, device = np.full(len(order), NOWHERE), np.full(len(order), NOWHERE)
    fragment = np.zeros(len(order))
    run_arrivals(
        board, POLICIES.index(policy), PATHS.index(path), pods.kind[order], pods.group[order], pods.memory_mib[order],
        measure, scratch_for(board.nodes, pods.types), node, device, fragment,
    )  # fmt: skip
    asked = pods.gpu_milli[order]
    whole = cluster.gpu_milli
    arrived = 100.0 * asked.cumsum() / whole
    allocated = 100.0 * np.where(node == NOWHERE, 0, asked).cumsum() / whole
    return SeedRun(
        seed, order, node, device, by_arrived(arrived, allocated), by_arrived(arrived, 100.0 * fragment / whole)
    )


def new_board(cluster: Cluster, pods: Pods, policy: str, seed: int, rng: np.random.Generator) -> Board:
    """An empty cluster. Ours knows nothing of the work to come; FGD is given the mix of the whole list."""
    mix = typical_mix(pods) if policy == "fgd" else unknown_mix(pods.types, pods.allowed)
    rank = rng.permutation(len(cluster.names)).astype(np.int64)
    return board_for(cluster.nodes, pods.types, mix, rank, seed)


def draw_workload(pods: Pods, gpu_milli: int, rng: np.random.Generator) -> Ints:
    """Rows of the pod list in order of arrival, asking for `INFLATION` times this much GPU."""
    limit = INFLATION * gpu_milli
    order: list[int] = rng.permutation(len(pods.kind)).tolist()
    asked = int(pods.gpu_milli.sum())
    if asked >= limit:
        while asked > limit:
            asked -= int(pods.gpu_milli[order.pop(int(rng.integers(len(order))))])
        return np.array(order, np.int64)
    share = pods.types.gpu_milli[pods.kind]
    while True:
        row = int(rng.integers(len(pods.kind)))
        if asked + share[row] > limit:  # of one GPU of the pod, not of all: as published
            return np.array(order, np.int64)
        asked += int(pods.gpu_milli[row])
        order.append(row)


def typical_mix(pods: Pods) -> Mix:
    """FGD's typical pods: the most common types of the list that cover 95 % of it, models told apart, no memory."""
    mix = unknown_mix(pods.types, pods.allowed)
    kinds, count = np.unique(np.stack([pods.kind, pods.group]), axis=1, return_counts=True)
    kind, group = kinds
    types = pods.types
    spec = np.array([pods.spec[code] for code in group])
    # descending by count; of equal ones the larger, as the simulator sorts
    last = np.lexsort((spec, types.gpus[kind], types.gpu_milli[kind], types.cpu_milli[kind], count))[::-1]
    covered = count[last].cumsum()
    kept = last[: int(np.searchsorted(covered, TYPICAL_SHARE * count.sum())) + 1]
    mix.seen[kind[kept], group[kept]] = count[kept]
    weigh_types(mix, types)
    return mix


def by_arrived(arrived: Floats, values: Floats) -> dict[int, float]:
    """{whole arrived %: mean of the values of the arrivals that round to it}, as published.

    Where none does, of those a percent away; where there are none either (small clusters), what the percent before has.
    """
    share = np.rint(arrived).astype(np.int64)
    total, count = np.bincount(share, values), np.bincount(share)
    found: dict[int, float] = {}
    for at in range(len(count)):
        near = slice(at, at + 1) if count[at] else slice(max(at - 1, 0), at + 2)
        some = count[near].sum()
        found[at] = float(total[near].sum() / some) if some else found.get(at - 1, 0.0)
    return found


@compiled
def run_arrivals(
    board: Board, policy: int, path: int, kinds: Ints, groups: Ints, memory_mib: Ints, measure: Mix, scratch: Scratch,
    node: Ints, device: Ints, fragment: Floats,
) -> None:  # fmt: skip
    """Place the pods one by one; writes the node, the device and the cluster's fragment (milli-GPU) after each."""
    nodes, types = board.nodes, board.types
    own = np.zeros(nodes.gpus.size)
    for n in range(own.size):
        own[n] = fragment_milli(
            nodes.cpu_milli[n], nodes.memory_mib[n], nodes.gpu_milli[n], nodes.gpus[n], types,
            measure.weight[nodes.model[n]], measure.memory_of, 0.0, scratch,
        )  # fmt: skip
    total = own.sum()
    for i in range(kinds.size):
        if policy == STOWAGE:
            learn(board, kinds[i], groups[i], memory_mib[i])
        n = choose(board, policy, path, kinds[i], groups[i], memory_mib[i])
        if n != NOWHERE:
            node[i] = n
            device[i] = place(board, policy, n, kinds[i], memory_mib[i])
            total -= own[n]
            own[n] = fragment_milli(
                nodes.cpu_milli[n], nodes.memory_mib[n], nodes.gpu_milli[n], nodes.gpus[n], types,
                measure.weight[nodes.model[n]], measure.memory_of, 0.0, scratch,
            )  # fmt: skip
            total += own[n]
        fragment[i] = total
