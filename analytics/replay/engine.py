"""The what-if replay: one compiled loop over time.

At each instant, in this order: runs end, machines come, go or change, tasks are cancelled or come back, those that
migrate get to where they were going, new tasks arrive, and then the queue is served, most important first, until
nothing more fits. Work lost to a machine or to a more important task starts again from nothing, as a pod without a
checkpoint does.

What is exogenous, taken from the trace: machines, arrivals, requests, run times, and the time between the end of an
attempt and its resubmission. What is decided again: when and where each attempt runs, and who is preempted.
A task that was killed while it still waited has no known run time: it leaves at its recorded time, run or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.moving import ISSUE, stand_still
from analytics.replay.preemption import find_preemption
from analytics.replay.progress import (
    ARRIVE,
    ARRIVED,
    CANCEL,
    DECISION,
    END,
    ENDS,
    EPOCH_SHIFT,
    EVENTS,
    FREED,
    KIND_SHIFT,
    NEXT_ARRIVAL,
    NEXT_MACHINE,
    NOTHING,
    PLACEMENTS,
    PREEMPTIONS,
    REFUSALS,
    RESUBMIT,
    ROUND,
    RUNNING,
    TIMERS,
    UNKNOWN,
    Progress,
)
from analytics.replay.queues import (
    Queues,
    block,
    first_blocked_for,
    first_ready,
    key,
    leave_queue,
    make_ready,
    sort_ready,
    take_ready,
    unblock,
)
from analytics.replay.ranking import Ranking, best_node, score_rows
from analytics.replay.sampling import Samples, sample
from analytics.replay.state import (
    ENDED,
    FOREVER,
    NOWHERE,
    SUBMITTED,
    WAITING,
    Attempts,
    Classes,
    Nodes,
    Tasks,
    Timeline,
    fits,
    has_room,
)
from analytics.replay.steps import apply_machine, arrive, begin, count_up, current, displace, stop, submit
from scheduler.core.heap import grown, pop, push

# how a policy picks
BEST, RESCAN, UNIFORM = range(3)


@njit(cache=True)
def _pick(nodes: Nodes, classes: Classes, ranking: Ranking, c: int, score_batch: Any, choice: int, draw: int) -> int:
    """The node for a task of class `c`, or -1."""
    if choice == UNIFORM:  # rejection gives every feasible node the same chance; the ranking says when none is left
        count = nodes.up.shape[0]
        state = np.uint64(draw)
        for _ in range(32):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            n = np.int64((state >> np.uint64(33)) % np.uint64(count))
            if fits(nodes, classes, c, n):
                return n
        seen = 0
        chosen = -1
        requested, allocatable, demand = nodes.requested, nodes.allocatable, classes.demand
        for n in range(count):
            if has_room(requested, allocatable, demand, c, n) and fits(nodes, classes, c, n):
                seen += 1
                state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                if (state >> np.uint64(33)) % np.uint64(seen) == 0:
                    chosen = n
        return chosen
    return best_node(ranking, nodes, classes, c, score_batch, choice == RESCAN, draw)


@njit(cache=True)
def _pick_freed(
    nodes: Nodes,
    classes: Classes,
    ranking: Ranking,
    progress: Progress,
    c: int,
    score_batch: Any,
    choice: int,
    seed: int,
) -> int:
    """As `_pick`, for a class that only nodes freed at this instant can take: it looks at no other."""
    rows, scores = ranking.rows, ranking.scores  # scratch
    count = 0
    for i in range(progress.at[FREED]):
        if fits(nodes, classes, c, progress.freed[i]):
            rows[count] = progress.freed[i]
            count += 1
    if count <= 1:
        return rows[0] if count else NOWHERE
    progress.at[DECISION] += 1
    draw = _mix(seed, progress.at[DECISION])
    if choice == UNIFORM:
        return rows[draw % count]
    score_rows(ranking, nodes, classes, c, count, score_batch, draw)
    best = 0
    for i in range(1, count):
        if scores[i] > scores[best] or (scores[i] == scores[best] and rows[i] < rows[best]):
            best = i
    return rows[best]


@njit(cache=True)
def _first_blocked(
    nodes: Nodes, classes: Classes, tasks: Tasks, queues: Queues, progress: Progress, preempts: bool
) -> int:
    """The first blocked group in the queue's order that a node freed at this instant could take; -1 when none is."""
    wanted, freed = progress.wanted, progress.freed
    best = NOWHERE
    best_key = FOREVER
    for i in range(progress.at[FREED]):
        if wanted[i] == UNKNOWN:
            wanted[i] = first_blocked_for(queues, nodes, classes, tasks, freed[i], preempts, progress.at[ROUND])
        if wanted[i] >= 0 and key(queues, tasks, wanted[i]) < best_key:
            best, best_key = wanted[i], key(queues, tasks, wanted[i])
    return best


