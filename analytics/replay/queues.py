"""The scheduling queue: priority first, then time, as kube-scheduler's PrioritySort.

Tasks of one (request class, priority level) wait in one *group*, first in first out: what refuses the first refuses
the rest. A refused group is *blocked* until a node changes in a way that lets it in, so a long backlog costs one
comparison per group and freed node, not one per task.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.heap import pop, push
from analytics.replay.preemption import level_to_clear
from analytics.replay.state import NOWHERE, WAITING, Classes, Nodes, Tasks, fits, has_room

SEQUENCE_BITS = 44  # arrivals counted in one replay; the level sits above them


class Queues(NamedTuple):
    """Q groups."""

    head: NDArray[np.int32]  # (Q,) task, or NOWHERE
    tail: NDArray[np.int32]  # (Q,)
    blocked_at: NDArray[np.int32]  # (Q,) row in `blocked`, or NOWHERE
    blocked: NDArray[np.int32]  # (Q,) the blocked groups, `counts[BLOCKED]` of them
    is_ready: NDArray[np.bool_]  # (Q,) has an entry in the ready heap
    is_retry: NDArray[np.bool_]  # (Q,) was refused before: only nodes freed since then can take it
    ready_keys: NDArray[np.int64]  # (Q,) heap: most important level first, then earliest arrival
    ready_groups: NDArray[np.int64]  # (Q,)
    counts: NDArray[np.int64]  # (3,) see below
    waiting_by_level: NDArray[np.int64]  # (P,)


BLOCKED, READY, SEQUENCE = 0, 1, 2


def new_queues(groups: int, levels: int) -> Queues:
    """Empty queues."""
    return Queues(
        head=np.full(groups, NOWHERE, np.int32),
        tail=np.full(groups, NOWHERE, np.int32),
        blocked_at=np.full(groups, NOWHERE, np.int32),
        blocked=np.zeros(groups, np.int32),
        is_ready=np.zeros(groups, np.bool_),
        is_retry=np.zeros(groups, np.bool_),
        ready_keys=np.zeros(groups + 1, np.int64),
        ready_groups=np.zeros(groups + 1, np.int64),
        counts=np.zeros(3, np.int64),
        waiting_by_level=np.zeros(levels, np.int64),
    )


@njit(cache=True)
def enqueue(queues: Queues, tasks: Tasks, t: int) -> None:
    """Task `t` joins the end of its group."""
    g = tasks.group[t]
    queues.counts[SEQUENCE] += 1
    tasks.arrival[t] = queues.counts[SEQUENCE]
    tail = queues.tail[g]
    tasks.after[t] = NOWHERE
    tasks.before[t] = tail
    if tail >= 0:
        tasks.after[tail] = t
    else:
        queues.head[g] = t
    queues.tail[g] = t
    tasks.node[t] = WAITING
    queues.waiting_by_level[tasks.level_of_group[g]] += 1
    if queues.blocked_at[g] < 0:
        make_ready(queues, tasks, g, False)


@njit(cache=True)
def leave_queue(queues: Queues, tasks: Tasks, t: int) -> None:
    """Task `t` stops waiting, wherever it stands in its group."""
    g = tasks.group[t]
    before, after = tasks.before[t], tasks.after[t]
    if before >= 0:
        tasks.after[before] = after
    else:
        queues.head[g] = after
    if after >= 0:
        tasks.before[after] = before
    else:
        queues.tail[g] = before
    tasks.node[t] = NOWHERE
    queues.waiting_by_level[tasks.level_of_group[g]] -= 1


@njit(cache=True)
def make_ready(queues: Queues, tasks: Tasks, g: int, is_retry: bool) -> None:
    """Offer group `g` for placement, unless it is already or nobody waits in it."""
    if queues.is_ready[g]:
        queues.is_retry[g] &= is_retry
        return
    if queues.head[g] < 0:
        return
    queues.is_retry[g] = is_retry
    queues.is_ready[g] = True
    queues.counts[READY] = push(queues.ready_keys, queues.ready_groups, queues.counts[READY], _key(queues, tasks, g), g)


@njit(cache=True)
def _key(queues: Queues, tasks: Tasks, g: int) -> int:
    levels = queues.waiting_by_level.shape[0]
    return (np.int64(levels - tasks.level_of_group[g]) << SEQUENCE_BITS) | tasks.arrival[queues.head[g]]


@njit(cache=True)
def next_group(queues: Queues, tasks: Tasks) -> int:
    """Take the group whose head is to be placed next; -1 when none is ready."""
    while queues.counts[READY] > 0:
        g, key = queues.ready_groups[0], queues.ready_keys[0]
        queues.counts[READY] = pop(queues.ready_keys, queues.ready_groups, queues.counts[READY])
        if queues.head[g] >= 0 and _key(queues, tasks, g) != key:  # whom it stood for was cancelled since
            queues.counts[READY] = push(
                queues.ready_keys, queues.ready_groups, queues.counts[READY], _key(queues, tasks, g), g
            )
            continue
        queues.is_ready[g] = False
        if queues.head[g] >= 0:
            return g
    return -1


@njit(cache=True)
def block(queues: Queues, g: int) -> None:
    """No node takes group `g` now: do not ask again until one changes."""
    if queues.blocked_at[g] < 0:
        queues.blocked[queues.counts[BLOCKED]] = g
        queues.blocked_at[g] = queues.counts[BLOCKED]
        queues.counts[BLOCKED] += 1


@njit(cache=True)
def unblock_fitting(queues: Queues, nodes: Nodes, classes: Classes, tasks: Tasks, n: int, preempts: bool) -> None:
    """Node `n` has more room: groups that fit there now, or could clear it, become ready; empty ones are forgotten.

    Whether a group could clear a node depends on its equals and betters there alone, so it is enough to ask again
    when one of these leaves.
    """
    requested, allocatable, demand = nodes.requested, nodes.allocatable, classes.demand
    if not nodes.up[n]:
        return
    i = 0
    while i < queues.counts[BLOCKED]:
        g = queues.blocked[i]
        c = tasks.class_of_group[g]
        is_empty = queues.head[g] < 0
        if not is_empty and not (has_room(requested, allocatable, demand, c, n) and fits(nodes, classes, c, n)):
            level = tasks.level_of_group[g]
            if not preempts or level == 0 or level_to_clear(nodes, classes, c, level, n) < 0:
                i += 1
                continue
        _unblock(queues, g)
        make_ready(queues, tasks, g, True)


@njit(cache=True)
def _unblock(queues: Queues, g: int) -> None:
    """Stop watching group `g`; the last watched group takes its row."""
    i = queues.blocked_at[g]
    queues.counts[BLOCKED] -= 1
    last = queues.blocked[queues.counts[BLOCKED]]
    queues.blocked[i] = last
    queues.blocked_at[last] = i
    queues.blocked_at[g] = NOWHERE
