"""Bounds before search: how many pods of a tier can be placed at most, whatever the placement.

Pooling all nodes into one is a relaxation; so is adding up resources with weights. For each of a fan of weights the
smallest pods are counted into the pool, in integers, so the bound is exact arithmetic and not rounded floating point.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.compiled import compiled
from scheduler.core.packing.problem import Ints

STEPS = 64  # weights tried between two resources; more did not change a bound on the benchmark


def pooled_bound(room: Ints, demand: Ints, tier: Ints, floors: dict[int, int], target: int) -> int:
    """Most pods of `target` that fit into the pooled room, beside the floors of the other tiers.

    room: (N, R), never negative. demand: (M, R) of every pod that may be placed. tier: (M,). floors: tier -> pods
    that must be placed too.
    """
    total = np.maximum(room, 0).sum(axis=0)
    mine = demand[tier == target]
    best = len(mine)
    if best == 0:
        return 0
    used = np.flatnonzero(demand.any(axis=0))
    for weights in _weights(total, used):
        left = int((total[used].astype(object) * weights).sum())
        for other, floor in floors.items():
            if other != target and floor > 0:
                sizes = np.sort(_weighted(demand[tier == other][:, used], weights))
                left -= int(sizes[:floor].sum())
        sizes = np.cumsum(np.sort(_weighted(mine[:, used], weights)))
        best = min(best, int(np.searchsorted(sizes, left, side="right")))
    return max(best, 0)


def _weighted(demand: Ints, weights: list[int]) -> Ints:
    return (demand * np.array(weights, dtype=np.int64)).sum(axis=1)


def _weights(total: Ints, used: Ints) -> list[list[int]]:
    """Integer weights: each resource alone, and mixtures of each pair, scaled so that no sum overflows."""
    scale = [(1 << 34) // max(1, int(total[r]) >> 18) for r in used]
    out = [[int(i == j) for j in range(len(used))] for i in range(len(used))]
    for i in range(len(used)):
        for j in range(i + 1, len(used)):
            for step in range(1, STEPS):
                mixed = [0] * len(used)
                mixed[i], mixed[j] = scale[i] * step >> 6, scale[j] * (STEPS - step) >> 6
                if mixed[i] or mixed[j]:
                    out.append(mixed)
    return out


@compiled
def _can_drop(excess: Ints, sizes: Ints, best: Ints, picks: int, limit: int) -> int:
    """1 if some `picks` rows of sizes (sorted, largest weighted first) add up to the excess in every resource, 0 if
    none do, -1 if not decided within `limit` steps. best: (rows + 1, picks + 1, R), most that later rows can add."""
    rows, resources = sizes.shape
    chosen = np.zeros(picks + 1, np.int64)
    left = np.zeros((picks + 1, resources), np.int64)
    left[0] = excess
    depth, row, steps = 0, 0, 0
    while True:
        steps += 1
        if steps > limit:
            return -1
        done = True
        for r in range(resources):
            if left[depth, r] > 0:
                done = False
        if done:
            return 1
        possible = depth < picks and row < rows
        if possible:
            for r in range(resources):
                if left[depth, r] > best[row, picks - depth, r]:
                    possible = False
        if possible:
            chosen[depth] = row
            for r in range(resources):
                left[depth + 1, r] = left[depth, r] - sizes[row, r]
            depth += 1
            row += 1
        else:
            if depth == 0:
                return 0
            depth -= 1
            row = chosen[depth] + 1


def drop_bound(room: Ints, demand: Ints, tier: Ints, floors: dict[int, int], target: int, bound: int) -> int:
    """`bound` lowered while no choice of pods to leave out frees enough in every resource at once.

    Only where every pod of the other tiers must be placed (otherwise the bound is returned as it is).
    """
    for other, floor in floors.items():
        if other != target and floor < int((tier == other).sum()):
            return bound
    others = demand[tier != target]
    mine = demand[tier == target]
    excess = others.sum(axis=0) + mine.sum(axis=0) - np.maximum(room, 0).sum(axis=0)
    used = np.flatnonzero(excess > 0)
    if len(used) == 0:
        return bound
    share = (mine[:, used] / np.maximum(1, excess[used])).sum(axis=1)
    sizes = np.ascontiguousarray(mine[np.argsort(-share, kind="stable")][:, used])
    while bound > 0:
        picks = len(mine) - bound
        if picks > 24:
            return bound
        if _can_drop(excess[used], sizes, _best_suffixes(sizes, picks), picks, 300_000) != 0:
            return bound
        bound -= 1
    return bound


def _best_suffixes(sizes: Ints, picks: int) -> Ints:
    """(rows + 1, picks + 1, R): the largest sum of that many rows from that row on."""
    rows, resources = sizes.shape
    best = np.zeros((rows + 1, picks + 1, resources), dtype=np.int64)
    for r in range(resources):
        for row in range(rows):
            top = np.sort(sizes[row:, r])[::-1][:picks]
            best[row, 1 : len(top) + 1, r] = np.cumsum(top)
            best[row, len(top) + 1 :, r] = top.sum()
    return best


def warm_up() -> None:
    """Load or compile the loop, so that no budget pays for it."""
    one = np.ones((1, 1), dtype=np.int64)
    _can_drop(one[0], one, np.ones((2, 2, 1), dtype=np.int64), 1, 1)
