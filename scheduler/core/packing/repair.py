"""Greedy repair: running pods stay, waiting ones go where they fit best. Milliseconds, always legal."""

from __future__ import annotations

import numpy as np

from scheduler.core.packing import loops
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.problem import Affinity, AntiAffinity, Gang, Problem, Small, Spread
from scheduler.core.packing.rules import RuleBook

CANDIDATES = 24  # nodes tried for a pod under rules


def add_waiting(problem: Problem, book: RuleBook | None, assign: Small, tier: int) -> Small:
    """`assign` with more pods of the tier placed; less important pods may now share a full node with them.

    Large pods first. A node with room beside less important pods is preferred, so that these are not displaced
    without need.
    """
    out = assign.copy()
    tiers = problem.pod_tier
    ruled = problem.ruled[problem.pod_class] if book is not None else np.zeros(len(out), dtype=bool)
    counts = (tiers <= tier) | ruled
    free, shown = room_left(problem, out, counts), room_left(problem, out)
    scale = 1.0 / np.maximum(problem.capacity, 1).astype(np.float64)
    waiting = np.flatnonzero((tiers == tier) & (out < 0) & ~ruled)
    mean = scale.mean(axis=0) if len(scale) else np.zeros(scale.shape[1])
    size = (problem.demand[problem.pod_class[waiting]] * mean).sum(axis=1)
    waiting = waiting[np.argsort(-size, kind="stable")].astype(np.int32)
    classes = problem.pod_class[waiting]
    node = np.full(len(waiting), -1, dtype=np.int32)
    loops.best_fit(
        np.ascontiguousarray(problem.demand[classes]),
        problem.home[waiting],
        problem.mask[classes],
        problem.allowed,
        free,
        shown,
        scale,
        node,
    )
    out[waiting] = node
    if book is not None:
        bound: Small = np.flatnonzero((tiers == tier) & (out < 0) & ruled).astype(np.int32)
        if len(bound):
            RuledRepair(problem, book, out, tier).add_waiting(bound)
    return out


class RuledRepair:
    """Places pods that rules bind, one at a time, keeping count of the room. Changes `assign`."""

    def __init__(self, problem: Problem, book: RuleBook, assign: Small, tier: int) -> None:
        self.problem, self.book, self.assign = problem, book, assign
        ruled = problem.ruled[problem.pod_class]
        self.free = room_left(problem, assign, (problem.pod_tier <= tier) | ruled)
        self.shown = room_left(problem, assign)
        self.scale = 1.0 / np.maximum(problem.capacity, 1)

    def add_waiting(self, waiting: Small) -> None:
        """Place what can be placed, gangs whole or not at all."""
        problem = self.problem
        gang_of = {int(k): i for i, gang in enumerate(problem.gangs) for k in gang.classes}
        done: set[int] = set()
        hopeless: set[int] = set()
        for pod in waiting:
            k = int(problem.pod_class[pod])
            gang = gang_of.get(k)
            if gang is None:
                if k not in hopeless and not self.add(int(pod)):
                    hopeless.add(k)  # its replicas have no better chance before something moves
            elif gang not in done:
                done.add(gang)
                self.add_gang(gang)

    def add_gang(self, gang: int) -> None:
        """All waiting members that fit, if that makes the gang whole."""
        placed = [int(p) for p in self.book.pods(self.problem.gangs[gang].classes) if self.assign[p] < 0]
        placed = [pod for pod in placed if self.add(pod, with_gangs=False)]
        if not self.book.keeps(self.problem.gangs[gang], self.assign):
            for pod in placed:
                self.take_out(pod)

    def add(self, pod: int, *, with_gangs: bool = True) -> bool:
        """Put one pod on the tightest node that breaks no rule; nodes in other domains are tried before their like."""
        problem = self.problem
        k = int(problem.pod_class[pod])
        need = problem.demand[k] > 0
        fits = (self.free[:, need] >= problem.demand[k][need]).all(axis=1) & problem.allowed[problem.mask[k]]
        if not fits.any():
            return False
        displaces = (np.maximum(problem.demand[k] - self.shown, 0) * self.scale)[:, need].sum(axis=1)
        score = ((self.free - problem.demand[k]) * self.scale).sum(axis=1)
        score = score + 1e3 * displaces + np.where(displaces > 0, 1e3, 0.0)
        order = np.argsort(np.where(fits, score, np.inf), kind="stable")[: int(fits.sum())].astype(np.int32)
        rules = [r for r in self.book.of_class[k] if with_gangs or not isinstance(r, Gang)]
        for n in _varied(problem, self.book, k, order):
            self.assign[pod] = n
            if not self.book.broken(self.assign, rules):
                self.free[n] -= problem.demand[k]
                self.shown[n] -= problem.demand[k]
                return True
        self.assign[pod] = -1
        return False

    def take_out(self, pod: int) -> None:
        """Undo an addition."""
        demand = self.problem.demand[self.problem.pod_class[pod]]
        self.free[self.assign[pod]] += demand
        self.shown[self.assign[pod]] += demand
        self.assign[pod] = -1


def _varied(problem: Problem, book: RuleBook, k: int, order: Small) -> list[int]:
    """Nodes to try: the best of every combination of the class's domains before second bests."""
    domains = [r.domain for r in book.of_class[k] if isinstance(r, (AntiAffinity, Affinity, Spread))]
    seen: set[tuple[int, ...]] = set()
    first: list[int] = []
    later: list[int] = []
    for n in order:
        key = tuple(int(d[n]) for d in domains)
        if key not in seen:
            seen.add(key)
            first.append(int(n))
        elif len(later) < CANDIDATES:
            later.append(int(n))
        if len(first) >= CANDIDATES:
            break
    return (first + later)[:CANDIDATES]
