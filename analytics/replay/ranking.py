"""Which node is best for a request class, without scoring every node for every task.

Tasks come in bursts of one class, and a placement changes one node. So the scores of a class are kept and brought up
to date from a log of changed nodes; a two-level maximum gives the best node. On Google's 2011 trace this does the
work of a full scan of 12,477 machines per task at about a hundredth of its cost; when too much changed since a class
was last asked for, or its place was given to another class, its scores are built anew.

Ties go to the lowest row, and rows are sorted by machine id.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64, njit, types, void
from numba.core.types import WrapperAddressProtocol
from numba.experimental.function_type import _get_wrapper_address
from numpy.typing import NDArray

from analytics.replay.state import Classes, Nodes, fits, has_room
from scheduler.core.auction.surplus import surplus

BLOCK = 128  # nodes per block of the two-level maximum: sqrt(12,500), rounded to a power of two
SLOT_MEMORY = 96 << 20  # bytes of kept scores, for all classes together
LOG_LENGTH = 1 << 16  # a power of two
PRICE_RATE = 1.0  # of a score: prices are shares of what a node could fetch at most

# Scores of several nodes in one call, because a call through a pointer costs more than a score.
BATCH_SIGNATURE = void(
    int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float64[::1]
)


class ScoreBatch(WrapperAddressProtocol):
    """A policy's score as a first-class function, so that one compiled engine serves every policy."""

    def __init__(self, score: Callable[..., float]) -> None:
        @njit(BATCH_SIGNATURE, error_model="numpy")
        def batch(  # type: ignore[no-untyped-def]
            demand, demand_nonzero, allocatable, requested, requested_nonzero, rows, count, draw, out
        ):
            for i in range(count):
                out[i] = score(demand, demand_nonzero, allocatable, requested, requested_nonzero, rows[i], draw)

        self._batch = batch

    def __wrapper_address__(self) -> Any:
        return _get_wrapper_address(self._batch, BATCH_SIGNATURE)

    def signature(self) -> types.Type:
        return BATCH_SIGNATURE


@functools.cache
def score_batch_of(score: Callable[..., float]) -> ScoreBatch:
    """The batch of a score, compiled once per process: that takes longer than the replay of a small trace."""
    return ScoreBatch(score)


class Ranking(NamedTuple):
    """Kept scores of up to K classes over N nodes in B blocks, and the log of changed nodes."""

    score: NDArray[np.float64]  # (K, N), -inf where the class does not fit
    block_best: NDArray[np.float64]  # (K, B)
    class_of: NDArray[np.int32]  # (K,)
    slot_of: NDArray[np.int32]  # (C,)
    used: NDArray[np.int64]  # (K,) when the slot was last asked
    synced: NDArray[np.int64]  # (K,) log position up to which it is true
    log: NDArray[np.int32]  # (L,) ring of the nodes changed last; L is a power of two
    position: NDArray[np.int64]  # (2,) changes logged; questions asked
    rows: NDArray[np.int64]  # (N,) scratch
    scores: NDArray[np.float64]  # (N,) scratch
    price: NDArray[np.float64]  # (N,) taken off a node's score; change it only with `mark_changed`
    withholds: NDArray[np.bool_]  # (1,) freed nodes are kept for the next round of bidding
    withheld: NDArray[np.bool_]  # (N,) is kept so
    barred: NDArray[np.bool_]  # (N,) withheld until `unbar`, whatever is freed there


