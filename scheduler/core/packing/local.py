"""Local search on one stage: pods that may be shuffled, in the room the others leave.

What carries the search is annealing by swaps over overfull nodes: 10 to 20 million trials a second find fills above
99 % of both resources, where re-packing subsets of nodes by CP-SAT (20-40 ms a step) stopped several pods short on
the same instances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.packing import loops
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.problem import Bools, Ints, Problem, Small

STEPS_PER_UNIT = 6_000_000  # annealing steps in one second of one core (2.5 GHz)


@dataclass(slots=True)
class Shuffle:
    """The pods free to move (rows) as columns, with the room that the others leave."""

    pods: Small
    demand: Ints
    home: Small
    group: Small
    mask: Small
    cost: np.ndarray
    node: Small
    room: Ints
    scale: np.ndarray

    def free(self, node: Small) -> Ints:
        """(N, R) room left beside these pods at `node`; negative where overfull."""
        left = self.room.copy()
        some = node >= 0
        np.subtract.at(left, node[some], self.demand[some])
        return left


def make_shuffle(problem: Problem, assign: Small, free_to_move: Bools, present: Bools) -> Shuffle:
    """Columns of the pods marked free_to_move; the other present pods are held where they are."""
    pods = np.flatnonzero(free_to_move).astype(np.int32)
    classes = problem.pod_class[pods]
    cost = problem.cost[classes].astype(np.float64)
    return Shuffle(
        pods=pods,
        demand=np.ascontiguousarray(problem.demand[classes]),
        home=problem.home[pods],
        group=problem.tier[classes],
        mask=problem.mask[classes],
        cost=cost / max(1.0, float(np.median(cost)) if len(cost) else 1.0),
        node=assign[pods],
        room=room_left(problem, assign, present & ~free_to_move),
        scale=1.0 / np.maximum(problem.capacity, 1).astype(np.float64),
    )


@dataclass(slots=True)
class Attempt:
    """One annealing run, done in slices so that a deadline can cut it: aims at `node` without overfull nodes."""

    shuffle: Shuffle
    allowed: Bools
    node: Small
    free: Ints
    move_weight: float
    hot: float
    cold: float
    steps: int
    seed: int
    stop_when_fits: bool
    done: int = 0
    found: Small | None = None
    found_cost: float = np.inf

    def run(self, steps: int) -> int:
        """Do up to `steps` more; returns how many were done. `found` is set once nothing is overfull."""
        steps = min(steps, self.steps - self.done)
        at = self.done / self.steps
        upto = (self.done + steps) / self.steps
        ratio = self.cold / self.hot
        best = np.empty_like(self.node)
        s = self.shuffle
        fits, cost, used = loops.anneal(
            s.demand,
            s.home,
            s.cost * self.move_weight,
            s.group,
            s.mask,
            self.allowed,
            self.free,
            s.scale,
            self.node,
            best,
            self.hot * ratio**at,
            self.hot * ratio**upto,
            steps,
            self.seed + self.done,
            self.stop_when_fits,
        )
        if fits and cost < self.found_cost - 1e-9:
            self.found, self.found_cost = best, cost
        self.done += max(1, used)
        return int(used)

    @property
    def is_over(self) -> bool:
        """Whether the run has found what it looked for, or has cooled down."""
        return self.done >= self.steps or (self.stop_when_fits and self.found is not None)


def salvage(attempt: Attempt, tier: int) -> Small | None:
    """What an attempt is worth although nodes are still overfull: pods of the tier are taken out until none is."""
    s = attempt.shuffle
    node, free = attempt.node.copy(), attempt.free.copy()
    if not loops.shed(s.demand, s.home, s.group, tier, free, s.scale, node):
        return None
    loops.best_fit(s.demand, s.home, s.mask, attempt.allowed, free, free.copy(), s.scale, node)
    return node
