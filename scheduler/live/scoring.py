"""The nodes worth a score: any policy of `scheduler.core.policies`, over the rows of the cache.

The policy's own compiled score is called for each candidate, in one compiled loop. On top of it, in this order: a node
with suspect GPUs comes after all others for a pod that uses GPUs; a dear node loses to a cheap one as `price_weight`
says. Equal nodes go by name, as in the replay, so the same cluster gives the same choice.

What is sent is 10 for the best node and at most 9 for any other, in proportion to how the policy sees it between the
best and the worst candidate. So where the policy has a clear view it outweighs kube-scheduler's own scores (one point
is 10 times the extender's weight), and where nodes are much alike those decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.cluster import DISK, GPU, MEMORY
from scheduler.core.columns import Ints
from scheduler.core.policies import get_policy
from scheduler.live.node_columns import NodeColumns
from scheduler.live.wire import MAX_SCORE

Scores = NDArray[np.float64]
ScoreRows = Callable[[Ints, Ints, Ints, Ints, Ints, Ints, int, Scores], None]

_ROUNDING_MIB: Final = 256
"""Requests are rounded up to MiB pod by pod: a node may look this much fuller than it is. The scheduler decides about
room exactly; here a pod that cannot fit is only kept from being scored."""


@cache
def scorer(policy: str) -> ScoreRows:
    """The compiled loop of a policy; takes a second the first time. Raises StowageInputError for an unknown policy.

    `loop(demand, demand_nonzero, allocatable, requested, requested_nonzero, rows, draw, out)` writes out[i], the score
    of node rows[i], and -inf where the row is negative or the pod clearly does not fit.
    """
    from numba import njit

    score = get_policy(policy).score

    @njit(
        "void(int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], int64, float64[::1])",
        error_model="numpy",
    )
    def loop(  # type: ignore[no-untyped-def]
        demand, demand_nonzero, allocatable, requested, requested_nonzero, rows, draw, out
    ):
        for i in range(rows.size):
            node = rows[i]
            out[i] = -np.inf
            if node < 0:
                continue
            fits = True
            for r in range(demand.size):
                slack = _ROUNDING_MIB if r in (MEMORY, DISK) else 0
                if demand[r] > 0 and demand[r] > allocatable[node, r] - requested[node, r] + slack:
                    fits = False
                    break
            if fits:
                out[i] = score(demand, demand_nonzero, allocatable, requested, requested_nonzero, node, draw)

    compiled: ScoreRows = loop
    return compiled


def best_nodes(
    score_rows: ScoreRows,
    columns: NodeColumns,
    demand: Ints,
    nonzero: tuple[int, int],
    names: Sequence[str],
    rows: Ints,
    draw: int,
    count: int,
    price_weight: float,
) -> list[tuple[str, int]]:
    """The best of the named nodes with their points, best first, at most `count`; none where the pod does not fit.

    demand: (R,). rows: (len(names),), -1 for a name without a row. draw: the chance a policy may use.
    """
    scores = np.empty(len(rows))
    score_rows(
        demand, np.array(nonzero, np.int64), columns.allocatable, columns.requested, columns.requested_nonzero,
        rows, draw, scores,
    )  # fmt: skip
    scores = adjust(scores, columns, rows, bool(demand[GPU]), price_weight)
    best = top(scores, count, names)
    if not best:
        return []
    high, low = scores[best[0]], scores[np.isfinite(scores)].min()
    share = (scores[best] - low) / (high - low) if high > low else np.ones(len(best))
    points = np.clip(np.rint(share * MAX_SCORE), 1, MAX_SCORE - 1).astype(np.int64)
    points[0] = MAX_SCORE
    return [(names[i], int(point)) for i, point in zip(best, points, strict=True)]


def adjust(scores: Scores, columns: NodeColumns, rows: Ints, wants_gpu: bool, price_weight: float) -> Scores:
    """Scores with prices and suspect GPUs taken into account; the order alone has a meaning."""
    prices = columns.price_milli[rows]
    able = np.isfinite(scores)
    if price_weight and able.any() and prices[able].min() != prices[able].max():
        scores = _share(scores, able) - price_weight * _share(prices.astype(np.float64), able)
        scores[~able] = -np.inf
    if wants_gpu and (suspect := columns.is_suspect[rows] & able).any():
        finite = scores[able]
        scores[suspect] -= finite.max() - finite.min() + 1.0
    return scores


def top(scores: Scores, count: int, names: Sequence[str]) -> list[int]:
    """Where the `count` highest scores are, best first; equal ones by name; -inf never."""
    able = int(np.isfinite(scores).sum())
    count = min(count, able)
    if not count:
        return []
    last = -np.partition(-scores, count - 1)[count - 1]
    better = sorted((-scores[i], names[i], i) for i in np.flatnonzero(scores > last).tolist())
    # Names come in runs that are sorted already, which makes a whole sort cheaper than a heap.
    equal = sorted(np.flatnonzero(scores == last).tolist(), key=names.__getitem__)
    return [i for _, _, i in better] + equal[: count - len(better)]


def _share(values: Scores, able: NDArray[np.bool_]) -> Scores:
    """Values as shares of their range over the nodes that count, in [0, 1]."""
    low, high = values[able].min(), values[able].max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def warm(score_rows: ScoreRows) -> None:
    """Run the loop once on nothing."""
    two: Any = np.zeros((1, 4), np.int64)
    one: Any = np.zeros(4, np.int64)
    score_rows(one, one[:2].copy(), two, two, np.zeros((1, 2), np.int64), np.zeros(0, np.int64), 0, np.zeros(0))
