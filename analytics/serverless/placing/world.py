"""The state of one replay on nodes: pods, their owners, calls that wait, and the ground they all stand on.

Pods and waiting calls are numbered as they come and never renumbered, so that numbers break ties. Tables with room for
P pods, W waiting calls and E events grow between two steps of the loop (`loop.advance` stops when they are short).
There are S subjects, N nodes and C classes of pods with equal requests.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scheduler.core.serverless.chains import Links
from scheduler.core.serverless.policy import MAX_WINDOWS

Ints = NDArray[np.int64]
NONE: Final = -1
NEVER_US: Final = 1 << 60
START: Final = 1 << 12
RESOURCES: Final = 4  # what a score expects: CPU, memory, disk, GPU milli; a function's pod asks for the first two
NONZERO: Final = (100, 200)  # millicores and MiB that kube-scheduler counts for a pod that requests none

# What happens at one instant, in this order. A pod whose time is over is not there for a call at that instant, one that
# has just become free is, even if nothing keeps it.
END, READY, UNLOAD, LOAD, CALL, UNLOAD_NOW, GIVE_UP = range(7)
KINDS: Final = 8

# Positions in World.at
EVENTS, PODS, QUEUED = 0, 1, 2  # in use: rows of the heap; numbers given to pods and to waiting calls
IS_SHORT, HAS_ROOM = 3, 4  # flags: columns must grow; something was freed since the queue was last served
IDLE_HEAD, IDLE_TAIL, WAIT_HEAD, WAIT_TAIL = 5, 6, 7, 8
SEED, DECISIONS, PATIENCE_US = 9, 10, 11
SETTLED_US, NODES, MOST_NODES, LIVE, MOST_LIVE = 12, 13, 14, 15, 16
WAITING, WAITED, WAITED_US, LONGEST_US, DROPPED = 17, 18, 19, 20, 21
SHORTENED, SAVED_US = 22, 23
PLACES: Final = 24

# Columns of World.account, per subject
COLD, IDLE_US, LOADS, EARLY, REFUSED = range(5)

# Positions in World.spent: integrals over microseconds
NODE_US, CPU_US, MEMORY_US, OFFERED_CPU_US, OFFERED_MEMORY_US = range(5)


# Columns of World.pods and World.queue: what it belongs to, and the lists it is in
SUBJECT, NEXT, BEFORE, AFTER = range(4)
# Columns of World.pods. A live pod without calls is idle, or loading ahead of a call.
NODE = 4  # NONE once it is gone
CALLS = 5  # it serves now
LAST_US, READY_US = 6, 7  # when its last call ends or ended; when it was loaded
PAID_US, UNTIL_US = 8, 9  # since when it stands idle; how long it stays if nobody calls
ALARM_US = 10  # when the loop looks whether that time is over, NEVER_US: not at all
# Columns of World.queue
SINCE_US, DURATION_US = 4, 5

# Columns of World.owners
CONCURRENCY, CLASS = 0, 1
FITS = 2  # whether any node could hold a pod, were it empty
HEAD, WARMED = 3, 4  # newest pod; the idle pod that was loaded ahead
BUSY, IDLE_FROM_US = 5, 6  # calls that run or wait; since when there are none, NONE: never called
PLAN_AT, PLAN_SIZE = 7, 8
WAIT_FIRST, WAIT_LAST = 9, 10


class World(NamedTuple):
    """Everything that changes; few arrays, because each call of a compiled function carries them all."""

    at: Any  # (PLACES,)
    pods: Any  # (P, 11), chained by subject, newest first, and where idle in a list, longest idle first
    queue: Any  # (W, 6) calls that wait or waited, in order; SUBJECT is NONE once they wait no more
    owners: Any  # (S, 11)
    plan: Any  # (S, MAX_WINDOWS, 3) when to load a pod ahead, when it is ready, how long it stays
    key: Any  # (E,) heap of events: time * KINDS + kind
    value: Any  # (E,) the pod, subject or waiting call it is about
    demand: Any  # (C, RESOURCES) requests of a class of pods
    demand_nonzero: Any  # (C, 2)
    allocatable: Any  # (N, RESOURCES)
    requested: Any  # (N, RESOURCES)
    requested_nonzero: Any  # (N, 2)
    on_node: Any  # (N,) pods
    idle: Any  # (N, 2) requested by pods without calls
    kept: Any  # (N, 2) scratch
    rows: Any  # (N,) scratch
    scores: Any  # (N,) scratch
    level: Any  # (4,) requested CPU and memory; CPU and memory of the nodes in use
    spent: Any  # (5,) float64
    account: Any  # (S, 5)
    links: Links


def new_world(
    requests: Ints, allocatable: Ints, concurrency: Ints, start_us: int, seed: int, patience_us: int, links: Links
) -> World:
    """Nodes without pods. requests: (S, 2); allocatable: (N, 2); patience_us: how long a call waits for room."""
    kinds, class_of = np.unique(requests, axis=0, return_inverse=True)
    subjects, nodes = len(requests), len(allocatable)
    at = np.zeros(PLACES, np.int64)
    at[[IDLE_HEAD, IDLE_TAIL, WAIT_HEAD, WAIT_TAIL]] = NONE
    at[SEED], at[PATIENCE_US], at[SETTLED_US] = seed, patience_us, start_us
    owners = np.full((subjects, 11), NONE, np.int64)
    owners[:, CONCURRENCY], owners[:, CLASS] = concurrency, class_of.reshape(-1)
    fits = np.zeros(len(kinds), np.bool_)
    for shape in np.unique(allocatable, axis=0):
        fits |= (kinds <= shape).all(axis=1)
    owners[:, FITS] = fits[owners[:, CLASS]]
    owners[:, [BUSY, PLAN_AT, PLAN_SIZE]] = 0
    return World(
        at=at,
        pods=np.zeros((START, 11), np.int64),
        queue=np.zeros((START, 6), np.int64),
        owners=owners,
        plan=np.zeros((subjects, MAX_WINDOWS, 3), np.int64),
        key=np.zeros(START, np.int64),
        value=np.zeros(START, np.int64),
        demand=_widened(kinds),
        demand_nonzero=np.where(kinds > 0, kinds, np.array(NONZERO)),
        allocatable=_widened(allocatable),
        requested=np.zeros((nodes, RESOURCES), np.int64),
        requested_nonzero=np.zeros((nodes, 2), np.int64),
        on_node=np.zeros(nodes, np.int64),
        idle=np.zeros((nodes, 2), np.int64),
        kept=np.zeros((nodes, 2), np.int64),
        rows=np.zeros(nodes, np.int64),
        scores=np.zeros(nodes),
        level=np.zeros(4, np.int64),
        spent=np.zeros(5),
        account=np.zeros((subjects, 5), np.int64),
        links=links,
    )


def _widened(columns: Ints) -> Ints:
    """With the resources that functions' pods do not ask for, all 0."""
    return np.pad(columns.astype(np.int64), ((0, 0), (0, RESOURCES - columns.shape[1])))


def grow(world: World) -> World:
    """More room where a step of the loop could need it."""
    at = world.at
    at[IS_SHORT] = 0
    return world._replace(
        pods=_longer(world.pods, at[PODS], at[WAITING]),
        queue=_longer(world.queue, at[QUEUED], at[WAITING]),
        key=_longer(world.key, at[EVENTS], at[WAITING]),
        value=_longer(world.value, at[EVENTS], at[WAITING]),
    )


@njit(cache=True)
def most_rows(waiting: int) -> int:
    """Rows that one step of the loop may add to any column: every waiting call may get a pod, with two events."""
    return 8 + 2 * waiting


def _longer(column: Ints, used: int, waiting: int) -> Ints:
    needed = int(used + most_rows(waiting))
    if needed <= len(column):
        return column
    more = max(needed - len(column), len(column))
    return np.concatenate([column, np.zeros((more, *column.shape[1:]), np.int64)])
