"""Freeness: one number per node, from which dispatch, migration, defragmentation, headroom and scale-down follow.

    freeness(n) = min over resources r of (capacity - load - queued - headroom)(n, r) / typical(r),  -inf where n drains

How many more typical tasks the node would take, below 0 where it has too many. Whatever a policy wants of a node it
says as *virtual usage*, and one rule does the rest: those with least give to those with most.

| What is wanted | Virtual usage |
| --- | --- |
| room for a queued task that fits nowhere (defragmentation) | its demand, on the node that is to be made free for it |
| headroom for important tasks | a share of the node, once, while an important task runs there |
| an empty node (scale-down) | infinite |

From Llumnix (Sun et al., OSDI 2024, arXiv 2406.03243, and its code): free room less virtual usage, divided by how many
draw on it; what it is used for, and the three kinds of virtual usage; sources and targets sorted and paired, a target
not loaded beyond a threshold. There: GPU memory of an instance, requests of its batch, each growing by a token a step,
so that freeness is how many steps are left.

Ours, because tasks of a cluster ask for several resources and do not grow: the minimum over resources, a typical task's
demand in the batch's place (the mean over all that run; with each node's own, one that holds a single small task would
look free), the node for a queued task, the choice of tasks, and two rules by which a round ends and is not undone:

1. A node gives only below `low` and takes only above `high`, which is not less; no taker is left below `low`.
   So a taker never becomes a giver, and while nothing else changes a task moves once.
2. A task moves only if its node's freeness rises. With the first: the least freeness of a cluster never falls.

A draining node's tasks go wherever they fit, the freest node first, also below `low` (never below 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.balance.freeness_loop import pair_and_move
from scheduler.core.columns import Codes, Ints, Mask, check_amounts, check_codes, check_column
from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]
NOWHERE = -1
UNLIMITED = 1e12  # freeness where nothing counts, in sums
TARGETS_ASKED = 64  # by a task, from the freest; those of draining nodes ask all


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of freeness. low, high: see the module's text. drain_above, fill_below: the mean at which nodes are
    drained, and taken back; between the two neither happens. None: never.

    Raises StowageInputError unless 0 <= low <= high and fill_below < drain_above.
    """

    low: float = 0.0
    high: float = 1.0
    drain_above: float | None = None
    fill_below: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < np.inf:
            raise StowageInputError(f"low is {self.low} and high {self.high}; 0 <= low <= high, and finite")
        if self.drain_above is not None and not 0 <= self.fill_below < self.drain_above:
            raise StowageInputError(
                f"fill_below is {self.fill_below} and drain_above {self.drain_above}; 0 <= fill_below < drain_above"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """N nodes, rows sorted by name, and what counts on them. Raises StowageInputError.

    capacity, load: (N, R), what a node has and what its tasks use. typical: (R,) a typical task's demand, of
    `typical_demand`; a resource with 0 of it does not count. queued, headroom: (N, R), see the module's text.
    draining: (N,).
    """

    capacity: Ints
    load: Ints
    typical: Floats
    queued: Ints
    headroom: Ints
    draining: Mask

    def __post_init__(self) -> None:
        n, r = self.capacity.shape
        for what in ("capacity", "load", "queued", "headroom"):
            check_amounts(what, getattr(self, what), (n, r))
        check_column("typical", self.typical, (r,), np.float64)
        check_column("draining", self.draining, (n,), np.bool_)

    def room(self) -> Ints:
        """(N, R) what is free of real and virtual usage, negative where there is too much. Draining is not counted."""
        return self.capacity - self.load - self.queued - self.headroom

    def part(self, rows: NDArray[np.intp]) -> Usage:
        """Of these nodes alone."""
        columns = (self.capacity[rows], self.load[rows], self.typical, self.queued[rows], self.headroom[rows])
        return Usage(*columns, self.draining[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """T tasks that run, as columns. Raises StowageInputError.

    at: (T,) node. use: (T, R). cost: (T,) of moving it. priority: (T,). keeps: (T,) never moved. important: (T,) moved
    only off a draining node. mask, allowed: (T,), (S, N) it may go to n where `allowed[mask[t], n]`. group: (T,) those
    of one number are never sent to a node that has another of them; -1 for none.
    """

    at: Codes
    use: Ints
    cost: Ints
    priority: Ints
    keeps: Mask
    important: Mask
    mask: Codes
    allowed: Mask
    group: Codes

    def __post_init__(self) -> None:
        t, n = len(self.at), self.allowed.shape[1]
        check_codes("at", self.at, t, n, lowest=0)
        check_amounts("use", self.use, (t, self.use.shape[1]))
        for what in ("cost", "priority"):
            check_amounts(what, getattr(self, what), (t,))
        for what in ("keeps", "important"):
            check_column(what, getattr(self, what), (t,), np.bool_)
        check_codes("mask", self.mask, t, len(self.allowed), lowest=0)
        check_codes("group", self.group, t, max(t, 1), lowest=-1)


class Moves(NamedTuple):
    """(M,) rows of tasks and where each goes, in the order in which they were chosen."""

    who: Codes
    to: Codes


def typical_demand(use: Ints) -> Floats:
    """(R,) the mean demand of these tasks, 0 without any."""
    return use.mean(axis=0) if len(use) else np.zeros(use.shape[1])


def freeness(usage: Usage) -> Floats:
    """(N,) the number of the module's text; +inf where no resource counts."""
    return np.where(usage.draining, -np.inf, _in_typical(usage, usage.room()))


def _in_typical(usage: Usage, room: Ints) -> Floats:
    """(N,) how many typical tasks this room is."""
    counts = usage.typical > 0
    return np.asarray((room[:, counts] / usage.typical[counts]).min(axis=1, initial=np.inf))


def _size_in_typical(usage: Usage, amounts: Ints) -> Floats:
    """(n,) the largest part of a typical task that each row of amounts is: what it takes off a freeness at most."""
    counts = usage.typical > 0
    return np.asarray((amounts[:, counts] / usage.typical[counts]).max(axis=1, initial=0.0))


def dispatch(usage: Usage, demand: Ints, eligible: Mask) -> int:
    """The freest of the eligible nodes on which this fits beside real and virtual usage; NOWHERE for none.

    demand: (R,). eligible: (N,). A resource not asked for never refuses; the first by name among equals.
    """
    fits = ((demand <= usage.room()) | (demand == 0)).all(axis=1)
    return _first_most(freeness(usage), eligible & ~usage.draining & fits)


def node_to_free(usage: Usage, demand: Ints, eligible: Mask) -> int:
    """Defragmentation: the node where least must leave for this task, of those it could ever be on; NOWHERE for none.

    What must leave is counted in typical tasks, so it is the node that is freest when the task counts there.
    """
    whole = ((demand <= usage.capacity) | (demand == 0)).all(axis=1)
    return _first_most(_in_typical(usage, usage.room() - demand), eligible & ~usage.draining & whole)


def _first_most(value: Floats, among: Mask) -> int:
    rows = np.flatnonzero(among)
    return int(rows[value[rows].argmax()]) if len(rows) else NOWHERE


def headroom_for(capacity: Ints, at: Codes, important: Mask, share: float) -> Ints:
    """(N, R) the headroom: this share of every node on which an important task runs, however many do."""
    held = np.zeros_like(capacity)
    nodes = np.unique(at[important])
    held[nodes] = np.floor(capacity[nodes] * share).astype(np.int64)
    return held


def migrate(usage: Usage, work: Work, limits: Limits) -> Moves:
    """One round of migrations: the nodes below `low` and the draining ones, least free first, each paired with a taker.

    Of a node first what matters least, then what costs least for the room it makes; until the node is at `low`. A task
    that its taker cannot have asks the next. The instance is as it was before any of the moves; nothing is moved twice.
    """
    free = freeness(usage)
    sources = np.flatnonzero(free < limits.low)
    sources = sources[np.argsort(free[sources], kind="stable")]
    targets = np.flatnonzero(~usage.draining)
    targets = targets[np.argsort(-free[targets], kind="stable")]
    rows, first = _by_source(usage, work, sources)
    known = np.sort(work.group[work.group >= 0].astype(np.int64) * len(free) + work.at[work.group >= 0])
    takers = int((free[targets] > limits.high).sum())
    who, to = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    count = pair_and_move(
        usage.room(), usage.typical, usage.draining, limits.low, limits.high, sources, targets, takers, TARGETS_ASKED,
        rows, first, work.use, work.mask, work.allowed, work.group, known, who, to,
    )  # fmt: skip
    return Moves(who[:count], to[:count])


def nodes_to_drain(usage: Usage, tasks: Ints, limits: Limits, least: int = 1) -> Codes:
    """Scale-down: nodes to begin draining, those with fewest tasks first, while the mean freeness stays high enough.

    tasks: (N,) how many run there. The mean is that of the nodes that stay, once they have taken all the draining ones
    hold; it never falls below `drain_above`, and `least` nodes stay. What a task takes off a node's freeness is counted
    as its largest part of a typical task, so the mean is not over-estimated.
    """
    if limits.drain_above is None:
        return np.zeros(0, np.int32)
    free, stays = np.minimum(freeness(usage), UNLIMITED), ~usage.draining
    held = _size_in_typical(usage, usage.load)
    total, count = float(free[stays].sum() - held[~stays].sum()), int(stays.sum())
    found = []
    candidates = np.flatnonzero(stays)
    for n in candidates[np.argsort(tasks[candidates], kind="stable")].tolist():
        total, count = total - free[n] - held[n], count - 1
        if count < least or not total >= limits.drain_above * count:
            break
        found.append(n)
    return np.array(found, np.int32)


def nodes_to_fill(usage: Usage, tasks: Ints, limits: Limits) -> Codes:
    """Scale-up: draining or emptied nodes to take back, those that still hold most first, until the mean is enough.

    The mean of the nodes that stay reaches `fill_below` with them, or all are back. tasks: as in `nodes_to_drain`.
    """
    free = np.minimum(_in_typical(usage, usage.room()), UNLIMITED)
    total, count = float(free[~usage.draining].sum()), int((~usage.draining).sum())
    found = []
    candidates = np.flatnonzero(usage.draining)
    for n in candidates[np.argsort(-tasks[candidates], kind="stable")].tolist():
        if count and total >= limits.fill_below * count:
            break
        total, count = total + free[n], count + 1
        found.append(n)
    return np.array(found, np.int32)


def _by_source(usage: Usage, work: Work, sources: NDArray[np.intp]) -> tuple[Codes, Codes]:
    """(M,) the tasks that may leave, those of one source in a row and in the order of leaving; (S + 1,) where each
    source's begin."""
    rank = np.full(len(usage.capacity), -1, np.int64)
    rank[sources] = np.arange(len(sources))
    leaves = np.flatnonzero((rank[work.at] >= 0) & ~work.keeps & (~work.important | usage.draining[work.at]))
    dear = work.cost[leaves] / np.maximum(_size_in_typical(usage, work.use[leaves]), 1e-9)
    order = np.lexsort((leaves, dear, work.priority[leaves], rank[work.at[leaves]]))
    first = np.searchsorted(rank[work.at[leaves[order]]], np.arange(len(sources) + 1))
    return leaves[order].astype(np.int32), first.astype(np.int32)
