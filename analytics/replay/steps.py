"""The steps of a replay: a task is submitted, starts, migrates, stops; a machine comes, goes or changes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.moving import (
    ARRIVED_MOVES,
    FAILED_MOVES,
    LOST_US,
    MOVED_BYTES,
    OVERTAKEN_MOVES,
    SENT_BYTES,
    TARGET,
    TASK,
    drop_slot,
    forget_move,
    hold_room,
)
from analytics.replay.progress import ARRIVED, EVENTS, EVICTIONS, FREED, RUNNING, UNKNOWN, Progress
from analytics.replay.queues import Queues, enqueue
from analytics.replay.ranking import Ranking, mark_changed
from analytics.replay.shares import hold, offer
from analytics.replay.state import (
    NOT_AGAIN,
    SUBMITTED,
    Attempts,
    Classes,
    Nodes,
    Tasks,
    Timeline,
    occupy,
    settle,
    vacate,
)


@njit(cache=True)
def current(tasks: Tasks, t: int) -> int:
    """The row of the attempt that task `t` is at."""
    return tasks.first_attempt[t] + tasks.ordinal[t]


@njit(cache=True)
def count_up(column: NDArray[np.uint8], row: int) -> None:
    """One more, as far as a byte counts."""
    if column[row] < 255:
        column[row] += np.uint8(1)


@njit(cache=True)
def free(progress: Progress, ranking: Ranking, n: int) -> None:
    """Node `n` has more room: at this instant it looks for whom it could take."""
    mark_changed(ranking, n)
    if ranking.barred[n]:
        return
    if not progress.is_freed[n]:
        progress.is_freed[n] = True
        progress.freed[progress.at[FREED]] = n
        progress.wanted[progress.at[FREED]] = UNKNOWN
        progress.at[FREED] += 1
        ranking.withheld[n] = ranking.withholds[0]


@njit(cache=True)
def unbar(progress: Progress, ranking: Ranking, n: int) -> None:
    """Node `n` takes tasks again."""
    ranking.barred[n] = ranking.withheld[n] = False
    free(progress, ranking, n)


@njit(cache=True)
def abandon(
    nodes: Nodes, classes: Classes, tasks: Tasks, ranking: Ranking, progress: Progress, t: int, why: int, now: int
) -> None:
    """Task `t` stays where it is, and its room elsewhere is anybody's; nothing where it was not on its way."""
    n = forget_move(nodes, classes, tasks, progress.moving, t, why, now)
    if n >= 0:
        free(progress, ranking, n)


@njit(cache=True)
def stop(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    queues: Queues,
    ranking: Ranking,
    progress: Progress,
    t: int,
    now: int,
) -> None:
    """Task `t` runs no more; if it was on its way, it goes nowhere."""
    if progress.moving.slot_of.shape[0] > 0:
        abandon(nodes, classes, tasks, ranking, progress, t, OVERTAKEN_MOVES, now)
        progress.moving.owed_us[t] = 0
    free(progress, ranking, vacate(nodes, classes, tasks, t, now))
    hold(queues, classes, tasks, t, -1)
    progress.at[RUNNING] -= 1


@njit(cache=True)
def displace(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    attempts: Attempts,
    queues: Queues,
    ranking: Ranking,
    progress: Progress,
    t: int,
    now: int,
) -> None:
    """Task `t` loses its node and waits again from the end of its group."""
    stop(nodes, classes, tasks, queues, ranking, progress, t, now)
    attempts.restart_ms[current(tasks, t)] = NOT_AGAIN
    enqueue(queues, tasks, t)


@njit(cache=True)
def apply_machine(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    attempts: Attempts,
    queues: Queues,
    ranking: Ranking,
    progress: Progress,
    timeline: Timeline,
    e: int,
    now: int,
) -> None:
    """Event `e` of the machines. What ran on one that goes waits again, and what was on its way there stays."""
    n = timeline.machine_node[e]
    settle(nodes, n, now)
    nodes.up[n] = timeline.machine_up[e]
    offer(queues, nodes.allocatable[n], -1)
    nodes.allocatable[n] = timeline.machine_allocatable[e]
    offer(queues, nodes.allocatable[n], 1)
    moving = progress.moving
    if not nodes.up[n]:
        while moving.first_arriving.shape[0] > 0 and moving.first_arriving[n] >= 0:
            t = moving.slots[moving.first_arriving[n], TASK]
            abandon(nodes, classes, tasks, ranking, progress, t, FAILED_MOVES, now)
        while nodes.first_task[n] >= 0:
            t = nodes.first_task[n]
            count_up(attempts.evictions, current(tasks, t))
            progress.counts[EVICTIONS] += 1
            if moving.slot_of.shape[0] > 0:
                abandon(nodes, classes, tasks, ranking, progress, t, FAILED_MOVES, now)
            displace(nodes, classes, tasks, attempts, queues, ranking, progress, t, now)
    free(progress, ranking, n)


@njit(cache=True)
def submit(tasks: Tasks, attempts: Attempts, queues: Queues, progress: Progress, t: int, now: int) -> None:
    """Task `t` waits from now on."""
    a = current(tasks, t)
    attempts.submit_us[a] = now
    attempts.status[a] = SUBMITTED
    progress.counts[EVENTS] += 1
    progress.counts[ARRIVED] += 1
    enqueue(queues, tasks, t)


@njit(cache=True)
def begin(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    attempts: Attempts,
    queues: Queues,
    ranking: Ranking,
    progress: Progress,
    t: int,
    n: int,
    now: int,
) -> None:
    """Task `t` starts on node `n`."""
    occupy(nodes, classes, tasks, t, n, now)
    hold(queues, classes, tasks, t, 1)
    mark_changed(ranking, n)
    progress.at[RUNNING] += 1
    a = current(tasks, t)
    if attempts.start_us[a] < 0:
        attempts.start_us[a] = now
    else:
        attempts.restart_ms[a] = (now - attempts.start_us[a]) // 1000
    attempts.node[a] = n


@njit(cache=True)
def arrive(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    attempts: Attempts,
    ranking: Ranking,
    progress: Progress,
    m: int,
    now: int,
) -> None:
    """The migration in slot `m` is done: its task runs where room was held for it, and its timer stays true."""
    moving = progress.moving
    t, n = moving.slots[m, TASK], moving.slots[m, TARGET]
    epoch = tasks.epoch[t]
    free(progress, ranking, vacate(nodes, classes, tasks, t, now))
    hold_room(nodes, classes, tasks, t, n, -1, now)
    occupy(nodes, classes, tasks, t, n, now)
    tasks.epoch[t] = epoch
    attempts.node[current(tasks, t)] = n
    moving.owed_us[t] += moving.slots[m, LOST_US]
    moving.counts[MOVED_BYTES] += moving.slots[m, SENT_BYTES]
    moving.counts[ARRIVED_MOVES] += 1
    progress.counts[EVENTS] += 1
    drop_slot(moving, m)
