"""Live migrations in a replay: a planner says who goes where, the compiled loop makes it happen in time.

How long a move takes, how long its task stands still for it, and what is sent is `scheduler.core.balance.migration`'s
business; a task's memory is what it requests. A node sends or receives one task at a time: a migration is booked for
the first moment at which both links are free, in the order in which planners ask, and what it was booked for
stays booked though its task ends first. Tasks with GPUs stay where they are.

Where a migration finds no room, or one of its ends goes down, it has failed: its task runs on where it was, or waits
again where that was the node that went.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.moving import (
    ARRIVED_MOVES,
    ARRIVES_US,
    BEGINS_US,
    FAILED_MOVES,
    ISSUE,
    LOST_US,
    MOVED_BYTES,
    MOVING,
    OVERTAKEN_MOVES,
    SENT_BYTES,
    STOPS_US,
    hold_room,
    take_slot,
)
from analytics.replay.progress import ARRIVE, EPOCH_SHIFT, KIND_SHIFT, Progress
from analytics.replay.queues import MEMORY
from analytics.replay.ranking import mark_changed
from analytics.replay.running import Running
from analytics.replay.state import fits
from scheduler.core.balance.migration import (
    MIB,
    Channel,
    Checkpoint,
    Migration,
    WriteSet,
    migrate_live,
    migration_cost,
    restart_pod,
)
from scheduler.core.policies.parameters import Settings

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Transport:
    """How tasks move, from the parameters `scheduler.core.policies.parameters.MIGRATION`, and what that costs."""

    settings: Settings
    _known: dict[int, Migration] = field(default_factory=dict)

    def move(self, memory_mib: int) -> Migration:
        """The move of a task that requests so much memory."""
        if memory_mib not in self._known:
            self._known[memory_mib] = self._move(memory_mib * MIB)
        return self._known[memory_mib]

    def costs(self, memory_mib: NDArray[np.int64]) -> NDArray[np.int64]:
        """`migration_cost` of each, at least 1."""
        distinct, row = np.unique(memory_mib, return_inverse=True)
        costs = [migration_cost(self.move(amount)) or 1 for amount in distinct.tolist()]
        return np.array(costs, np.int64)[row.reshape(-1)]

    def _move(self, memory_bytes: int) -> Migration:
        bandwidth = self._number("bandwidth_mbit_s") * 1e6 / 8
        if self.settings["migration"] == "restart":
            pod = Checkpoint(0, self._number("checkpoint_age_s"), self._number("resume_s"), memory_bytes)
            return restart_pod(pod, bandwidth)
        hot_bytes = self._number("hot_share") * memory_bytes
        writes = (WriteSet(self._number("dirty_mib_s") * MIB, hot_bytes),) if hot_bytes else ()
        channel = Channel(bandwidth, self._number("stop_mib") * MIB, self._number("resume_s"))
        return migrate_live(memory_bytes, writes, channel, may_stop_long=True)

    def _number(self, name: str) -> float:
        return float(self.settings[name])


def start_migrations(
    running: Running, who: NDArray[np.int64], targets: NDArray[np.int64], now_us: int, transport: Transport
) -> NDArray[np.bool_]:
    """Let tasks that run migrate, in this order; gives (M,) which of them found room that is now held for them.

    who: (M,) rows of tasks. targets: (M,) rows of nodes. One that does not run, is on its way already, has GPUs, or
    finds no room, no slot, or a rule against it, is counted as failed and runs on where it is.
    """
    given = running.given
    classes, tasks = given.classes, given.tasks
    memory = classes.demand[tasks.class_of_group[tasks.group[who]], MEMORY]
    moves = [transport.move(amount) for amount in memory.tolist()]
    plan = np.zeros((len(who), 4), np.int64)
    for i, move in enumerate(moves):
        again_s = move.total_s - move.downtime_s if move.verdict == "restart" else 0.0
        plan[i] = (
            round((move.total_s - again_s) * SECOND_US),
            round(move.downtime_s * SECOND_US),
            round((move.downtime_s + again_s) * SECOND_US),
            move.sent_bytes,
        )
    timers = np.full((len(who), 2), -1, np.int64)
    _start(
        given.nodes, classes, tasks, running.ranking, running.progress,
        who.astype(np.int64), targets.astype(np.int64), now_us, plan, timers,
    )  # fmt: skip
    started = timers[:, 1] >= 0
    running.set_timers(timers[started])
    return started


def leaving(running: Running) -> NDArray[np.bool_]:
    """(T,) tasks that are on their way to another node."""
    return running.progress.moving.slot_of >= 0


def migration_counters(progress: Progress, forced: int = 0, messages: int = 0, collisions: int = 0) -> dict[str, int]:
    """What every policy that migrates counts, under the same names.

    migrations: those that arrived. migrations_failed: no room, or an end went down. migrations_overtaken: the task
    ended, left or was preempted first. migrations_under_way: when the window ends. Together they are all that were
    asked for. migration_bytes: sent until then, also by those that came to nothing. migrations_forced, messages,
    collisions: the planner's own.
    """
    counts = progress.moving.counts
    return {
        "migrations": int(counts[ARRIVED_MOVES]),
        "migrations_failed": int(counts[FAILED_MOVES]),
        "migrations_overtaken": int(counts[OVERTAKEN_MOVES]),
        "migrations_under_way": int(counts[MOVING]),
        "migration_bytes": int(counts[MOVED_BYTES]),
        "migrations_forced": forced,
        "messages": messages,
        "collisions": collisions,
    }


@njit(cache=True)
def _start(nodes, classes, tasks, ranking, progress, who, targets, now, plan, timers):  # type: ignore[no-untyped-def]
    """plan: (M, 4) microseconds on the link, of them standing still, by which the end is later; bytes."""
    moving = progress.moving
    busy_until_us, slots = moving.busy_until_us, moving.slots
    for i in range(who.shape[0]):
        t, n = who[i], targets[i]
        source = tasks.node[t]
        c = tasks.class_of_group[tasks.group[t]]
        may = source >= 0 and source != n and moving.slot_of[t] < 0 and classes.gpus[c] == 0
        m = -1
        if may and fits(nodes, classes, c, n):
            m = take_slot(moving, t, n)
        if m < 0:
            moving.counts[FAILED_MOVES] += 1
            continue
        hold_room(nodes, classes, tasks, t, n, 1, now)
        mark_changed(ranking, n)
        begins = max(now, busy_until_us[source], busy_until_us[n])
        arrives = begins + plan[i, 0]
        busy_until_us[source] = busy_until_us[n] = arrives
        slots[m, BEGINS_US], slots[m, ARRIVES_US] = begins, arrives
        slots[m, STOPS_US], slots[m, LOST_US] = arrives - plan[i, 1], plan[i, 2]
        slots[m, SENT_BYTES] = plan[i, 3]
        timers[i, 0] = (ARRIVE << KIND_SHIFT) | (slots[m, ISSUE] << EPOCH_SHIFT) | m
        timers[i, 1] = arrives
