"""The most valuable pattern for one node: a small knapsack with several resources, by branch and bound, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.core.compiled import compiled
from scheduler.core.packing.problem import Ints


@compiled
def price_patterns(
    pod: Ints,
    bonus: Ints,
    demand: Ints,
    room: Ints,
    new_most: Ints,
    stay_most: Ints,
    limit: int,
    new: Ints,
    stay: Ints,
    ceiling: NDArray[np.float64],
) -> int:
    """The most valuable pattern of every group and an upper bound of its value; returns the steps taken.

    pod: (K,) value of a pod of each class, bonus: (K,) more if it stays. room: (G, R). new_most, stay_most: (G, K).
    Writes new, stay: (G, K) and ceiling: (G,).
    """
    classes, resources = demand.shape
    steps = 0
    for g in range(len(room)):
        weight = np.empty(2 * classes, np.int64)
        most = np.empty(2 * classes, np.int64)
        item = np.empty(2 * classes, np.int64)
        n = 0
        for k in range(classes):
            fits = True
            for r in range(resources):
                if demand[k, r] > room[g, r]:
                    fits = False
            if fits and stay_most[g, k] > 0 and pod[k] + bonus[k] > 0:
                weight[n], most[n], item[n] = pod[k] + bonus[k], stay_most[g, k], classes + k
                n += 1
            if fits and new_most[g, k] > 0 and pod[k] > 0:
                weight[n], most[n], item[n] = pod[k], new_most[g, k], k
                n += 1
        if n == 0:
            continue
        share = np.zeros((n, resources))
        for i in range(n):
            for r in range(resources):
                share[i, r] = demand[item[i] % classes, r] / max(room[g, r], 1)
        order, size = _sort_by_density(weight[:n], most[:n], share)
        taken, value, bound, used = _fill_knapsack(
            weight[order], most[order], size[order], demand[item[:n][order] % classes], room[g], limit
        )
        steps += used
        ceiling[g] = max(bound, float(value))
        for j in range(n):
            i = item[order[j]]
            if i >= classes:
                stay[g, i - classes] = taken[j]
            else:
                new[g, i] = taken[j]
    return steps


@compiled
def _sort_by_density(
    weight: Ints, most: Ints, share: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Items by value per size, the size being the mixture of resources whose relaxation is tightest.

    share: (items, R), of the whole room. Any mixture that sums to 1 is a relaxation of the room.
    """
    items, resources = share.shape
    best = np.inf
    best_order, best_size = np.arange(items), np.empty(items)
    size = np.empty(items)
    for first in range(resources):
        for second in range(first, resources):
            for step in range(1 if first == second else 10):
                part = 1.0 if first == second else step / 10.0
                for i in range(items):
                    size[i] = max(part * share[i, first] + (1.0 - part) * share[i, second], 1e-9)
                order = np.argsort(-weight / size, kind="mergesort")
                value, left = 0.0, 1.0
                for i in order:
                    if most[i] * size[i] > left:
                        value += weight[i] * left / size[i]
                        break
                    value += most[i] * weight[i]
                    left -= most[i] * size[i]
                if value < best:
                    best = value
                    best_order, best_size = order, size.copy()
    return best_order, best_size


@compiled
def _fill_knapsack(
    weight: Ints, most: Ints, size: NDArray[np.float64], demand: Ints, room: Ints, limit: int
) -> tuple[Ints, int, float, int]:
    """Depth-first branch and bound over items in order of density. Returns (counts, value, bound, steps)."""
    items, resources = demand.shape
    counts, best_counts = np.zeros(items, np.int64), np.zeros(items, np.int64)
    left = room.copy()
    best, value, bound, space = 0, 0, 0.0, 1.0
    depth, steps = 0, 0
    while True:
        if depth < items:
            ceiling, spare = float(value), space
            for j in range(depth, items):
                if most[j] * size[j] > spare:
                    ceiling += weight[j] * spare / size[j]
                    break
                ceiling += most[j] * weight[j]
                spare -= most[j] * size[j]
            steps += 1
            if ceiling >= best + 0.999:
                if steps <= limit:
                    n = most[depth]
                    for r in range(resources):
                        if demand[depth, r] > 0:
                            n = min(n, left[r] // demand[depth, r])
                    counts[depth] = n
                    value += n * weight[depth]
                    space -= n * size[depth]
                    for r in range(resources):
                        left[r] -= n * demand[depth, r]
                    depth += 1
                    continue
                bound = max(bound, ceiling)
        elif value > best:
            best = value
            best_counts[:] = counts
        depth -= 1
        while depth >= 0 and counts[depth] == 0:
            depth -= 1
        if depth < 0:
            return best_counts, best, bound, steps
        counts[depth] -= 1
        value -= weight[depth]
        space += size[depth]
        for r in range(resources):
            left[r] += demand[depth, r]
        depth += 1


def warm_up() -> None:
    """Load or compile the pricing, so that no search pays for it."""
    one = np.ones((1, 1), dtype=np.int64)
    price_patterns(one[0], one[0], one, one, one, one, 1, one.copy(), one.copy(), np.zeros(1))
