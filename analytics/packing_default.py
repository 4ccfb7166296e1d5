"""The default scheduler on a benchmark instance, emulated: where kube-scheduler 1.32 would have put the pods.

What decides on identical nodes and pods that ask for CPU and memory only: NodeResourcesFit (LeastAllocated),
NodeResourcesBalancedAllocation (in 1.32 the balance after placement) and PodTopologySpread with its system default
(pods of one ReplicaSet over hostnames, weight 2). The other in-tree scores are equal on all nodes. Ties fall to chance,
so two runs of one instance differ; the caller hands in the random stream.

The benchmark compares two runs: the baseline is the scheduler as shipped, with preemption; the solver starts from
another run, without. ReplicaSets arrive one after the other and each is settled before the next.

What is simplified: back-off times (pods waiting after a preemption are tried by priority, then by arrival) and the
graceful end of victims (they are gone at once, as with KWOK). A victim's replacement arrives last in the queue.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.packing_instances import PackingInstance

PENDING = -1
SPREAD_WEIGHT = 2
SPREAD_MAX_SKEW = 3  # of the system default's hostname constraint
MIN_FEASIBLE_NODES = 100  # kube-scheduler looks no further once it has this many, or the share below
MIN_CANDIDATES = 100  # of preemption: this many nodes or 10 %, whichever is more


def run_default(instance: PackingInstance, stream: random.Random, *, preemption: bool) -> NDArray[np.int64]:
    """Where each pod runs in the end: (P,) node numbers, -1 for pods left pending."""
    run = _Run(instance, stream, preemption)
    sizes = np.bincount(instance.replicaset)
    for last in np.cumsum(sizes):
        for pod in range(int(last - sizes[instance.replicaset[last - 1]]), int(last)):
            run.enqueue(pod)
        run.settle()
    return run.node_of


@dataclass(slots=True)
class _Run:
    instance: PackingInstance
    stream: random.Random
    preemption: bool
    node_of: NDArray[np.int64] = field(init=False)
    used: NDArray[np.int64] = field(init=False)
    siblings: list[NDArray[np.int64]] = field(init=False)
    nominated: dict[int, int] = field(default_factory=dict)
    queue: list[tuple[int, int, int]] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)
    arrivals: int = 0
    arrived: dict[int, int] = field(default_factory=dict)
    next_node: int = 0

    def __post_init__(self) -> None:
        self.node_of = np.full(len(self.instance.demand), PENDING, dtype=np.int64)
        self.used = np.zeros((self.instance.cell.nodes, 2), dtype=np.int64)
        starts = np.cumsum(np.bincount(self.instance.replicaset))[:-1]
        self.siblings = np.split(np.arange(len(self.instance.demand)), starts)

    def enqueue(self, pod: int, *, again: bool = False) -> None:
        """Queue a pod: a new one last among its priority, one that waited in its old place."""
        if not again:
            self.arrivals += 1
            self.arrived[pod] = self.arrivals
        self.waiting.discard(pod)
        heapq.heappush(self.queue, (-int(self.instance.priority[pod]), self.arrived[pod], pod))

    def settle(self) -> None:
        """Schedule until every pod in the queue runs or waits."""
        while self.queue:
            pod = heapq.heappop(self.queue)[2]
            node = self._choose_node(pod)
            if node is not None:
                self._bind(pod, node)
            else:
                self.waiting.add(pod)
                if self.preemption:
                    self._preempt(pod)

    def _bind(self, pod: int, node: int) -> None:
        self.nominated.pop(pod, None)
        self.node_of[pod] = node
        self.used[node] += self.instance.demand[pod]

    def _used_for(self, pod: int) -> NDArray[np.int64]:
        """What is used as this pod sees it: room promised to pods at least as important counts as used."""
        priority = self.instance.priority
        promised = [(p, n) for p, n in self.nominated.items() if p != pod and priority[p] >= priority[pod]]
        if not promised:
            return self.used
        used = self.used.copy()
        for other, node in promised:
            used[node] += self.instance.demand[other]
        return used

    def _choose_node(self, pod: int) -> int | None:
        demand = self.instance.demand[pod]
        fits = (self._used_for(pod) + demand <= self.instance.capacity).all(axis=1)
        promised = self.nominated.get(pod)
        if promised is not None and fits[promised]:
            return promised
        feasible = self._sample_feasible(np.flatnonzero(fits))
        if len(feasible) == 0:
            return None
        if len(feasible) == 1:
            return int(feasible[0])
        score = self._score_resources(demand, feasible) + SPREAD_WEIGHT * self._score_spread(pod, feasible)
        best = feasible[score == score.max()]
        return int(best[self.stream.randrange(len(best))])

    def _sample_feasible(self, feasible: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first feasible nodes after where the last search stopped: on big clusters that is all it looks at."""
        nodes = self.instance.cell.nodes
        if nodes <= MIN_FEASIBLE_NODES:
            return feasible
        wanted = max(MIN_FEASIBLE_NODES, nodes * max(50 - nodes // 125, 5) // 100)
        turned = np.roll(feasible, -int(np.searchsorted(feasible, self.next_node)))
        if len(turned) <= wanted:
            return feasible
        self.next_node = (int(turned[wanted - 1]) + 1) % nodes
        return turned[:wanted]

    def _score_resources(self, demand: NDArray[np.int64], nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """LeastAllocated plus BalancedAllocation, each 0 to 100, in the scheduler's own integer arithmetic."""
        capacity, after = self.instance.capacity, self.used[nodes] + demand
        least: NDArray[np.int64] = ((capacity - after) * 100 // capacity).sum(axis=1) // 2
        share = after / capacity
        balanced: NDArray[np.int64] = ((1 - np.abs(share[:, 0] - share[:, 1]) / 2) * 100).astype(np.int64)
        return least + balanced

    def _score_spread(self, pod: int, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """PodTopologySpread, 0 to 100: fewer pods of the same ReplicaSet on the node is better."""
        placed = self.node_of[self.siblings[self.instance.replicaset[pod]]]
        count = np.bincount(placed[placed != PENDING], minlength=self.instance.cell.nodes)[nodes]
        # Go rounds halves away from zero, numpy to even; a score is never exactly a half here.
        score = np.rint(count * math.log(len(nodes) + 2) + (SPREAD_MAX_SKEW - 1)).astype(np.int64)
        spread: NDArray[np.int64] = (score.max() + score.min() - score) * 100 // score.max()
        return spread

    def _preempt(self, pod: int) -> None:
        """Evict the least important pods that make room for this one, if less important pods can."""
        candidates = self._find_candidates(pod)
        if not candidates:
            return
        node, victims = self._pick_candidate(candidates)
        for victim in victims:
            self.used[node] -= self.instance.demand[victim]
            self.node_of[victim] = PENDING
        priority = self.instance.priority
        for other in [p for p, n in self.nominated.items() if n == node and priority[p] < priority[pod]]:
            del self.nominated[other]
        self.nominated[pod] = node
        for waiting in sorted(self.waiting):
            self.enqueue(waiting, again=True)
        for victim in victims:
            self.enqueue(victim)

    def _find_candidates(self, pod: int) -> list[tuple[int, list[int]]]:
        """Nodes where evicting less important pods makes room, each with its victims."""
        nodes = self.instance.cell.nodes
        wanted = max(MIN_CANDIDATES, nodes // 10)
        start = self.stream.randrange(nodes)
        demand, priority = self.instance.demand, self.instance.priority
        lower = np.flatnonzero((self.node_of != PENDING) & (priority < priority[pod]))
        room = self.instance.capacity - self._used_for(pod)
        removable = np.zeros_like(room)
        np.add.at(removable, self.node_of[lower], demand[lower])
        possible = (demand[pod] <= room + removable).all(axis=1) & removable.any(axis=1)
        candidates = []
        for node in np.roll(np.flatnonzero(possible), -start)[:wanted]:
            on_node = lower[self.node_of[lower] == node]
            victims = self._reprieve(on_node, room[node] + removable[node] - demand[pod])
            if victims:
                candidates.append((int(node), victims))
        return candidates

    def _reprieve(self, potential: NDArray[np.int64], spare: NDArray[np.int64]) -> list[int]:
        """The pods that must go: the most important, longest running ones are given their room back first."""
        victims = []
        for pod in sorted(potential.tolist(), key=lambda p: (-int(self.instance.priority[p]), self.arrived[p])):
            if (self.instance.demand[pod] <= spare).all():
                spare = spare - self.instance.demand[pod]
            else:
                victims.append(pod)
        return victims

    def _pick_candidate(self, candidates: list[tuple[int, list[int]]]) -> tuple[int, list[int]]:
        """kube-scheduler's order: least important highest victim, smallest sum, fewest victims, latest start."""
        priority = self.instance.priority

        def key(candidate: tuple[int, list[int]]) -> tuple[int, int, int, int]:
            victims = candidate[1]
            highest = max(int(priority[v]) for v in victims)
            # Each victim counts 2^31 + 1 besides its priority, so that fewer victims always sum to less.
            total = sum(int(priority[v]) + 2**31 + 1 for v in victims)
            earliest = min(self.arrived[v] for v in victims if priority[v] == highest)
            return highest, total, len(victims), -earliest

        return min(candidates, key=key)
