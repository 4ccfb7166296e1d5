"""What a placement is worth: counts per tier, disruption, and which of two placements is better."""

from __future__ import annotations

import numpy as np

from scheduler.core.packing.problem import Bools, Ints, Order, Problem, Small


def placed_per_tier(problem: Problem, assign: Small) -> list[int]:
    """Pods placed in each tier."""
    counts = np.bincount(problem.pod_tier[assign >= 0], minlength=len(problem.priority))
    return [int(n) for n in counts]


def disturbed(problem: Problem, assign: Small) -> Bools:
    """(M,) running pods that do not stay where they are."""
    return (problem.home >= 0) & (assign != problem.home)


def harm(problem: Problem, assign: Small, level: int | None = None) -> int:
    """Cost of the disturbed pods of levels up to `level` (all, if None)."""
    gone = disturbed(problem, assign)
    if level is not None:
        gone &= np.array(problem.level)[problem.pod_tier] <= level
    return int(problem.cost[problem.pod_class[gone]].sum())


def rank(problem: Problem, assign: Small, order: Order) -> tuple[int, ...]:
    """A key that is larger for the better placement, in the given order."""
    placed = placed_per_tier(problem, assign)
    if order == "max-pack":
        return (*placed, -harm(problem, assign))
    key: list[int] = []
    for tier, count in enumerate(placed):
        key.append(count)
        level = problem.level[tier]
        if tier + 1 == len(placed) or problem.level[tier + 1] != level:
            key.append(-harm(problem, assign, level))
    return tuple(key)


def room_left(problem: Problem, assign: Small, which: Bools | None = None) -> Ints:
    """(N, R) capacity less the requests of the placed pods (of those marked)."""
    free = problem.capacity.copy()
    some = assign >= 0 if which is None else (assign >= 0) & which
    np.subtract.at(free, assign[some], problem.demand[problem.pod_class[some]])
    return free


def let_replicas_stay(problem: Problem, assign: Small) -> Small:
    """The same counts per class and node, with the fewest pods away from home (replicas are interchangeable)."""
    out = assign.copy()
    gone = disturbed(problem, assign)
    for k in np.unique(problem.pod_class[gone]):
        mine = np.flatnonzero(problem.pod_class == k)
        nodes = assign[mine]
        taken = np.zeros(len(mine), dtype=bool)
        stays = np.zeros(len(mine), dtype=bool)
        for i, pod in enumerate(mine):
            if problem.home[pod] < 0:
                continue
            spots = np.flatnonzero((nodes == problem.home[pod]) & ~taken)
            if len(spots):
                taken[spots[0]] = stays[i] = True
        out[mine[stays]] = problem.home[mine[stays]]
        # the other places go to running pods first: moving one is better than losing it and placing a waiting one
        rest = np.flatnonzero(~stays)
        rest = rest[np.argsort(problem.home[mine[rest]] < 0, kind="stable")]
        left = nodes[~taken]
        left = np.concatenate([left[left >= 0], left[left < 0]])
        out[mine[rest]] = left
    return out