def new_ranking(nodes: int, classes: int) -> Ranking:
    """An empty ranking for `nodes` nodes and `classes` classes."""
    blocks = -(-nodes // BLOCK)
    slots = int(np.clip(SLOT_MEMORY // max(8 * nodes, 1), 8, max(classes, 8)))
    return Ranking(
        score=np.full((slots, nodes), -np.inf),
        block_best=np.full((slots, blocks), -np.inf),
        class_of=np.full(slots, -1, np.int32),
        slot_of=np.full(classes, -1, np.int32),
        used=np.zeros(slots, np.int64),
        synced=np.zeros(slots, np.int64),
        log=np.zeros(LOG_LENGTH, np.int32),
        position=np.zeros(2, np.int64),
        rows=np.zeros(nodes, np.int64),
        scores=np.zeros(nodes),
        price=np.zeros(nodes),
        withholds=np.zeros(1, np.bool_),
        withheld=np.zeros(nodes, np.bool_),
        barred=np.zeros(nodes, np.bool_),
    )


@njit(cache=True)
def mark_changed(ranking: Ranking, n: int) -> None:
    """Node `n` has other free room than before."""
    ranking.log[ranking.position[0] & (ranking.log.shape[0] - 1)] = n
    ranking.position[0] += 1


@njit(cache=True)
def bar(ranking: Ranking, n: int) -> None:
    """Nobody new comes to node `n`, but by preemption."""
    ranking.barred[n] = ranking.withheld[n] = True
    mark_changed(ranking, n)


@njit(cache=True)
def best_node(
    ranking: Ranking, nodes: Nodes, classes: Classes, c: int, score_batch: Any, rescan: bool, draw: int
) -> int:
    """The feasible node that scores highest for class `c`, or -1."""
    slot = _slot_for(ranking, c)
    changes = ranking.position[0] - ranking.synced[slot]
    if rescan or changes > min(ranking.log.shape[0], ranking.score.shape[1] // 2):
        _build(ranking, nodes, classes, c, slot, score_batch, draw)
    elif changes > 0:
        _sync(ranking, nodes, classes, c, slot, score_batch, draw)
    ranking.synced[slot] = ranking.position[0]
    best = -np.inf
    block = -1
    for b in range(ranking.block_best.shape[1]):
        if ranking.block_best[slot, b] > best:
            best = ranking.block_best[slot, b]
            block = b
    if block < 0:
        return -1
    for n in range(block * BLOCK, min((block + 1) * BLOCK, ranking.score.shape[1])):
        if ranking.score[slot, n] == best:
            return n
    return -1


@njit(cache=True)
def _slot_for(ranking: Ranking, c: int) -> int:
    """The slot of class `c`; the longest unused one is given to it when it has none."""
    slot = ranking.slot_of[c]
    if slot < 0:
        slot = np.argmin(ranking.used)
        if ranking.class_of[slot] >= 0:
            ranking.slot_of[ranking.class_of[slot]] = -1
        ranking.class_of[slot] = c
        ranking.slot_of[c] = slot
        ranking.synced[slot] = ranking.position[0] - ranking.log.shape[0] - 1
    ranking.position[1] += 1
    ranking.used[slot] = ranking.position[1]
    return slot


@njit(cache=True)
def score_rows(
    ranking: Ranking, nodes: Nodes, classes: Classes, c: int, count: int, score_batch: Any, draw: int
) -> None:
    """Score the first `count` of `ranking.rows` for class `c` into `ranking.scores`, less their prices."""
    score_batch(
        classes.demand[c],
        classes.demand_nonzero[c],
        nodes.allocatable,
        nodes.requested,
        nodes.requested_nonzero,
        ranking.rows,
        count,
        draw,
        ranking.scores,
    )
    for i in range(count):
        ranking.scores[i] = surplus(ranking.scores[i], ranking.price[ranking.rows[i]], PRICE_RATE)


@njit(cache=True)
def _build(ranking: Ranking, nodes: Nodes, classes: Classes, c: int, slot: int, score_batch: Any, draw: int) -> None:
    requested, allocatable, demand, up = nodes.requested, nodes.allocatable, classes.demand, nodes.up
    score, rows, scores, withheld = ranking.score[slot], ranking.rows, ranking.scores, ranking.withheld
    has_more_rules = classes.mask[c] >= 0 or classes.spread[c] >= 0 or classes.gpus[c] > 0
    count = 0
    for n in range(score.shape[0]):
        score[n] = -np.inf
        if not up[n] or withheld[n] or not has_room(requested, allocatable, demand, c, n):
            continue
        if has_more_rules and not fits(nodes, classes, c, n):
            continue
        rows[count] = n
        count += 1
    score_rows(ranking, nodes, classes, c, count, score_batch, draw)
    for i in range(count):
        score[rows[i]] = scores[i]
    for b in range(ranking.block_best.shape[1]):
        ranking.block_best[slot, b] = _best_of_block(score, b)


@njit(cache=True)
def _best_of_block(score: NDArray[np.float64], b: int) -> float:
    best = -np.inf
    for n in range(b * BLOCK, min((b + 1) * BLOCK, score.shape[0])):
        best = max(best, score[n])
    return best


@njit(cache=True)
def _sync(ranking: Ranking, nodes: Nodes, classes: Classes, c: int, slot: int, score_batch: Any, draw: int) -> None:
    requested, allocatable, demand, up = nodes.requested, nodes.allocatable, classes.demand, nodes.up
    score, best, rows, scores, log, withheld = (
        ranking.score[slot],
        ranking.block_best[slot],
        ranking.rows,
        ranking.scores,
        ranking.log,
        ranking.withheld,
    )
    has_more_rules = classes.mask[c] >= 0 or classes.spread[c] >= 0 or classes.gpus[c] > 0
    count = 0
    for i in range(ranking.synced[slot], ranking.position[0]):
        n = log[i & (log.shape[0] - 1)]
        if (
            up[n]
            and not withheld[n]
            and has_room(requested, allocatable, demand, c, n)
            and (not has_more_rules or fits(nodes, classes, c, n))
        ):
            rows[count] = n
            count += 1
        elif score[n] > -np.inf:
            _set_score(score, best, n, -np.inf)
    score_rows(ranking, nodes, classes, c, count, score_batch, draw)
    for i in range(count):
        _set_score(score, best, rows[i], scores[i])


@njit(cache=True)
def _set_score(score: NDArray[np.float64], block_best: NDArray[np.float64], n: int, value: float) -> None:
    b = n // BLOCK
    old = score[n]
    score[n] = value
    if value >= block_best[b]:
        block_best[b] = value
    elif old == block_best[b]:
        block_best[b] = _best_of_block(score, b)
