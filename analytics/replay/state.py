"""The replay's world as columns: nodes, request classes, tasks. Plain arrays in named tuples, for compiled code.

A *request class* is everything that decides where a pod may go and how a node scores for it: its requests, GPU
shape, eligible-node mask and, for a job whose tasks must sit on different machines, the job. Tasks of one class are
interchangeable to a policy, which is what makes scores worth keeping (see `ranking`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

DEVICE_MILLI = 1000  # one whole GPU
NOWHERE, WAITING = -1, -2


class Nodes(NamedTuple):
    """N nodes, sorted by machine id. R resources: CPU millicores, memory MiB, disk MiB, GPU milli."""

    allocatable: NDArray[np.int64]  # (N, R), capacity times over-commit; zero while the machine is away
    requested: NDArray[np.int64]  # (N, R)
    requested_nonzero: NDArray[np.int64]  # (N, 2), CPU and memory with kube-scheduler's defaults
    up: NDArray[np.bool_]  # (N,)
    devices: NDArray[np.int64]  # (N, G) free milli per GPU device; G may be 0
    first_task: NDArray[np.int32]  # (N,), head of the list of running tasks, or NOWHERE
    by_level: NDArray[np.int64]  # (N, P, R) requested by priority level; P = 0 when nothing preempts
    held: NDArray[np.float64]  # (N, R) integral of requested over microseconds
    offered: NDArray[np.float64]  # (N, R) the same of allocatable
    busy_us: NDArray[np.int64]  # (N,) time with at least one task
    touched_us: NDArray[np.int64]  # (N,) up to when these are counted


class Classes(NamedTuple):
    """C request classes."""

    demand: NDArray[np.int64]  # (C, R)
    demand_nonzero: NDArray[np.int64]  # (C, 2)
    gpus: NDArray[np.int64]  # (C,)
    gpu_milli: NDArray[np.int64]  # (C,) per device
    mask: NDArray[np.int32]  # (C,) row of `eligible`, or NOWHERE for every node
    spread: NDArray[np.int32]  # (C,) row of `occupied`, or NOWHERE when tasks may share a machine
    eligible: NDArray[np.bool_]  # (K, N)
    occupied: NDArray[np.uint8]  # (S, ceil(N / 8)) bit set: a task of that job runs there


class Tasks(NamedTuple):
    """T tasks; a task runs at most one attempt at a time, and either runs or waits: both lists share their links."""

    first_attempt: NDArray[np.int64]  # (T + 1,) rows of its attempts
    ordinal: NDArray[np.int32]  # (T,) which of its attempts it is at
    group: NDArray[np.int32]  # (T,) its queue, which knows its request class and priority level
    node: NDArray[np.int32]  # (T,) where it runs, WAITING, or NOWHERE
    after: NDArray[np.int32]  # (T,) next in the list of its node, or of its queue
    before: NDArray[np.int32]  # (T,)
    arrival: NDArray[np.int32]  # (T,) sequence number while it waits
    epoch: NDArray[np.uint16]  # (T,) grows at every start and stop, so that stale timers are known
    device_mask: NDArray[np.int64]  # (T,) GPU devices held, or (0,) when no task asks for any
    class_of_group: NDArray[np.int32]  # (Q,)
    level_of_group: NDArray[np.int16]  # (Q,) dense rank of the priority
    tenant_of_group: NDArray[np.int32]  # (Q,) all 0 where the policy does not tell tenants apart


class Attempts(NamedTuple):
    """A attempts, those of one task in a row.

    A month has tens of millions of them, so a column holds what the trace demands until the replay knows what
    happened, and then that.
    """

    submit_us: NDArray[np.int64]  # before: the time (first attempt) or the gap after the end of the one before it
    start_us: NDArray[np.int64]  # first start, -1 never
    restart_ms: NDArray[np.uint32]  # from the first start to the last, 49 days at most; NOT_AGAIN: displaced since
    until_us: NDArray[np.int64]  # before: run time, FOREVER, or -(t + 1): leaves at time t, run or not; then: its end
    node: NDArray[np.int32]  # before: where it runs when the window opens, or NOWHERE; then: where it ran last
    status: NDArray[np.int8]  # EXPECTED, SUBMITTED or ENDED
    initial: NDArray[np.bool_]  # already known when the window opens: its wait did not begin there
    end: NDArray[np.int8]  # how it ended in the trace: a row of ENDS
    evictions: NDArray[np.uint8]  # by lost machines; both stop counting at 255
    preemptions: NDArray[np.uint8]


class Timeline(NamedTuple):
    """What the trace dictates, sorted by time."""

    arrivals: NDArray[np.int32]  # tasks in order of first submission
    machine_time_us: NDArray[np.int64]  # (E,)
    machine_node: NDArray[np.int32]  # (E,)
    machine_up: NDArray[np.bool_]  # (E,)
    machine_allocatable: NDArray[np.int64]  # (E, R)


EXPECTED, SUBMITTED, ENDED = range(3)
ENDS = ("FINISH", "FAIL", "KILL", "EVICT", "LOST", "CANCELLED", None)  # None: still alive when the recording ends
CANCELLED, ALIVE = 5, 6
FOREVER = np.iinfo(np.int64).max
NOT_AGAIN = np.uint32(0xFFFFFFFF)


@njit(cache=True)
def fits(nodes: Nodes, classes: Classes, c: int, n: int) -> bool:
    """True where a task of class `c` may start on node `n` now. A resource not asked for never refuses."""
    return (
        nodes.up[n]
        and has_room(nodes.requested, nodes.allocatable, classes.demand, c, n)
        and is_allowed(classes, c, n)
        and (classes.gpus[c] == 0 or has_devices(nodes, classes, c, n))
    )


@njit(cache=True)
def has_room(
    requested: NDArray[np.int64], allocatable: NDArray[np.int64], demand: NDArray[np.int64], c: int, n: int
) -> bool:
    """The part of `fits` that refuses most, on bare arrays: a call that carries named tuples counts references of
    all their arrays, which costs ten times the comparison."""
    for r in range(demand.shape[1]):
        wanted = demand[c, r]
        if wanted > 0 and requested[n, r] + wanted > allocatable[n, r]:
            return False
    return True


@njit(cache=True)
def is_allowed(classes: Classes, c: int, n: int) -> bool:
    """Constraints that no eviction of other jobs' tasks cures."""
    if classes.mask[c] >= 0 and not classes.eligible[classes.mask[c], n]:
        return False
    return classes.spread[c] < 0 or not (classes.occupied[classes.spread[c], n >> 3] >> (n & 7)) & 1


