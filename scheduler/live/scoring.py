"""The nodes worth a score: any policy of `scheduler.core.policies`, over the rows of the cache.

The policy's own compiled score is called for each candidate. On top of it, in this order: a dear node loses to a cheap
one as `price_weight` says, by the formula of the replay (`scheduler.core.auction.surplus`); a node with suspect GPUs
comes after all others for a pod that uses GPUs. Equal nodes go by name, as in the replay, so the same cluster gives the
same choice. All of it is one compiled loop: between two requests other programs use the processor's caches, and the
code of every further library call would have to be fetched again.

What is sent is 10 for the best node and at most 9 for any other, in proportion to how the policy sees it between the
best and the worst candidate. So where the policy has a clear view it outweighs kube-scheduler's own scores (one point
is 10 times the extender's weight), and where nodes are much alike those decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from scheduler.core.cluster import DISK, GPU, MEMORY
from scheduler.core.columns import Ints
from scheduler.core.policies import get_policy
from scheduler.live.node_columns import NodeColumns
from scheduler.live.wire import MAX_SCORE

BestRows = Callable[..., int]

_ROUNDING_MIB: Final = 256
"""Requests are rounded up to MiB pod by pod: a node may look this much fuller than it is. The scheduler decides about
room exactly; here a pod that cannot fit is only kept from being scored."""


@cache
def scorer(policy: str) -> BestRows:
    """The compiled loop of a policy; takes a second the first time. Raises StowageInputError for an unknown policy.

    `loop(demand, demand_nonzero, allocatable, requested, requested_nonzero, price_milli, is_suspect, rank, rows, draw,
    price_weight, best, points)` writes the positions of the best of `rows` to `best`, best first, as many as it has
    room for, their points to `points`, and returns how many. A row that is negative, or on which the pod clearly does
    not fit, is never among them.
    """
    from numba import njit

    from scheduler.core.auction.surplus import rate_among, surplus

    score = get_policy(policy).score

    @njit(
        "int64(int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], boolean[::1],"
        "int64[::1], int64[::1], int64, float64, int64[::1], int64[::1])",
        error_model="numpy",
    )
    def loop(  # type: ignore[no-untyped-def]
        demand, demand_nonzero, allocatable, requested, requested_nonzero, price_milli, is_suspect, rank, rows, draw,
        price_weight, best, points,
    ):  # fmt: skip
        scores = np.empty(rows.size)
        able = np.empty(rows.size, np.int64)  # where the pod fits
        count = 0
        for i in range(rows.size):
            node = rows[i]
            if node < 0:
                continue
            fits = True
            for r in range(demand.size):
                slack = _ROUNDING_MIB if r in (MEMORY, DISK) else 0
                if demand[r] > 0 and demand[r] > allocatable[node, r] - requested[node, r] + slack:
                    fits = False
                    break
            if fits:
                scores[i] = score(demand, demand_nonzero, allocatable, requested, requested_nonzero, node, draw)
                if np.isfinite(scores[i]):
                    able[count] = i
                    count += 1
        if not count:
            return 0
        able = able[:count]
        if price_weight:
            cheap, dear = price_milli[rows[able]].min(), price_milli[rows[able]].max()
            rate = rate_among(price_weight, scores[able].min(), scores[able].max(), float(cheap), float(dear))
            for i in able:
                scores[i] = surplus(scores[i], float(price_milli[rows[i]] - cheap), rate)
        if demand[GPU]:
            behind = scores[able].max() - scores[able].min() + 1.0
            for i in able:
                if is_suspect[rows[i]]:
                    scores[i] -= behind
        found = 0
        for i in able:  # into its place among the best so far; a sort of all would take long to compile, and memory
            at = found
            while at and (
                scores[i] > scores[best[at - 1]]
                or (scores[i] == scores[best[at - 1]] and rank[rows[i]] < rank[rows[best[at - 1]]])
            ):
                if at < best.size:
                    best[at] = best[at - 1]
                at -= 1
            if at < best.size:
                best[at] = i
                found = min(found + 1, best.size)
        high, low = scores[best[0]], scores[able].min()
        for k in range(found):
            share = (scores[best[k]] - low) / (high - low) if high > low else 1.0
            points[k] = MAX_SCORE if not k else min(max(int(np.rint(share * MAX_SCORE)), 1), MAX_SCORE - 1)
        return found

    compiled: BestRows = loop
    return compiled


@dataclass(frozen=True, slots=True)
class Ranking:
    """How nodes are compared: a policy's loop, and what prices weigh against its score."""

    best_rows: BestRows
    price_weight: float = 0.0

    def best(
        self, columns: NodeColumns, demand: Ints, nonzero: Ints, rows: Ints, draw: int, count: int
    ) -> tuple[Ints, Ints]:
        """Positions in `rows` of the best nodes and their points, best first, at most `count`; see `scorer`.

        demand: (R,). nonzero: (2,). rows: (candidates,), negative for an unknown node. draw: the policy's chance.
        """
        best, points = np.empty(count, np.int64), np.empty(count, np.int64)
        weight = self.price_weight if columns.priced else 0.0
        found = self.best_rows(
            demand, nonzero, columns.allocatable, columns.requested, columns.requested_nonzero,
            columns.price_milli, columns.is_suspect, columns.index.rank, rows, draw, weight, best, points,
        )  # fmt: skip
        return best[:found], points[:found]

    def warm(self) -> None:
        """Run the loop once on nothing."""
        columns: Any = NodeColumns()
        self.best(columns, np.zeros(len(columns.axes), np.int64), np.zeros(2, np.int64), np.zeros(0, np.int64), 0, 1)
