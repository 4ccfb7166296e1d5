"""The scheduling queue: priority first, then time, as kube-scheduler's PrioritySort, or as a policy orders it.

Tasks of one (request class, priority level) wait in one *group*, first in first out: what refuses the first refuses
the rest. A policy that tells tenants apart has groups per tenant too. A group's *place* in the queue is a number of its
own plus one of its tenant; where the first comes from the level and the second is 0, that is PrioritySort.

A group with new tasks is *ready* and asks every node. A refused group is *blocked*: from then on only a node that is
freed looks for it, and takes the first in the queue's order that fits. Blocked groups lie in cells by what they ask of
CPU and memory, so that a freed node, which on a full cluster has little room, looks at few of a long backlog.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.preemption import lowest_level
from analytics.replay.state import FOREVER, NOWHERE, WAITING, Classes, Nodes, Tasks, fits, has_room, is_allowed
from scheduler.core.heap import pop, push

SEQUENCE_BITS = 32  # arrivals counted in one replay; the place sits above them
PLACE_BITS = 31


class Queues(NamedTuple):
    """Q groups of U tenants."""

    head: NDArray[np.int32]  # (Q,) task, or NOWHERE
    tail: NDArray[np.int32]  # (Q,)
    is_blocked: NDArray[np.bool_]  # (Q,) is in the list of its cell
    cell: NDArray[np.int32]  # (Q, 2) its steps of CPU and memory, see `_step`
    first_blocked: NDArray[np.int32]  # (X, Y) by cell, or NOWHERE
    after: NDArray[np.int32]  # (Q,) next blocked group of its cell
    before: NDArray[np.int32]  # (Q,)
    blocked_by_cpu: NDArray[np.int64]  # (X,) blocked groups with that step of CPU
    is_ready: NDArray[np.bool_]  # (Q,) has an entry in the ready heap
    refused_in: NDArray[np.int64]  # (Q,) the last round in which a freed node could not take it after all
    ready_keys: NDArray[np.int64]  # (Q,) heap, by `key`
    ready_groups: NDArray[np.int64]  # (Q,)
    counts: NDArray[np.int64]  # (2,) see below
    waiting_by_level: NDArray[np.int64]  # (P,)
    base: NDArray[np.int64]  # (Q,) the group's part of its place; a place is at least 0 and below 2 ** PLACE_BITS
    standing: NDArray[np.int64]  # (U,) the tenant's part
    held: NDArray[np.int64]  # (U, R) requested by what runs; U = 0 where nobody counts it, see `shares`
    offered: NDArray[np.int64]  # (R,) allocatable of all machines that are up, where `held` is counted


READY, SEQUENCE = 0, 1
CPU, MEMORY = 0, 1  # the columns of demand that make a cell


def new_queues(demand: NDArray[np.int64], level: NDArray[np.int16], levels: int, tenants: int = 1) -> Queues:
    """Empty queues in order of priority. demand: (Q, R), what one task of each group asks for; level: (Q,)."""
    groups, resources = demand.shape
    cell = np.array([[_step(amount) for amount in row] for row in demand[:, : MEMORY + 1]], np.int32).reshape(groups, 2)
    sides = cell.max(axis=0, initial=0) + 1
    return Queues(
        head=np.full(groups, NOWHERE, np.int32),
        tail=np.full(groups, NOWHERE, np.int32),
        is_blocked=np.zeros(groups, np.bool_),
        cell=cell,
        first_blocked=np.full(sides, NOWHERE, np.int32),
        after=np.full(groups, NOWHERE, np.int32),
        before=np.full(groups, NOWHERE, np.int32),
        blocked_by_cpu=np.zeros(sides[0], np.int64),
        is_ready=np.zeros(groups, np.bool_),
        refused_in=np.zeros(groups, np.int64),
        ready_keys=np.zeros(groups + 1, np.int64),
        ready_groups=np.zeros(groups + 1, np.int64),
        counts=np.zeros(2, np.int64),
        waiting_by_level=np.zeros(levels, np.int64),
        base=levels - level.astype(np.int64),
        standing=np.zeros(tenants, np.int64),
        held=np.zeros((0, resources), np.int64),
        offered=np.zeros(resources, np.int64),
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
    if not queues.is_blocked[g]:
        make_ready(queues, tasks, g)


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
def make_ready(queues: Queues, tasks: Tasks, g: int) -> None:
    """Offer group `g` to every node, unless it is offered already or nobody waits in it."""
    if queues.is_ready[g] or queues.head[g] < 0:
        return
    queues.is_ready[g] = True
    queues.counts[READY] = push(queues.ready_keys, queues.ready_groups, queues.counts[READY], key(queues, tasks, g), g)


@njit(cache=True)
def key(queues: Queues, tasks: Tasks, g: int) -> int:
    """The queue's order: the smallest place first, then the earliest arrival. For a group in which somebody waits."""
    return order_key(queues.base[g] + queues.standing[tasks.tenant_of_group[g]], tasks.arrival[queues.head[g]])