@njit(cache=True)
def has_devices(nodes: Nodes, classes: Classes, c: int, n: int) -> bool:
    found = 0
    for g in range(nodes.devices.shape[1]):
        if nodes.devices[n, g] >= classes.gpu_milli[c]:
            found += 1
            if found == classes.gpus[c]:
                return True
    return False


@njit(cache=True)
def _take_devices(nodes: Nodes, classes: Classes, c: int, n: int) -> int:
    """Take the fullest devices that still fit, lowest number first among equals; gives their bit mask."""
    taken = 0
    for _ in range(classes.gpus[c]):
        best = -1
        for g in range(nodes.devices.shape[1]):
            free = nodes.devices[n, g]
            if free < classes.gpu_milli[c] or (taken >> g) & 1:
                continue
            if best < 0 or free < nodes.devices[n, best]:
                best = g
        if best < 0:  # a recorded placement that our device model cannot hold: keep the totals, hold what there is
            return taken
        nodes.devices[n, best] -= classes.gpu_milli[c]
        taken |= 1 << best
    return taken


@njit(cache=True)
def settle(nodes: Nodes, n: int, now_us: int) -> None:
    """Count what node `n` held and offered since it was last touched."""
    span = now_us - nodes.touched_us[n]
    if span > 0:
        for r in range(nodes.requested.shape[1]):
            nodes.held[n, r] += nodes.requested[n, r] * float(span)
            nodes.offered[n, r] += nodes.allocatable[n, r] * float(span)
        if nodes.first_task[n] >= 0:
            nodes.busy_us[n] += span
        nodes.touched_us[n] = now_us


@njit(cache=True)
def occupy(nodes: Nodes, classes: Classes, tasks: Tasks, t: int, n: int, now_us: int) -> None:
    """Task `t` starts on node `n`."""
    settle(nodes, n, now_us)
    c = tasks.class_of_group[tasks.group[t]]
    for r in range(classes.demand.shape[1]):
        nodes.requested[n, r] += classes.demand[c, r]
    for r in range(2):
        nodes.requested_nonzero[n, r] += classes.demand_nonzero[c, r]
    if nodes.by_level.shape[1] > 0:
        for r in range(classes.demand.shape[1]):
            nodes.by_level[n, tasks.level_of_group[tasks.group[t]], r] += classes.demand[c, r]
    if classes.gpus[c] > 0:
        tasks.device_mask[t] = _take_devices(nodes, classes, c, n)
    if classes.spread[c] >= 0:
        classes.occupied[classes.spread[c], n >> 3] |= np.uint8(1 << (n & 7))
    head = nodes.first_task[n]
    tasks.after[t] = head
    tasks.before[t] = NOWHERE
    if head >= 0:
        tasks.before[head] = t
    nodes.first_task[n] = t
    tasks.node[t] = n
    tasks.epoch[t] += np.uint16(1)


@njit(cache=True)
def vacate(nodes: Nodes, classes: Classes, tasks: Tasks, t: int, now_us: int) -> int:
    """Task `t` leaves its node; gives the node."""
    n = tasks.node[t]
    settle(nodes, n, now_us)
    c = tasks.class_of_group[tasks.group[t]]
    for r in range(classes.demand.shape[1]):
        nodes.requested[n, r] -= classes.demand[c, r]
    for r in range(2):
        nodes.requested_nonzero[n, r] -= classes.demand_nonzero[c, r]
    if nodes.by_level.shape[1] > 0:
        for r in range(classes.demand.shape[1]):
            nodes.by_level[n, tasks.level_of_group[tasks.group[t]], r] -= classes.demand[c, r]
    if classes.gpus[c] > 0:
        for g in range(nodes.devices.shape[1]):
            if (tasks.device_mask[t] >> g) & 1:
                nodes.devices[n, g] += classes.gpu_milli[c]
        tasks.device_mask[t] = 0
    before, after = tasks.before[t], tasks.after[t]
    if before >= 0:
        tasks.after[before] = after
    else:
        nodes.first_task[n] = after
    if after >= 0:
        tasks.before[after] = before
    if classes.spread[c] >= 0 and not _is_job_there(nodes, classes, tasks, classes.spread[c], n):
        classes.occupied[classes.spread[c], n >> 3] &= np.uint8(0xFF ^ (1 << (n & 7)))
    tasks.node[t] = NOWHERE
    tasks.epoch[t] += np.uint16(1)
    return n


@njit(cache=True)
def _is_job_there(nodes: Nodes, classes: Classes, tasks: Tasks, spread: int, n: int) -> bool:
    """Whether a task of that job runs on node `n`; a recording may have put several there."""
    t = nodes.first_task[n]
    while t >= 0:
        if classes.spread[tasks.class_of_group[tasks.group[t]]] == spread:
            return True
        t = tasks.after[t]
    return False
