"""Pods come to nodes and leave them: room, the lists they are in, and what is counted on the way. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from analytics.serverless.placing.world import (
    AFTER,
    ALARM_US,
    BEFORE,
    CALLS,
    CLASS,
    COLD,
    CONCURRENCY,
    CPU_US,
    DECISIONS,
    EARLY,
    END,
    EVENTS,
    HAS_ROOM,
    HEAD,
    IDLE_FROM_US,
    IDLE_HEAD,
    IDLE_TAIL,
    IDLE_US,
    KINDS,
    LAST_US,
    LIVE,
    MOST_LIVE,
    MOST_NODES,
    NEVER_US,
    NEXT,
    NODE,
    NODE_US,
    NODES,
    NONE,
    PAID_US,
    PODS,
    READY,
    READY_US,
    SEED,
    SETTLED_US,
    SUBJECT,
    WARMED,
    World,
)
from scheduler.core import heap
from scheduler.core.serverless.policy import COLD_US


@njit(cache=True)
def push(world: World, time_us: int, kind: int, value: int) -> None:
    """Let the loop see to something at an instant."""
    world.at[EVENTS] = heap.push(world.key, world.value, world.at[EVENTS], time_us * KINDS + kind, value)


@njit(cache=True)
def pick_node(world: World, c: int, score_batch: Any) -> int:
    """The node that scores highest among those with room for a pod of class `c`, the first of equals; or NONE.

    Every node is scored every time: cold starts are rare beside calls, and fleets small beside Google's cells.
    """
    at, demand, rows, scores, count = world.at, world.demand[c], world.rows, world.scores, 0
    for n in range(rows.shape[0]):
        if _has_room(world.allocatable, world.requested, demand, n):
            rows[count] = n
            count += 1
    if count == 0:
        return NONE
    score_batch(
        demand, world.demand_nonzero[c], world.allocatable, world.requested, world.requested_nonzero, rows, count,
        _draw(at[SEED], at[DECISIONS]), scores,
    )  # fmt: skip
    at[DECISIONS] += 1
    best = 0
    for i in range(1, count):
        if scores[i] > scores[best]:
            best = i
    return rows[best]


@njit(cache=True)
def _draw(seed: int, decision: int) -> int:
    """A 63-bit number from the seed and the decision's number (SplitMix64)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(decision) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@njit(cache=True)
def _has_room(allocatable: Any, requested: Any, demand: Any, n: int) -> bool:
    fits_cpu = demand[0] == 0 or requested[n, 0] + demand[0] <= allocatable[n, 0]
    return fits_cpu and (demand[1] == 0 or requested[n, 1] + demand[1] <= allocatable[n, 1])


@njit(cache=True)
def make_room(world: World, c: int, now_us: int) -> int:
    """Unload idle pods early until a node has room for a pod of class `c`; gives the node, NONE if none can have it.

    Pods go in the order in which they fell idle, and of the nodes that get room so the first does: the pod used last
    among those that go was idle longest there. Idle pods of other nodes stay.
    """
    at, pods, kept = world.at, world.pods, world.kept
    demand, is_possible = world.demand[c], False
    for n in range(kept.shape[0]):
        for r in range(2):
            kept[n, r] = world.requested[n, r] - world.idle[n, r]
        is_possible = is_possible or _has_room(world.allocatable, kept, demand, n)
    if not is_possible:
        return NONE
    kept[:] = world.requested[:, :2]
    last, n = at[IDLE_HEAD], NONE
    while True:
        n = pods[last, NODE]
        other = world.owners[pods[last, SUBJECT], CLASS]
        for r in range(2):
            kept[n, r] -= world.demand[other, r]
        if _has_room(world.allocatable, kept, demand, n):
            break
        last = pods[last, AFTER]
    pod = at[IDLE_HEAD]
    while pod != NONE:
        after = pods[pod, AFTER]
        if pods[pod, NODE] == n:
            world.account[pods[pod, SUBJECT], EARLY] += 1
            unload(world, pod, now_us)
        if pod == last:
            break
        pod = after
    return n


@njit(cache=True)
def load_for_call(world: World, facts: Any, s: int, n: int, now_us: int, duration_us: int) -> None:
    """A cold start: a new pod of a subject on node `n`, for a call that begins when it is ready."""
    pods, pod = world.pods, _new_pod(world, s, n, now_us)
    world.account[s, COLD] += 1
    pods[pod, CALLS] = 1
    pods[pod, READY_US] = now_us + int(facts[s, COLD_US])
    pods[pod, LAST_US] = pods[pod, READY_US] + duration_us
    push(world, pods[pod, LAST_US], END, pod)
    if world.owners[s, CONCURRENCY] > 1:
        push(world, pods[pod, READY_US], READY, pod)