@njit(cache=True)
def order_key(place: int, arrival: int) -> int:
    """Smaller is served first."""
    return (place << SEQUENCE_BITS) | arrival


@njit(cache=True)
def first_ready(queues: Queues, tasks: Tasks) -> int:
    """The ready group whose head is to be placed next; -1 when none is ready."""
    while queues.counts[READY] > 0:
        g, known = queues.ready_groups[0], queues.ready_keys[0]
        if queues.head[g] >= 0 and key(queues, tasks, g) == known:
            return g
        take_ready(queues)
        make_ready(queues, tasks, g)  # whom it stood for was cancelled since
    return -1


@njit(cache=True)
def take_ready(queues: Queues) -> None:
    """Take what `first_ready` gave."""
    queues.is_ready[queues.ready_groups[0]] = False
    queues.counts[READY] = pop(queues.ready_keys, queues.ready_groups, queues.counts[READY])


@njit(cache=True)
def sort_ready(queues: Queues, tasks: Tasks) -> None:
    """Places have become smaller: order the ready groups anew. (Larger ones are noticed by `first_ready`.)"""
    count = queues.counts[READY]
    queues.counts[READY] = 0
    for g in queues.ready_groups[:count].copy():
        queues.is_ready[g] = False
        make_ready(queues, tasks, g)


@njit(cache=True)
def _step(amount: int) -> int:
    """Which of the steps 0, 1, 2, 3, 4, 6, 8, 12, 16, ... an amount has reached: two to an octave."""
    if amount <= 0:
        return 0
    octave = 0
    while amount >> octave > 1:
        octave += 1
    return 2 * octave + 1 + ((amount >> (octave - 1)) & 1 if octave > 0 else 0)


@njit(cache=True)
def block(queues: Queues, g: int) -> None:
    """No node takes group `g` now: do not ask again until one changes."""
    if queues.is_blocked[g]:
        return
    x, y = queues.cell[g]
    first = queues.first_blocked[x, y]
    queues.after[g] = first
    queues.before[g] = NOWHERE
    if first >= 0:
        queues.before[first] = g
    queues.first_blocked[x, y] = g
    queues.blocked_by_cpu[x] += 1
    queues.is_blocked[g] = True


@njit(cache=True)
def unblock(queues: Queues, g: int) -> None:
    """Freed nodes look for group `g` no more."""
    x, y = queues.cell[g]
    before, after = queues.before[g], queues.after[g]
    if before >= 0:
        queues.after[before] = after
    else:
        queues.first_blocked[x, y] = after
    if after >= 0:
        queues.before[after] = before
    queues.blocked_by_cpu[x] -= 1
    queues.is_blocked[g] = False


@njit(cache=True)
def first_blocked_for(
    queues: Queues, nodes: Nodes, classes: Classes, tasks: Tasks, n: int, preempts: bool, round_: int
) -> int:
    """The first blocked group in the queue's order that fits on node `n`, or could clear it; -1 when none does.

    Whether a group could clear a node depends on its equals and betters there alone, so it is enough to ask again
    when one of these leaves. Groups refused in this round are passed over; empty ones are forgotten.
    """
    requested, allocatable, demand = nodes.requested, nodes.allocatable, classes.demand
    first_blocked, following, blocked_by_cpu = queues.first_blocked, queues.after, queues.blocked_by_cpu
    head, refused_in, base, standing = queues.head, queues.refused_in, queues.base, queues.standing
    class_of_group, level_of_group, arrival = tasks.class_of_group, tasks.level_of_group, tasks.arrival
    tenant_of_group = tasks.tenant_of_group
    by_level, gpus = nodes.by_level, classes.gpus
    if not nodes.up[n]:
        return NOWHERE
    cpu_steps, memory_steps = first_blocked.shape
    if not preempts:  # what asks for a higher step than the node has free does not fit
        cpu_steps = min(cpu_steps, _step(allocatable[n, CPU] - requested[n, CPU]) + 1)
        memory_steps = min(memory_steps, _step(allocatable[n, MEMORY] - requested[n, MEMORY]) + 1)
    best = NOWHERE
    best_key = FOREVER
    for x in range(cpu_steps):
        if blocked_by_cpu[x] == 0:
            continue
        for y in range(memory_steps):
            g = first_blocked[x, y]
            while g >= 0:
                after = following[g]
                c = class_of_group[g]
                if head[g] < 0:
                    unblock(queues, g)
                    g = after
                    continue
                # The order on bare arrays first: whom an earlier group precedes need not fit. See `has_room`.
                at = order_key(base[g] + standing[tenant_of_group[g]], arrival[head[g]])
                if at < best_key:
                    takes = has_room(requested, allocatable, demand, c, n)
                    takes = takes and fits(nodes, classes, c, n)
                    level = level_of_group[g]
                    if not takes and preempts and level > 0 and refused_in[g] != round_:
                        takes = lowest_level(requested, allocatable, by_level, demand, gpus[c] > 0, c, level, n) >= 0
                        takes = takes and is_allowed(classes, c, n)
                    if takes:
                        best, best_key = g, at
                g = after
    return best
