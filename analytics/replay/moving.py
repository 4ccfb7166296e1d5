"""Migrations that are under way: who goes where and when, and the room that is held for them.

A task that migrates runs on its node until it arrives, and its room on the target is held meanwhile: it is on both
nodes' books. What is held counts as requested, keeps other tasks of its job off the target where they ask for different
machines, and cannot be preempted. Before it arrives the task stands still for a while, by which its end becomes later.

The columns are there only where a planner migrates: others pay nothing for them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.state import NOWHERE, Classes, Nodes, Tasks, settle

SLOTS = 1 << 16  # migrations under way at once; more are refused

# columns of Moving.slots; a free slot has only NEXT, the next free one
TASK, TARGET, NEXT, PREVIOUS, BEGINS_US, STOPS_US, ARRIVES_US, LOST_US, SENT_BYTES, ISSUE = range(10)
# rows of Moving.counts
ARRIVED_MOVES, FAILED_MOVES, OVERTAKEN_MOVES, MOVED_BYTES, MOVING, FIRST_FREE = range(6)


class Moving(NamedTuple):
    """Up to S migrations under way among T tasks and N nodes; T and N are 0 where nothing migrates."""

    slots: NDArray[np.int64]  # (S, 10), see above; ISSUE tells the uses of a slot apart, in 16 bits
    slot_of: NDArray[np.int32]  # (T,) or NOWHERE
    owed_us: NDArray[np.int64]  # (T,) how long a running task stood still: its end is so much later than its timer says
    first_arriving: NDArray[np.int32]  # (N,) slot, head of the list of those that come here, or NOWHERE
    busy_until_us: NDArray[np.int64]  # (N,) when the node's link has sent and received what it is booked for
    counts: NDArray[np.int64]  # (6,)


def new_moving(tasks: int, nodes: int) -> Moving:
    """Nothing moves. tasks, nodes: 0 where nothing ever will."""
    slots = np.zeros((SLOTS if tasks else 0, 10), np.int64)
    slots[:, NEXT] = np.arange(1, len(slots) + 1)
    slots[-1:, NEXT] = NOWHERE
    return Moving(
        slots=slots,
        slot_of=np.full(tasks, NOWHERE, np.int32),
        owed_us=np.zeros(tasks, np.int64),
        first_arriving=np.full(nodes, NOWHERE, np.int32),
        busy_until_us=np.zeros(nodes, np.int64),
        counts=np.zeros(6, np.int64),
    )


@njit(cache=True)
def take_slot(moving: Moving, t: int, n: int) -> int:
    """A slot for the way of task `t` to node `n`; -1 when none is left."""
    slots, m = moving.slots, moving.counts[FIRST_FREE]
    if m < 0:
        return NOWHERE
    moving.counts[FIRST_FREE] = slots[m, NEXT]
    moving.counts[MOVING] += 1
    slots[m, TASK], slots[m, TARGET] = t, n
    first = moving.first_arriving[n]
    slots[m, NEXT], slots[m, PREVIOUS] = first, NOWHERE
    if first >= 0:
        slots[first, PREVIOUS] = m
    moving.first_arriving[n] = m
    moving.slot_of[t] = m
    return m


@njit(cache=True)
def drop_slot(moving: Moving, m: int) -> None:
    """The slot is free again, and timers for its use are stale."""
    slots = moving.slots
    before, after = slots[m, PREVIOUS], slots[m, NEXT]
    if before >= 0:
        slots[before, NEXT] = after
    else:
        moving.first_arriving[slots[m, TARGET]] = after
    if after >= 0:
        slots[after, PREVIOUS] = before
    moving.slot_of[slots[m, TASK]] = NOWHERE
    slots[m, ISSUE] = (slots[m, ISSUE] + 1) & 0xFFFF
    slots[m, NEXT] = moving.counts[FIRST_FREE]
    moving.counts[FIRST_FREE] = m
    moving.counts[MOVING] -= 1


@njit(cache=True)
def hold_room(nodes: Nodes, classes: Classes, tasks: Tasks, t: int, n: int, sign: int, now_us: int) -> None:
    """Hold the room of task `t` on node `n` (sign 1), or give it back (-1)."""
    settle(nodes, n, now_us)
    c = tasks.class_of_group[tasks.group[t]]
    for r in range(classes.demand.shape[1]):
        nodes.requested[n, r] += sign * classes.demand[c, r]
    for r in range(2):
        nodes.requested_nonzero[n, r] += sign * classes.demand_nonzero[c, r]
    if classes.spread[c] >= 0:  # while it is held nobody of the job comes here, so nobody else needs the bit
        bit = np.uint8(1 << (n & 7))
        if sign > 0:
            classes.occupied[classes.spread[c], n >> 3] |= bit
        else:
            classes.occupied[classes.spread[c], n >> 3] &= np.uint8(0xFF ^ bit)


@njit(cache=True)
def stand_still(moving: Moving, t: int, now_us: int) -> int:
    """Microseconds by which the end of task `t`, due now, is later after all; 0 when it ends.

    Where it is due while the task stands still it is later by all that the move costs, whether it succeeds or not.
    """
    if moving.slot_of.shape[0] == 0:
        return 0
    later_us, m = moving.owed_us[t], moving.slot_of[t]
    if later_us > 0:
        moving.owed_us[t] = 0
    elif m >= 0 and now_us > moving.slots[m, STOPS_US]:
        later_us = moving.slots[m, LOST_US]
        moving.slots[m, LOST_US] = 0
    return later_us


@njit(cache=True)
def forget_move(nodes: Nodes, classes: Classes, tasks: Tasks, moving: Moving, t: int, why: int, now_us: int) -> int:
    """Task `t` goes nowhere after all, counted under `why`: gives the node whose room was held, or -1.

    It goes on where it is, later by what it stood still and, if it was to restart, by what it has to do again. Of the
    bytes, those are counted that were sent until now.
    """
    m = moving.slot_of[t]
    if m < 0:
        return NOWHERE
    slots = moving.slots
    n, begins_us = slots[m, TARGET], slots[m, BEGINS_US]
    hold_room(nodes, classes, tasks, t, n, -1, now_us)
    if now_us > slots[m, STOPS_US] and slots[m, LOST_US] > 0:
        again_us = slots[m, LOST_US] - (slots[m, ARRIVES_US] - slots[m, STOPS_US])
        moving.owed_us[t] += now_us - slots[m, STOPS_US] + again_us
    if now_us > begins_us:
        share = (now_us - begins_us) / (slots[m, ARRIVES_US] - begins_us)
        moving.counts[MOVED_BYTES] += np.int64(share * slots[m, SENT_BYTES])
    moving.counts[why] += 1
    drop_slot(moving, m)
    return n