@njit(cache=True)
def load_ahead(world: World, s: int, n: int, now_us: int, ready_us: int) -> int:
    """A new pod of an idle subject on node `n`, that nobody called yet; it counts as used when the subject was last."""
    pods, pod = world.pods, _new_pod(world, s, n, now_us)
    pods[pod, CALLS] = 0
    pods[pod, READY_US] = ready_us
    pods[pod, LAST_US] = world.owners[s, IDLE_FROM_US]
    stand_idle(world, pod, now_us)
    return pod


@njit(cache=True)
def _new_pod(world: World, s: int, n: int, now_us: int) -> int:
    at, pods, c = world.at, world.pods, world.owners[s, CLASS]
    pod = at[PODS]
    at[PODS] += 1
    _change(world, n, c, 1, now_us)
    pods[pod, SUBJECT], pods[pod, NODE], pods[pod, ALARM_US] = s, n, NEVER_US
    pods[pod, NEXT], world.owners[s, HEAD] = world.owners[s, HEAD], pod
    return pod


@njit(cache=True)
def stand_idle(world: World, pod: int, now_us: int) -> None:
    """The pod joins the end of the list of idle pods, and is paid for."""
    at, pods, n = world.at, world.pods, world.pods[pod, NODE]
    c = world.owners[pods[pod, SUBJECT], CLASS]
    pods[pod, PAID_US] = now_us
    pods[pod, BEFORE], pods[pod, AFTER] = at[IDLE_TAIL], NONE
    if at[IDLE_TAIL] == NONE:
        at[IDLE_HEAD] = pod
    else:
        pods[at[IDLE_TAIL], AFTER] = pod
    at[IDLE_TAIL] = pod
    for r in range(2):
        world.idle[n, r] += world.demand[c, r]
    at[HAS_ROOM] = 1


@njit(cache=True)
def stop_idling(world: World, pod: int, now_us: int) -> None:
    """The reverse, for a call or for good."""
    at, pods, s = world.at, world.pods, world.pods[pod, SUBJECT]
    before, after, n, c = pods[pod, BEFORE], pods[pod, AFTER], pods[pod, NODE], world.owners[s, CLASS]
    world.account[s, IDLE_US] += now_us - pods[pod, PAID_US]
    if before == NONE:
        at[IDLE_HEAD] = after
    else:
        pods[before, AFTER] = after
    if after == NONE:
        at[IDLE_TAIL] = before
    else:
        pods[after, BEFORE] = before
    for r in range(2):
        world.idle[n, r] -= world.demand[c, r]
    if world.owners[s, WARMED] == pod:
        world.owners[s, WARMED] = NONE


@njit(cache=True)
def unload(world: World, pod: int, now_us: int) -> None:
    """An idle pod goes, and its node has its room back."""
    at, pods, owners = world.at, world.pods, world.owners
    s, n = pods[pod, SUBJECT], pods[pod, NODE]
    c = owners[s, CLASS]
    stop_idling(world, pod, now_us)
    _change(world, n, c, -1, now_us)
    pods[pod, NODE] = NONE
    if owners[s, HEAD] == pod:
        owners[s, HEAD] = pods[pod, NEXT]
    else:
        other = owners[s, HEAD]
        while pods[other, NEXT] != pod:
            other = pods[other, NEXT]
        pods[other, NEXT] = pods[pod, NEXT]
    at[HAS_ROOM] = 1


@njit(cache=True)
def _change(world: World, n: int, c: int, sign: int, now_us: int) -> None:
    """A pod of class `c` comes to node `n` (sign 1) or leaves it (-1)."""
    at, level = world.at, world.level
    settle(world, now_us)
    for r in range(2):
        world.requested[n, r] += sign * world.demand[c, r]
        world.requested_nonzero[n, r] += sign * world.demand_nonzero[c, r]
        level[r] += sign * world.demand[c, r]
    is_first_or_last = world.on_node[n] == (0 if sign > 0 else 1)
    if is_first_or_last:
        at[NODES] += sign
        for r in range(2):
            level[2 + r] += sign * world.allocatable[n, r]
    world.on_node[n] += sign
    at[LIVE] += sign
    at[MOST_NODES], at[MOST_LIVE] = max(at[MOST_NODES], at[NODES]), max(at[MOST_LIVE], at[LIVE])


@njit(cache=True)
def settle(world: World, now_us: int) -> None:
    """Count nodes in use, what is requested there, and what they offer, since the last change."""
    at, spent = world.at, world.spent
    span = float(now_us - at[SETTLED_US])
    if span > 0:
        at[SETTLED_US] = now_us
        spent[NODE_US] += at[NODES] * span
        for i in range(4):
            spent[CPU_US + i] += world.level[i] * span