@njit(cache=True)
def _forget(queues: Queues, tasks: Tasks, progress: Progress, g: int, n: int) -> None:
    """Group `g` has another head, or was refused, and node `n` less room: what freed nodes want of them is unknown.

    So is where the tenant's other groups stand, if shares are counted.
    """
    freed, wanted, tenant_of_group = progress.freed, progress.wanted, tasks.tenant_of_group
    has_shares = queues.held.shape[0] > 0
    for i in range(progress.at[FREED]):
        is_of_tenant = has_shares and wanted[i] >= 0 and tenant_of_group[wanted[i]] == tenant_of_group[g]
        if freed[i] == n or wanted[i] == g or is_of_tenant:
            wanted[i] = UNKNOWN


@njit(cache=True)
def _mix(seed: int, decision: int) -> int:
    """A 63-bit number from the seed and the decision's number (SplitMix64)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(decision) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@njit(cache=True)
def advance(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    attempts: Attempts,
    queues: Queues,
    ranking: Ranking,
    progress: Progress,
    timeline: Timeline,
    samples: Samples,
    timer_keys: NDArray[np.int64],
    timer_values: NDArray[np.int64],
    score_batch: Any,
    choice: int,
    preempts: bool,
    seed: int,
    until_us: int,
    wake_us: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Replay up to and including `until_us`; gives the timer heap, which may have grown.

    wake_us: an instant at which the queue is served though nothing happens, or FOREVER.
    """
    at, count = progress.at, progress.counts
    while True:
        now = wake_us
        if at[TIMERS] > 0:
            now = min(now, timer_keys[0])
        if at[NEXT_ARRIVAL] < timeline.arrivals.shape[0]:
            now = min(now, attempts.submit_us[tasks.first_attempt[timeline.arrivals[at[NEXT_ARRIVAL]]]])
        if at[NEXT_MACHINE] < timeline.machine_time_us.shape[0]:
            now = min(now, timeline.machine_time_us[at[NEXT_MACHINE]])
        sample(samples, nodes, tasks.after, queues.waiting_by_level, at[RUNNING], min(now, until_us + 1))
        if now > until_us:
            return timer_keys, timer_values
        wake_us = FOREVER

        machines_done = False
        while True:
            kind = NOTHING
            if at[TIMERS] > 0 and timer_keys[0] == now:
                kind = timer_values[0] >> KIND_SHIFT
            if kind != END and not machines_done:
                while (
                    at[NEXT_MACHINE] < timeline.machine_time_us.shape[0]
                    and timeline.machine_time_us[at[NEXT_MACHINE]] == now
                ):
                    apply_machine(
                        nodes,
                        classes,
                        tasks,
                        attempts,
                        queues,
                        ranking,
                        progress,
                        timeline,
                        at[NEXT_MACHINE],
                        now,
                    )
                    at[NEXT_MACHINE] += 1
                    count[EVENTS] += 1
                machines_done = True
                continue
            if kind == NOTHING:
                break
            value = timer_values[0]
            at[TIMERS] = pop(timer_keys, timer_values, at[TIMERS])
            t = value & 0xFFFFFFFF
            if kind == RESUBMIT:
                submit(tasks, attempts, queues, progress, t, now)
                if attempts.until_us[current(tasks, t)] < 0:
                    leaves = max(now, -attempts.until_us[current(tasks, t)] - 1)
                    if at[TIMERS] == timer_keys.shape[0]:
                        timer_keys, timer_values = grown(timer_keys), grown(timer_values)
                    at[TIMERS] = push(timer_keys, timer_values, at[TIMERS], leaves, (CANCEL << KIND_SHIFT) | t)
                continue
            if kind == ARRIVE:
                if (value >> EPOCH_SHIFT) & 0xFFFF == progress.moving.slots[t, ISSUE]:
                    arrive(nodes, classes, tasks, attempts, ranking, progress, t, now)
                continue
            if kind == END:
                if (value >> EPOCH_SHIFT) & 0xFFFF != tasks.epoch[t]:
                    continue
                later_us = stand_still(progress.moving, t, now)
                if later_us > 0:
                    if at[TIMERS] == timer_keys.shape[0]:
                        timer_keys, timer_values = grown(timer_keys), grown(timer_values)
                    at[TIMERS] = push(timer_keys, timer_values, at[TIMERS], now + later_us, value)
                    continue
            a = current(tasks, t)
            if tasks.node[t] == WAITING:
                leave_queue(queues, tasks, t)
            else:
                stop(nodes, classes, tasks, queues, ranking, progress, t, now)
            count[EVENTS] += 1
            count[ENDS] += 1
            attempts.until_us[a] = now
            attempts.status[a] = ENDED
            following = a + 1
            if following < tasks.first_attempt[t + 1]:
                tasks.ordinal[t] += 1
                if at[TIMERS] == timer_keys.shape[0]:
                    timer_keys, timer_values = grown(timer_keys), grown(timer_values)
                at[TIMERS] = push(
                    timer_keys,
                    timer_values,
                    at[TIMERS],
                    now + attempts.submit_us[following],
                    (RESUBMIT << KIND_SHIFT) | t,
                )

        while at[NEXT_ARRIVAL] < timeline.arrivals.shape[0]:
            t = timeline.arrivals[at[NEXT_ARRIVAL]]
            a = tasks.first_attempt[t]
            if attempts.submit_us[a] != now:
                break
            at[NEXT_ARRIVAL] += 1
            leaves = NOWHERE
            kind = END
            if attempts.node[a] >= 0 and nodes.up[attempts.node[a]]:
                begin(nodes, classes, tasks, attempts, queues, ranking, progress, t, attempts.node[a], now)
                attempts.status[a] = SUBMITTED
                count[ARRIVED] += 1
                if 0 <= attempts.until_us[a] < FOREVER:
                    leaves = now + attempts.until_us[a]
            else:
                submit(tasks, attempts, queues, progress, t, now)
            if attempts.until_us[a] < 0:
                leaves = max(now, -attempts.until_us[a] - 1)
                kind = CANCEL
            if leaves >= 0:
                if at[TIMERS] == timer_keys.shape[0]:
                    timer_keys, timer_values = grown(timer_keys), grown(timer_values)
                value = (kind << KIND_SHIFT) | (np.int64(tasks.epoch[t]) << EPOCH_SHIFT) | t
                at[TIMERS] = push(timer_keys, timer_values, at[TIMERS], leaves, value)

        at[ROUND] += 1
        if queues.held.shape[0] > 0:  # what ended meanwhile made its tenant's place smaller
            sort_ready(queues, tasks)
        withholds = ranking.withholds[0]
        while True:
            g = first_ready(queues, tasks)
            blocked = NOWHERE
            if not withholds:
                blocked = _first_blocked(nodes, classes, tasks, queues, progress, preempts)
            is_retry = blocked >= 0 and (g < 0 or key(queues, tasks, blocked) < key(queues, tasks, g))
            if is_retry:
                g = blocked
            elif g >= 0:
                take_ready(queues)
            else:
                break
            t = queues.head[g]
            c = tasks.class_of_group[g]
            n, victims = NOWHERE, 0
            if is_retry:
                n = _pick_freed(nodes, classes, ranking, progress, c, score_batch, choice, seed)
            else:
                at[DECISION] += 1
                n = _pick(nodes, classes, ranking, c, score_batch, choice, _mix(seed, at[DECISION]))
            level = tasks.level_of_group[g]
            if n < 0 and preempts and withholds:  # rather take what is kept for bids than clear a node
                n = _pick_freed(nodes, classes, ranking, progress, c, score_batch, choice, seed)
            if n < 0 and preempts and level > 0:
                # a blocked group could clear no node before these were freed, and new tasks below it change nothing
                rows = np.sort(progress.freed[: at[FREED]]).astype(np.int64) if is_retry else progress.all_nodes
                n, victims = find_preemption(nodes, classes, tasks, c, level, rows, progress.victims)
                for i in range(victims):
                    victim = progress.victims[i]
                    count_up(attempts.preemptions, current(tasks, victim))
                    count[PREEMPTIONS] += 1
                    displace(nodes, classes, tasks, attempts, queues, ranking, progress, victim, now)
            if n < 0:
                count[REFUSALS] += not is_retry
                queues.refused_in[g] = at[ROUND]
                block(queues, g)
                _forget(queues, tasks, progress, g, NOWHERE)
                continue
            leave_queue(queues, tasks, t)
            begin(nodes, classes, tasks, attempts, queues, ranking, progress, t, n, now)
            a = current(tasks, t)
            if 0 <= attempts.until_us[a] < FOREVER:
                if at[TIMERS] == timer_keys.shape[0]:
                    timer_keys, timer_values = grown(timer_keys), grown(timer_values)
                value = (END << KIND_SHIFT) | (np.int64(tasks.epoch[t]) << EPOCH_SHIFT) | t
                at[TIMERS] = push(timer_keys, timer_values, at[TIMERS], now + attempts.until_us[a], value)
            count[PLACEMENTS] += 1
            count[EVENTS] += 1
            if is_retry:
                if queues.head[g] < 0:
                    unblock(queues, g)
            else:
                make_ready(queues, tasks, g)
            if victims > 0:  # they wait now, and there may be more room than was needed
                at[ROUND] += 1
                progress.wanted[: at[FREED]] = UNKNOWN
                sort_ready(queues, tasks)
            else:
                _forget(queues, tasks, progress, g, n)
        if withholds:
            continue
        for i in range(at[FREED]):
            progress.is_freed[progress.freed[i]] = False
        at[FREED] = 0


@njit(cache=True)
def set_timers(
    progress: Progress, keys: NDArray[np.int64], values: NDArray[np.int64], timers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add timers that something else than the loop decided on; timers: (n, 2) value and time."""
    for i in range(timers.shape[0]):
        if progress.at[TIMERS] == keys.shape[0]:
            keys, values = grown(keys), grown(values)
        progress.at[TIMERS] = push(keys, values, progress.at[TIMERS], timers[i, 1], timers[i, 0])
    return keys, values
